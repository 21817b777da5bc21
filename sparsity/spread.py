"""How an event's growth is spread over the layers: shares, one a layer (and member of a population)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from registry import hookimpl


def in_place(removed: Tensor) -> Tensor:
    """As many as the layer lost: every layer keeps its number of connections."""
    return removed


def by_survivors(nnz: Tensor, removed: Tensor) -> Tensor:
    """In proportion to the connections that survived: DSR (Mostafa & Wang 2019)."""
    return nnz - removed


@hookimpl
def register_spread(register: Callable[..., object]) -> None:
    register(in_place)
    register(by_survivors)
