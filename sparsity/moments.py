"""The optimiser's moments of absent and of new connections.

A rule gets every tensor of the optimiser's state that is shaped like the weight. `second` tells squared moments (Adam's
v) from first ones. Rules are applied at the start and at events; under dense gradients those that ask for `mask` also
after every step (under masked ones a moment that is zero where absent stays so).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from registry import hookimpl


def keep(moment: Tensor) -> Tensor:
    """Left alone: absent moments decay, or gather dense gradients (Sokar et al. 2022 released; RLx2)."""
    return moment


def masked(moment: Tensor, mask: Tensor, grown: Tensor) -> Tensor:
    """0 where absent, and where just grown: new connections start from rest (ANF's MaskAdam, Grooten et al. 2023)."""
    return torch.where(mask & ~grown, moment, torch.zeros_like(moment))


def reset_grown(moment: Tensor, grown: Tensor) -> Tensor:
    """0 where a connection has just grown: RigL (Evci et al. 2020)."""
    return torch.where(grown, torch.zeros_like(moment), moment)


def warm(moment: Tensor, mask: Tensor, grown: Tensor, second: bool) -> Tensor:
    """0 where absent; new connections get m = 0 and the mean v of the older active ones of their layer.

    With m = v = 0 at a large step count Adam moves a newcomer by several learning rates a step; this start does not.
    """
    moment = torch.where(mask & ~grown, moment, torch.zeros_like(moment))
    if not second:
        return moment
    older = (mask & ~grown).sum((-2, -1), keepdim=True).clamp(min=1)
    return torch.where(grown, moment.sum((-2, -1), keepdim=True) / older, moment)


@hookimpl
def register_moments(register: Callable[..., object]) -> None:
    register(keep)
    register(masked, name="mask", forgets_absent=True)
    register(reset_grown, forgets_absent=True)
    register(warm, forgets_absent=True)
