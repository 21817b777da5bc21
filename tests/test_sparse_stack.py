"""A sparse stack's passes against autograd on the same weights as dense tensors, in float64."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from toys_sparse import Case

from sparsity.execution.pattern import Pattern, Shape
from sparsity.execution.selection import keep_largest
from sparsity.execution.stack import SparseStack

BATCHES = (1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 80, 100, 127, 129, 257)
KINDS = ("whole", "none", "one", "some", "some", "few", "nearly", "all but one", "gaps")


def places(kind: str, shape: Shape, seed: int) -> NDArray[np.int64] | None:
    """Connections of a layer: none, one, all, or some, with units that read nothing and features that nobody reads."""
    draw = np.random.default_rng(seed)
    if kind == "whole":
        return None
    if kind == "gaps":
        open_ = np.multiply.outer(draw.random((shape.members, shape.out)) < 0.5, draw.random(shape.fan_in) < 0.5)
        return np.flatnonzero(open_)
    density = {"some": 0.4, "few": 0.08, "nearly": 0.95}.get(kind, 0.0)
    size = {"none": 0, "one": 1, "all but one": shape.size - 1}.get(kind, round(density * shape.size))
    return np.sort(draw.permutation(shape.size)[:size]).astype(np.int64)


@st.composite
def cases(draw: Any) -> tuple[Case, list[Tensor], int]:
    """A stack, a batch in pieces, and how many copies are to pass."""
    widths = draw(st.lists(st.integers(1, 21), min_size=2, max_size=5))
    members, seed = draw(st.integers(1, 3)), draw(st.integers(0, 2**20))
    shapes = [Shape(members, o, i) for i, o in itertools.pairwise(widths)]
    kept = [places(draw(st.sampled_from(KINDS)), shape, seed + n) for n, shape in enumerate(shapes)]
    case = Case(widths, members, kept, seed=seed, biased=draw(st.booleans()))
    return case, case.inputs(draw(st.sampled_from(BATCHES)), draw(st.integers(1, 3))), draw(st.integers(1, members))


close = torch.testing.assert_close
thorough = settings(max_examples=60, deadline=None, database=None, derandomize=True)


def backwards(case: Case, inputs: list[Tensor], copies: int, gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The outputs in plain torch, and the gradients of the inputs; those of the weights are left in the case."""
    out = case.dense(inputs, copies)
    out.backward(gradient)
    found = [x.grad for x in inputs]
    for x in inputs:
        x.grad = None
    return out.detach(), found  # type: ignore[return-value]


@thorough
@given(cases())
def test_record_and_pull_are_the_two_halves_of_autograd(drawn: tuple[Case, list[Tensor], int]) -> None:
    case, inputs, copies = drawn
    gradient = case.normal(copies, len(inputs[0]), case.pattern.widths[-1])
    expected, slopes = backwards(case, inputs, copies, gradient)
    for wanted in (None, *range(len(inputs))):
        out, tape = case.stack.record(tuple(inputs), copies)
        close(out, expected)
        case.stack.values.grad = None
        slope = case.stack.pull(tape, gradient, wanted=wanted)
        close(case.stack.values.grad, case.gradients())
        if wanted is not None:
            close(slope, slopes[wanted])
    _, tape = case.stack.record(tuple(inputs), copies)
    before = case.stack.values.grad.clone()
    close(case.stack.pull(tape, gradient, learns=False, wanted=0), slopes[0])
    assert torch.equal(case.stack.values.grad, before), "nothing was to be learned"


@thorough
@given(cases())
def test_a_call_is_differentiated_as_plain_torch_is(drawn: tuple[Case, list[Tensor], int]) -> None:
    case, inputs, copies = drawn
    gradient = case.normal(copies, len(inputs[0]), case.pattern.widths[-1])
    expected, slopes = backwards(case, inputs, copies, gradient)
    case.stack.keeps = True
    for times in (1, 2):  # The second pass adds to the first.
        out = case.stack(tuple(inputs), copies)
        close(out, expected)
        out.backward(gradient)
        close(case.stack.values.grad, times * case.gradients())
        for layer, weight in enumerate(case.weights):
            close(case.stack.dense_gradient(layer), times * weight.grad)
        for x, slope in zip(inputs, slopes, strict=True):
            close(x.grad, times * slope)
    with torch.no_grad():
        close(case.stack(tuple(inputs), copies), expected)


