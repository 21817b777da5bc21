"""From a run's contents to an agent with its sparsifiers: where sparsity and rl meet."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

import torch

from registry import Part, PartError, Registry
from rl.agent import Agent
from rl.deferred import deferring, materialise
from rl.environment import make
from rl.replay import Replay, bytes_needed
from rl.streams import stream
from rl.surroundings import restores
from sparsity import Event, Sparsifier
from sparsity.ask import who
from sparsity.cost import Size, planned_size, size, thinned
from studies.contents import Run

KEEPS_MORE: Final = "the environment keeps more than its state tells"


def build_agent(run: Run, sizes: tuple[int, int], registry: Registry) -> tuple[Agent, dict[str, Size]]:
    """The run's agent, and the size of every learner as it would be dense and not shrunk.

    `sizes` are the numbers of observations and actions. Learners whose method says `shrunk` are made as wide as leaves
    them no more parameters than the sparse network would have.
    """
    agent = _agent(run, run.agent, sizes, registry)
    full = {learner.name: size(learner.module) for learner in agent.learners()}
    shrunk = {name: method for name, method in run.methods.items() if method.network == "shrunk"}
    if not shrunk:
        return agent, full
    narrow = run.agent
    for learner in agent.learners():
        if learner.name in shrunk:
            limit = planned_size(learner.module, shrunk[learner.name], registry).active_parameters
            narrow = _narrowed(run, narrow, learner.name, limit, sizes, registry)
    return _agent(run, narrow, sizes, registry), full


def attach(
    agent: Agent, run: Run, registry: Registry, on_event: Callable[[str, Event], None] | None = None
) -> dict[str, Sparsifier]:
    """A sparsifier on every learner that has a sparse method. `on_event` hears the learner's name and the event."""
    sparsifiers = {}
    for learner in agent.learners():
        method = run.methods[learner.name]
        if not method.sparse:
            materialise(learner.module)
            if learner.target is not None:
                materialise(learner.target.module)
            continue
        sparsifiers[learner.name] = Sparsifier(
            learner,
            method,
            seed=stream(run.seed, "topology", zlib.crc32(learner.name.encode())),
            total=run.updates,
            execution=run.execution,
            on_event=_named(learner.name, on_event),
            registry=registry,
        )
    return sparsifiers


def build_environment(run: Run, index: int, registry: Registry, *, allow_import: bool = False, **drawing: Any) -> Any:
    """The run's environment with its wrappers: 0 is that of training, 1 that of evaluations. `drawing` as `make`."""
    env: Any = make(run.env, allow_import=allow_import, **drawing)
    for position, wrapper in enumerate(run.wrappers):
        env = registry.bind("wrapper", wrapper)(env=env, seed=stream(run.seed, "environment", 1 + index, position))
    return env


def keeps_all(run: Run, registry: Registry, allow_import: bool) -> bool:
    """Whether the run's environment goes on as it was from the state that is kept of it."""
    return restores(lambda: build_environment(run, 0, registry, allow_import=allow_import))


def build_replay(run: Run, sizes: tuple[int, int], registry: Registry) -> Replay:
    """The run's memory of transitions. Its pages are the system's until they are filled."""
    chosen = registry.bind("replay", run.replay)
    try:
        replay: Replay = chosen(observation_size=sizes[0], action_size=sizes[1])
    except MemoryError:
        room = bytes_needed(*sizes, run.replay.settings.get("capacity", 0)) / 1e9
        raise ValueError(f"replay {run.replay} needs {room:,.0f} GB: lower its capacity") from None
    except ValueError:
        raise
    except Exception as error:
        raise PartError(f"{who(chosen)} raised {type(error).__name__}: {error}") from error
    return replay


def rehearse(run: Run, sizes: tuple[int, int], registry: Registry) -> None:
    """Build everything of a run and throw it away: what cannot be built raises before anything is written."""
    build_replay(run, sizes, registry)
    try:
        agent, _ = build_agent(run, sizes, registry)
        for sparsifier in attach(agent, run, registry).values():
            sparsifier.detach()
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in ("allocate", "out of memory")):
            raise ValueError(f"agent {run.agent.name!r} cannot be built: {error}") from error
        hidden = {name: value for name, value in run.agent.settings.items() if name.endswith("_hidden")}
        widths = ", ".join(f"{name} = {list(value)}" for name, value in hidden.items())
        raise ValueError(f"agent {run.agent.name!r} needs more memory than there is with {widths}") from None


def _named(name: str, on_event: Callable[[str, Event], None] | None) -> Callable[[Event], None] | None:
    return None if on_event is None else lambda event: on_event(name, event)


def _agent(run: Run, choice: Part, sizes: tuple[int, int], registry: Registry) -> Agent:
    # Truly sparse networks are never whole: weights are drawn layer by layer, when their topology is chosen.
    with deferring() if run.execution == "sparse" else nullcontext():
        built: Agent = registry.bind("agent", choice)(
            observation_size=sizes[0],
            action_size=sizes[1],
            seed=run.seed,
            device=torch.device(run.device),
            dtype=torch.float32,
        )
    return built


def _narrowed(run: Run, choice: Part, learner: str, limit: int, sizes: tuple[int, int], registry: Registry) -> Part:
    """The agent with the widest layers of one learner that keep it within `limit` parameters; all shrink alike."""
    setting = f"{learner}_hidden"
    if setting not in choice.settings:
        raise ValueError(f"agent {choice.name!r} cannot be shrunk: it has no setting {setting!r}")
    widths: tuple[int, ...] = choice.settings[setting]

    def at(width: int) -> Part:
        narrow = tuple(max(1, round(w * width / widths[0])) for w in widths)
        return choice.with_settings(**{setting: narrow})

    def fits(width: int) -> bool:
        learners = _agent(replace(run, device="cpu"), at(width), sizes, registry).learners()
        module = next(each.module for each in learners if each.name == learner)
        return size(module).parameters <= limit

    low, high = 1, widths[0]
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return at(low)


def present(whole: Mapping[str, Size], sparsifiers: Mapping[str, Sparsifier]) -> dict[str, Size]:
    """The size of every learner as it is now; `whole` are their sizes without a mask."""
    return {name: thinned(each, densities_of(sparsifiers, name)) for name, each in whole.items()}


def densities_of(sparsifiers: Mapping[str, Sparsifier], learner: str) -> tuple[Any, ...]:
    """Layer densities of a learner; none where it is dense."""
    return sparsifiers[learner].densities() if learner in sparsifiers else ()
