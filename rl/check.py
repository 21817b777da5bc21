"""Conformance of agents, replays and wrappers, for authors of plugins: `sparsity check`, in tests `assert_conforms`."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from registry import Bound, Entry, Registry
from registry.place import nearby, place, raised_at, source_file
from registry.report import Problem, Report, demand_conforming
from registry.sample import sample_settings
from rl.agent import Agent, Batch, Learner
from rl.streams import stream
from rl.surroundings import on_replay, on_wrapper, small_env
from rl.trial import SIZES, global_randomness, restore_global_randomness, same, shown

_UPDATES = 4
_CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


CHECKED: dict[str, str] = {
    "agent": "acted, learned, repeated, restored",
    "replay": "filled, sampled, restored",
    "wrapper": "two episodes, restored",
}
"""The kinds that are checked here, and what each is asked."""


def assert_conforms(plugin: ModuleType, registry: Registry | None = None) -> None:
    """For the tests of a plugin: AssertionError, which explains, unless its agents, replays and wrappers conform.

    `plugin` is its module; it is loaded beside the parts of this project, or into `registry`. PartError if it cannot be
    loaded, ValueError if it has no part of these kinds.
    """
    demand_conforming(plugin, CHECKED, examine, registry)


def examine(entry: Entry, registry: Registry) -> Report:
    """What keeps a part from conforming to its kind; no problem if that is not rl's own."""
    kind = entry.kind.name
    problems = _tried(entry, _TRIALS[kind]) if kind in _TRIALS else []
    where = place(entry.value) or nearby(entry.origin.file)
    return Report(entry.kind, entry.name, where, CHECKED.get(kind, "nothing is asked of it"), tuple(problems))


def check_part(entry: Entry, registry: Registry) -> list[str]:
    """The problems that `examine` finds, one sentence each; empty if the part conforms."""
    who = f"{entry.kind.name} {entry.name!r} of {entry.origin}"
    return [f"{who} {problem.sentence}" for problem in examine(entry, registry).problems]


def _on_built_agent(build: Bound) -> Iterator[str]:
    """How an agent acts, learns, repeats itself and is restored."""
    return _on_agent(lambda seed: build(seed=seed, **_sizes(), **_CPU))


def _on_built_replay(build: Bound) -> Iterator[str]:
    """What a memory of transitions keeps, gives back and restores."""
    return on_replay(lambda: build(**_sizes()))


def _on_built_wrapper(build: Bound) -> Iterator[str]:
    """What a wrapper does around an environment of the smallest kind."""
    return on_wrapper(lambda: build(env=small_env(), seed=stream(0, "environment", 1)))


_TRIALS: dict[str, Callable[[Bound], Iterator[str]]] = {
    "agent": _on_built_agent,
    "replay": _on_built_replay,
    "wrapper": _on_built_wrapper,
}


def _sizes() -> dict[str, int]:
    return {"observation_size": SIZES[0], "action_size": SIZES[1]}


def _tried(entry: Entry, check: Callable[[Bound], Iterator[str]]) -> list[Problem]:
    """What it raises is a problem, and so is the use of global randomness."""
    before, problems = global_randomness(), []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for said in check(Bound(entry, sample_settings(entry))):
                problems.append(Problem(said, said))
    except (Exception, SystemExit) as error:
        where = raised_at(error, source_file(entry.value))
        problems.append(Problem("raises", f"raised {type(error).__name__}: {error}", where=where))
    if not same(global_randomness(), before):
        said = "used or seeded the global random state of torch, NumPy or Python"
        problems.append(Problem("globals", said, advice="draw from its `seed`"))
        restore_global_randomness(before)
    return problems


def _on_agent(build: Callable[[int], Any]) -> Iterator[str]:
    agent = build(0)
    missing = [name for name in dir(Agent) if not name.startswith("_") and not hasattr(agent, name)]
    missing += [] if hasattr(agent, "batch_size") else ["batch_size"]
    if missing:
        yield f"gave {type(agent).__name__}, which lacks {', '.join(missing)}: an agent has all that rl.Agent names"
        return
    misfits = [*_on_acting(agent), *_on_learners(agent.learners())]
    yield from misfits
    if misfits:
        return
    if agent.learners():
        yield from _on_learning(agent)
    yield from _on_repeating(build)


def _on_acting(agent: Agent) -> Iterator[str]:
    observation = np.array([0.1, -1.0, 2.0], dtype=np.float32)
    for explore in (False, True):
        action: Any = agent.act(observation, explore=explore)
        if not isinstance(action, np.ndarray) or action.dtype != np.float32 or action.shape != (SIZES[1],):
            yield f"acts with {shown(action)}; an action is a float32 array shaped ({SIZES[1]},)"
        elif not (np.abs(action) <= 1).all():
            yield f"acts with {action.tolist()}; actions are finite and lie in [-1, 1]"
    if agent.learners() and not same(agent.act(observation, explore=False), agent.act(observation, explore=False)):
        yield "acts in two ways on one observation with explore=False: it must not draw noise then"
    if hasattr(agent, "mean_actions"):
        rows = torch.from_numpy(np.stack([observation, observation]))
        told: Any = agent.mean_actions(rows)
        acted = agent.act(observation, explore=False)
        if not isinstance(told, torch.Tensor) or tuple(told.shape) != (2, SIZES[1]):
            yield f"gives {shown(told)} as mean_actions of two observations; they are a tensor shaped (2, {SIZES[1]})"
        elif not np.allclose(told.detach().cpu().numpy(), acted, atol=1e-5):
            yield "has other mean_actions than it acts with explore=False"


