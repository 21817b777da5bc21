"""When: schedules and budgets equal their closed form, for every stride, over reloads, to the last step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys_sparsity import REGISTRY, World

from registry import Part, part
from sparsity import DS_RELEASED, SET, STATIC, Method
from sparsity.eventless import is_eventless
from sparsity.timetable import Timetable

TINY = (4, 5, 2)
FLAT = Method(allocation=part("uniform", density=0.5))
briefly = settings(max_examples=60, deadline=None, database=None)


def value(kind: str, name: str, step: int, total: int | None = None, density: float = 0.5, **chosen: Any) -> float:
    return REGISTRY.bind(kind, part(name, **chosen))(step=step, total=total, density=density)


# The closed forms, written by another hand: sets of steps and plain arithmetic.


def due(every: int, phase: int, until: int) -> list[int]:
    return [n for n in range(phase, until + 1, every) if n >= 1]


def at_steps(total: int, pieces: Callable[[int], float]) -> list[float]:
    return [pieces(step) for step in range(1, total + 1)]


@pytest.mark.parametrize(
    ("chosen", "until"),
    [({}, 200), ({"until": 120}, 120), ({"until": 0.75}, 150), ({"until": 1}, 1), ({"until": 1.0}, 200)],
)
@pytest.mark.parametrize(("every", "phase"), [(1, 0), (10, 0), (10, 2), (7, 6), (150, 0)])
def test_periodic_swaps_the_same_fraction_on_due_steps(
    chosen: dict[str, Any], until: int, every: int, phase: int
) -> None:
    steps, chosen = set(due(every, phase, until)), {"fraction": 0.2, "every": every, "phase": phase, **chosen}
    got = at_steps(200, lambda t: value("schedule", "periodic", t, 200, **chosen))
    assert got == at_steps(200, lambda t: 0.2 if t in steps else 0.0)


@pytest.mark.parametrize(("chosen", "last"), [({}, 150), ({"until": 160}, 160), ({"until": 1.0}, 200)])
@pytest.mark.parametrize(("every", "phase"), [(10, 0), (10, 3)])
@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_annealed_schedules_fall_to_zero_at_their_end(
    name: str, chosen: dict[str, Any], last: int, every: int, phase: int
) -> None:
    steps = set(due(every, phase, last))
    forms = {"cosine": lambda t: 0.15 + 0.15 * math.cos(math.pi * t / last), "linear": lambda t: 0.3 - 0.3 * t / last}
    form = forms[name]
    got = at_steps(200, lambda t: value("schedule", name, t, 200, fraction=0.3, every=every, phase=phase, **chosen))
    assert got == pytest.approx(at_steps(200, lambda t: form(t) if t in steps else 0.0), abs=1e-12)
    assert all(f == 0 for f in got[last - 1 :]), "zero from T on"


def test_never_is_never() -> None:
    assert at_steps(50, lambda t: value("schedule", "never", t)) == [0.0] * 50


def test_periodic_to_the_end_needs_no_total() -> None:
    assert value("schedule", "periodic", 10**6, None) == 0.05


def events_of(world: World, steps: int) -> list[int]:
    """Agent steps of the events, as reported, over so many optimiser steps."""
    for _ in range(steps):
        world.tick()
    return [event.step for event in world.events]


def first_optimiser_steps(agent_steps: Iterable[int], stride: int) -> list[int]:
    return sorted({-(-step // stride) for step in agent_steps})


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("schedule", "agent_steps"),
    [
        (part("periodic", fraction=0.3, every=10), due(10, 0, 84)),
        (part("periodic", fraction=0.3, every=10, phase=2), due(10, 2, 84)),
        (part("periodic", fraction=0.3, every=5, phase=1, until=0.5), due(5, 1, 42)),
        (part("periodic", fraction=0.3, every=4, phase=1, until=30), due(4, 1, 30)),
        (part("cosine", fraction=0.5, every=6, until=0.75), due(6, 0, 62)),
        (part("linear", fraction=0.5, every=6, phase=5, until=60), due(6, 5, 59)),
        (part("never"), []),
    ],
    ids=str,
)
def test_an_event_falls_on_the_first_optimiser_step_at_or_after_its_agent_step(
    stride: int, schedule: Part, agent_steps: list[int]
) -> None:
    world = World(replace(FLAT, schedule=schedule), stride=stride, total=84, sizes=TINY, optimizer="sgd_momentum")
    expected = first_optimiser_steps(agent_steps, stride)
    assert events_of(world, 84 // stride) == [n * stride for n in expected]


@briefly
@given(
    every=st.integers(1, 12),
    phase=st.integers(0, 11),
    until=st.integers(1, 50),
    stride=st.integers(1, 5),
    stop=st.integers(0, 20),
    clock=st.sampled_from(("agent", "optimizer")),
)
def test_a_reload_at_any_step_neither_doubles_nor_skips_an_event(
    every: int, phase: int, until: int, stride: int, stop: int, clock: Any
) -> None:
    phase %= every
    schedule = part("periodic", fraction=0.3, every=every, phase=phase, until=until)
    method = replace(FLAT, schedule=schedule, clock=clock)
    world = World(method, stride=stride, sizes=TINY, optimizer="sgd_momentum")
    before = events_of(world, stop)
    state, saved = world.state(), world.sparsifier.state_dict()
    fresh = World(method, stride=stride, sizes=TINY, optimizer="sgd_momentum", seed=9)
    fresh.load(state)
    fresh.sparsifier.load_state_dict(saved)
    after = events_of(fresh, 20 - stop)
    scale = stride if clock == "agent" else 1
    expected = [n * scale for n in first_optimiser_steps(due(every, phase, until), scale) if n <= 20]
    assert before + after == expected


def test_the_optimizer_clock_counts_optimiser_steps() -> None:
    """Every 5, until half of 60 agent updates: of a learner with stride 3, the optimiser steps 5 and 10."""
    schedule = part("periodic", fraction=0.3, every=5, until=0.5)
    world = World(replace(FLAT, schedule=schedule, clock="optimizer"), stride=3, total=60, sizes=TINY)
    assert events_of(world, 20) == [5, 10]


@pytest.mark.parametrize("stride", [1, 3])
def test_the_number_swapped_is_the_floor_of_the_largest_fraction_that_passed(stride: int) -> None:
    """Linear, every 2 from 0.9 to 0 at 24: with stride 3 two events may fall into one, and the larger counts."""
    schedule = part("linear", fraction=0.9, every=2, until=24)
    world = World(replace(FLAT, schedule=schedule, readmit=False), stride=stride, sizes=(5, 8, 2))
    nnz, swapped = 20, {}
    for n in range(1, 24 // stride + 1):
        world.step()
        if world.events and world.events[-1].step == n * stride:
            swapped[n] = world.events[-1].layers[0].dropped
    for n in range(1, 24 // stride + 1):
        passed = [t for t in range((n - 1) * stride + 1, n * stride + 1) if t % 2 == 0 and t < 24]
        if passed:
            assert swapped[n] == math.floor(max(0.9 - 0.9 * t / 24 for t in passed) * nnz + 1e-9)
        else:
            assert n not in swapped


@briefly
@given(fraction=st.floats(0, 1), density=st.sampled_from((0.1, 0.3, 0.5, 0.8, 0.95, 1.0)))
def test_a_swap_is_the_floor_of_the_fraction_and_no_more_than_there_is_room(fraction: float, density: float) -> None:
    method = replace(SET, allocation=part("uniform", density=density), readmit=False)
    world = World(replace(method, schedule=part("periodic", fraction=fraction, every=1)), sizes=(5, 8, 2))
    world.step()
    nnz = math.floor(density * 40 + 0.5)
    swapped = [event.layers[0].dropped for event in world.events] or [0]
    assert swapped == [min(math.floor(fraction * nnz + 1e-9), 40 - nnz)]


# Budgets.


def cubic_form(t: int, final: float, start: float, begin: float, end: float, every: int) -> float:
    if t >= end:
        return final
    stairs = [begin + i * every for i in range(1 + int((end - begin) // every)) if begin + i * every <= t]
    share = (stairs[-1] - begin) / (end - begin) if stairs else 0.0
    return final + (start - final) * (1 - share) ** 3


@pytest.mark.parametrize(
    ("chosen", "window"),
    [
        ({}, (40, 160)),
        ({"begin": 0.2, "end": 0.75}, (40, 150)),
        ({"begin": 20, "end": 155}, (20, 155)),
        ({"begin": 0.1, "end": 1.0}, (20, 200)),
    ],
)
@pytest.mark.parametrize(("start", "final"), [(1.0, 0.1), (0.5, 0.2), (0.2, 0.75)])
@pytest.mark.parametrize("every", [1, 10, 7])
def test_cubic_equals_zhu_and_gupta_in_stairs(
    chosen: dict[str, Any], window: tuple[int, int], start: float, final: float, every: int
) -> None:
    got = [value("budget", "cubic", t, 200, final, start=start, every=every, **chosen) for t in range(201)]
    assert got == pytest.approx([cubic_form(t, final, start, *window, every) for t in range(201)], abs=1e-12)
    assert got[0] == pytest.approx(start)
    assert got[window[1]] == final
    steps = list(pairwise(got))
    assert all(a >= b for a, b in steps) if start > final else all(a <= b for a, b in steps)


@pytest.mark.parametrize(("at", "step"), [(0.2, 40), (33, 33), (1.0, 200)])
def test_at_once_cuts_at_its_step(at: float, step: int) -> None:
    got = [value("budget", "at_once", t, 200, 0.3, at=at) for t in range(201)]
    assert got == [1.0] * step + [0.3] * (201 - step)


def test_constant_is_constant() -> None:
    assert {value("budget", "constant", t, None, 0.37) for t in range(20)} == {0.37}


@pytest.mark.parametrize(
    ("total", "after", "every", "phase", "cut"),
    [
        (975_000, 37 / 39, 1000, 2, 925_002),
        (975_000, 925_000, 1000, 2, 925_002),
        (975_000, 925_001, 1000, 2, 925_002),
        (975_000, 925_002, 1000, 2, 926_002),
        (1000, 0.5, 10, 0, 510),
        (1000, 499, 10, 0, 500),
        (1000, 0.5, 1, 0, 501),
    ],
)
def test_final_cut_is_on_the_first_phase_step_beyond_its_share(
    total: int, after: float, every: int, phase: int, cut: int
) -> None:
    form = next(t for t in range(1, total + 1) if t > round(after * total if isinstance(after, float) else after) and
                t % every == phase)  # fmt: skip
    assert form == cut
    near = [1, cut - every, cut - 2, cut - 1, cut, cut + 1, cut + every, total]
    got = [value("budget", "final_cut", t, total, 0.5, after=after, every=every, phase=phase) for t in near]
    assert got == [0.5 if t < cut else 0.5 * 0.95 for t in near]


def layer_form(t: int, n: int, size: int, final: float, window: tuple[int, int], every: int, start: float = 1.0) -> int:
    """d_l(t) = 1 + phi (d_l - 1), phi the budget's progress from full to final."""
    open_ = (cubic_form(t, final, start, *window, every) - final) / (1 - final)
    return n + math.floor(open_ * (size - n) + 1e-9)


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("start", [1.0, 0.5])
def test_a_cubic_budget_falls_layer_by_layer_and_ends_exactly(stride: int, start: float) -> None:
    method = Method(allocation=part("erk", density=0.3), budget=part("cubic", start=start, begin=10, end=60, every=4))
    world = World(method, stride=stride, total=84, sizes=(6, 12, 9, 4))
    settled = World(replace(method, budget=part("constant")), sizes=(6, 12, 9, 4))
    final = {d.name: d.active for d in settled.sparsifier.densities()}
    kept, size = sum(final.values()), sum(d.size for d in world.sparsifier.densities())
    before = {d.name: d.active for d in world.sparsifier.densities()}
    for n in range(1, 84 // stride + 1):
        world.step()
        now = {d.name: d for d in world.sparsifier.densities()}
        for name, d in now.items():
            t = n * stride
            # The network's density is the allocation's, before it was rounded to whole connections.
            assert d.active == layer_form(t, final[name], d.size, 0.3, (10, 60), 4, start), (t, name)
            assert d.active <= before[name]
        before = {name: d.active for name, d in now.items()}
    assert before == final
    assert kept == round(0.3 * size)
    assert all(change.grown == 0 for event in world.events for change in event.layers), "gradual pruning grows nothing"


def test_an_event_at_the_last_step_of_a_budget_happens() -> None:
    """The window ends on step 50, no multiple of 8 from its start."""
    world = World(replace(FLAT, budget=part("cubic", begin=11, end=50, every=8)), total=50, sizes=(20, 40, 2))
    assert events_of(world, 50)[-1] == 50
    assert world.sparsifier.densities()[0].active == 400


def test_a_budget_grows_too() -> None:
    method = Method(allocation=part("uniform", density=0.8), budget=part("cubic", start=0.2, begin=5, end=30, every=5))
    world = World(method, total=40, sizes=(5, 8, 2))
    assert [d.active for d in world.sparsifier.densities()] == [8]
    for _ in range(40):
        world.step()
    assert [d.active for d in world.sparsifier.densities()] == [32]
    assert all(change.dropped == 0 for event in world.events for change in event.layers)


def test_one_shot_pruning_keeps_the_largest_of_the_dense_network() -> None:
    world = World(replace(FLAT, budget=part("at_once", at=9)), sizes=(5, 8, 2))
    for _ in range(8):
        world.step()
    assert world.sparsifier.densities()[0].active == 40
    module, optimizer = (world.gradients(), world.shadow())[1]
    optimizer.step()
    world.optimizer.step()
    stepped = next(module.parameters()).detach().abs().flatten()
    mask = torch.zeros(40, dtype=torch.bool).scatter(0, stepped.topk(20).indices, True)
    assert torch.equal(world.sparsifier.masks["0.weight"].flatten(), mask)


def test_a_million_steps_of_the_released_code_end_with_a_cut_and_a_frozen_topology() -> None:
    """975,000 updates: the last swap at 924,002, the cut of 5 % without growth at 925,002, nothing after it."""
    method = replace(DS_RELEASED, allocation=part("uniform", density=0.5))
    world = World(method, total=975_000, sizes=(10, 16, 2), optimizer="sgd_momentum")
    budget = world.sparsifier.densities()[0].active
    state = world.sparsifier.state_dict()
    world.sparsifier.load_state_dict({**state, "steps": 923_990})
    for _ in range(2_030):
        world.tick()
    swap, cut = world.events
    assert (swap.step, cut.step) == (924_002, 925_002)
    assert swap.layers[0].active == budget
    assert cut.layers[0][1:4] == (budget - math.floor(0.05 * budget + 1e-9), math.floor(0.05 * budget + 1e-9), 0)
    left = world.sparsifier.densities()[0].active
    for step in (926_000, 950_000, 974_990):
        world.sparsifier.load_state_dict({**world.sparsifier.state_dict(), "steps": step})
        for _ in range(10):
            world.tick()
    assert len(world.events) == 2
    assert world.sparsifier.densities()[0].active == left


def test_phase_two_lets_actor_and_critic_adapt_together() -> None:
    schedule = part("periodic", fraction=0.3, every=10, phase=2)
    critic, actor = (World(replace(FLAT, schedule=schedule), stride=d, sizes=TINY) for d in (1, 2))
    assert events_of(critic, 40) == events_of(actor, 20) == [2, 12, 22, 32]


def test_a_static_topology_never_changes() -> None:
    world = World(STATIC)
    before = world.sparsifier.masks
    for _ in range(50):
        world.step()
    assert not world.events
    assert all(torch.equal(before[name], mask) for name, mask in world.sparsifier.masks.items())


# Whether anything ever happens.


def timetable(schedule: Part, budget: Part, total: int | None, stride: int = 1) -> Timetable:
    bound = REGISTRY.bind("schedule", schedule), REGISTRY.bind("budget", budget)
    return Timetable(*bound, stride=stride, total=total, densities={}, density=0.5)


SCHEDULES = ("never", "periodic", "cosine", "linear", "expanding")
BUDGETS = (part("constant"), part("cubic", begin=0.5, end=0.9), part("grow", every=40), part("final_cut", every=50))


@briefly
@given(st.sampled_from(SCHEDULES), st.sampled_from(BUDGETS), st.integers(1, 80), st.integers(0, 79),
       st.sampled_from([0.5, 1.0, 30]), st.integers(1, 120), st.integers(1, 3))  # fmt: skip
def test_a_few_questions_tell_what_all_steps_would(
    name: str, budget: Part, every: int, phase: int, until: float | int, total: int, stride: int
) -> None:
    words: dict[str, Any] = {} if name == "never" else {"every": every, "until": until}
    words |= {} if name in ("never", "expanding") else {"phase": phase % every}
    table = timetable(part(name, **words), budget, total, stride)
    plans = [table.at(step) for step in range(1, total // stride + 1)]
    assert table.has_event() == any(plan.fraction > 0 or plan.density != table.budget(0) for plan in plans)


def test_a_long_plan_is_asked_little() -> None:
    for total in (10**6 - 1, 10**9):
        asked = list(timetable(part("periodic", every=10**6), part("constant"), total)._telling(total))
        assert len(asked) == 1 + total // 10**6
    assert not timetable(part("periodic", every=10**10), part("constant"), 10**9).has_event()
    # Where no answer comes of so many steps, and where a part raises, nobody is told anything.
    assert timetable(part("staged", fractions=(0.0,), periods=(1,), ends=(1.0,)), part("constant"), 20_000).has_event()
    assert timetable(part("periodic", every=0), part("constant"), 100).has_event()
    assert timetable(part("never"), part("constant"), None).has_event()


def test_a_method_is_without_event_only_if_it_says_that_it_rewires() -> None:
    assert is_eventless(SET, REGISTRY, 999)
    assert is_eventless(replace(STATIC, budget=part("cubic", begin=2000, end=3000)), REGISTRY, 999)
    assert not any(is_eventless(method, REGISTRY, 999) for method in (STATIC, replace(SET, eligible=part("none"))))
    assert not is_eventless(SET, REGISTRY, 1000)