@thorough
@given(cases())
def test_both_losses_and_single_samples_are_those_of_plain_torch(drawn: tuple[Case, list[Tensor], int]) -> None:
    case, inputs, _ = drawn
    samples = len(inputs[0])
    for sample in torch.cat(inputs, dim=1)[:2].detach():
        close(torch.from_numpy(case.stack.single(sample.numpy())), case.dense([sample.unsqueeze(0)], 1)[0, 0].detach())
    if case.pattern.widths[-1] != 1:
        return
    aim, wanted = case.normal(samples), len(inputs) - 1
    expected = case.dense(inputs).squeeze(-1)
    (expected - aim).square().mean(1).sum().backward()
    for keeps in (False, True):
        case.stack.keeps, case.stack.values.grad = keeps, None
        close(case.stack.regress(tuple(inputs), aim), expected.detach())
        close(case.stack.values.grad, case.gradients())
    for layer, weight in enumerate(case.weights):
        close(case.stack.dense_gradient(layer), weight.grad)
    for x in inputs:
        x.grad = None
    (0.3 * case.dense(inputs, 1).sum()).backward()
    before = case.stack.values.grad.clone()
    q, slope = case.stack.slope(tuple(inputs), 0.3, wanted)
    close(q, expected[0].detach())
    close(slope, inputs[wanted].grad)
    assert torch.equal(case.stack.values.grad, before)


@pytest.mark.parametrize("samples", range(1, 258, 8))
def test_every_remainder_of_a_batch_is_served(samples: int) -> None:
    shapes = (Shape(2, 9, 5), Shape(2, 1, 9))
    case = Case((5, 9, 1), 2, [places("some", shape, 3) for shape in shapes])
    aim, inputs = case.normal(samples), case.inputs(samples, 2)
    (case.dense(inputs).squeeze(-1) - aim).square().mean(1).sum().backward()
    case.stack.regress(tuple(inputs), aim)
    close(case.stack.values.grad, case.gradients())


def toy(**chosen: Any) -> Case:
    shapes = (Shape(2, 9, 5), Shape(2, 7, 9), Shape(2, 1, 7))
    return Case((5, 9, 7, 1), 2, [places("some", shape, 3) for shape in shapes], **chosen)


@pytest.mark.parametrize("clear", [None, "to none", "to zero"])
@pytest.mark.parametrize("order", ["before", "after", "both"])
def test_an_actors_backward_through_a_critic_leaves_its_dense_gradient_alone(order: str, clear: str | None) -> None:
    """As TD3's actor goes back through the critic: `backward(inputs=...)`, around the critic's own pass."""
    case = toy()
    (case.dense(inputs := case.inputs(20, 2))).square().mean().backward()
    case.stack.keeps = True

    def act() -> None:
        action = case.normal(20, inputs[1].shape[1]).requires_grad_()
        case.stack((inputs[0], action), 1).mean().backward(inputs=[action])

    def cleared() -> None:
        if clear == "to none":
            case.stack.values.grad = None
        elif clear == "to zero" and case.stack.values.grad is not None:
            case.stack.values.grad.zero_()

    if order != "after":
        act()
        assert case.stack.dense_gradient(0) is None, "no gradient has reached the weights"
        cleared()
    case.stack(tuple(inputs)).square().mean().backward()
    if order != "before":
        act()
    for layer, weight in enumerate(case.weights):
        close(case.stack.dense_gradient(layer), weight.grad)


