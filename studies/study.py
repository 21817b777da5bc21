"""What is compared: a study as a grid of rows, environments and seeds, and the runs that it means."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple

from registry import Part, PartError, Registry, nearest, part
from registry.signature import fit
from rl.agent import Agent
from sparsity import Method
from sparsity.execution.choice import NOMINAL_BATCH, Resolved, can_be_held, needs_dense, planned_execution
from sparsity.variation import changed, takes
from studies.contents import Run, foreign_sources, part_from
from studies.places import RowWords, of_method, read_row
from studies.problems import BadInput
from studies.spec import Choice, Density, choose

RANDOM_POLICY = "Random policy"
MOST = 10**12
"""Of steps and episodes: no run counts further."""
WIDEST = 1_000_000
"""Units of a layer: a matrix of two such layers has 4 TB."""


@dataclass(frozen=True)
class Cell:
    """A run's place in a study: its row, the density asked for, its values on further axes."""

    label: str
    density: float | None
    axes: Mapping[str, str]
    run: Run


class _Made(NamedTuple):
    """What a row's words mean at one place."""

    agent: Part
    learners: tuple[str, ...]
    holdable: Collection[str]
    choice: Choice


@dataclass(frozen=True)
class Study:
    """A question, and the grid of runs that answers it. The same schema as a study file."""

    name: str
    agents: tuple[str, ...]
    envs: tuple[str, ...]
    seeds: Sequence[int]
    steps: int
    methods: Mapping[str, Any]
    question: str = ""
    densities: tuple[Density, ...] = ()
    all: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warmup: int = 1000
    donor: int = 0
    """Environment steps of each run's donor, whose policy acts in the warm-up; 0 is uniform actions."""
    eval_every: int | None = None
    """Environment steps between evaluations; None is a twentieth of the run."""
    episodes: int = 5
    random_episodes: int = 30
    """Episodes of the random policy, the floor of every comparison; 0 leaves it out."""
    replay: Any = "uniform"
    wrappers: tuple[Any, ...] = ()
    execution: Literal["auto", "masked", "sparse"] = "auto"
    device: str = "cpu"
    preset: str | None = None

    def cells(self, registry: Registry) -> list[Cell]:
        """Every run of the study with its place in it. BadInput with all problems, if there are any."""
        problems = [f"{key}: {problem}" for key, problem in self.misnumbered()] + self._unbuildable(registry)
        if problems:
            raise BadInput(*problems)
        misshared = self._misshared(registry)
        problems += misshared.values()
        sound = replace(self, all={key: words for key, words in self.all.items() if key not in misshared})
        cells: list[Cell] = []
        for agent, env in itertools.product(self.agents, self.envs):
            for label, words in self.methods.items():
                for axes in self._axes():
                    try:
                        cells += sound._row(agent, env, label, words, axes, registry)
                    except ValueError as error:
                        problem = f"[methods] {label!r}: {error}"
                        problems += [] if problem in problems else [problem]
        problems += sound._unused_shared(registry)
        if problems:
            raise BadInput(*problems)
        return [*cells, *self._random_cells(registry)]

    def rows(self) -> int:
        """How many runs the grid can have at most."""
        along = (self.agents, self.envs, self.methods, self.densities or (None,), self.seeds, *self.axes.values())
        return math.prod(len(values) for values in along)

    def misnumbered(self) -> list[tuple[str, str]]:
        """What is wrong with the study's numbers: the key, and the problem."""
        problems = [
            (name, f"must be at least {least}, not {getattr(self, name)}")
            for name, least in _LEAST.items()
            if getattr(self, name) is not None and getattr(self, name) < least
        ]
        problems += [
            (name, f"must be at most 10**12, not {getattr(self, name)}")
            for name in _LEAST
            if getattr(self, name) is not None and getattr(self, name) > MOST
        ]
        if self.warmup >= 0 and self.warmup >= self.steps >= 1:
            leaves = f"{self.warmup} leaves none of {self.steps} steps to train: lower it, say by --set warmup=0"
            problems.append(("warmup", leaves))
        if self.donor > 0 and self.warmup == 0:
            problems.append(("donor", "has no effect where there is no warm-up to act in: raise warmup, or take 0"))
        elif 0 < self.donor <= self.warmup:
            untrained = f"{self.donor} steps end with a warm-up of {self.warmup}, before it learns: take more, or 0"
            problems.append(("donor", untrained))
        if not isinstance(self.seeds, range):
            outside = [seed for seed in self.seeds if not 0 <= seed < 2**32]
            problems += [("seeds", f"must lie in 0 ... 2**32 - 1, not {seed}") for seed in outside]
            if len(set(self.seeds)) < len(self.seeds):
                problems.append(("seeds", f"one is given twice: {list(self.seeds)}"))
        for name in ("agents", "envs", "methods", "seeds"):
            if len(getattr(self, name)) == 0:
                problems.append((name, "needs at least one entry: the grid is empty"))
        problems += [("axes", f"{name} needs at least one value") for name, values in self.axes.items() if not values]
        return problems

    def _unbuildable(self, registry: Registry) -> list[str]:
        """Build each agent once, so that a bad setting is told once and not for every row."""
        problems = []
        for agent in dict.fromkeys(self.agents):
            try:
                smallest(self._agent(agent, {}, registry), registry).learners()
            except ValueError as error:
                problems.append(f"[settings.{agent}]: {error}")
        return problems

    def _axes(self) -> Iterator[dict[str, Any]]:
        for values in itertools.product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))

    def _row(
        self, agent: str, env: str, label: str, words: Any, axes: Mapping[str, Any], registry: Registry
    ) -> list[Cell]:
        row = read_row(words, self.agents)
        plain = self._made(agent, env, row, [], axes, registry)
        shown = {key: shown_value(value) for key, value in axes.items()}
        cells = []
        for asked in self.densities:
            _check_learners(asked, plain.learners)
        for density in self._densities_of(plain.choice, registry):
            entries = row.here(agent, density)
            made = self._made(agent, env, row, entries, axes, registry) if entries else plain
            placed = made.choice if density is None else made.choice.at(density, registry)
            methods = {learner: placed.of(learner).resolved(registry) for learner in made.learners}
            where = shown | ({"density": shown_value(density)} if isinstance(density, Mapping) else {})
            number = density if isinstance(density, float) else _own_density(placed, made.learners, registry)
            execution = self._execution(made.agent, methods, made.holdable, registry)
            run_axes = {key: value for key, value in axes.items() if key in _RUN_AXES}
            for seed in self.seeds:
                run = self._run(env, made.agent, methods, execution, seed, run_axes, registry)
                cells.append(Cell(label, number, where, run))
        return cells

    def choice(self, label: str, agent: str, env: str, registry: Registry) -> Choice:
        """The method of a row for an agent on an environment, before densities."""
        row = read_row(self.methods[label], self.agents)
        return self._made(agent, env, row, [], {}, registry).choice

    def _made(
        self,
        agent: str,
        env: str,
        row: RowWords,
        entries: Sequence[Mapping[str, Any]],
        axes: Mapping[str, Any],
        registry: Registry,
    ) -> _Made:
        """The agent and the method of a row, under those entries of its `at`."""
        method_axes = {key: value for key, value in axes.items() if key in _METHOD_FIELDS}
        agent_axes = {k: v for k, v in axes.items() if k not in _RUN_AXES and k not in method_axes}
        own: dict[str, Any] = {}
        said = row.method if isinstance(row.method, Mapping) else {}
        set_here: set[str] = set()
        for settings in row.own_settings(agent, entries):
            own |= _each_width(agent, settings, registry)
            set_here |= own.keys() | settings.keys()
        for name in (*(axis for axis in method_axes if axis in said), *(a for a in agent_axes if a in set_here)):
            raise PartError(f"[axes] {name} has no effect on this row: it sets {name} itself")
        chosen = self._agent(agent, {**agent_axes, **own}, registry)
        built = smallest(chosen, registry)
        learners = tuple(learner.name for learner in built.learners())
        holdable = frozenset(learner.name for learner in built.learners() if can_be_held(learner))
        preset = partial(self._preset_changes, env=env, registry=registry)
        choice = choose(
            row.method, registry, preset=preset, shared=[self.all, method_axes], learners=learners,
            here=map(of_method, entries),
        )  # fmt: skip
        return _Made(chosen, learners, holdable, choice)

    def _densities_of(self, choice: Choice, registry: Registry) -> tuple[Density | None, ...]:
        return self.densities if self.densities and choice.takes_density(registry) else (None,)

    def _preset_changes(self, base: str, env: str, registry: Registry) -> list[Mapping[str, Any]]:
        return [] if self.preset is None else registry.entry("preset", self.preset).value.changes(base, env)

    def _agent(self, agent: str, axes: Mapping[str, Any], registry: Registry) -> Part:
        settings = _each_width(agent, dict(self.settings.get(agent, {})) | dict(axes), registry)
        chosen = registry.resolve("agent", Part(agent, settings))
        for name, widths in chosen.settings.items():
            if _widths(name) and max(widths, default=0) > WIDEST:
                raise PartError(f"{name} of {agent} is {list(widths)}; a layer has at most {WIDEST:,} units")
        batch, capacity = (
            chosen.settings.get("batch_size"),
            resolved("replay", self.replay, registry).settings.get("capacity"),
        )
        if isinstance(batch, int) and isinstance(capacity, int) and batch > capacity > 0:
            raise PartError(f"batch_size = {batch} is over the replay's capacity of {capacity} transitions")
        return chosen

    def _run(
        self,
        env: str,
        agent: Part,
        methods: Mapping[str, Method],
        execution: Resolved,
        seed: int,
        axes: Mapping[str, Any],
        registry: Registry,
    ) -> Run:
        numbers: dict[str, Any] = {name: getattr(self, name) for name in _RUN_AXES}
        numbers |= {name: fit(value, int, f"[axes] {name}") for name, value in axes.items()}
        wrong = replace(self, **numbers).misnumbered() if axes else []
        if wrong:
            raise PartError("; ".join(f"[axes] {key}: {problem}" for key, problem in wrong))
        replay = resolved("replay", self.replay, registry)
        wrappers = tuple(resolved("wrapper", words, registry) for words in self.wrappers)
        run = Run(
            env, agent, methods, seed, numbers["steps"], numbers["warmup"], self._eval_every(numbers["steps"]),
            numbers["episodes"], replay, wrappers, execution, self.device,
        )  # fmt: skip
        run = replace(run, foreign=foreign_sources(run, registry))
        return self._with_donor(run, numbers["donor"]) if numbers["donor"] else run

    def _eval_every(self, steps: int) -> int:
        return self.eval_every or max(1, steps // 20)

    def _with_donor(self, run: Run, steps: int) -> Run:
        """The run, begun by its own like of so many steps: the very run that this study would have of that length."""
        return replace(run, donor=replace(run, steps=steps, eval_every=self._eval_every(steps)))

    def _execution(
        self, agent: Part, methods: Mapping[str, Method], holdable: Collection[str], registry: Registry
    ) -> Resolved:
        """What a run's `execution` means: for all of its learners, as one that must be masked makes the others so."""
        sparse = {name: method for name, method in methods.items() if method.sparse}
        if self.execution == "masked" or not sparse:
            return "masked"
        if self.execution == "sparse":
            for name, method in sparse.items():
                if reason := needs_dense(method.resolved(registry), registry):
                    raise PartError(f"execution = 'sparse' cannot serve {name}: {reason}. Choose 'auto' or 'masked'")
            return "sparse"
        if not set(sparse) <= set(holdable):
            return "masked"
        batch = agent.settings.get("batch_size", NOMINAL_BATCH)
        widths = {name: agent.settings.get(f"{name}_hidden", ()) for name in sparse}
        try:
            meant = {
                planned_execution(widths[name], batch, self.device, method, registry) for name, method in sparse.items()
            }
        except ValueError:
            raise
        except Exception:  # A part of a plugin. The rehearsal asks it again, and names it.
            return "masked"
        return "sparse" if meant == {"sparse"} else "masked"

    def _random_cells(self, registry: Registry) -> list[Cell]:
        if not self.random_episodes:
            return []
        agent = registry.resolve("agent", part("random"))
        replay = registry.resolve("replay", part("uniform", capacity=1))
        wrappers = tuple(resolved("wrapper", words, registry) for words in self.wrappers)
        runs = [Run(env, agent, {}, 0, 0, 0, 1, self.random_episodes, replay, wrappers) for env in self.envs]
        return [Cell(RANDOM_POLICY, None, {}, replace(run, foreign=foreign_sources(run, registry))) for run in runs]

    def _misshared(self, registry: Registry) -> dict[str, str]:
        """What is wrong with keys under [all] by themselves: no row may take its share, and then nobody else looks."""
        problems = {}
        for key, words in self.all.items():
            try:
                plain = changed(Method(), {key: words}, registry, lenient=True)
                plain.check(registry) if not isinstance(getattr(plain, key, None), Part) else None
            except PartError as error:
                problems[key] = f"[all] {error}"
        return problems

    def _unused_shared(self, registry: Registry) -> list[str]:
        """A setting under [all] that no part of its kind knows is a misspelling; rows that lack it are passed by."""
        problems = []
        for kind, words in self.all.items():
            if not isinstance(words, Mapping) or "part" in words or kind not in _METHOD_FIELDS:
                continue
            known = sorted({setting.name for entry in registry.entries(kind) for setting in entry.settings})
            problems += [
                f"[all] {kind}: no {kind} has a setting {name!r}. {nearest(name, known)}Settings: {', '.join(known)}"
                for name in words
                if name not in known
            ]
        return problems


_LEAST = {"steps": 1, "warmup": 0, "donor": 0, "episodes": 1, "random_episodes": 0, "eval_every": 1}
"""The least that a study's numbers can be."""
_RUN_AXES = ("steps", "warmup", "episodes", "donor")
_METHOD_FIELDS = tuple(Method.__dataclass_fields__)


def smallest(agent: Part, registry: Registry) -> Agent:
    """An agent built once, as small as it gets, for what it says of itself. PartError if it cannot be built."""
    import torch

    narrow = {name: tuple(min(1, width) for width in agent.settings[name]) for name in agent.settings if _widths(name)}
    entry = registry.entry("agent", agent.name)
    try:
        built: Agent = registry.bind("agent", agent.with_settings(**narrow))(
            observation_size=1, action_size=1, seed=0, device=torch.device("cpu"), dtype=torch.float32
        )
        built.learners()
        return built
    except ValueError:
        raise
    except Exception as error:
        raise PartError(f"agent {agent.name!r} of {entry.origin} raised {type(error).__name__}: {error}") from error


def _widths(setting: str) -> bool:
    """Whether a setting of an agent holds the hidden widths of a learner: `<learner>_hidden`."""
    return setting.endswith("_hidden")


def _each_width(agent: str, settings: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Settings with `hidden` as the widths of every learner that has none of its own among them."""
    others = {name: value for name, value in settings.items() if name != "hidden"}
    if settings.get("hidden") is None:
        return others
    widths = [setting.name for setting in registry.entry("agent", agent).settings if _widths(setting.name)]
    if not widths:
        raise PartError(f"agent {agent!r} has no hidden layers to set")
    return dict.fromkeys(widths, settings["hidden"]) | others


def _check_learners(density: Density | None, learners: Sequence[str]) -> None:
    if not isinstance(density, Mapping):
        return
    known = ", ".join(learners) or "none"
    for name in density:
        if name not in learners:
            raise PartError(f"densities: no learner {name!r}. {nearest(name, learners)}Learners: {known}")
    for name in learners:
        if name not in density:
            raise PartError(f"densities: none is given for {name!r}: name every learner ({known}), 1.0 for a full one")


def resolved(kind: str, words: Any, registry: Registry) -> Part:
    """A part as a study file words it, a name or a table with `part`, with its defaults written out."""
    if isinstance(words, str):
        return registry.resolve(kind, Part(words))
    if isinstance(words, Mapping) and isinstance(words.get("part"), str):
        return registry.resolve(kind, part_from(words))
    known = registry.names(kind)
    raise PartError(f"{kind} must be a name or a table with `part`, not {words!r}. {nearest(str(words), known)}")


def _own_density(choice: Choice, learners: Sequence[str], registry: Registry) -> float | None:
    """The density that a row sets itself, for all its learners; None where they are dense, differ, or say it in
    another way (lambdas)."""
    densities = {_density_of(choice.of(learner), registry) for learner in learners}
    return densities.pop() if len(densities) == 1 else None


def _density_of(method: Method, registry: Registry) -> float | None:
    if not takes(method, "allocation", "density", registry):
        return None
    density = registry.resolve("allocation", method.allocation).settings["density"]
    return float(density) if isinstance(density, int | float) else None


def shown_value(value: Any) -> str:
    """A value of an axis, or a density a learner, as tables show it: "16x16", "actor 0.1, critic 0.9"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "x".join(shown_value(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
