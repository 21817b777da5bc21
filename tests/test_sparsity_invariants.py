"""In whatever order things are called: absent is exactly zero, budgets hold, moments and slow copies follow their rule.

Every optimiser step is compared, to the bit, with the same step of a copy of the network that no sparsifier hangs on.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence
from torch import Tensor, nn
from toys_sparsity import ERK, METHODS, OPTIMIZERS, REGISTRY, SWAP, Copy, Learner, World, network, per_member

from registry import part
from sparsity import RIGL, Method, Sparsifier
from sparsity.allocation import counts
from sparsity.execution.masked import SECOND_MOMENTS
from sparsity.weights import member_shapes

OPS = ("step", "step", "step", "step", "sync", "sync", "read", "reload", "accumulate", "save")


def goal(method: Method, n: int, size: int, step: int) -> int:
    """Connections that a layer with `n` in the end has after so many steps."""
    if method.budget.name == "final_cut":
        return n - math.floor(0.2 * n + 1e-9) if step >= 14 else n
    if method.budget.name == "constant":
        return n
    start, passed = method.budget.settings.get("start", 1.0), max(0, (step - 3) // 4) * 4
    share = 1.0 if step >= 19 else passed / 16
    return n + math.floor((start - 0.4) * (1 - share) ** 3 / 0.6 * (size - n) + 1e-9)


class Watched:
    """A world, and all that must be true of it after every call."""

    def __init__(self, method: Method, **chosen: Any) -> None:
        self.method, self.world = method, World(method, total=40, **chosen)
        self.members = chosen.get("members", 0)
        self.steps, sparsifier = 0, self.world.sparsifier
        self.masks = sparsifier.masks
        shapes = {n: s for n, s in member_shapes(self.world.module).items() if n in self.masks}
        exact = counts(shapes, REGISTRY.bind("allocation", method.allocation)(shapes=shapes))
        self.final = {n: torch.full((max(1, self.members),), exact[n]) for n in shapes}
        if method.initial.name == "bernoulli":
            self.final = {n: self.rows(m).sum(-1) for n, m in self.masks.items()}
        for name, mask in self.masks.items():
            assert torch.equal(self.world.slow(name), self.world.weight(name))
            assert not self.world.slow(name)[~mask].any(), "a slow copy starts with the online mask"
        self.slow = {name: self.world.slow(name).clone() for name in self.masks}
        self.check()

    def rows(self, tensor: Tensor) -> Tensor:
        return per_member(tensor, self.members)

    def do(self, op: str) -> None:
        getattr(self, op)()
        self.check()

    # What is called.

    def step(self, backwards: int = 1) -> None:
        world, method = self.world, self.method
        world.gradients()
        for _ in range(backwards - 1):
            world.loss().backward()
        module, optimizer = world.shadow()
        events = len(world.events)
        if method.optimizer_sees == "masked":
            for name, parameter in module.named_parameters():
                if name in self.masks:
                    parameter.grad *= self.masks[name]
        world.optimizer.step()
        self.steps += 1
        event = len(world.events) > events
        if not (event and method.event == "instead_of_step"):
            optimizer.step()
        self.compare(module, optimizer, event)
        self.masks = world.sparsifier.masks

    def accumulate(self) -> None:
        self.step(backwards=3)

    def sync(self) -> None:
        world, rule = self.world, self.method.target
        world.target.update()
        for name, mask in self.masks.items():
            before, after = world.target.before[name], world.slow(name)
            if rule.name == "follow":
                keep = mask
            elif rule.name == "drift":
                keep = torch.ones_like(mask)
            else:
                counted = mask if rule.settings.get("count", "mask") == "mask" else world.weight(name) != 0
                keep = self.largest(before, self.rows(counted).sum(-1))
                assert bool((self.rows(after != 0).sum(-1) <= self.rows(counted).sum(-1)).all())
            assert torch.equal(after, torch.where(keep, before, 0.0)), f"slow copy of {name}"
        self.slow = {name: world.slow(name).clone() for name in self.masks}

    def largest(self, values: Tensor, k: Tensor) -> Tensor:
        keep = torch.zeros_like(self.rows(values), dtype=torch.bool)
        for i, row in enumerate(self.rows(values).abs()):
            keep[i, (-row).argsort(stable=True)[: int(k[i])]] = True
        return keep.view(values.shape)

    def read(self) -> None:
        before = digest(self.world)
        sparsifier = self.world.sparsifier
        sparsifier.densities(), sparsifier.target_densities(), sparsifier.state_dict(), repr(sparsifier)
        for mask in sparsifier.masks.values():
            mask.fill_(True)  # A copy: what a reader does with it is of no consequence.
        for count in sparsifier.state_dict()["final"].values():
            count.zero_()
        assert digest(self.world) == before

    def reload(self) -> None:
        before = digest(self.world)
        self.world.sparsifier.load_state_dict(self.world.sparsifier.state_dict())
        assert digest(self.world) == before

    def save(self) -> None:
        """Through a file, without code in it."""
        file = io.BytesIO()
        torch.save(self.world.sparsifier.state_dict(), file)
        file.seek(0)
        self.world.sparsifier.load_state_dict(torch.load(file, weights_only=True))

    # What must be true.

    def check(self) -> None:
        world, total, want = self.world, 0, 0
        sparsifier = world.sparsifier
        assert sparsifier.steps == self.steps
        alone = self.method.swap_scope == self.method.scope == "layer" and self.method.spread.name == "in_place"
        for name, mask in sparsifier.masks.items():
            weight = world.weight(name)
            assert mask.dtype == torch.bool
            assert mask.shape == weight.shape
            assert torch.equal(mask, self.masks[name]), "only a step changes the topology"
            assert torch.count_nonzero(weight[~mask]) == 0
            nnz, size = self.rows(mask).sum(-1), self.rows(mask).shape[-1]
            goals = torch.tensor([goal(self.method, int(n), size, self.steps) for n in self.final[name]])
            if alone:
                assert torch.equal(nnz, goals), (name, nnz, goals)
            total, want = total + int(nnz.sum()), want + int(goals.sum())
            if self.method.moments.name in ("mask", "warm"):
                for key, moment in world.moments(name).items():
                    assert torch.count_nonzero(moment[~mask]) == 0, f"{key} of {name} where it is absent"
            assert torch.equal(world.slow(name), self.slow[name]), "only its update changes a slow copy"
        assert total == want
        assert sum(d.active for d in sparsifier.densities()) == total
        slow = sum(int(world.slow(name).count_nonzero()) for name in self.masks)
        assert sum(d.active for d in sparsifier.target_densities()) == slow

    def compare(self, module: nn.Module, optimizer: Any, event: bool) -> None:
        world, rule = self.world, self.method.moments.name
        stepped, before, after = dict(module.named_parameters()), self.masks, world.sparsifier.masks
        report = {change.name: change for change in world.events[-1].layers} if event else {}
        for name, parameter in world.module.named_parameters():
            reference = stepped[name].detach()
            if name not in before:
                assert torch.equal(parameter, reference), f"{name} is dense and steps as ever"
                continue
            survive, grown = before[name] & after[name], after[name] & ~before[name]
            assert event or not grown.any()
            assert torch.equal(parameter[survive], reference[survive]), f"survivors of {name}"
            born = reference if self.method.born.name == "as_stepped" else torch.zeros_like(reference)
            assert torch.equal(parameter[grown], born[grown])
            self.compare_moments(name, optimizer.state.get(stepped[name], {}), rule, survive, grown)
            if event:
                change = report[name]
                assert change.active == after[name].sum()
                assert change.dropped == (before[name] & ~after[name]).sum()
                assert change.grown == grown.sum()
                assert change.zeros == (before[name] & (reference == 0)).sum()
                assert self.method.readmit or change.readmitted == 0

    def compare_moments(self, name: str, reference: dict[str, Any], rule: str, survive: Tensor, grown: Tensor) -> None:
        for key, moment in self.world.moments(name).items():
            stepped = reference[key]
            assert torch.equal(moment[survive], stepped[survive]), f"{key} of the survivors of {name}"
            if rule == "keep":
                assert torch.equal(moment, stepped)
            elif rule == "reset_grown":
                assert torch.equal(moment, torch.where(grown, 0.0, stepped))
            elif rule == "mask" or (rule == "warm" and key not in SECOND_MOMENTS):
                assert torch.equal(moment, torch.where(survive, stepped, 0.0))
            else:
                sums = self.rows(torch.where(survive, stepped, 0.0)).sum(-1, keepdim=True)
                mean = sums / self.rows(survive).sum(-1, keepdim=True).clamp(min=1)
                mean = mean.expand(self.rows(moment).shape).reshape(moment.shape)
                torch.testing.assert_close(moment[grown], mean[grown])


def digest(world: World) -> str:
    file = io.BytesIO()
    torch.save([world.state(), world.sparsifier.state_dict(), torch.get_rng_state()], file)
    return hashlib.sha256(file.getvalue()).hexdigest()


def play(method: str, optimizer: str, ops: list[str], seed: int, members: int = 0) -> Watched:
    watched = Watched(METHODS[method], optimizer=optimizer, seed=seed, members=members)
    for op in ops:
        watched.do(op)
    return watched


def ops_of(seed: int, n: int) -> list[str]:
    chosen = torch.randint(len(OPS), (n,), generator=torch.Generator().manual_seed(seed))
    return [OPS[int(i)] for i in chosen]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", METHODS)
def test_invariants_hold_in_a_long_random_run(method: str, optimizer: str) -> None:
    seed = 7 * list(METHODS).index(method) + list(OPTIMIZERS).index(optimizer)
    print("seed", seed)
    watched = play(method, optimizer, ops_of(seed, 36), seed)
    if method != "static":
        assert watched.world.events


@pytest.mark.parametrize("method", METHODS)
def test_invariants_hold_for_a_population(method: str) -> None:
    watched = play(method, "adam", ops_of(1, 36), seed=5, members=2)
    masks = watched.world.sparsifier.masks["0.weight"]
    assert method.startswith("gmp_net") or not torch.equal(masks[0], masks[1]), "members have topologies of their own"


@settings(max_examples=25, deadline=None, database=None)
@given(
    method=st.sampled_from(sorted(METHODS)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    ops=st.lists(st.sampled_from(OPS), max_size=30),
    seed=st.integers(0, 1000),
    members=st.sampled_from((0, 0, 2)),
)
def test_invariants_hold_in_any_order(method: str, optimizer: str, ops: list[str], seed: int, members: int) -> None:
    play(method, optimizer, ops, seed, members)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_masked_moments_are_zero_for_newcomers_under_dense_gradients_too(optimizer: str) -> None:
    method = replace(METHODS["dense_gradient"], moments=part("mask"))
    watched = Watched(method, optimizer=optimizer)
    for _ in range(7):
        watched.do("step")


@pytest.mark.parametrize("name", ["static", "set", "rigl"])
def test_a_trained_network_becomes_sparse_with_its_moments_and_its_slow_copy(name: str) -> None:
    world = World(None)
    for _ in range(20):
        world.step()
        world.target.update()
    world.sparsifier = world.attach(replace(METHODS[name], moments=part("mask")), 40, 0)
    for layer, mask in world.sparsifier.masks.items():
        assert torch.count_nonzero(world.weight(layer)[~mask]) == 0
        assert torch.count_nonzero(world.slow(layer)[~mask]) == 0
        for moment in world.moments(layer).values():
            assert torch.count_nonzero(moment[~mask]) == 0


def test_infinite_gradients_where_absent_leave_no_trace() -> None:
    """0 * inf is NaN: absence is filled, not multiplied."""
    world = World(METHODS["static"])
    mask = world.sparsifier.masks["0.weight"]
    world.gradients()
    next(world.module.parameters()).grad[~mask] = torch.inf
    world.optimizer.step()
    assert torch.count_nonzero(world.weight("0.weight")[~mask]) == 0
    assert all(torch.isfinite(moment).all() for moment in world.moments("0.weight").values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_kept_sparse(dtype: torch.dtype) -> None:
    module = network((6, 8, 7, 3)).to(dtype)
    optimizer, copy_ = OPTIMIZERS["adam"](module.parameters()), Copy(module)
    learner = Learner("net", module, optimizer, copy_)
    sparsifier = Sparsifier(learner, METHODS["set"], seed=SeedSequence(0), registry=REGISTRY)
    count = {d.name: d.active for d in sparsifier.densities()}
    for _ in range(7):
        optimizer.zero_grad()
        module(torch.ones(2, 6, dtype=dtype)).square().sum().backward()
        optimizer.step()
        copy_.update()
        for name, mask in sparsifier.masks.items():
            weight = module.get_parameter(name)
            absent = [weight[~mask], copy_.module.get_parameter(name)[~mask], optimizer.state[weight]["exp_avg"][~mask]]
            assert mask.sum() == count[name]
            assert all(torch.count_nonzero(values) == 0 for values in absent)


def test_convolutions_are_kept_sparse() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 2))
        images = torch.randn(4, 2, 5, 5)
    optimizer = OPTIMIZERS["adam"](module.parameters())
    method = replace(RIGL, allocation=ERK, schedule=SWAP, moments=part("mask"))
    sparsifier = Sparsifier(Learner("net", module, optimizer), method, seed=SeedSequence(0), registry=REGISTRY)
    count = {d.name: d.active for d in sparsifier.densities()}
    first = sparsifier.masks
    for _ in range(10):
        optimizer.zero_grad()
        module(images).square().sum().backward()
        optimizer.step()
        for name, mask in sparsifier.masks.items():
            weight = module.get_parameter(name)
            assert mask.shape == weight.shape
            assert mask.sum() == count[name]
            assert torch.count_nonzero(weight[~mask]) == 0
            moments = [v for v in optimizer.state.get(weight, {}).values() if v.shape == weight.shape]
            assert all(torch.count_nonzero(m[~mask]) == 0 for m in moments)
    assert not torch.equal(first["0.weight"], sparsifier.masks["0.weight"])


def test_a_closure_is_refused() -> None:
    """`optimizer.step(closure)` computes the gradient after the hook before the step, where nothing can mask it."""
    world = World(METHODS["static"])
    steps = world.sparsifier.steps
    for words in ((world.loss,), {"closure": world.loss}):
        with pytest.raises(ValueError, match="was given a closure"):
            world.optimizer.step(**words) if isinstance(words, dict) else world.optimizer.step(*words)
    assert world.sparsifier.steps == steps


def test_detached_means_left_alone() -> None:
    world = World(METHODS["set"])
    world.step()
    masks = world.sparsifier.masks
    world.sparsifier.detach()
    steps = world.sparsifier.steps
    for _ in range(5):
        world.step()
        world.target.update()
    assert any(world.weight(name)[~mask].any() for name, mask in masks.items())
    assert any(world.slow(name)[~mask].any() for name, mask in masks.items())
    assert world.sparsifier.steps == steps


def test_the_global_generator_is_left_alone_and_equal_seeds_give_equal_topologies() -> None:
    before = torch.get_rng_state()
    worlds = [World(METHODS["set"], seed=3), World(METHODS["set"], seed=3)]
    for world in worlds:
        for _ in range(7):
            world.step()
    assert torch.equal(torch.get_rng_state(), before)
    first, second = (world.sparsifier.masks for world in worlds)
    assert all(torch.equal(first[name], second[name]) for name in first)
    third = World(METHODS["set"], seed=3)
    third.sparsifier.detach()
    other = third.attach(METHODS["set"], None, 4).masks
    assert not torch.equal(other["0.weight"], World(METHODS["set"], seed=3).sparsifier.masks["0.weight"])


def test_a_network_wide_cut_keeps_the_largest_of_all_layers() -> None:
    """Two layers, the second ten times as large: the cut falls on the first."""
    method = Method(eligible=part("all"), allocation=part("uniform", density=0.5), scope="network")
    world = World(replace(method, budget=part("at_once", at=1)), sizes=(6, 10, 6), optimizer="sgd_momentum")
    with torch.no_grad():
        world.module[2].weight.mul_(10)
    world.gradients()
    module, optimizer = world.shadow()
    optimizer.step()
    world.optimizer.step()
    flat = torch.cat([p.detach().abs().flatten() for n, p in module.named_parameters() if n.endswith("weight")])
    mask = torch.zeros(120, dtype=torch.bool).scatter(0, flat.topk(60).indices, True)
    assert torch.equal(torch.cat([m.flatten() for m in world.sparsifier.masks.values()]), mask)
    assert world.sparsifier.densities()[0].active < 15


def test_what_a_network_wide_cut_took_does_not_return_in_the_same_event() -> None:
    """A full network is cut by a tenth while a swap is due: nothing was absent before, so nothing can grow."""
    method = Method(
        eligible=part("all"),
        allocation=part("uniform", density=0.9),
        scope="network",
        budget=part("at_once", at=1),
        schedule=part("periodic", fraction=0.5, every=1),
    )
    world = World(method, sizes=(6, 10, 6), optimizer="sgd_momentum")
    world.gradients()
    module, optimizer = world.shadow()
    optimizer.step()
    world.optimizer.step()
    flat = torch.cat([p.detach().abs().flatten() for n, p in module.named_parameters() if n.endswith("weight")])
    mask = torch.zeros(120, dtype=torch.bool).scatter(0, flat.topk(108).indices, True)

    assert torch.equal(torch.cat([m.flatten() for m in world.sparsifier.masks.values()]), mask)
