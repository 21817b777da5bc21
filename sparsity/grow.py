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


def momentum(momentum: Tensor) -> Tensor:
    """|m|, the averaged gradient: SNFS (Dettmers & Zettlemoyer 2019)."""
    return momentum.abs()


def scaled_momentum(momentum: Tensor, squared_gradient: Tensor) -> Tensor:
    """|m / (sqrt(v) + 1e-8)|, the size of Adam's step: SNFS's released code, where the optimiser is Adam."""
    return (momentum / (squared_gradient.sqrt() + 1e-8)).abs()


def averaged(averaged_gradient: Tensor) -> Tensor:
    """|sum of the last gradients|: RigL's growth on several batches, for less noise (Tan et al. 2023, code)."""
    return averaged_gradient.abs()


@hookimpl
def register_grow(register: Callable[..., object]) -> None:
    for criterion in (random, gradient, mixture, momentum, scaled_momentum, averaged):
        register(criterion)
