"""The first topology: a grow criterion applied to the empty mask, or a mask drawn at once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from registry import hookimpl


def random(noise: Tensor) -> Tensor:
    """u: exactly the allocated number of connections, uniformly at random."""
    return noise


def bernoulli(noise: Tensor, density: float) -> Tensor:
    """u < p: every connection by a coin of its own (Sokar et al. 2022, Eq. 1). The number drawn becomes the budget."""
    return noise < density


def magnitude(weight: Tensor) -> Tensor:
    """|w|: the largest initial weights, as in RLx2's released code (Tan et al. 2023)."""
    return weight.abs()


@hookimpl
def register_initial(register: Callable[..., object]) -> None:
    for criterion in (random, bernoulli, magnitude):
        register(criterion)
