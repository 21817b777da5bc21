"""Invariants of sparse training: a seeded slice in every run of the tests, all of it by `pytest -m reliability`.

| item | what holds | here | elsewhere |
| --- | --- | --- | --- |
| A1 | absent is exactly zero after every call | `test_absent_is_zero...`, `test_every_row...` | sparsity_invariants |
| A2 | budgets are exact, at every step | `test_budgets...` | sparsity_allocation, sparsity_schedule: papers' tables |
| A3 | ties and zeros | `test_rewiring...` | sparsity_rewire: the property, and a hand-worked case |
| A4 | no ghosts in the optimiser | `test_optimisers...` | sparsity_errors, sparse_limits: unknown state raises |
| A5 | slow copies stay sparse | `test_slow_copies...` | sparsity_invariants: exactly what stays |
| A6 | growth goes by the critic's own gradient | `test_growth...` | pitfalls (c): RLx2's SAC |
| A7 | observers are pure | `test_observers...`, `test_commands...` | diagnostics: change no byte of a run |
| A8 | schedules equal their closed form | `test_schedules...` | sparsity_schedule: every schedule and budget |
| A9 | off means off | `test_off_is_off...` | |
| A10 | a thousand updates equal a reference in NumPy | | reference: 3 agents x 4 methods x both executions |

`MUTANTS` are the ways to get it wrong: each harness must fail on its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lab import REGISTRY as LABELLED
from lab import Lab, a_run
from test_sparsity_rewire import by_threshold, grows_where_active, one_too_many, over_all_entries
from torch import Tensor
from training_harness import (
    GROWTHS,
    SLOW_RULES,
    Growth,
    budgets_hold,
    growth_sees_the_critics_own,
    no_ghosts,
    observers_are_pure,
    off_is_off,
    rewiring_is_exact,
    schedules_equal_their_closed_form,
    targets_stay_sparse,
)
from training_play import AGENTS, OPTIMIZERS, ROWS, Combination, combinations, interleave, play

import sparsity.adapt
import sparsity.execution.masked as masked
import sparsity.execution.slow as slow
import sparsity.execution.sparse as sparse
import sparsity.goals as engine
import sparsity.schedule
import sparsity.target
from registry import part
from rl import TD3
from sparsity import SET, Method, Sparsifier
from sparsity.noise import Noise
from sparsity.remembered import Traces
from sparsity.timetable import Due, Timetable
from studies.build import attach


class Scale(NamedTuple):
    """How many examples: in every run of the tests, and under the mark."""

    slice: int
    full: int


INTERLEAVINGS = Scale(5, 200)
"""A1: of 50 calls each, for each agent and execution."""
PLAYS = Scale(8, 1)
"""A1: every so manyth combination of row, agent, optimiser and execution, 15 calls each."""
BUDGETS = Scale(60, 500)
REWIRINGS = Scale(100, 500)
GHOSTS = Scale(20, 200)
TARGET_STEPS = Scale(600, 20_000)
GROWTH_SEEDS = Scale(1, 5)
MOMENTS = Scale(2, 20)
SCHEDULES = Scale(60, 1000)
OFF_UPDATES = Scale(150, 2000)


def tiers(scale: Scale) -> pytest.MarkDecorator:
    full = pytest.param(scale.full, id="full", marks=pytest.mark.reliability)
    return pytest.mark.parametrize("scale", [pytest.param(scale.slice, id="slice"), full])


# The harnesses.


@tiers(INTERLEAVINGS)
@pytest.mark.parametrize("execution", ["masked", "sparse"])
@pytest.mark.parametrize("agent", AGENTS)
def test_absent_is_zero_in_whatever_order_things_are_called(agent: str, execution: str, scale: int) -> None:
    """A1."""
    assert interleave(combinations((agent,), (execution,)), scale) > 30 * scale


@tiers(PLAYS)
@pytest.mark.parametrize("agent", AGENTS)
def test_every_row_keeps_absent_zero_with_every_optimiser(agent: str, scale: int) -> None:
    """A1: the same calls in an order drawn by a seed, so that no combination is left to chance."""
    for seed, combination in enumerate(combinations((agent,))[::scale]):
        try:
            play(combination, 15, seed)
        except Exception as error:
            raise AssertionError(f"{combination}, seed {seed}") from error


@tiers(BUDGETS)
def test_budgets_are_exact_at_every_step(scale: int) -> None:
    """A2."""
    budgets_hold(scale)


@tiers(REWIRINGS)
def test_rewiring_is_exact_whatever_ties(scale: int) -> None:
    """A3."""
    rewiring_is_exact(scale)


@tiers(GHOSTS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimisers_remember_nothing_of_absent_connections(optimizer: str, scale: int) -> None:
    """A4."""
    no_ghosts(optimizer, scale)


@tiers(TARGET_STEPS)
@pytest.mark.parametrize("execution", ["masked", "sparse"])
@pytest.mark.parametrize("rule", SLOW_RULES)
def test_slow_copies_stay_sparse(rule: str, execution: str, scale: int) -> None:
    """A5: sparse execution a quarter as long, as it takes twice the time."""
    targets_stay_sparse(rule, scale if execution == "masked" else scale // 4, execution=execution)


@tiers(GROWTH_SEEDS)
@pytest.mark.parametrize("growth", GROWTHS, ids=lambda growth: "-".join(map(str, growth)))
def test_growth_goes_by_the_critics_own_gradient(growth: Growth, scale: int) -> None:
    """A6."""
    growth_sees_the_critics_own(growth, scale)


@tiers(MOMENTS)
@pytest.mark.parametrize("execution", ["masked", "sparse"])
@pytest.mark.parametrize("agent", AGENTS)
def test_observers_change_nothing(agent: str, execution: str, scale: int, tmp_path: Path) -> None:
    """A7."""
    row = {"td3": "ds", "sac": "rigl"}[agent]
    observers_are_pure(Combination(row, agent, "adam", execution), scale, tmp_path)


COMMANDS = ("study status tiny", "study list", "study table tiny", "study verify tiny", "study plot tiny", "parts",
            "parts method set")  # fmt: skip


@tiers(MOMENTS)
def test_commands_that_report_change_no_run(scale: int, tmp_path: Path) -> None:
    """A7: runs, the list of cells and the study's file keep their bytes."""
    lab = Lab(tmp_path)
    assert lab.grid("dense,set").code == 0
    files = [*(path for path in lab.store.glob("runs/**/*") if path.is_file()), *lab.store.glob("studies/tiny/*.[jt]*")]

    def hashes() -> dict[Path, str]:
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = hashes()
    assert len(before) > 20
    for command in COMMANDS:
        for _ in range(scale):
            assert lab(*command.split()).code == 0, command
            assert hashes() == before, command


