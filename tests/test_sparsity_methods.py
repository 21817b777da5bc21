"""What the published methods do, and what sets each apart: RigL's event, dense, and the paper against its code."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys_sparsity import ERK, METHODS, REGISTRY, SEEN, SWAP, World

from registry import part
from sparsity import DENSE, DS, DS_RELEASED, RIGL, SET, STATIC, Method

HALF = part("uniform", density=0.5)
EVERY_4 = part("periodic", fraction=0.2, every=4)


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


# RigL.


@pytest.mark.parametrize("backwards", [1, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("every", [4, 5])
def test_the_growth_score_is_the_gradient_of_the_loss_at_the_old_weights(
    every: int, stride: int, backwards: int
) -> None:
    schedule = part("cosine", fraction=0.5, every=every, until=1.0)
    method = replace(RIGL, allocation=ERK, grow=part("toy_recorded"), schedule=schedule)
    world, events = World(method, stride=stride, total=60), 0
    for _ in range(30 // stride):
        clone = copy.deepcopy(world.module)
        batches = [world.batch() for _ in range(backwards)]
        world.optimizer.zero_grad()
        grads = [torch.zeros_like(p) for p in clone.parameters()]
        for batch in batches:
            world.loss(batch=batch).backward()
            own = torch.autograd.grad(world.loss(clone, batch), [*clone.parameters()])
            grads = [total + g for total, g in zip(grads, own, strict=True)]
        world.optimizer.step()
        if len(world.events) > events:
            weights = [g for g in grads if g.dim() == 2]
            assert len(SEEN) == len(weights) == 3
            assert all(torch.equal(seen[0], g) for seen, g in zip(SEEN, weights, strict=True))
        else:
            assert not SEEN, "a dense gradient is looked at in events alone"
        events = len(world.events)
        SEEN.clear()
    assert events >= 6 // stride


def test_the_growth_score_does_not_see_another_loss_s_backward() -> None:
    """An actor's loss went through the critic before; the critic clears its gradients and steps on its own."""
    world = World(replace(METHODS["rigl"], grow=part("toy_recorded")))
    for _ in range(3):
        world.module(world.batch()).sum().backward()
        clone, batch = copy.deepcopy(world.module), world.batch()
        world.optimizer.zero_grad()
        world.loss(batch=batch).backward()
        world.optimizer.step()
    own = torch.autograd.grad(world.loss(clone, batch), [clone[0].weight, clone[2].weight, clone[4].weight])
    assert all(torch.equal(seen[0], g) for seen, g in zip(SEEN, own, strict=True))
    assert len(SEEN) == 3


def test_an_event_of_rigl_replaces_the_step_of_the_whole_learner() -> None:
    world = World(METHODS["rigl"])
    for _ in range(2):
        world.step()
    before, counter = world.state()["module"], copy.deepcopy(world.optimizer.state_dict()["state"])
    masks = world.sparsifier.masks
    world.step()
    assert len(world.events) == 1
    for name, old in before.items():
        new = world.module.state_dict()[name]
        if name in masks:
            survive = masks[name] & world.sparsifier.masks[name]
            assert torch.equal(new[survive], old[survive])
            assert not new[~survive].any()
        else:
            assert torch.equal(new, old), f"{name} moved"
    assert all(state["step"] == counter[i]["step"] for i, state in world.optimizer.state_dict()["state"].items())
    world.step()
    assert not torch.equal(world.module.state_dict()["0.bias"], before["0.bias"])


def test_rigl_drops_the_smallest_old_weights_and_grows_the_largest_gradients() -> None:
    """By sorting, for one event: k = floor(f nnz); candidates are the absent and, with readmission, the dropped."""
    for readmit in (False, True):
        world = World(replace(METHODS["rigl"], readmit=readmit))
        for _ in range(2):
            world.step()
        world.gradients()
        old = {name: world.weight(name).clone() for name in world.sparsifier.masks}
        grads = {name: dict(world.module.named_parameters())[name].grad.clone() for name in old}
        masks, fraction = world.sparsifier.masks, 0.3 * (1 + torch.cos(torch.tensor(torch.pi * 3 / 40)).item())
        world.optimizer.step()
        for name, mask in masks.items():
            k = int(fraction * int(mask.sum()))
            size = torch.where(mask, old[name].abs(), torch.inf).flatten()
            left = torch.zeros_like(size, dtype=torch.bool).scatter(0, size.topk(k, largest=False).indices, True)
            left = left.view(mask.shape)
            open_ = ~mask | left if readmit else ~mask
            gain = torch.where(open_, grads[name].abs(), -1.0).flatten()
            enter = torch.zeros_like(left.flatten()).scatter(0, gain.topk(k).indices, True).view(mask.shape)
            assert torch.equal(world.sparsifier.masks[name], (mask & ~left) | enter)


