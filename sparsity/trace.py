"""Traces: what the engine remembers for criteria, one tensor a weight, only for those that a chosen part names.

A trace is a pure function of its last value and this step's inputs. Registered with `window=n` it runs over the last n
optimiser steps before an event and starts each time from zero; without, at every step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from registry import hookimpl


def momentum(trace: Tensor, grad: Tensor, *, beta: float = 0.9) -> Tensor:
    """beta m + (1 - beta) g over dense gradients: SNFS (Dettmers & Zettlemoyer 2019)."""
    return beta * trace + (1 - beta) * grad


def squared_gradient(trace: Tensor, grad: Tensor, *, beta: float = 0.999) -> Tensor:
    """beta v + (1 - beta) g^2 over dense gradients: Adam's second moment (Kingma & Ba 2015), absent weights too."""
    return beta * trace + (1 - beta) * grad.square()


def averaged_gradient(trace: Tensor, grad: Tensor) -> Tensor:
    """Sum of the dense gradients of the last 4 batches before an event, for growth less noisy than RigL's."""
    return trace + grad


def age(trace: Tensor, mask: Tensor) -> Tensor:
    """Optimiser steps since the connection entered; 0 where absent."""
    return torch.where(mask, trace + 1, torch.zeros_like(trace))


def ever_active(trace: Tensor, mask: Tensor) -> Tensor:
    """1 where the connection has ever been active: ITOP's exploration (Liu et al. 2021)."""
    return torch.maximum(trace, mask.to(trace.dtype))


@hookimpl
def register_trace(register: Callable[..., object]) -> None:
    register(momentum)
    register(squared_gradient)
    register(averaged_gradient, window=4)
    register(age)
    register(ever_active)