@tiers(SCHEDULES)
def test_schedules_equal_their_closed_form_over_resumptions(scale: int) -> None:
    """A8."""
    schedules_equal_their_closed_form(scale)


def dense_row(agent: Any) -> object:
    """`dense` as a study attaches it."""
    run = a_run(methods={"Dense": "dense"})
    return attach(agent, run, LABELLED)


def density_one(agent: Any, row: Method = SET) -> object:
    """Nothing is absent: events swap connections with themselves, or find no room."""
    method = replace(
        row, eligible=part("all"), allocation=part("uniform", density=1.0), initial=part("random"),
        schedule=part("periodic", fraction=0.3, every=10),
    )  # fmt: skip
    learners = [(learner, np.random.SeedSequence(n)) for n, learner in enumerate(agent.learners())]
    return [Sparsifier(one, method, seed=seed, total=100, execution="masked") for one, seed in learners]


@tiers(OFF_UPDATES)
@pytest.mark.parametrize("off", [dense_row, density_one])
@pytest.mark.parametrize("agent", AGENTS)
def test_off_is_off(agent: str, off: Callable[[Any], object], scale: int) -> None:
    """A9."""
    off_is_off(agent, off, scale)


FULL_ROWS = [
    name
    for name, row in ROWS.items()
    if row.event == "after_step" and row.budget.name == "constant" and row.weights.name == "ordinary"
]


@pytest.mark.parametrize("row", FULL_ROWS)
def test_every_row_that_steps_as_ever_is_off_at_density_one(row: str) -> None:
    """A9: as many rows as have nothing to cut, to scale or to skip."""
    off_is_off("td3", lambda agent: density_one(agent, ROWS[row]), 60)


# Wrong on purpose.


class Mutant(NamedTuple):
    """A harness that must raise while these are put in place of what they are named like."""

    harness: Callable[[], object]
    patches: tuple[tuple[Any, str, Any], ...]


