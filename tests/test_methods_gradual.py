"""Methods whose number of connections changes: GMP, GraNet, SNIP, MEST's soft bound, Neuroplastic Expansion."""

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
from sparsity import Method
from sparsity.published import GMP, GMP_GLOBAL, GRANET, MEST_SOFT, NE_RELEASED, SNIP

THIRD = part("uniform", density=1 / 3)
HALF = part("uniform", density=0.5)
CUBIC = part("cubic", start=1.0, begin=4, end=24, every=5)
WINDOW = range(4, 25, 5)
"""The steps at which that cubic has its stairs."""


def cubic(step: int, final: float, start: float = 1.0) -> float:
    """Zhu & Gupta's Eq. 1 as a density, in stairs of 5 from 4 to 24."""
    at = min(max(4, 4 + (step - 4) // 5 * 5), 24)
    return final + (start - final) * (1 - (at - 4) / 20) ** 3


# GMP.


def test_gradual_pruning_by_hand() -> None:
    """Twelve weights to four, the stairs at 0 of 4, 1/2 and 1 of the window: 12, 5 (4 + 8 / 8), 4."""
    method = replace(GMP, allocation=THIRD, budget=part("cubic", start=1.0, begin=1, end=5, every=2))
    world = Still(method, [[0.1, -0.2, 0.3, -0.4], [0.5, -0.6, 0.7, -0.8], [0.9, -1.0, 1.1, -1.2]])
    seen = []
    for _ in range(6):
        world.step()
        seen.append(world.masks()[0])
    full, five, four = ["xxxx"] * 3, ["....", "...x", "xxxx"], ["....", "....", "xxxx"]
    assert seen == [full, full, five, five, four, four]
    assert world.weights() == [[[0, 0, 0, 0], [0, 0, 0, 0], [0.9, -1.0, 1.1, -1.2]]]


@pytest.mark.parametrize("row", [GMP, GMP_GLOBAL, replace(GMP, event="instead_of_step")])
@pytest.mark.parametrize("stride", [1, 2])
def test_gmp_is_monotone_and_follows_the_cubic(row: Method, stride: int) -> None:
    method = replace(row, allocation=part("erk", density=0.3), budget=CUBIC)
    world = World(method, total=40, stride=stride)
    assert world.sparsifier is not None
    size = sum(layer.size for layer in world.sparsifier.densities())
    final = {name: int(mask.sum()) for name, mask in end_of(method).items()}
    before = world.sparsifier.masks
    for step in range(1, 40 // stride + 1):
        world.step()
        masks = world.sparsifier.masks
        assert all(bool((masks[n] <= before[n]).all()) for n in masks), "what left does not return"
        open_ = (cubic(step * stride, 0.3) - 0.3) / 0.7
        due = {n: final[n] + math.floor(open_ * (m.numel() - final[n]) + 1e-9) for n, m in masks.items()}
        if row.scope == "layer":
            assert {n: int(m.sum()) for n, m in masks.items()} == due
        assert sum(int(m.sum()) for m in masks.values()) == sum(due.values())
        before = masks
    assert sum(int(m.sum()) for m in before.values()) == sum(final.values()) == round(0.3 * size)
    assert sum(event.layers[0].grown for event in world.events) == 0


def end_of(method: Method) -> dict[str, torch.Tensor]:
    """A topology of the method's final density."""
    world = World(replace(method, budget=part("constant"), scope="layer"), total=40)
    assert world.sparsifier is not None
    return world.sparsifier.masks


def test_the_last_cut_happens_even_if_the_window_ends_with_the_run() -> None:
    """The wrong denominator of GMP*, t_end instead of t_end - t_begin, never reaches the final density."""
    world = World(replace(GMP, allocation=HALF, budget=part("cubic", begin=0.5, end=1.0, every=7)), total=20)
    for _ in range(20):
        world.step()
    assert world.sparsifier is not None
    assert all(layer.active == pytest.approx(layer.size / 2, abs=0.5) for layer in world.sparsifier.densities())
    wrong = [1 - 0.5 * (1 - (1 - (t - 10) / 20) ** 3) for t in range(10, 21)]
    assert min(wrong) > 0.5


def test_the_global_cut_ranks_all_layers_at_once() -> None:
    """The first layer's weights are the smaller ones: it is cut to nothing before the second loses one."""
    method = replace(GMP_GLOBAL, allocation=HALF, budget=part("at_once", start=1.0, at=1))
    world = Still(method, [[0.1, 0.2], [0.3, 4.0]], [[1.0, -2.0], [3.0, 0.15]])
    world.step()
    assert world.masks() == [["..", ".x"], ["xx", "x."]]
    per_layer = Still(replace(method, scope="layer"), [[0.1, 0.2], [0.3, 4.0]], [[1.0, -2.0], [3.0, 0.15]])
    per_layer.step()
    assert per_layer.masks() == [["..", "xx"], [".x", "x."]]


# GraNet.


def test_granet_by_hand() -> None:
    """Full to six of eight at once: 0.1 and 0.2 leave, both of the first layer. Then each layer swaps half of its
    own, 0.3 of the first for the place of the largest gradient and 1.0 and 2.0 of the second for theirs."""
    method = replace(
        GRANET, allocation=part("uniform", density=0.75), budget=part("at_once", start=1.0, at=1),
        schedule=part("periodic", fraction=0.5, every=1),
    )  # fmt: skip
    world = Still(method, [[0.1, 0.2], [0.3, 4.0]], [[1.0, -2.0], [3.0, 5.0]])
    world.step([[9.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]])
    assert world.masks() == [["x.", ".x"], ["xx", "xx"]]
    assert world.counts() == [2, 4]


def test_granet_cuts_globally_and_swaps_layer_by_layer() -> None:
    method = replace(GRANET, allocation=part("erk", density=0.3), budget=replace_start(CUBIC, 0.5),
                     schedule=part("periodic", fraction=0.4, every=5, phase=4))  # fmt: skip
    world = World(method, total=40)
    assert world.sparsifier is not None
    size = sum(layer.size for layer in world.sparsifier.densities())
    for step in range(1, 35):
        masks, world_before = world.sparsifier.masks, len(world.events)
        world.gradients()
        shadow, optimizer = world.shadow()
        optimizer.step()
        world.optimizer.step()
        if len(world.events) == world_before:
            continue
        stepped = {n: p.detach() * masks[n] for n, p in shadow.named_parameters() if n in masks}
        total = round(cubic(step, 0.3, 0.5) * size)
        now = sum(layer.active for layer in world.sparsifier.densities())
        assert now == pytest.approx(total, abs=len(masks))
        values = torch.cat([stepped[n].abs()[masks[n]] for n in masks])
        cut = values.sort().values[int(values.numel()) - now - 1] if values.numel() > now else torch.tensor(-1.0)
        for change in world.events[-1].layers:
            after_cut = int((stepped[change.name].abs()[masks[change.name]] > cut).sum())
            assert change.active == after_cut, "a swap changes no layer's number"
            assert change.grown + change.readmitted == math.floor(0.4 * after_cut + 1e-9)


def replace_start(budget: Any, start: float) -> Any:
    return budget.with_settings(start=start)


# SNIP.


def test_snip_by_hand() -> None:
    """|w g| is 0.1, 0.4, 2.7, 0 and 3, 0.2, 0, 5: the four largest stay; the step itself is not taken."""
    method = replace(SNIP, allocation=HALF)
    world = Still(method, [[0.1, 0.2], [0.3, 4.0]], [[1.0, -2.0], [3.0, 5.0]], rate=10.0)
    assert world.masks() == [["xx", "xx"]] * 2
    world.step([[1.0, -2.0], [9.0, 0.0]], [[3.0, 0.1], [0.0, -1.0]])
    assert world.masks() == [[".x", "x."], ["x.", ".x"]]
    assert world.weights() == [[[0, 0.2], [0.3, 0]], [[1.0, 0], [0, 5.0]]]
    world.step([[1.0, 1.0], [1.0, 1.0]])
    assert world.masks() == [[".x", "x."], ["x.", ".x"]], "one cut, and no more"
    assert world.weights()[0] == [[0, pytest.approx(-9.8)], [pytest.approx(-9.7), 0]]


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_snip_is_dense_until_the_first_update_and_targets_follow(execution: str) -> None:
    run = Agents(replace(SNIP, allocation=part("erk", density=0.2)), execution)
    critic, actor = run.sparsifiers
    whole = [sum(layer.size for layer in each.densities()) for each in run.sparsifiers]
    assert [sum(layer.active for layer in each.densities()) for each in run.sparsifiers] == whole
    run.do(0)
    assert sum(layer.active for layer in critic.densities()) == pytest.approx(0.2 * whole[0], abs=2)
    assert sum(layer.active for layer in actor.densities()) == whole[1], "the actor has not stepped yet"
    run.do(1)
    assert sum(layer.active for layer in actor.densities()) == pytest.approx(0.2 * whole[1], abs=2)
    for each in run.sparsifiers:
        online, slow = each.masks, each.target_masks()
        assert all(bool((slow[name] <= online[name]).all()) for name in slow)
    for number in range(2, 20):
        run.do(number)
    assert len(run.events) == 2


# MEST's soft bound.


def test_the_soft_bound_tightens_in_stages_and_prunes_to_the_final_density_in_each() -> None:
    """Density 0.2: 0.3, of which a third leaves and comes back; 0.25 and a fifth; then 0.2."""
    method = replace(
        MEST_SOFT, allocation=part("uniform", density=0.2), budget=part("soft_bound", ends=(0.5, 0.75)),
        schedule=part("staged", fractions=(1 / 3, 0.2, 0.3), periods=(2, 2, 2), ends=(0.5, 0.75, 1.0)),
    )  # fmt: skip
    world = World(method, total=40, sizes=(10, 20, 20, 10))
    assert world.sparsifier is not None
    for step in range(1, 41):
        world.step()
        factor = 1.5 if step < 20 else 1.25 if step < 30 else 1.0
        for layer in world.sparsifier.densities():
            assert layer.active == pytest.approx(0.2 * factor * layer.size, abs=1)
    stages = [[e for e in world.events if first < e.step < last] for first, last in ((0, 20), (20, 30), (30, 41))]
    for events, factor in zip(stages[:2], (1.5, 1.25), strict=True):
        for event in events:
            for change in event.layers:
                left = change.active - change.dropped - change.readmitted
                assert left == pytest.approx(change.active / factor, abs=1), "pruned to the final density, and regrown"


# Neuroplastic Expansion.


def expansion(**more: Any) -> Method:
    return replace(
        NE_RELEASED, allocation=part("uniform", density=0.75),
        budget=part("grow", every=2, **more), schedule=part("expanding", every=2, exchange=0.02),
    )  # fmt: skip


def test_expansion_by_hand() -> None:
    """Of twelve weights nine are to be; it starts with three (a third) and grows by a third of nine at step 2: then
    3 enter, and 0.34 x 9 / 3 of the 3 that were there, the smallest, leaves and another one enters by gradient."""
    method = replace(
        NE_RELEASED, allocation=part("uniform", density=0.75), initial=part("magnitude"),
        budget=part("grow", start=1 / 3, gain=1 / 3, every=2), schedule=part("expanding", exchange=0.12, every=2),
    )  # fmt: skip
    world = Still(method, [[1.0, 2.0, 3.0, 0.1], [0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9]], total=20)
    assert world.masks() == [["xxx.", "....", "...."]]
    gradient = [[9.0, 0.0, 0.0, 8.0], [0.0, 7.0, 0.0, 6.0], [5.0, 0.0, 0.0, 1.0]]
    world.step(gradient)
    assert world.masks() == [["xxx.", "....", "...."]]
    world.step(gradient)
    assert world.masks() == [[".xxx", ".x.x", "x..."]]


def test_expansion_grows_to_its_density_and_then_swaps_like_rigl() -> None:
    world = World(expansion(start=4 / 15, gain=0.1), total=60, sizes=(10, 20, 20, 10))
    assert world.sparsifier is not None
    assert sum(x.active for x in world.sparsifier.densities()) == pytest.approx(0.2 * 800, abs=3)
    for step in range(1, 60):
        world.step()
        share = min(1.0, 4 / 15 + 0.1 * (step // 2))
        for layer in world.sparsifier.densities():
            assert layer.active == pytest.approx(0.75 * share * layer.size, abs=1)
    growing = [e for e in world.events if e.step < 16]
    for event in growing[:-1]:
        for change in event.layers:
            assert change.dropped == pytest.approx(0.02 * 0.75 * size_of(world, change.name), abs=1)
            assert change.grown - change.dropped == pytest.approx(0.1 * 0.75 * size_of(world, change.name), abs=1)
    steady = [e for e in world.events if e.step > 16]
    assert steady
    for event in steady:
        for change in event.layers:
            fraction = 0.1 * (1 + math.cos(math.pi * event.step / 60))
            room = size_of(world, change.name) - change.active
            assert change.dropped == change.grown == min(room, math.floor(fraction * change.active + 1e-9))


def size_of(world: World, name: str) -> int:
    assert world.sparsifier is not None
    return next(layer.size for layer in world.sparsifier.densities() if layer.name == name)


def test_the_published_numbers_of_expansion() -> None:
    """init_space = 0.6 N: 0.8 % of it enters and 0.4 of that leaves; 0.2 to 0.75 takes some 190 events."""
    from toys_sparsity import REGISTRY

    budget = REGISTRY.bind("budget", REGISTRY.resolve("budget", part("grow", every=1)))
    values = [budget(step=step, total=None, density=0.75) for step in range(300)]
    assert values[0] == pytest.approx(0.2)
    assert values[1] - values[0] == pytest.approx(0.6 * 0.6 * 0.008)
    assert next(i for i, v in enumerate(values) if v >= 0.75) == 191
    schedule = REGISTRY.bind("schedule", REGISTRY.resolve("schedule", part("expanding", every=1)))
    swapped = schedule(step=1, total=10**6, density=0.3, final=0.75) * 0.3
    assert swapped == pytest.approx(0.4 * 0.6 * 0.008)
    assert schedule(step=1, total=10**6, density=0.75, final=0.75) == pytest.approx(0.2, rel=1e-6)
