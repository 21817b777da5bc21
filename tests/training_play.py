"""An agent with sparsifiers, everything that may be called on it in any order, and what must hold after every call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import hypothesis
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.random import SeedSequence
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from toy import Carry
from toys_sparse import dense, through_a_file

from registry import Part, Registry, part
from rl import Batch, evaluate, td3
from rl.sac import sac
from sparsity import Method, Sparsifier
from sparsity.execution.choice import needs_dense

REGISTRY = Registry(installed=False)
SIZES = (2, 1)
"""Those of `toy.Carry`: observations, actions."""
TOTAL = 45
"""Planned updates: rows end within 50 calls."""

AGENTS: dict[str, Callable[..., Any]] = {"td3": td3, "sac": sac}
OPTIMIZERS: dict[str, Callable[[Any], Optimizer] | None] = {
    "adam": None,  # The agent's own.
    "adamw": lambda p: AdamW(p, lr=1e-2, weight_decay=0.1),
    "amsgrad": lambda p: Adam(p, lr=1e-2, amsgrad=True, weight_decay=1e-2),
    "sgd_momentum": lambda p: SGD(p, lr=1e-2, momentum=0.9, weight_decay=1e-2),
    "rmsprop": lambda p: RMSprop(p, lr=1e-3, momentum=0.5, centered=True, weight_decay=1e-2),
}


def brief(method: Method) -> Method:
    """A row with its periods and windows brought into `TOTAL` updates, and swaps that small layers can make."""
    method = method.resolved(REGISTRY)
    return replace(
        method,
        schedule=_brief(method.schedule),
        budget=_brief(method.budget),
        allocation=part("lambdas", first=1.0, rest=2.0) if method.allocation.name == "lambdas" else method.allocation,
    )


def _brief(choice: Part) -> Part:
    short: dict[str, Any] = {"every": 3, "gain": 0.1, "exchange": 0.2, "until": 0.8, "floor": 0.1}
    chosen = {name: value for name, value in short.items() if name in choice.settings}
    if "fraction" in choice.settings:
        chosen["fraction"] = max(0.3, choice.settings["fraction"])
    if "periods" in choice.settings:
        stages = len(choice.settings["periods"])
        chosen |= {"periods": (2, 3, 4, 5)[:stages], "fractions": (0.4,) * stages}
    if "after" in choice.settings:
        chosen["after"] = 0.7
    return choice.with_settings(**chosen)


ROWS = {entry.name: brief(entry.value) for entry in REGISTRY.entries("method") if entry.value.sparse}
"""Every published row that has masks; a new one is under test from its first day."""


class Combination(NamedTuple):
    """What is trained, how, and how absence is carried out."""

    row: str
    agent: str
    optimizer: str
    execution: str


def combinations(agents: Sequence[str] = tuple(AGENTS), executions: Sequence[str] = ("masked", "sparse")) -> list[Any]:
    """All that can be: rows that need dense tensors run masked only."""
    return [
        Combination(row, agent, optimizer, execution)
        for row in ROWS
        for agent in agents
        for optimizer in OPTIMIZERS
        for execution in executions
        if execution == "masked" or not needs_dense(ROWS[row], REGISTRY)
    ]


def small_agent(kind: str, seed: int, optimizer: str = "adam", **chosen: Any) -> Any:
    given = {"learning_rate": 1e-2, "tau": 0.1, "batch_size": 8, "actor_hidden": (9, 8), "critic_hidden": (9, 8)}
    dtype = chosen.pop("dtype", torch.float32)
    built = AGENTS[kind](*SIZES, seed, torch.device("cpu"), dtype, **given | chosen)
    make = OPTIMIZERS[optimizer]
    if make is not None:
        built.actor_optimizer = make(built.actor.parameters())
        built.critics_optimizer = make(built.critics.parameters())
    return built


def small_batch(number: int, dtype: torch.dtype = torch.float32, size: int = 8) -> Batch:
    draw = np.random.default_rng(number)
    observation, following = draw.normal(size=(2, size, SIZES[0]))
    columns = (observation, draw.uniform(-1, 1, (size, SIZES[1])), draw.normal(size=size), following,
               draw.integers(2, size=size))  # fmt: skip
    return Batch(*(torch.tensor(column, dtype=dtype) for column in columns))


BATCHES = [small_batch(number) for number in range(20)]
CALLS = ("update", "update", "update", "event", "sync", "act", "evaluate", "save", "load", "resume")


class Play:
    """An agent in training. Every method but `check` is a call that a user may make, whenever they like."""

    def __init__(self, combination: Combination, seed: int = 0) -> None:
        self.combination, self.method = combination, ROWS[combination.row]
        self.calls, self.saved = 0, dict[str, Any]()
        self.begin(seed)
        self.take_note()

    def begin(self, seed: int) -> None:
        self.agent = small_agent(self.combination.agent, seed, self.combination.optimizer)
        self.learners, self.sparsifiers = self.agent.learners(), list[Sparsifier]()
        self.events = 0
        for number, learner in enumerate(self.learners):
            sparsifier = Sparsifier(
                learner,
                self.method,
                seed=SeedSequence([seed, number]),
                total=TOTAL,
                execution=self.combination.execution,  # type: ignore[arg-type]
                on_event=self._heard,
                registry=REGISTRY,
            )
            self.sparsifiers.append(sparsifier)
            if learner.target is not None:
                learner.target.after_update(partial(self._synced, number))

    def _heard(self, event: object) -> None:
        self.events += 1

    # What is called.

    def update(self, number: int | None = None) -> None:
        self.agent.update(BATCHES[self.calls % 20 if number is None else number])
        self._changed()

    def event(self) -> None:
        """Updates until a topology changes, or no more is to be expected."""
        before = self.events
        for _ in range(4):
            self.update()
            if self.events > before:
                return
            self.check()

    def sync(self) -> None:
        for learner in self.learners:
            if learner.target is not None:
                learner.target.update()

    def act(self, explore: bool = True) -> None:
        assert np.isfinite(self.agent.act(np.ones(SIZES[0], dtype=np.float32), explore=explore)).all()

    def evaluate(self) -> None:
        evaluate(self.agent, Carry(), episodes=1, seed=self.calls)

    def save(self) -> None:
        """A copy; every fourth time through a file without code in it, which takes longer."""
        state = self.agent.state_dict()
        exploration = copy.deepcopy(state.pop("exploration"))
        keep = copy.deepcopy if self.calls % 4 else through_a_file
        told = keep({"agent": state, "sparsifiers": [s.state_dict() for s in self.sparsifiers]})
        told["agent"]["exploration"] = exploration
        self.saved = {"state": told, "masks": [dict(masks) for masks in self.masks], "weights": self.weights()}

    def load(self) -> None:
        """The state that was saved last, if one was: what it had is there again, and nothing else."""
        if not self.saved:
            return
        state = copy.deepcopy(self.saved["state"])
        self.agent.load_state_dict(state["agent"])
        for sparsifier, one in zip(self.sparsifiers, state["sparsifiers"], strict=True):
            sparsifier.load_state_dict(one)
        self.take_note()
        for mine, theirs in zip(self.masks, self.saved["masks"], strict=True):
            assert all(torch.equal(mask, theirs[name]) for name, mask in mine.items()), "the saved topology"
        for name, weight in self.weights().items():
            assert torch.equal(weight, self.saved["weights"][name]), f"the saved {name}"

    def resume(self) -> None:
        """The same in an agent that has just been built from another seed."""
        if not self.saved:
            return
        for sparsifier in self.sparsifiers:
            sparsifier.detach()
        self.begin(seed=1000 + self.calls)
        self.load()

    # What must be true.

    def take_note(self) -> None:
        """What only an update or a load may change."""
        self.masks = [sparsifier.masks for sparsifier in self.sparsifiers]
        self.slow = [self._slow(number) for number in range(len(self.learners))]

    def _changed(self) -> None:
        self.masks = [sparsifier.masks for sparsifier in self.sparsifiers]

    def weights(self) -> dict[str, Tensor]:
        """Of all networks and slow copies."""
        return {
            f"{learner.name} {which} {name}": dense(tensor).clone()
            for learner in self.learners
            for which, module in (("online", learner.module), ("slow", learner.target and learner.target.module))
            if module is not None
            for name, tensor in module.state_dict().items()
        }

    def _slow(self, number: int) -> dict[str, Tensor]:
        target = self.learners[number].target
        if target is None:
            return {}
        state = target.module.state_dict()
        return {name: dense(state[name]).clone() for name in self.sparsifiers[number].masks}

    def _synced(self, number: int) -> None:
        """After an update of a slow copy: what stays is what its rule lets stay."""
        rule, online = self.method.target, self.learners[number].module.state_dict()
        masks, before, after = self.sparsifiers[number].masks, self.slow[number], self._slow(number)
        for name, mask in masks.items():
            kept = after[name] != 0
            if rule.name == "follow":
                assert torch.count_nonzero(after[name][~mask]) == 0, f"slow copy of {name}"
            elif rule.name == "keep_largest":
                counted = mask if rule.settings["count"] == "mask" else dense(online[name]) != 0
                assert bool((kept.sum((-2, -1)) <= counted.sum((-2, -1))).all()), f"slow copy of {name}"
            moved = torch.lerp(before[name], dense(online[name]), self.learners[number].target.tau)
            expected = torch.where(kept, moved, 0.0)
            assert torch.allclose(after[name], expected, rtol=1e-4, atol=1e-6), f"values of the slow copy of {name}"
        self.slow[number] = after

    def check(self) -> None:
        """w = 0 wherever the mask is False, exactly, in every network; and nothing changed that may not have."""
        self.calls += 1
        for number, (learner, sparsifier) in enumerate(zip(self.learners, self.sparsifiers, strict=True)):
            state, masks = learner.module.state_dict(), sparsifier.masks
            assert masks.keys() == self.masks[number].keys()
            for name, mask in masks.items():
                weight = dense(state[name])
                assert mask.dtype == torch.bool
                assert mask.shape == weight.shape
                assert torch.count_nonzero(weight[~mask]) == 0, f"{learner.name} {name}"
                assert torch.equal(mask, self.masks[number][name]), "only an update changes a topology"
            for name, slow in self._slow(number).items():
                assert torch.equal(slow, self.slow[number][name]), "only its update changes a slow copy"


def play(combination: Combination, calls: int, seed: int) -> Play:
    """So many calls in an order that the seed draws."""
    playing, draw = Play(combination, seed), np.random.default_rng(seed)
    playing.check()
    for call in draw.choice(CALLS, calls):
        getattr(playing, call)()
        playing.check()
    return playing


class Interleaving(RuleBasedStateMachine):
    """The same with Hypothesis choosing what is called, and finding the shortest sequence that fails."""

    chosen: ClassVar[list[Combination]] = []
    steps: ClassVar[int] = 0
    playing: Play

    @initialize(data=st.data(), seed=st.integers(0, 999))
    def begin(self, data: st.DataObject, seed: int) -> None:
        self.playing = Play(data.draw(st.sampled_from(self.chosen)), seed)

    @rule(number=st.integers(0, 19))
    def update(self, number: int) -> None:
        self.playing.update(number)

    @rule()
    def event(self) -> None:
        self.playing.event()

    @rule()
    def sync(self) -> None:
        self.playing.sync()

    @rule(explore=st.booleans())
    def act(self, explore: bool) -> None:
        self.playing.act(explore)

    @rule()
    def evaluate(self) -> None:
        self.playing.evaluate()

    @rule()
    def save(self) -> None:
        self.playing.save()

    @precondition(lambda self: self.playing.saved)
    @rule()
    def load(self) -> None:
        self.playing.load()

    @precondition(lambda self: self.playing.saved)
    @rule()
    def resume(self) -> None:
        self.playing.resume()

    @invariant()
    def holds(self) -> None:
        type(self).steps += 1
        self.playing.check()


def interleave(
    chosen: Sequence[Combination], scale: int, *, calls: int = 50, seed: int = 0, shrink: bool = True
) -> int:
    """`scale` sequences of up to `calls` calls, and how many calls that were. AssertionError at a call that breaks."""
    kind: Any = type("Interleaving", (Interleaving,), {"chosen": list(chosen), "steps": 0})
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    run_state_machine_as_test(
        hypothesis.seed(seed)(kind),
        settings=settings(
            max_examples=scale,
            stateful_step_count=calls,
            deadline=None,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return int(kind.steps)