def nothing(*_: Any, **__: Any) -> None:
    """Forgets to."""


def lingering(self: masked.MaskedWeight, mask: Tensor) -> None:
    """A new topology that leaves the weights alone."""
    self.mask, self._bits = mask, masked._bits(mask, self.value.dtype)


def truncated(shapes: Any, densities: Any) -> dict[str, int]:
    """int(d n), layer by layer."""
    exact(shapes, densities)  # What is too sparse is refused all the same.
    return {name: max(1, int(densities[name] * math.prod(shape))) for name, shape in shapes.items()}


exact = engine.counts


def rounded_up(self: Timetable, density: float, final: Any, sizes: Any) -> list[Tensor]:
    share = (density - self.density) / (1 - self.density) if density > self.density else 0.0
    return [n + math.ceil(share * sizes[name]) - math.ceil(share * int(n[0])) for name, n in final.items()]


def tended_without_newcomers(self: Any, optimizer: Any, rule: Any, grown: Tensor) -> None:
    tend(self, optimizer, rule, torch.zeros_like(grown))


tend = masked.MaskedWeight.tend_moments


def by_name(self: masked.MaskedWeight, optimizer: Any) -> Any:
    """RLx2's: `momentum_buffer`, whatever the optimiser."""
    return [(k, v) for k, v in optimizer.state.get(self.parameter, {}).items() if k == "momentum_buffer"]


def unlike_adam(self: masked.MaskedWeight, optimizer: Any) -> Any:
    """Adam's two, whatever the optimiser."""
    state = optimizer.state.get(self.parameter, {})
    return [(k, v) for k, v in state.items() if k in ("exp_avg", "exp_avg_sq")]


def a_place_off(
    self: sparse.Sparse, weight: Any, places: Any, moments: dict[str, Tensor], *_: Any
) -> dict[str, Tensor]:
    return {key: moment.roll(1) for key, moment in moments.items()}


def neighbours(old: Any, values: Tensor, new: Any) -> Tensor:
    """Newcomers get what stood next to them."""
    return values[torch.from_numpy(np.minimum(np.searchsorted(old, new), len(old) - 1))]


def zeros(old: Any, values: Tensor, new: Any) -> Tensor:
    return torch.zeros(len(new), dtype=values.dtype)


def one_more(row: Tensor, k: int) -> Tensor:
    return largest(row, k + 1)


largest = sparsity.target._largest


def hidden_first(self: masked.Masked) -> None:
    """Growth scores from gradients that are masked already."""
    self.hide_gradients()
    hold(self)


hold = masked.Masked.hold_gradients


def stale(self: masked.Masked) -> None:
    """The gradients of the event before."""
    before = dict(self._dense) or getattr(self, "_stale", {})
    hold(self)
    self._stale, self._dense = dict(self._dense), before or self._dense  # type: ignore[attr-defined]


def leaky_actor(self: TD3, observation: Tensor) -> dict[str, float]:
    """The actor's loss runs back into the critics."""
    for parameter in (*self.critics.parameters(), *self.actor.parameters()):
        parameter.grad = None
    q = self.critics(observation, self.actor(observation), copies=1)
    (-q.mean()).backward()  # type: ignore[no-untyped-call]
    self.actor_optimizer.step()
    return {"actor_loss": 0.0}


def masked_growth(self: sparse.Sparse, weight: sparse.SparseWeight) -> Tensor:
    """Of active connections alone."""
    gradient = self.stack.dense_gradient(weight.number)
    assert gradient is not None
    return gradient * weight.mask


def printing(self: Sparsifier) -> Any:
    """DS-TD3's `print_sparsity`: it moves the slow copy first."""
    if self._learner.target is not None:
        self._learner.target.update()  # type: ignore[attr-defined]
    return told(self)


told = Sparsifier.densities


def drawing_masks(self: Sparsifier) -> dict[str, Tensor]:
    torch.rand(1, generator=self._noise._generator)
    return {w.name: w.mask.view(w.full_shape).clone() for w in self._weights}


def live_state(self: Sparsifier) -> dict[str, Any]:
    """Its own tensors instead of copies."""
    return saved(self) | {"final": self._goals._final}


saved = Sparsifier.state_dict


