"""Masked and sparse execution side by side, running free in float64: the same masks, and the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from toys_sparse import EXECUTIONS, RULES, SERVED, Agents, Layered, assert_equal, swapping
from toys_sparsity import ERK, METHODS, OPTIMIZERS

from registry import part
from sparsity import RIGL, Method

UPDATES = 30


def together(method: Method, kind: type[Any] = Agents, updates: int = UPDATES, **chosen: Any) -> Any:
    """Both executions after each other's every update equal; the sparse one is given back."""
    masked, sparse = (kind(method, execution, **chosen) for execution in EXECUTIONS)
    assert [s.execution for s in sparse.sparsifiers] == ["sparse"] * len(sparse.sparsifiers)
    assert_equal(masked, sparse)
    for number in range(updates):
        masked.do(number)
        sparse.do(number)
        if number % 7 == 0 or number < 8 or number == updates - 1:
            assert_equal(masked, sparse)
    return sparse


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SERVED)
def test_td3_is_the_same_run_in_both_executions(name: str, rule: str) -> None:
    run = together(replace(SERVED[name], target=RULES[rule]))
    if name != "static":
        assert {number for number, _ in run.events} == {0, 1}, "both networks had events"


@pytest.mark.parametrize("delay", [1, 2, 3])
@pytest.mark.parametrize("every", [1, 2, 4, 5])
@pytest.mark.parametrize("name", ["set", "rigl"])
def test_odd_and_even_periods_and_any_stride_are_the_same_run(name: str, every: int, delay: int) -> None:
    method = replace(swapping(METHODS[name], every), target=RULES["nonzero"])
    together(method, updates=24, policy_delay=delay)


@pytest.mark.parametrize("name", ["set", "rigl", "rigl_after", "ds", "gmp", "granet"])
def test_losses_in_plain_torch_are_the_same_run(name: str) -> None:
    together(replace(SERVED[name], target=RULES["nonzero"]), analytic=False)


@pytest.mark.parametrize("name", ["set", "rigl"])
def test_the_gradient_in_closed_form_is_that_of_plain_torch_when_sparse(name: str) -> None:
    one, two = (Agents(METHODS[name], "sparse", analytic=analytic) for analytic in (True, False))
    for number in range(UPDATES):
        one.do(number)
        two.do(number)
        assert one.figures == pytest.approx(two.figures)
    assert_equal(one, two)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["set", "rigl", "warm", "gmp"])
def test_a_sequence_of_layers_is_the_same_run_with_any_optimiser(name: str, optimizer: str) -> None:
    together(replace(METHODS[name], target=RULES["mask"]), Layered, optimizer=optimizer)


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("rule", RULES)
def test_targets_that_are_copied_at_once_are_the_same(rule: str, every: int) -> None:
    """tau = 1 leaves nothing in the tail; with `every` the topology changes between updates of the target."""
    for name in ("set", "rigl"):
        together(replace(METHODS[name], target=RULES[rule]), Layered, tau=1.0, every=every)


@pytest.mark.parametrize("tau", [0.02, 0.6])
@pytest.mark.parametrize("rule", RULES)
def test_targets_that_lag_behind_several_events_are_the_same(rule: str, tau: float) -> None:
    method = replace(swapping(METHODS["set"], 2, 0.5), target=RULES[rule])
    run = together(method, Layered, tau=tau, every=5)
    online, slow = run.sparsifiers[0].densities(), run.sparsifiers[0].target_densities()
    if rule == "drift":
        assert sum(d.active for d in slow) > sum(d.active for d in online), "the union of topologies has a tail"


@pytest.mark.parametrize("optimizer", ["adam", "sgd_momentum", "amsgrad"])
def test_a_trained_network_is_taken_over_with_its_moments_and_its_slow_copy(optimizer: str) -> None:
    twins = [Layered(None, execution, optimizer=optimizer) for execution in EXECUTIONS]
    for twin, execution in zip(twins, EXECUTIONS, strict=True):
        twin.go(0, 9)
        twin.attach(replace(METHODS["rigl_after"], target=RULES["mask"]), execution)
    assert_equal(*twins)
    for number in range(9, 30):
        for twin in twins:
            twin.do(number)
        assert_equal(*twins)


@pytest.mark.parametrize("density", [0.11, 0.97, 1.0])
def test_layers_with_hardly_any_or_nearly_all_connections_are_the_same_run(density: float) -> None:
    method = replace(METHODS["rigl"], allocation=part("uniform", density=density), target=RULES["nonzero"])
    together(method)


@pytest.mark.parametrize("grow", ["random", "gradient", "mixture"])
def test_several_backwards_before_a_step_add_up_in_both(grow: str) -> None:
    method = replace(METHODS["rigl_after"], grow=part(grow), schedule=part("periodic", fraction=0.5, every=2))
    twins = [Layered(method, execution) for execution in EXECUTIONS]
    draw = torch.Generator().manual_seed(0)
    for _ in range(12):
        batches = [torch.randn(10, 6, generator=draw, dtype=torch.float64) for _ in range(3)]
        for twin in twins:
            twin.optimizer.zero_grad()
            for x in batches:
                twin.module(x).square().mean().backward()
            twin.optimizer.step()
            twin.target.update()
        assert_equal(*twins)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_cleared_either_way_are_the_same_run(set_to_none: bool) -> None:
    """Whatever was computed before `zero_grad` is no part of the gradient by which connections grow."""
    method = replace(RIGL, allocation=ERK, event="after_step", schedule=part("periodic", fraction=0.5, every=1))
    twins = [Layered(method, execution) for execution in EXECUTIONS]
    draw = torch.Generator().manual_seed(0)
    for _ in range(8):
        other, x = (torch.randn(10, 6, generator=draw, dtype=torch.float64) for _ in range(2))
        for twin in twins:
            (5 * twin.module(other)).square().mean().backward()
            twin.optimizer.zero_grad(set_to_none=set_to_none)
            twin.module(x).square().mean().backward()
            twin.optimizer.step()
            twin.target.update()
        assert_equal(*twins)


def test_infinite_gradients_are_the_same_failure() -> None:
    """A run that diverges fails with FloatingPointError, which whoever trains it waits for."""
    for execution in EXECUTIONS:
        twin = Layered(METHODS["rigl"], execution)
        twin.go(0, 2)
        twin.optimizer.zero_grad()
        (twin.module(torch.ones(4, 6, dtype=torch.float64)) * torch.inf).sum().backward()
        with pytest.raises(FloatingPointError, match="gradient net"):
            twin.optimizer.step()


def test_no_gradient_at_an_event_is_the_same_failure() -> None:
    """`zero_grad` after the backward pass: nothing is left to grow by."""
    for execution in EXECUTIONS:
        twin = Layered(METHODS["rigl"], execution)
        twin.go(0, 2)
        twin.module(torch.ones(4, 6, dtype=torch.float64)).sum().backward()
        twin.optimizer.zero_grad()
        with pytest.raises(ValueError, match="asks for a gradient"):
            twin.optimizer.step()


@pytest.mark.parametrize("rule", RULES)
def test_a_detached_target_follows_its_online_network_in_both(rule: str) -> None:
    twins = [Layered(replace(METHODS["set"], target=RULES[rule]), execution) for execution in EXECUTIONS]
    for twin in twins:
        twin.go(0, 5)
        (sparsifier,) = twin.sparsifiers
        sparsifier.detach()
        for _ in range(60):
            twin.target.update()
    one, two = (dict(twin.tensors()) for twin in twins)
    for name, tensor in one.items():
        if "slow" in name:
            torch.testing.assert_close(tensor, two[name], rtol=0, atol=1e-8)
