"""Methods that swap connections: SNFS, DSR, MEST, ITOP, ANF and RLx2, by hand and over runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from byhand import Still
from toys_sparse import Agents
from toys_sparsity import World

from registry import part
from rl.environment import make, sizes
from rl.wrappers import noise_features
from sparsity import SET, Method
from sparsity.diagnostics import explored
from sparsity.published import (
    ANF,
    DSR,
    ITOP_RIGL,
    ITOP_SET,
    MEST,
    MEST_RELEASED,
    RLX2,
    RLX2_RELEASED,
    SNFS,
    SNFS_RELEASED,
)

HALF = part("uniform", density=0.5)
NOW = part("periodic", fraction=0.5, every=1)


# SNFS.


def test_sparse_momentum_by_hand() -> None:
    """Each layer keeps the two largest of four and drops the smaller of those. |m| after a step is 0.1 |g|: the active
    ones' means are 0.1 and 0.3, so that the two that left are shared out 1/2 and 3/2, by largest remainder 1 and 1
    (of equal ones the first layer's), and they enter where |m| is largest."""
    method = replace(SNFS, allocation=HALF, initial=part("magnitude"), schedule=NOW)
    world = Still(method, [[1.0, 2.0], [0.1, 0.2]], [[0.1, 0.2], [1.0, 2.0]])
    assert world.masks() == [["xx", ".."], ["..", "xx"]]
    world.step([[1.0, 1.0], [0.0, 5.0]], [[7.0, 0.0], [3.0, 3.0]])
    assert world.masks() == [[".x", ".x"], ["x.", ".x"]]


def test_layers_with_more_momentum_grow_at_the_cost_of_others() -> None:
    """The means of the active ones are 0 and 0.4: all that left goes to the second layer, as far as there is room."""
    method = replace(SNFS, allocation=HALF, initial=part("magnitude"), schedule=NOW)
    world = Still(method, [[1.0, 2.0], [0.1, 0.2]], [[0.1, 0.2], [1.0, 2.0]])
    world.step([[0.0, 0.0], [9.0, 9.0]], [[1.0, 2.0], [4.0, 4.0]])
    assert world.masks() == [[".x", ".."], ["xx", "x."]] or world.counts() == [1, 3]
    assert sum(world.counts()) == 4


@pytest.mark.parametrize("row", [SNFS, SNFS_RELEASED])
def test_momentum_spreads_growth_over_a_run(row: Method) -> None:
    """Against traces kept here from the gradients: Adam's own dense moments without their correction of bias."""
    method = replace(row, allocation=part("uniform", density=0.4), schedule=part("periodic", fraction=0.3, every=4))
    world = World(method, total=40)
    assert world.sparsifier is not None
    kept = {name: (torch.zeros_like(mask.float()), torch.zeros_like(mask.float())) for name, mask in
            world.sparsifier.masks.items()}  # fmt: skip
    total = sum(layer.active for layer in world.sparsifier.densities())
    moved = False
    for _ in range(24):
        before, heard = world.sparsifier.masks, len(world.events)
        world.gradients()
        for name, (m, v) in kept.items():
            grad = dict(world.module.named_parameters())[name].grad
            assert grad is not None
            m.mul_(0.9).add_(0.1 * grad)
            v.mul_(0.999).add_(0.001 * grad.square())
        world.optimizer.step()
        assert sum(layer.active for layer in world.sparsifier.densities()) == total
        if len(world.events) == heard:
            continue
        size = {n: (m / (v.sqrt() + 1e-8) if row is SNFS_RELEASED else m).abs() for n, (m, v) in kept.items()}
        mean = {n: float(size[n][before[n]].mean()) for n in size}
        grown = {c.name: c.grown + c.readmitted for c in world.events[-1].layers}
        left = {c.name: c.dropped + c.readmitted for c in world.events[-1].layers}
        assert left == {n: math.floor(0.3 * int(before[n].sum()) + 1e-9) for n in size}
        for name, number in grown.items():
            share = sum(left.values()) * mean[name] / sum(mean.values())
            room = before[name].numel() - int(before[name].sum()) + left[name]
            if all(grown[n] < before[n].numel() - int(before[n].sum()) + left[n] for n in grown):
                assert number == pytest.approx(share, abs=1)
            assert number <= room
        after = world.sparsifier.masks
        for name, new in after.items():
            entered = new & ~before[name]
            if entered.any() and (~new).any():
                assert size[name][entered].min() >= size[name][~new & ~before[name]].max()
        moved |= any(int(after[n].sum()) != int(before[n].sum()) for n in after)
    assert moved


# DSR.


def test_dynamic_reparameterization_by_hand() -> None:
    """Half of the four leave over both layers, 1.0 and 2.0 of the first; its survivors are none, the second's two: both
    newcomers are the second's, and none of those that left returns."""
    method = replace(DSR, allocation=HALF, initial=part("magnitude"), schedule=NOW)
    world = Still(method, [[1.0, 2.0], [0.1, 0.2]], [[0.1, 0.2], [10.0, 20.0]])
    world.step()
    assert world.masks() == [["..", ".."], ["xx", "xx"]]


def test_growth_goes_with_survivors_and_periods_double() -> None:
    method = replace(
        DSR, allocation=part("uniform", density=0.4),
        schedule=part("staged", fractions=(0.2, 0.2), periods=(2, 4), ends=(0.5, 1.0)),
    )  # fmt: skip
    world = World(method, total=32, sizes=(10, 20, 20, 10))
    assert world.sparsifier is not None
    total = sum(layer.active for layer in world.sparsifier.densities())
    for _ in range(32):
        before, heard = world.sparsifier.masks, len(world.events)
        world.step()
        if len(world.events) == heard:
            continue
        after, changes = world.sparsifier.masks, {c.name: c for c in world.events[-1].layers}
        assert sum(int(m.sum()) for m in after.values()) == total
        assert sum(c.dropped for c in changes.values()) == math.floor(0.2 * total + 1e-9)
        assert all(c.readmitted == 0 for c in changes.values())
        kept = {n: int((before[n] & after[n]).sum()) for n in after}
        for name, change in changes.items():
            share = sum(c.grown for c in changes.values()) * kept[name] / sum(kept.values())
            assert change.grown == pytest.approx(share, abs=1)
    assert [event.step for event in world.events] == [2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32]


# MEST.


def test_mest_drops_the_least_of_weight_and_gradient_by_hand() -> None:
    """|w| + 0.1 |g|: 1, 2, 3, 4 with gradients 30, 0, 0, 0 are 4, 2, 3, 4: the half that leaves is 2.0 and 3.0, which
    magnitude alone would have kept one of."""
    row = replace(MEST, prune=part("magnitude_gradient", balance=0.1), readmit=False)
    for method, expected in ((row, ["x..x"]), (replace(row, prune=MEST_RELEASED.prune), ["..xx"])):
        world = Still(replace(method, allocation=HALF, initial=part("magnitude"), schedule=NOW), [
            [1.0, 2.0, 3.0, 4.0], [0.1, 0.1, 0.1, 0.1]
        ])  # fmt: skip
        world.step([[30.0, 0, 0, 0], [0, 0, 0, 0]])
        assert world.masks()[0][:1] == expected
        assert world.counts() == [4]


# ITOP.


@pytest.mark.parametrize(("row", "every"), [(ITOP_SET, 1500), (ITOP_RIGL, 4000)])
def test_itop_waits_long_and_swaps_much_until_the_end(row: Method, every: int) -> None:
    from toys_sparsity import REGISTRY

    schedule = REGISTRY.bind("schedule", REGISTRY.resolve("schedule", row.schedule))
    total = 10 * every
    swaps = {step: f for step in range(1, total + 1) if (f := schedule(step=step, total=total)) > 0}
    assert list(swaps) == list(range(every, total + 1, every))
    for step, fraction in swaps.items():
        assert fraction == pytest.approx(0.005 + 0.495 / 2 * (1 + math.cos(math.pi * step / total)))
    assert swaps[total] == pytest.approx(0.005)


def test_the_rate_of_exploration_grows_above_the_density() -> None:
    method = replace(
        ITOP_SET, allocation=part("uniform", density=0.2), schedule=part("periodic", fraction=0.5, every=3)
    )
    world = World(method, total=40)
    assert world.sparsifier is not None
    ever = world.sparsifier.masks
    rates = []
    for _ in range(40):
        world.step()
        ever = {name: ever[name] | mask for name, mask in world.sparsifier.masks.items()}
        rates.append(sum(explored(m) * m.numel() for m in ever.values()) / sum(m.numel() for m in ever.values()))
    assert rates == sorted(rates)
    assert rates[-1] > 0.6 > 0.3 > rates[0]


# ANF.


def test_anf_rewires_the_input_layer_alone_two_updates_after_the_thousandth() -> None:
    run = Agents(replace(ANF, schedule=part("periodic", fraction=0.2, every=5, phase=2)), "masked", policy_delay=1)
    for each in run.sparsifiers:
        assert [layer.name for layer in each.densities()] == ["hidden.0.weight"]
        assert each.densities()[0].density == pytest.approx(0.2, abs=0.02)
    heads = [p.detach().clone() for p in run.agent.actor.head.parameters()]
    for number in range(13):
        run.do(number)
    assert [event.step for number, event in run.events if number == 0] == [2, 7, 12]
    assert not torch.equal(heads[0], run.agent.actor.head.weight), "the other layers learn on, dense"


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_noisy_environment_is_padded_as_the_paper_says(share: float) -> None:
    from numpy.random import SeedSequence

    plain = make("HalfCheetah-v5")
    noisy = noise_features(plain, SeedSequence(0), share=share)
    assert sizes(noisy)[0] == math.ceil(round(17 / (1 - share), 6))
    first, _ = noisy.reset(seed=0)
    again, *_ = noisy.step(noisy.action_space.sample() * 0)
    assert abs(first[17:].mean()) < 5 / (len(first) - 17) ** 0.5
    assert (first[17:] != again[17:]).all(), "fresh at every look"


# RLx2.


def test_rlx2_skips_the_step_and_keeps_the_value_of_what_returns() -> None:
    """Two of four leave, 0.5 and 1.0; the gradient is largest at 1.0 and at an absent place: 1.0 keeps its value."""
    method = replace(RLX2_RELEASED, allocation=HALF, schedule=NOW, clock="agent")
    world = Still(method, [[0.5, 1.0, 2.0, 3.0], [0.1, 0.2, 0.3, 0.4]], rate=1.0)
    assert world.masks() == [["xxxx", "...."]]
    world.step([[0.0, 9.0, 1.0, 1.0], [0.0, 0.0, 8.0, 0.0]])
    assert world.masks() == [[".xxx", "..x."]]
    assert world.weights() == [[[0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]]], "no step was taken"
    assert (world.events[0].layers[0].dropped, world.events[0].layers[0].readmitted) == (1, 1)


def test_rlx2_counts_each_networks_own_steps() -> None:
    """Every 10 of its own steps: the actor, which steps on every second update, on the twentieth."""
    method = replace(RLX2, allocation=HALF, schedule=part("cosine", fraction=0.5, every=10, until=1.0))
    run = Agents(method, "masked", total=60)
    for number in range(60):
        run.do(number)
    steps = {which: [event.step for number, event in run.events if number == which] for which in (0, 1)}
    assert steps == {0: [10, 20, 30, 40, 50], 1: [10, 20]}, (
        "its cosine ends, at 60 of the critics' and 30 of the actor's"
    )


def test_rlx2_keeps_the_moments_of_what_is_absent_and_they_decay() -> None:
    method = replace(RLX2_RELEASED, allocation=HALF, schedule=part("periodic", fraction=0.5, every=3), clock="agent")
    world = World(method, total=40)
    assert world.sparsifier is not None
    for _ in range(3):
        world.step()
    mask = world.sparsifier.masks["0.weight"]
    before = world.moments("0.weight")["exp_avg"].clone()
    world.step()
    after = world.moments("0.weight")["exp_avg"]
    assert torch.allclose(after[~mask], 0.9 * before[~mask])
    assert before[~mask].any()


def test_a_released_row_starts_with_the_largest_weights() -> None:
    world = Still(replace(RLX2_RELEASED, allocation=HALF), [[0.5, -4.0, 2.0, 0.3], [0.1, 0.2, -3.0, 1.0]])
    assert world.masks() == [[".xx.", "..xx"]]


# Wrong versions that peers ship, and the counts that tell them.


def counted(method: Method, steps: int = 30) -> list[int]:
    world = World(method, total=60)
    assert world.sparsifier is not None
    counts = [sum(layer.active for layer in world.sparsifier.densities())]
    for _ in range(steps):
        world.step()
        counts.append(sum(layer.active for layer in world.sparsifier.densities()))
    return counts


SWAPS = replace(SET, allocation=part("uniform", density=0.4), schedule=part("periodic", fraction=0.3, every=3))


def test_counts_are_exact_where_peers_drift() -> None:
    """Bernoulli growth (ITOP, GraNet) and thresholds (DST, ANF) miss the count; the engine picks exactly k."""
    assert len(set(counted(SWAPS))) == 1
    draw, drifted, threshold = torch.Generator().manual_seed(0), [], []
    active, absent = 160, 240
    for _ in range(10):
        grown = int((torch.rand(absent, generator=draw) < 48 / absent).sum())
        drifted.append(active - 48 + grown)
    ties = torch.tensor([0.0] * 60 + [1.0] * 100)
    threshold = int((ties > ties.sort().values[47]).sum())
    assert len(set(drifted)) > 1
    assert threshold == 100 != 112


def test_all_that_tie_do_not_leave_together() -> None:
    """Sixty weights of exactly zero and forty that are not: the k smallest are k zeros, and not all of them."""
    weights = [[0.0] * 6 + [1.0] * 4] * 10
    world = Still(replace(MEST_RELEASED, allocation=part("uniform", density=1.0), schedule=NOW), weights)
    world.step()
    assert world.counts() == [100]
    [change] = world.events[0].layers
    assert change.dropped + change.readmitted == 50


def test_set_keeps_the_largest_of_both_signs() -> None:
    """sparse_learning's SET keeps only a few of the most negative weights: here both signs' largest stay."""
    world = Still(
        replace(MEST_RELEASED, allocation=HALF, initial=part("magnitude"), schedule=NOW, readmit=False),
        [[3.0, -3.0, 2.0, -2.0], [0.1, -0.1, 0.2, -0.2]],
    )
    world.step()
    mask = world.sparsifier.masks["0.weight"]
    assert mask[0].tolist() == [True, True, False, False]
    negatives = sorted(w for row in world.weights()[0] for w in row if w < 0)
    assert negatives == [-3.0]


def test_the_part_of_a_row_is_what_says_it(capsys: Any) -> None:
    rows = {"snfs": SNFS, "dsr": DSR, "mest": MEST, "anf": ANF, "rlx2": RLX2}
    said = {name: (row.prune.name, row.grow.name, row.spread.name, row.swap_scope) for name, row in rows.items()}
    assert said == {
        "snfs": ("magnitude", "momentum", "by_momentum", "layer"),
        "dsr": ("magnitude", "random", "by_survivors", "network"),
        "mest": ("magnitude_gradient", "random", "in_place", "layer"),
        "anf": ("magnitude", "random", "in_place", "layer"),
        "rlx2": ("magnitude", "gradient", "in_place", "layer"),
    }