def always_exploring(self: TD3, observation: Any, *, explore: bool) -> Any:
    self.exploration.normal(size=1)
    return self.actor.act(observation)


def loaded_late(self: Sparsifier, state: Any) -> None:
    """One step too far: what is due in it is skipped."""
    load(self, {**state, "steps": int(state["steps"]) + 1})


def loaded_early(self: Sparsifier, state: Any) -> None:
    """One step back: what was done in it is done again."""
    load(self, {**state, "steps": max(0, int(state["steps"]) - 1)})


load = Sparsifier.load_state_dict


def counted_from_zero(self: Timetable, optimiser_step: int) -> range:
    return range((optimiser_step - 1) * self._stride, optimiser_step * self._stride)


def last_step_only(self: Timetable, optimiser_step: int) -> Due:
    """The released code's: what falls between two steps of the actor is lost."""
    step = optimiser_step * self._stride
    return Due(self._fraction(step), self.budget(step))


def ending_early(step: int, total: Any, fraction: float, every: int, phase: int, until: Any) -> bool:
    return 1 <= step < sparsity.schedule.in_updates(until, total) and step % every == phase


def one_fewer(shapes: Any, densities: Any) -> dict[str, int]:
    return {name: max(1, math.floor(densities[name] * math.prod(shape)) - 1) for name, shape in shapes.items()}


def global_noise(self: Noise, weight: Any) -> Tensor:
    return torch.rand(weight.dense_shape)


def reborn(self: masked.Masked) -> None:
    """What comes back in the event in which it left starts from rest."""
    for weight, change, born in self._planned:
        weight.set_mask(change.mask)
        fresh = change.grown | change.readmitted
        weight.value.copy_(torch.where(fresh, born, weight.value))
        weight.tend_moments(self.optimizer, self._moments, fresh)
    self._planned, self._dense = [], {}


def mixed(agent: str, execution: str, *rows: str) -> Callable[[], object]:
    chosen = [c for c in combinations((agent,), (execution,)) if not rows or c.row in rows]
    return lambda: interleave(chosen, 10, shrink=False)


def rewirings(operation: Any) -> Callable[[], object]:
    return lambda: rewiring_is_exact(500, operation, shrink=False)


AUTOGRAD = Growth("td3", 1, 6, 1, False)

