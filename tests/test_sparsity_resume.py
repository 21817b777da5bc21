"""A saved and loaded run goes on as if nothing had happened, to the bit."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from toys_sparsity import METHODS, OPTIMIZERS, World

from registry import part
from sparsity import Method

TRACED = {
    "momentum_growth": replace(METHODS["set"], prune=part("toy_age"), grow=part("toy_average")),
    "rlx2_clock": replace(METHODS["rigl"], clock="optimizer", moments=part("keep"), initial=part("magnitude")),
}
ALL = METHODS | TRACED
LENGTH = 22


def go(world: World, first: int, last: int) -> None:
    for n in range(first, last):
        world.step()
        if n % 2:
            world.target.update()


def through_a_file(state: object) -> object:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(a: World, b: World) -> None:
    for name, mask in a.sparsifier.masks.items():
        assert torch.equal(mask, b.sparsifier.masks[name]), f"mask of {name}"
    pairs = [(a.module, b.module), (a.target.module, b.target.module)]
    for mine, theirs in pairs:
        for (name, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            assert torch.equal(p, q), name
    for name in a.sparsifier.masks:
        first, second = a.moments(name), b.moments(name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def interrupted(method: Method, at: int, optimizer: str = "adam", stride: int = 1, members: int = 0) -> None:
    def new(seed: int) -> World:
        return World(method, total=40, optimizer=optimizer, stride=stride, seed=seed, members=members)

    whole, broken = new(0), new(0)
    go(whole, 0, LENGTH)
    go(broken, 0, at)
    fresh = new(99)
    fresh.load(broken.state())
    fresh.sparsifier.load_state_dict(through_a_file(broken.sparsifier.state_dict()))
    same(broken, fresh)
    go(fresh, at, LENGTH)
    same(whole, fresh)
    assert [*broken.events, *fresh.events] == whole.events


@pytest.mark.parametrize("at", [0, 1, 2, 3, 6, 13, 14])
@pytest.mark.parametrize("name", ALL)
def test_a_run_resumed_at_any_step_is_the_same_run(name: str, at: int) -> None:
    interrupted(ALL[name], at)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_resumes_with_every_optimiser(optimizer: str) -> None:
    interrupted(METHODS["set"], 5, optimizer)


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("name", ["ds_released", "gmp", "rlx2_clock"])
def test_a_run_resumes_with_a_stride_and_a_population(name: str, stride: int) -> None:
    interrupted(ALL[name], 4, stride=stride, members=2)


def test_a_saved_state_is_a_copy() -> None:
    world = World(METHODS["set"])
    go(world, 0, 4)
    state = world.sparsifier.state_dict()
    before = {name: mask.clone() for name, mask in state["masks"].items()}
    steps = state["steps"]
    go(world, 4, 12)
    assert state["steps"] == steps
    assert all(torch.equal(before[name], mask) for name, mask in state["masks"].items())


def test_loading_makes_the_weights_fit_the_masks() -> None:
    """The weights were forgotten: what is absent in the loaded topology is zero at once."""
    broken, fresh = World(METHODS["set"]), World(METHODS["set"], seed=99)
    go(broken, 0, 4)
    fresh.sparsifier.load_state_dict(broken.sparsifier.state_dict())
    for name, mask in broken.sparsifier.masks.items():
        assert torch.count_nonzero(fresh.weight(name)[~mask]) == 0
