"""Of any small architecture, under every method that can be attached: exact counts, and zeros that are zero."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from toys_attach import attached, batches, loss, short_plan

from registry import default_registry
from sparsity import Sparsifier, allocation

REGISTRY = default_registry()
METHODS = [name for name in REGISTRY.names("method") if name not in ("dense", "dense_small", "ne")]
CANNOT = ("leaves no connection", "left a layer without any connection", "synflow reads a chain")
"""Why a method may say no to an architecture or a density."""


@st.composite
def architectures(draw: st.DrawFn) -> nn.Sequential:
    """Some convolutions, grouped, strided, transposed or not, of 2 x 5 x 5 inputs; then some linear layers."""
    torch.manual_seed(draw(st.integers(0, 99)))
    layers: list[nn.Module] = []
    channels, side = 2, 5
    for _ in range(draw(st.integers(0, 2))):
        out, kernel = 2 * draw(st.integers(1, 3)), draw(st.sampled_from([1, 3]))
        if draw(st.booleans()):
            layers.append(nn.Conv2d(channels, out, kernel, padding=kernel // 2, groups=draw(st.sampled_from([1, 2]))))
        else:
            layers.append(nn.ConvTranspose2d(channels, out, kernel, padding=kernel // 2))
        layers.append(draw(st.sampled_from([nn.Tanh, nn.ReLU]))())
        channels = out
    layers.append(nn.Flatten())
    width = channels * side * side
    for size in draw(st.lists(st.integers(2, 9), max_size=2)):
        layers += [nn.Linear(width, size, bias=draw(st.booleans())), nn.Tanh()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 2))


OPTIMISERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
}


def allocated(sparsifier: Sparsifier) -> dict[str, int]:
    """Connections that the allocation gives each layer, worked out apart from the sparsifier."""
    shapes = {layer.name: _member(sparsifier, layer.name) for layer in sparsifier.densities()}
    densities = REGISTRY.bind("allocation", sparsifier.method.allocation)(shapes=shapes)
    return allocation.counts(shapes, densities)


def _member(sparsifier: Sparsifier, name: str) -> tuple[int, ...]:
    return tuple(sparsifier.masks[name].shape)


@short_plan
@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    module=architectures(),
    method=st.sampled_from(METHODS),
    optimiser=st.sampled_from(sorted(OPTIMISERS)),
    density=st.floats(0.2, 0.95),
    steps=st.integers(1, 12),
    every=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_counts_are_exact_and_absent_weights_zero_after_any_number_of_steps(
    module: nn.Sequential, method: str, optimiser: str, density: float, steps: int, every: int, seed: int
) -> None:
    optimizer = OPTIMISERS[optimiser](module.parameters())
    entry = REGISTRY.entry("method", method).value
    known = {setting.name for setting in REGISTRY.entry("schedule", entry.schedule.name).settings}
    words: dict[str, Any] = {"schedule": {"every": every, **({"phase": 0} if "phase" in known else {})}}
    words = words if "every" in known else {}
    names = [name for name, p in module.named_parameters() if p.dim() >= 2]
    assume(entry.eligible.name != "hidden" or len(names) > 1)
    try:
        sparsifier = attached(module, optimizer, method, density=density, total=steps, seed=seed, **words)
        with sparsifier as kept:
            _train(module, optimizer, kept, steps)
    except ValueError as error:
        assume(not any(says in str(error) for says in (*CANNOT, "of a transposed convolution")))
        raise


def _train(module: nn.Sequential, optimizer: torch.optim.Optimizer, sparsifier: Sparsifier, steps: int) -> None:
    method, data = sparsifier.method, batches(3, 2, 5, 5)
    apart = method.scope == method.swap_scope == "layer" and method.spread.name == "in_place"
    still = method.budget.name == "constant"
    drawn = method.initial.name == "bernoulli"
    goal = {n: int(m.sum()) for n, m in sparsifier.masks.items()} if drawn else allocated(sparsifier)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss(module, next(data)).backward()
        optimizer.step()
        _check_zeros(module, sparsifier)
        now = {layer.name: layer.active for layer in sparsifier.densities()}
        if still and apart:
            assert now == goal
        ends = step == steps and method.budget.name in ("cubic", "at_once", "soft_bound")
        if still or ends:
            assert sum(now.values()) == sum(goal.values())
        assert all(0 <= now[layer.name] <= layer.size for layer in sparsifier.densities())


def _check_zeros(module: nn.Module, sparsifier: Sparsifier) -> None:
    for layer in sparsifier.densities():
        mask, weight = sparsifier.masks[layer.name], module.get_parameter(layer.name).detach()
        assert int(mask.sum()) == layer.active <= math.prod(layer.shape)
        absent = weight[~mask]
        assert not absent.any()
        assert not torch.signbit(absent).any()