MUTANTS = {
    "A1 a new topology leaves the weights": Mutant(
        mixed("td3", "masked"), ((masked.MaskedWeight, "set_mask", lingering),)
    ),
    "A1 only gradients are masked": Mutant(
        mixed("td3", "masked", "ds_released"), ((masked.Masked, "settle", nothing),)
    ),
    "A1 a load keeps the topology": Mutant(mixed("sac", "masked", "set"), ((masked.Masked, "set_masks", nothing),)),
    "A1 slow copies are let drift": Mutant(mixed("td3", "masked"), ((masked.Masked, "after_target_update", nothing),)),
    "A1 the tail never goes": Mutant(mixed("td3", "sparse", "set", "rigl"), ((slow.SlowStack, "updated", nothing),)),
    "A1 an event clears the slow copy": Mutant(mixed("sac", "sparse", "set"), ((slow, "carried", zeros),)),
    "A1 an event misplaces weights": Mutant(mixed("sac", "sparse", "set"), ((slow, "carried", neighbours),)),
    "A2 whole numbers by int": Mutant(lambda: budgets_hold(60), ((engine, "counts", truncated),)),
    "A2 one too many leaves": Mutant(lambda: budgets_hold(60), ((sparsity.adapt, "rewire", one_too_many),)),
    "A2 moving budgets round up": Mutant(lambda: budgets_hold(60), ((Timetable, "goals", rounded_up),)),
    "A3 a threshold keeps what ties": Mutant(rewirings(by_threshold), ()),
    "A3 the largest of all entries": Mutant(rewirings(over_all_entries), ()),
    "A3 growth where something is": Mutant(rewirings(grows_where_active), ()),
    "A4 nothing is tended": Mutant(lambda: no_ghosts("adam", 40), ((masked.MaskedWeight, "tend_moments", nothing),)),
    "A4 newcomers are forgotten": Mutant(
        lambda: no_ghosts("adamw", 200), ((masked.MaskedWeight, "tend_moments", tended_without_newcomers),)
    ),
    "A4 momentum_buffer only": Mutant(lambda: no_ghosts("adam", 40), ((masked.MaskedWeight, "_moments", by_name),)),
    "A4 Adam's moments only": Mutant(
        lambda: no_ghosts("amsgrad", 40), ((masked.MaskedWeight, "_moments", unlike_adam),)
    ),
    "A4 sparse, a place off": Mutant(lambda: no_ghosts("sgd_momentum", 40), ((sparse.Sparse, "_tended", a_place_off),)),
    "A5 masked, let drift": Mutant(
        lambda: targets_stay_sparse("follow", 200), ((masked.Masked, "after_target_update", nothing),)
    ),
    "A5 masked, one too many": Mutant(
        lambda: targets_stay_sparse("mask", 200), ((sparsity.target, "_largest", one_more),)
    ),
    "A5 sparse, no cut": Mutant(
        lambda: targets_stay_sparse("mask", 200, execution="sparse"), ((slow.SlowStack, "_cut", nothing),)
    ),
    "A5 sparse, the tail never goes": Mutant(
        lambda: targets_stay_sparse("follow", 200, execution="sparse"), ((slow.SlowStack, "updated", nothing),)
    ),
    "A6 masked before it is held": Mutant(
        lambda: growth_sees_the_critics_own(AUTOGRAD, 1), ((masked.Masked, "hold_gradients", hidden_first),)
    ),
    "A6 the last event's": Mutant(
        lambda: growth_sees_the_critics_own(AUTOGRAD, 1), ((masked.Masked, "hold_gradients", stale),)
    ),
    "A6 the actor's loss in it": Mutant(
        lambda: growth_sees_the_critics_own(AUTOGRAD, 1),
        ((import_module("rl.td3"), "clear_gradients", nothing), (TD3, "_update_actor", leaky_actor)),
    ),
    "A6 a window that is never emptied": Mutant(
        lambda: growth_sees_the_critics_own(AUTOGRAD._replace(window=4), 1), ((Traces, "_forget", nothing),)
    ),
    "A6 sparse, active connections alone": Mutant(
        lambda: growth_sees_the_critics_own(GROWTHS[-1], 1), ((sparse.Sparse, "gradient", masked_growth),)
    ),
    "A8 a resumed run is a step ahead": Mutant(
        lambda: schedules_equal_their_closed_form(60), ((Sparsifier, "load_state_dict", loaded_late),)
    ),
    "A8 a resumed run is a step behind": Mutant(
        lambda: schedules_equal_their_closed_form(60), ((Sparsifier, "load_state_dict", loaded_early),)
    ),
    "A8 steps count from zero": Mutant(
        lambda: schedules_equal_their_closed_form(60), ((Timetable, "clock", counted_from_zero),)
    ),
    "A8 events between steps are lost": Mutant(
        lambda: schedules_equal_their_closed_form(60), ((Timetable, "at", last_step_only),)
    ),
    "A8 the last step has none": Mutant(
        lambda: schedules_equal_their_closed_form(200), ((sparsity.schedule, "_due", ending_early),)
    ),
    "A9 one connection is lost": Mutant(lambda: off_is_off("td3", density_one, 50), ((engine, "counts", one_fewer),)),
    "A9 noise of the global generator": Mutant(
        lambda: off_is_off("sac", density_one, 50), ((Noise, "__call__", global_noise),)
    ),
    "A9 survivors start from rest": Mutant(
        lambda: off_is_off("td3", density_one, 50), ((masked.Masked, "commit", reborn),)
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_harness_fails_on_what_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, attribute, wrong in MUTANTS[name].patches:
        monkeypatch.setattr(owner, attribute, wrong)
    with pytest.raises(AssertionError):
        MUTANTS[name].harness()


IMPURE = {
    "densities move the slow copy": (Sparsifier, "densities", printing),
    "masks draw a number": (Sparsifier, "masks", property(drawing_masks)),
    "a state is not a copy": (Sparsifier, "state_dict", live_state),
    "acting draws though it does not explore": (TD3, "act", always_exploring),
}
"""A7."""


@pytest.mark.parametrize("name", IMPURE)
def test_an_observer_that_changes_something_is_caught(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*IMPURE[name])
    with pytest.raises(AssertionError, match="changed the state"):
        observers_are_pure(Combination("set", "td3", "adam", "masked"), 2, tmp_path)
