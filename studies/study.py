"""What is compared: a run as a content-addressed fact, and a study as a grid of rows, environments and seeds."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from registry import Entry, Part, PartError, Registry, nearest, part
from sparsity import Method
from studies.problems import BadInput
from studies.spec import Choice, Density, choose, takes

RESULTS_VERSION = 1
"""Raised whenever the same contents would give other results. See "Changes results" in the changelog."""

RANDOM_POLICY = "Random policy"


@dataclass(frozen=True)
class Run:
    """One training run, all settings resolved. Equal contents are the same run: same id, same bytes."""

    env: str
    agent: Part
    methods: Mapping[str, Method]
    """By learner; empty for agents that learn nothing."""
    seed: int
    steps: int
    """Environment steps."""
    warmup: int
    eval_every: int
    episodes: int
    replay: Part = part("uniform", capacity=1_000_000)
    wrappers: tuple[Part, ...] = ()
    execution: Literal["masked"] = "masked"
    device: str = "cpu"
    foreign: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the source of every chosen part that is not ours."""

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the contents' canonical JSON."""
        return hashlib.sha256(canonical(self.contents()).encode()).hexdigest()[:16]

    @property
    def updates(self) -> int:
        """Planned agent updates: one an environment step after the warm-up."""
        return max(0, self.steps - self.warmup)

    def contents(self) -> dict[str, Any]:
        """Everything that decides the results, as JSON values."""
        return {
            "results": RESULTS_VERSION,
            "env": self.env,
            "agent": _part_words(self.agent),
            "methods": {learner: method_words(method) for learner, method in self.methods.items()},
            "seed": self.seed,
            "steps": self.steps,
            "warmup": self.warmup,
            "eval_every": self.eval_every,
            "episodes": self.episodes,
            "replay": _part_words(self.replay),
            "wrappers": [_part_words(wrapper) for wrapper in self.wrappers],
            "execution": self.execution,
            "device": self.device,
            "foreign": dict(self.foreign),
        }

    @classmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Run:
        """The run that these contents describe. ValueError if another results version wrote them."""
        if contents["results"] != RESULTS_VERSION:
            raise ValueError(f"these contents are of results version {contents['results']}, not {RESULTS_VERSION}")
        fields = {key: contents[key] for key in ("env", "seed", "steps", "warmup", "eval_every", "episodes")}
        return cls(
            **fields,
            agent=_part_from(contents["agent"]),
            methods={name: _method_from(words) for name, words in contents["methods"].items()},
            replay=_part_from(contents["replay"]),
            wrappers=tuple(_part_from(words) for words in contents["wrappers"]),
            execution=contents["execution"],
            device=contents["device"],
            foreign=contents["foreign"],
        )


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: equal values are equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def method_words(method: Method) -> dict[str, Any]:
    """A method as JSON values; what cannot matter is left out, so that equal behaviour has one description."""
    if method.eligible.name == "none":
        return {"eligible": {"part": "none"}}
    parts: dict[str, Any] = {name: _part_words(choice) for name, choice in method.parts().items()}
    if method.network == "shrunk":
        return {"network": "shrunk", "eligible": parts["eligible"], "allocation": parts["allocation"]}
    plain = ("readmit", "scope", "swap_scope", "optimizer_sees", "event", "clock", "network")
    words = parts | {name: getattr(method, name) for name in plain}
    return words | {"traces": [_part_words(trace) for trace in method.traces]}


def _method_from(words: Mapping[str, Any]) -> Method:
    values: dict[str, Any] = {}
    for key, value in words.items():
        if key == "traces":
            values[key] = tuple(_part_from(trace) for trace in value)
        else:
            values[key] = _part_from(value) if isinstance(value, Mapping) else value
    return replace(Method(), **values)


def _part_words(choice: Part) -> dict[str, Any]:
    return {"part": choice.name, **choice.settings}


def _part_from(words: Mapping[str, Any]) -> Part:
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in words.items() if k != "part"}
    return Part(words["part"], settings)


@dataclass(frozen=True)
class Cell:
    """A run's place in a study: its row, the density asked for, its values on further axes."""

    label: str
    density: float | None
    axes: Mapping[str, str]
    run: Run


