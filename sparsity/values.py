"""The initial values of sparse layers, once their topology is known. Slow copies take them too."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from registry import hookimpl


def ordinary(weight: Tensor) -> Tensor:
    """w as it was drawn, for a dense layer: what survives has a smaller variance than its fan-in calls for."""
    return weight


def unit_scaled(weight: Tensor, mask: Tensor) -> Tensor:
    """w sqrt(fan_in / n), n the connections that enter the unit: sparse-aware (Evci et al. 2022; Graesser et al. 2022).

    A uniform draw within 1 / sqrt(fan_in) is one within 1 / sqrt(n) afterwards. Units without a connection stay.
    """
    entering = mask.sum(-1, keepdim=True).clamp(min=1)
    return weight * (mask.shape[-1] / entering).sqrt()


@hookimpl
def register_weights(register: Callable[..., object]) -> None:
    register(ordinary)
    register(unit_scaled)
