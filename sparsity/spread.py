"""How an event's growth is spread over the layers: shares, one a layer (and member of a population)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from registry import hookimpl
from sparsity.grow import scaled_momentum


def in_place(removed: Tensor) -> Tensor:
    """As many as the layer lost: every layer keeps its number of connections."""
    return removed


def by_survivors(nnz: Tensor, removed: Tensor) -> Tensor:
    """In proportion to the connections that survived: DSR (Mostafa & Wang 2019)."""
    return nnz - removed


def by_momentum(momentum: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """In proportion to the mean |momentum| of a layer's active connections: SNFS (Dettmers & Zettlemoyer 2019).

    `momentum` and `masks` are one tensor a layer, `(members, out, fan_in)`, as they are before the event.
    """
    return _mean_size(momentum, masks)


def by_scaled_momentum(
    momentum: Sequence[Tensor], squared_gradient: Sequence[Tensor], masks: Sequence[Tensor]
) -> Tensor:
    """In proportion to the mean |m / (sqrt(v) + 1e-8)| of a layer's active connections: SNFS's code for Adam."""
    scaled = [scaled_momentum(m, v) for m, v in zip(momentum, squared_gradient, strict=True)]
    return _mean_size(scaled, masks)


def _mean_size(values: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    means = [(v.abs() * m).sum((-2, -1)) / m.sum((-2, -1)).clamp(min=1) for v, m in zip(values, masks, strict=True)]
    return torch.cat([mean.reshape(-1) for mean in means])


@hookimpl
def register_spread(register: Callable[..., object]) -> None:
    register(in_place)
    register(by_survivors)
    register(by_momentum)
    register(by_scaled_momentum)