def test_a_mixture_without_chance_is_gradient_growth() -> None:
    """Where dropped connections may return, too."""
    worlds = [World(replace(METHODS["rigl"], grow=grow)) for grow in (part("gradient"), part("mixture", chance=0.0))]
    for _ in range(9):
        for world in worlds:
            world.step()
    first, second = (world.sparsifier.masks for world in worlds)

    assert all(torch.equal(first[name], second[name]) for name in first)


# Dense.


@pytest.mark.parametrize("optimizer", ["adam", "sgd_momentum"])
def test_dense_attached_is_the_plain_network_to_the_bit(optimizer: str) -> None:
    plain, dense = World(None, optimizer=optimizer), World(DENSE, optimizer=optimizer)
    before = torch.get_rng_state()
    for _ in range(200):
        for world in (plain, dense):
            world.step()
            world.target.update()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(plain.data.get_state(), dense.data.get_state())
    for a, b in zip(plain.module.parameters(), dense.module.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(plain.target.module.parameters(), dense.target.module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert dense.sparsifier.masks == {}
    assert dense.sparsifier.densities() == dense.sparsifier.target_densities() == ()


def test_a_full_density_through_the_sparse_path_is_the_plain_network_to_the_bit() -> None:
    full = replace(SET, allocation=part("uniform", density=1.0), schedule=SWAP, readmit=False)
    plain, sparse = World(None), World(full)
    for _ in range(60):
        plain.step()
        sparse.step()
    for a, b in zip(plain.module.parameters(), sparse.module.parameters(), strict=True):
        assert torch.equal(a, b)


# What the optimiser sees.


def test_absent_connections_gather_moments_only_where_the_optimiser_sees_dense_gradients() -> None:
    found = {}
    for sees in ("masked", "dense"):
        world = World(Method(allocation=ERK, moments=part("keep"), optimizer_sees=sees))
        for _ in range(5):
            world.step()
        mask = world.sparsifier.masks["0.weight"]
        assert not world.weight("0.weight")[~mask].any()
        found[sees] = [int(moment[~mask].count_nonzero()) for moment in world.moments("0.weight").values()]
    assert found["masked"] == [0, 0]
    assert min(found["dense"]) > 0


# Traces.


def test_the_averaged_gradient_is_the_sum_of_the_last_four_before_an_event() -> None:
    schedule = part("periodic", fraction=0.3, every=6)
    world, grads = World(replace(SET, allocation=ERK, schedule=schedule, grow=part("toy_average"))), []
    for _ in range(12):
        world.gradients()
        grads.append(world.module[0].weight.grad.clone())
        world.optimizer.step()
    for event, seen in zip((5, 11), SEEN[::2], strict=True):
        torch.testing.assert_close(seen[0], sum(grads[event - 3 : event + 1]))


def test_age_counts_the_steps_since_a_connection_entered() -> None:
    world = World(replace(SET, allocation=ERK, schedule=SWAP, prune=part("toy_age"), readmit=False))
    age = torch.zeros(8, 6)
    for n in range(1, 16):
        before = world.sparsifier.masks["0.weight"]
        world.step()
        age = torch.where(before, age + 1, 0.0)
        if n % 3 == 0:
            assert torch.equal(SEEN[-2][0], age)
            after = world.sparsifier.masks["0.weight"]
            assert age[before & ~after].max() <= age[before & after].min(), "the youngest leave"


# The rows.


def test_the_rows_say_what_the_papers_say() -> None:
    settings_of = {name: m.resolved(REGISTRY) for name, m in {"set": SET, "rigl": RIGL, "ds": DS}.items()}
    ds, rigl, sett = settings_of["ds"], settings_of["rigl"], settings_of["set"]
    assert (ds.allocation.settings["first"], ds.allocation.settings["rest"]) == (7.0, 64.0)
    assert (ds.initial.name, ds.prune.name) == ("bernoulli", "half_per_sign")
    assert (ds.grow.name, ds.born.name) == ("random", "zero")
    assert dict(ds.schedule.settings) == {"fraction": 0.05, "every": 1000, "phase": 0, "until": 1.0}
    assert (ds.target.name, ds.target.settings["count"]) == ("keep_largest", "mask")
    assert (ds.readmit, ds.eligible.name) == (False, "hidden")
    assert (rigl.eligible.name, rigl.allocation.name, rigl.grow.name) == ("all", "erk", "gradient")
    assert dict(rigl.schedule.settings) == {
        "fraction": 0.3, "every": 100, "phase": 0, "until": 0.75, "floor": 0.0,
    }  # fmt: skip
    assert (rigl.moments.name, rigl.event, rigl.readmit) == ("reset_grown", "instead_of_step", True)
    assert (sett.prune.name, sett.grow.name, sett.readmit, sett.event) == ("magnitude", "random", True, "after_step")
    assert (STATIC.schedule.name, DENSE.eligible.name) == ("never", "none")


def test_the_paper_and_its_code_differ_in_these_fields() -> None:
    differ = {f.name for f in fields(Method) if getattr(DS, f.name) != getattr(DS_RELEASED, f.name)}
    assert differ == {"prune", "born", "schedule", "budget", "target", "moments", "readmit", "optimizer_sees"}
    released = DS_RELEASED.resolved(REGISTRY)
    assert (released.schedule.settings["phase"], released.schedule.settings["until"]) == (2, 37 / 39)
    assert dict(released.budget.settings) == {"fraction": 0.05, "after": 37 / 39, "every": 1000, "phase": 2}
    assert (released.target.settings["count"], released.prune.name) == ("nonzero", "share_per_sign")


# ALGORITHMS 2.1: each departure of the code from the paper, switched on alone.

TEXT = replace(DS, allocation=HALF, schedule=EVERY_4)


def one_sided(world: World) -> None:
    """Four positive weights to each negative one."""
    with torch.no_grad():
        signs = torch.where(torch.arange(400).view(20, 20) % 5 == 0, -1.0, 1.0)
        world.module[0].weight.copy_(world.module[0].weight.abs() * signs)


def signs_dropped(prune: str) -> tuple[int, int, int, int]:
    """Positive and negative weights of the first layer before an event, and how many of each left in it."""
    schedule = part("periodic", fraction=0.2, every=1)
    world = World(replace(TEXT, prune=part(prune), schedule=schedule), sizes=(20, 20, 3), optimizer="sgd_momentum")
    one_sided(world)
    mask = world.sparsifier.masks["0.weight"]
    with torch.no_grad():
        world.module[0].weight.mul_(mask)
    old = world.weight("0.weight").clone()
    world.tick()
    left = mask & ~world.sparsifier.masks["0.weight"]
    return tuple(int(x.sum()) for x in (mask & (old > 0), mask & (old < 0), left & (old > 0), left & (old < 0)))


def test_departure_1_signs_by_halves_or_in_proportion() -> None:
    for prune in ("half_per_sign", "share_per_sign"):
        positive, negative, out_positive, out_negative = signs_dropped(prune)
        k = int(0.2 * (positive + negative) + 1e-9)
        assert out_positive + out_negative == k
        if prune == "half_per_sign":
            assert abs(out_positive - out_negative) <= 1
        else:
            assert out_positive == pytest.approx(k * positive / (positive + negative), abs=1)
            assert out_positive > 2 * out_negative


def test_departure_2_is_not_reproduced_and_counts_are_exact() -> None:
    for method in (TEXT, replace(DS_RELEASED, allocation=HALF, schedule=EVERY_4, budget=part("constant"))):
        world = World(method)
        nnz = {d.name: d.active for d in world.sparsifier.densities()}
        for _ in range(12):
            world.step()
            assert {d.name: d.active for d in world.sparsifier.densities()} == nnz
        for event in world.events:
            for change in event.layers:
                assert change.dropped + change.readmitted == change.grown + change.readmitted == nnz[change.name] // 5


@pytest.mark.parametrize("readmit", [False, True])
def test_departure_3_a_dropped_connection_may_return_at_once(readmit: bool) -> None:
    world = World(replace(TEXT, readmit=readmit), sizes=(10, 20, 20, 2))
    for _ in range(80):
        world.step()
    returned = sum(change.readmitted for event in world.events for change in event.layers)
    assert (returned > 0) == readmit


@pytest.mark.parametrize("born", ["zero", "as_stepped"])
def test_departure_4_a_newcomer_starts_at_zero_or_one_step_from_it(born: str) -> None:
    world = World(replace(TEXT, born=part(born), optimizer_sees="dense", moments=part("keep")))
    for n in range(1, 9):
        before = world.sparsifier.masks
        world.step()
        if n % 4 == 0:
            for name, mask in world.sparsifier.masks.items():
                value = world.weight(name)[mask & ~before[name]].abs()
                assert value.numel() > 0
                assert (value.max() == 0) if born == "zero" else bool(((value > 0) & (value < 3e-2)).all())


@pytest.mark.parametrize(("phase", "steps"), [(0, [4, 8, 12]), (2, [2, 6, 10])])
def test_departure_5_the_phase_of_the_schedule(phase: int, steps: list[int]) -> None:
    world = World(replace(TEXT, schedule=EVERY_4.with_settings(phase=phase)))
    for _ in range(12):
        world.step()
    assert [event.step for event in world.events] == steps


@pytest.mark.parametrize("budget", [part("constant"), part("final_cut", fraction=0.2, after=9, every=4, phase=2)])
def test_departure_6_the_last_adaptation_drops_without_growing(budget: Any) -> None:
    world = World(replace(TEXT, budget=budget, schedule=EVERY_4.with_settings(phase=2, until=9)))
    nnz = [d.active for d in world.sparsifier.densities()]
    for _ in range(20):
        world.step()
    cut = budget.name == "final_cut"
    assert [event.step for event in world.events] == [2, 6] + [10] * cut
    assert [d.active for d in world.sparsifier.densities()] == [n - int(0.2 * n + 1e-9) * cut for n in nnz]
    if cut:
        assert all(change.grown == 0 for change in world.events[-1].layers)


@pytest.mark.parametrize("released", [False, True])
def test_departure_7_moments_are_masked_or_left_alone(released: bool) -> None:
    moments = {"moments": part("keep"), "optimizer_sees": "dense"} if released else {}
    world = World(replace(TEXT, **moments))
    for _ in range(9):
        world.step()
    absent = [m[~world.sparsifier.masks[n]] for n in world.sparsifier.masks for m in world.moments(n).values()]
    assert any(bool(moment.any()) for moment in absent) == released


@pytest.mark.parametrize("count", ["mask", "nonzero"])
def test_departure_9_the_slow_copy_counts_the_mask_or_the_values(count: str) -> None:
    """Newcomers are zero at the event: by values the copy is cut there, and lets all of them in one update later."""
    world = World(replace(TEXT, target=part("keep_largest", count=count)))
    for _ in range(4):
        world.step()
        world.target.update()
    nnz = [d.active for d in world.sparsifier.densities()]
    grown = [change.grown for change in world.events[-1].layers]
    kept = [d.active for d in world.sparsifier.target_densities()]
    zeros = [int((world.weight(n)[m] == 0).sum()) for n, m in world.sparsifier.masks.items()]
    assert zeros == grown
    if count == "nonzero":
        assert kept == [n - g for n, g in zip(nnz, grown, strict=True)]
    else:
        assert all(n - g < k <= n for n, g, k in zip(nnz, grown, kept, strict=True))
    world.step()
    world.target.update()
    assert [d.active for d in world.sparsifier.target_densities()] == nnz


@settings(max_examples=20, deadline=None, database=None)
@given(st.integers(0, 10_000))
def test_departure_11_the_number_drawn_by_coins_is_the_budget_from_then_on(seed: int) -> None:
    world = World(TEXT, seed=seed, members=2, sizes=(12, 16, 2))
    drawn = world.sparsifier.masks["0.weight"].sum((-2, -1))
    assert ((drawn - 96).abs() <= 6 * (192 / 4) ** 0.5).all()
    for _ in range(9):
        world.step()
        assert torch.equal(world.sparsifier.masks["0.weight"].sum((-2, -1)), drawn)


def test_the_number_drawn_by_coins_varies() -> None:
    drawn = {World(TEXT, seed=seed).sparsifier.densities()[0].active for seed in range(10)}
    assert len(drawn) > 2
    exact = {World(replace(TEXT, initial=part("random")), seed=s).sparsifier.densities()[0].active for s in range(10)}
    assert exact == {24}


def test_a_slow_copy_trails_where_newcomers_are_born_at_zero_and_small_ones_are_cut() -> None:
    """With a small tau and the mask's count the copy's topology differs from the online one, and is never larger."""
    world = World(TEXT, tau=0.005, sizes=(10, 20, 20, 2))
    differs = 0
    for _ in range(40):
        world.step()
        world.target.update()
        for name, mask in world.sparsifier.masks.items():
            assert int(world.slow(name).count_nonzero()) <= int(mask.sum())
            differs += int((world.slow(name)[~mask] != 0).sum())
    assert differs > 0


def test_a_drifting_copy_holds_the_union_and_reports_it() -> None:
    world = World(replace(TEXT, target=part("drift")))
    for _ in range(20):
        world.step()
        world.target.update()
    online, slow = world.sparsifier.densities(), world.sparsifier.target_densities()
    assert sum(d.active for d in slow) > sum(d.active for d in online)
