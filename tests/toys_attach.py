"""What the tests of `attach` share: small networks, and training loops as users write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsity import Sparsifier, attach

EVERY = {"every": 2}
"""Events often enough for tests."""
short_plan = pytest.mark.filterwarnings("ignore:.* no change falls into the")
"""For tests of something else, whose plans are too short for a change of topology."""


def network(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """8 inputs, two hidden layers of 16, one output; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)).to(dtype)


def adam(module: nn.Module, **settings: Any) -> Optimizer:
    return torch.optim.Adam((p for p in module.parameters() if p.requires_grad), lr=1e-2, **settings)


def batches(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(*shape, generator=generator).to(dtype)


def loss(module: nn.Module, x: Tensor) -> Tensor:
    out = module(x)
    out = out[0] if isinstance(out, tuple) else out
    return (out - x.flatten(1).sum(1).view(-1, *[1] * (out.dim() - 1)).to(out.dtype)).square().mean()


def train(module: nn.Module, optimizer: Optimizer, data: Iterator[Tensor], steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss(module, next(data)).backward()
        optimizer.step()


def is_sparse(module: nn.Module, sparsifier: Sparsifier) -> bool:
    """Whether absent weights are exactly zero, and there are some."""
    weights = {name: module.get_parameter(name).detach() for name in sparsifier.masks}
    return all(not w[~sparsifier.masks[n]].any() for n, w in weights.items()) and any(
        not mask.all() for mask in sparsifier.masks.values()
    )


def counts(sparsifier: Sparsifier) -> dict[str, int]:
    return {layer.name: layer.active for layer in sparsifier.densities()}


@contextmanager
def attached(module: nn.Module, optimizer: Optimizer | None = None, *args: Any, **words: Any) -> Iterator[Sparsifier]:
    """A sparsifier that is taken off again."""
    sparsifier = attach(module, optimizer or adam(module), *args, **words)
    try:
        yield sparsifier
    finally:
        sparsifier.detach()


Build = Callable[[], nn.Module]