def _on_learners(learners: Any) -> Iterator[str]:
    if not isinstance(learners, tuple):
        yield f"lists its learners as {shown(learners)}; it must be a tuple of rl.Learner"
        return
    for learner in learners:
        wrong = _misfits(learner)
        if wrong:
            yield f"has a learner {learner!r:.60} without a fitting {' and '.join(wrong)}: give an rl.Learner"
        elif outside := _untrained(learner):
            yield f"has an optimiser of learner {learner.name!r} that does not hold {', '.join(outside)}"
    names = Counter(getattr(learner, "name", None) for learner in learners)
    if max(names.values(), default=1) > 1:
        yield f"has two learners of one name among {', '.join(map(str, names.elements()))}: methods are chosen by name"


def _misfits(learner: Any) -> list[str]:
    """Attributes of a learner that are missing or of a wrong kind."""
    target, stride = getattr(learner, "target", False), getattr(learner, "stride", 0)
    tracked = isinstance(getattr(target, "module", None), nn.Module) and hasattr(target, "after_update")
    fits = {
        "name": isinstance(getattr(learner, "name", None), str) and bool(learner.name),
        "module": isinstance(getattr(learner, "module", None), nn.Module),
        "optimizer": isinstance(getattr(learner, "optimizer", None), Optimizer),
        "target (None, or a rl.Target)": target is None or tracked,
        "stride (updates an optimiser step, at least 1)": type(stride) is int and stride >= 1,
    }
    return [what for what, fit in fits.items() if not fit]


def _untrained(learner: Learner) -> list[str]:
    held = {id(p) for group in learner.optimizer.param_groups for p in group["params"]}
    return [name for name, p in learner.module.named_parameters() if p.requires_grad and id(p) not in held]


def _on_learning(agent: Agent) -> Iterator[str]:
    learners = agent.learners()
    taken: Counter[str] = Counter()
    for learner in learners:
        learner.optimizer.register_step_post_hook(lambda *_, name=learner.name: taken.update([name]))
    updates = 2 * max(learner.stride for learner in learners)
    for number in range(updates):
        figures: Any = agent.update(_batch(agent.batch_size, number))
        if not isinstance(figures, Mapping):
            yield f"gave {shown(figures)} for an update; it must give a table of figures"
            return
        for name, value in figures.items():
            if not isinstance(value, int | float) or not np.isfinite(value):
                yield f"gave {shown(value)} for the figure {name!r}; figures are finite floats, so call .item()"
                return
    for learner in learners:
        if taken[learner.name] != updates // learner.stride:
            steps = f"{taken[learner.name]} optimiser steps of {learner.name!r} in {updates} updates"
            yield f"took {steps}, but its stride says {learner.stride}: it is the updates an optimiser step"


def _on_repeating(build: Callable[[int], Agent]) -> Iterator[str]:
    one, other = build(7), build(7)
    if not same(_history(one), _history(other)) or not same(one.state_dict(), other.state_dict()):
        yield "differs from another agent of the same seed: all of its randomness must come from `seed`"
        return
    other.act(np.zeros(SIZES[0], dtype=np.float32), explore=False)
    if not same(_history(one), _history(other)):
        yield "learns or explores otherwise after an action with explore=False: evaluating must change no training"
        return
    restored = build(8)
    restored.load_state_dict(copy.deepcopy(one.state_dict()))
    if not same(_history(one), _history(restored)) or not same(one.state_dict(), restored.state_dict()):
        yield "goes on otherwise after state_dict and load_state_dict: put all that later updates need into the state"


def _history(agent: Agent) -> list[Any]:
    """What an agent does and reports over a few updates."""
    seen: list[Any] = []
    for number in range(_UPDATES):
        seen.append(agent.act(np.full(SIZES[0], number / 3, dtype=np.float32), explore=True))
        if agent.learners():
            seen.append(dict(agent.update(_batch(agent.batch_size, number))))
    return seen


def _batch(size: int, seed: int) -> Batch:
    """Transitions drawn at random, a fifth of them terminal. At most 16, as nothing here depends on more."""
    size = min(size, 16)
    draw = torch.Generator().manual_seed(seed)
    observation, following = torch.randn(2, size, SIZES[0], generator=draw)
    action = torch.rand(size, SIZES[1], generator=draw) * 2 - 1
    terminated = (torch.rand(size, generator=draw) < 0.2).float()
    return Batch(observation, action, torch.randn(size, generator=draw), following, terminated)