@dataclass(frozen=True)
class Study:
    """A question, and the grid of runs that answers it. The same schema as a study file."""

    name: str
    agents: tuple[str, ...]
    envs: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    methods: Mapping[str, Any]
    question: str = ""
    densities: tuple[Density, ...] = ()
    all: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warmup: int = 1000
    eval_every: int | None = None
    """Environment steps between evaluations; None is a twentieth of the run."""
    episodes: int = 5
    random_episodes: int = 30
    """Episodes of the random policy, the floor of every comparison; 0 leaves it out."""
    replay: Any = "uniform"
    wrappers: tuple[Any, ...] = ()
    execution: Literal["auto", "masked"] = "auto"
    device: str = "cpu"
    preset: str | None = None

    def cells(self, registry: Registry) -> list[Cell]:
        """Every run of the study with its place in it. BadInput with all problems, if there are any."""
        problems: list[str] = []
        cells: list[Cell] = []
        self._check_numbers(problems)
        self._check_agents(registry, problems)
        if problems:
            raise BadInput(*problems)
        for agent, env in itertools.product(self.agents, self.envs):
            for label, words in self.methods.items():
                for axes in self._axes():
                    try:
                        cells += self._row(agent, env, label, words, axes, registry)
                    except (PartError, ValueError) as error:
                        problem = f"[methods] {label!r}: {error}"
                        problems += [] if problem in problems else [problem]
        problems += self._unused_shared(registry)
        if problems:
            raise BadInput(*problems)
        return [*cells, *self._random_cells(registry)]

    def rows(self) -> int:
        """How many runs the grid can have at most."""
        along = (self.agents, self.envs, self.methods, self.densities or (None,), self.seeds, *self.axes.values())
        return math.prod(len(values) for values in along)

    def _check_numbers(self, problems: list[str]) -> None:
        for name, least in (("steps", 1), ("warmup", 0), ("episodes", 1), ("random_episodes", 0)):
            if getattr(self, name) < least:
                problems.append(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.eval_every is not None and self.eval_every < 1:
            problems.append(f"eval_every must be at least 1 environment step, not {self.eval_every}")
        if self.warmup >= self.steps:
            problems.append(
                f"warmup = {self.warmup} leaves none of {self.steps} steps to train: lower it (--set warmup=0)"
            )
        problems += [f"seeds must lie in 0 ... 2**32 - 1, not {seed}" for seed in self.seeds if not 0 <= seed < 2**32]
        if len(set(self.seeds)) < len(self.seeds):
            problems.append(f"seeds are given twice: {list(self.seeds)}")
        if self.rows() == 0:
            problems.append("the grid is empty: agents, envs, methods, seeds and every axis need at least one entry")

    def _check_agents(self, registry: Registry, problems: list[str]) -> None:
        """Build each agent once, so that a bad setting is told once and not for every row."""
        for agent in self.agents:
            try:
                learner_names(self._agent(agent, {}, registry), registry)
            except ValueError as error:
                problems.append(f"[settings.{agent}]: {error}")

    def _axes(self) -> Iterator[dict[str, Any]]:
        for values in itertools.product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))

    def _row(
        self, agent: str, env: str, label: str, words: Any, axes: Mapping[str, Any], registry: Registry
    ) -> list[Cell]:
        run_axes = {key: value for key, value in axes.items() if key in _RUN_AXES}
        method_axes = {key: value for key, value in axes.items() if key in _METHOD_FIELDS}
        agent_axes = {k: v for k, v in axes.items() if k not in run_axes and k not in method_axes}
        chosen = self._agent(agent, agent_axes, registry)
        learners = learner_names(chosen, registry)
        base = words if isinstance(words, str) else words.get("base", "") if isinstance(words, Mapping) else ""
        shared = [*self._preset_changes(str(base), env, registry), self.all, method_axes]
        choice = choose(words, registry, shared=shared, learners=learners)
        shown = {key: _shown(value) for key, value in axes.items()}
        cells = []
        for density in self._densities_of(choice, registry):
            placed = choice if density is None else choice.at(density, registry)
            methods = {learner: placed.of(learner).resolved(registry) for learner in learners}
            where = shown | ({"density": _shown(density)} if isinstance(density, Mapping) else {})
            number = density if isinstance(density, float) else _own_density(placed, registry)
            for seed in self.seeds:
                run = self._run(env, chosen, methods, seed, run_axes, registry)
                cells.append(Cell(label, number, where, run))
        return cells

    def _densities_of(self, choice: Choice, registry: Registry) -> tuple[Density | None, ...]:
        return self.densities if self.densities and choice.takes_density(registry) else (None,)

    def _preset_changes(self, base: str, env: str, registry: Registry) -> list[Mapping[str, Any]]:
        return [] if self.preset is None else registry.entry("preset", self.preset).value.changes(base, env)

    def _agent(self, agent: str, axes: Mapping[str, Any], registry: Registry) -> Part:
        entry = registry.entry("agent", agent)
        settings = dict(self.settings.get(agent, {})) | dict(axes)
        hidden = settings.pop("hidden", None)
        if hidden is not None:
            widths = [s.name for s in entry.settings if s.name.endswith("_hidden")]
            if not widths:
                raise PartError(f"agent {agent!r} has no hidden layers to set")
            settings = dict.fromkeys(widths, hidden) | settings
        return registry.resolve("agent", Part(agent, settings))

    def _run(
        self,
        env: str,
        agent: Part,
        methods: Mapping[str, Method],
        seed: int,
        axes: Mapping[str, Any],
        registry: Registry,
    ) -> Run:
        numbers = {"steps": self.steps, "warmup": self.warmup, "episodes": self.episodes} | dict(axes)
        eval_every = self.eval_every or max(1, numbers["steps"] // 20)
        replay = resolved("replay", self.replay, registry)
        wrappers = tuple(resolved("wrapper", words, registry) for words in self.wrappers)
        run = Run(
            env, agent, methods, seed, numbers["steps"], numbers["warmup"], eval_every, numbers["episodes"],
            replay, wrappers, "masked", self.device,
        )  # fmt: skip
        return replace(run, foreign=foreign_sources(run, registry))

    def _random_cells(self, registry: Registry) -> list[Cell]:
        if not self.random_episodes:
            return []
        agent = registry.resolve("agent", part("random"))
        replay = registry.resolve("replay", part("uniform", capacity=1))
        wrappers = tuple(resolved("wrapper", words, registry) for words in self.wrappers)
        return [
            Cell(RANDOM_POLICY, None, {}, Run(env, agent, {}, 0, 0, 0, 1, self.random_episodes, replay, wrappers))
            for env in self.envs
        ]

    def _unused_shared(self, registry: Registry) -> list[str]:
        """A setting under [all] that no row's part knows is a misspelling."""
        problems = []
        for field_, words in self.all.items():
            if not isinstance(words, Mapping) or "part" in words or field_ not in _METHOD_FIELDS:
                continue
            for setting in words:
                try:
                    rows = [choose(row, registry, learners=("actor", "critic")) for row in self.methods.values()]
                    known = any(takes(m, field_, setting, registry) for row in rows for m in row.methods())
                except (PartError, AttributeError):
                    continue  # The row's own problem is reported where it stands.
                if not known:
                    problems.append(f"[all] {field_}: no row's {field_} has a setting {setting!r}")
        return problems


_RUN_AXES = ("steps", "warmup", "episodes")
_METHOD_FIELDS = tuple(Method.__dataclass_fields__)


def learner_names(agent: Part, registry: Registry) -> tuple[str, ...]:
    """The learners of an agent, found by building it once, as small as it gets."""
    import torch

    narrow = {name: (1,) for name in agent.settings if name.endswith("_hidden")}
    built = registry.bind("agent", agent.with_settings(**narrow))(
        observation_size=1, action_size=1, seed=0, device=torch.device("cpu"), dtype=torch.float32
    )
    return tuple(learner.name for learner in built.learners())


def foreign_sources(run: Run, registry: Registry) -> dict[str, str]:
    """SHA-256 of the source of every chosen part that is not ours, by `kind/name`."""
    entries: list[Entry] = [registry.entry("agent", run.agent.name)]
    entries += [registry.entry("wrapper", wrapper.name) for wrapper in run.wrappers]
    entries += [registry.entry("replay", run.replay.name)] if run.methods else []
    for method in run.methods.values():
        chosen = [registry.entry(kind, choice.name) for kind, choice in method.parts().items()]
        traces = {name for entry in chosen for name in entry.inputs} & set(registry.names("trace"))
        entries += chosen + [registry.entry("trace", name) for name in sorted(traces)]
    hashes = {f"{entry.kind.name}/{entry.name}": entry.source_hash for entry in entries}
    return {key: value for key, value in sorted(hashes.items()) if value is not None}


def resolved(kind: str, words: Any, registry: Registry) -> Part:
    """A part as a study file words it, a name or a table with `part`, with its defaults written out."""
    if isinstance(words, str):
        return registry.resolve(kind, Part(words))
    if isinstance(words, Mapping) and isinstance(words.get("part"), str):
        return registry.resolve(kind, _part_from(words))
    known = registry.names(kind)
    raise PartError(f"{kind} must be a name or a table with `part`, not {words!r}. {nearest(str(words), known)}")


def _own_density(choice: Choice, registry: Registry) -> float | None:
    """The density that a row sets itself; None where it is dense, or says it in another way (lambdas)."""
    if choice.method.eligible.name == "none":
        return None
    density = choice.method.allocation.settings.get("density")
    if density is None and takes(choice.method, "allocation", "density", registry):
        settings = {s.name: s for s in registry.entry("allocation", choice.method.allocation.name).settings}
        density = settings["density"].default
    return float(density) if isinstance(density, int | float) else None


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "x".join(_shown(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
