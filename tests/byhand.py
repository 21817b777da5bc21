"""Events worked out by hand: layers of given weights, gradients that are set, and an optimiser that moves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import Tensor, nn
from toys_sparsity import REGISTRY

from sparsity import Event, Method, Sparsifier

Rows = Sequence[Sequence[float]]


class Still:
    """A chain of layers without training: what changes is the method's doing."""

    def __init__(self, method: Method, *weights: Rows, total: int | None = None, rate: float = 0.0) -> None:
        self.layers = [torch.tensor(rows, dtype=torch.float64) for rows in weights]
        self.module = nn.Sequential(*(nn.Linear(w.shape[1], w.shape[0], dtype=torch.float64) for w in self.layers))
        for layer, weight in zip(self.module, self.layers, strict=True):
            layer.weight.data.copy_(weight)
            layer.bias.data.zero_()
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=rate)
        self.events: list[Event] = []
        learner: Any = type("Learner", (), {})()
        learner.name, learner.module, learner.optimizer, learner.target, learner.stride = (
            "net", self.module, self.optimizer, None, 1,
        )  # fmt: skip
        self.sparsifier = Sparsifier(
            learner, method, seed=SeedSequence(0), total=total, on_event=self.events.append, registry=REGISTRY
        )

    def step(self, *gradients: Rows) -> None:
        """One optimiser step on these gradients; zeros where none is given."""
        for number, layer in enumerate(self.module):
            given = gradients[number] if number < len(gradients) else torch.zeros_like(self.layers[number])
            layer.weight.grad = torch.as_tensor(given, dtype=torch.float64).clone()
            layer.bias.grad = torch.zeros_like(layer.bias)
        self.optimizer.step()

    def masks(self) -> list[list[str]]:
        """Each layer's rows as `x` and `.`."""
        return [drawn(mask) for mask in self.sparsifier.masks.values()]

    def weights(self) -> list[list[list[float]]]:
        return [layer.weight.detach().tolist() for layer in self.module]

    def counts(self) -> list[int]:
        return [int(mask.sum()) for mask in self.sparsifier.masks.values()]


def drawn(mask: Tensor) -> list[str]:
    return ["".join("x" if active else "." for active in row) for row in mask.tolist()]