@pytest.mark.parametrize("clear", ["to none", "to zero"])
def test_cleared_gradients_are_gone_from_the_dense_gradient(clear: str) -> None:
    """`zero_grad(set_to_none=False)` clears as well as `zero_grad()` does."""
    case = toy()
    case.dense(inputs := case.inputs(20)).square().mean().backward()
    case.stack.keeps = True
    optimizer = torch.optim.SGD([case.stack.values], lr=1.0)
    case.stack((case.normal(20, 5),)).sum().backward()
    optimizer.zero_grad(set_to_none=clear == "to none")
    case.stack(tuple(inputs)).square().mean().backward()
    close(case.stack.values.grad, case.gradients())
    for layer, weight in enumerate(case.weights):
        close(case.stack.dense_gradient(layer), weight.grad)


def test_a_gradient_taken_aside_leaves_the_dense_gradient_alone() -> None:
    case = toy()
    case.dense(inputs := case.inputs(20)).square().mean().backward()
    case.stack.keeps = True
    for take in ("before", "after"):
        case.stack.values.grad = None
        if take == "after":
            case.stack(tuple(inputs)).square().mean().backward()
        torch.autograd.grad(case.stack((case.normal(20, 5),)).sum(), case.stack.values)
        if take == "before":
            case.stack(tuple(inputs)).square().mean().backward()
        close(case.stack.dense_gradient(1), case.weights[1].grad)


def test_two_passes_in_one_loss_add_up() -> None:
    case = toy()
    one, two = case.inputs(20), case.inputs(5)
    (case.dense(one).sum() - 2 * case.dense(two, 1).square().sum()).backward()
    case.stack.keeps = True
    (case.stack(tuple(one)).sum() - 2 * case.stack(tuple(two), 1).square().sum()).backward()
    close(case.stack.values.grad, case.gradients())
    for layer, weight in enumerate(case.weights):
        close(case.stack.dense_gradient(layer), weight.grad)


def test_a_second_backward_through_one_forward_is_an_error() -> None:
    case = toy()
    out = case.stack(tuple(case.inputs(4))).sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward pass"):
        out.backward()


@pytest.mark.parametrize("bad", ["sample", "weight", "bias"])
def test_nan_stays_nan(bad: str) -> None:
    """A ReLU that turns NaN into 0 would hide that training has diverged."""
    case = Case((5, 9, 1), 1, [None, None])
    (x,) = (x.detach() for x in case.inputs(20))
    if bad == "sample":
        x[3, 2] = torch.nan
    else:
        with torch.no_grad():
            case.stack.values[0 if bad == "weight" else case.pattern.biases[0]] = torch.nan
    out = case.stack((x,)).detach()[0, :, 0]
    expected = torch.zeros(20, dtype=torch.bool)
    expected[3 if bad == "sample" else slice(None)] = True
    assert torch.equal(out.isnan(), expected)
    assert np.isnan(case.stack.single(x[3].numpy())).all()
    case.stack.regress((x,), torch.zeros(20, dtype=torch.float64))
    assert case.stack.values.grad[case.pattern.biases[-2]].isnan()


def test_a_stack_is_freed_when_nobody_holds_it() -> None:
    stack = SparseStack(Pattern([Shape(1, 2, 3)], [None]), nn.Parameter(torch.zeros(8)))
    held = weakref.ref(stack)
    del stack
    gc.collect()
    assert held() is None


numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 5e-324, -5e-324, 1e-310, 1e-300, 1e300]) | st.floats(-3, 3)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(st.lists(numbers, min_size=1, max_size=40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**20))
def test_keep_largest_keeps_what_a_sort_would(drawn: list[float], tail: int, k: int, seed: int) -> None:
    """k largest magnitudes, ties to the lower place, over two segments whose places interleave."""
    values = np.array(drawn)
    split = max(0, len(values) - tail)
    order = np.random.default_rng(seed).permutation(len(values))
    where = [np.sort(order[:split]), np.sort(order[split:])]
    joined = np.concatenate(where)
    expected = np.zeros(len(values))
    best = sorted(range(len(values)), key=lambda i: (-abs(values[i]), joined[i]))[:k]
    expected[best] = values[best]
    keep_largest(values, np.array([[0, split], [split, len(values)]], np.int64), where, k)
    assert np.array_equal(values, expected)
