"""Growth criteria: a score for every connection; the highest absent ones enter.

Pure functions of tensors shaped `(*, out, fan_in)`, as prune criteria are; here `grad` is dense.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from registry import hookimpl


def random(noise: Tensor) -> Tensor:
    """u: uniformly at random. SET (Mocanu et al. 2018), DS-TD3 (Sokar et al. 2022, Alg. 2)."""
    return noise


def gradient(grad: Tensor) -> Tensor:
    """|g|: RigL (Evci et al. 2020, Alg. 1)."""
    return grad.abs()


def mixture(grad: Tensor, noise: Tensor, *, chance: float = 0.5) -> Tensor:
    """(1 - chance) r(|g|) + chance u, with r the rank within the layer, scaled to (0, 1].

    From gradient growth (chance 0) to random growth (chance 1).
    """
    if not 0 <= chance <= 1:
        raise ValueError(f"mixture: chance must lie in [0, 1], not {chance:g}")
    size = grad.abs().flatten(-2)
    ranks = torch.searchsorted(size.sort(dim=-1).values, size, right=True) / size.shape[-1]
    return (1 - chance) * ranks.to(grad.dtype).reshape(grad.shape) + chance * noise


@hookimpl
def register_grow(register: Callable[..., object]) -> None:
    for criterion in (random, gradient, mixture):
        register(criterion)
