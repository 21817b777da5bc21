"""Gradients masked as they form: what clips their norm before the step then sees those of active connections alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparsity.execution import MaskedWeight
from sparsity.sparsifier import Sparsifier
from sparsity.trained import Handle


class EarlyMask:
    """Hides absent gradients from the moment that they form, and gives them back to the sparsifier at the step.

    It must hang on the optimiser before the sparsifier does, which it then is to `follow`. Given back, absent gradients
    are scaled as the clipping has scaled the others, so that criteria compare like with like. For training loops that
    clear gradients by `None`, torch's default.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._handles: list[Handle] = [optimizer.register_step_pre_hook(self._give_back)]
        self._held: dict[MaskedWeight, Tensor] = {}

    def follow(self, sparsifier: Sparsifier) -> None:
        """From now on. Sparse execution has no absent gradients to hide."""
        for weight in sparsifier.weights:
            if isinstance(weight, MaskedWeight) and sparsifier.method.optimizer_sees == "masked":
                self._handles.append(weight.parameter.register_hook(partial(self._hide, sparsifier, weight)))

    def detach(self) -> None:
        """Take all hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._held = [], {}

    def _hide(self, sparsifier: Sparsifier, weight: MaskedWeight, grad: Tensor) -> Tensor:
        if sparsifier.asks_dense:
            earlier = self._held.get(weight) if weight.parameter.grad is not None else None
            self._held[weight] = grad.clone() if earlier is None else earlier + grad
        return torch.where(weight.mask.view(grad.shape), grad, 0)

    def _give_back(self, optimizer: Optimizer, *_: Any) -> None:
        for weight, dense in self._held.items():
            grad, mask = weight.parameter.grad, weight.mask.view(dense.shape)
            if grad is not None:
                before = torch.where(mask, dense, 0).norm()
                scale = grad.norm() / before if bool(before) else 1.0
                weight.parameter.grad = torch.where(mask, grad, dense * scale)
        self._held = {}
