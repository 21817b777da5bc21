"""Prune criteria: a score for every connection; the lowest active ones leave.

A criterion is a pure function of tensors shaped `(*, out, fan_in)`; leading dimensions are a population. It may ask for
`weight` (0 where absent), `grad` (valid at active positions), `mask`, `noise` (uniform in [0, 1)), `activity` (of the
unit that a connection enters, `(*, out, 1)`, 1 on average) and any trace.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from registry import hookimpl


def magnitude(weight: Tensor) -> Tensor:
    """|w|: SET (Mocanu et al. 2018), RigL (Evci et al. 2020, Alg. 1)."""
    return weight.abs()


def half_per_sign(weight: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """Rank within the sign, 1 nearest to zero: half leave from each sign (Sokar et al. 2022, Alg. 2, Eq. 4 and 5).

    Active weights that are zero have no sign and go first. When one sign is exhausted the other gives the rest.
    """
    positive, negative = _ranks(weight, mask, noise)
    return positive + negative


def share_per_sign(weight: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """Rank within the sign / number of that sign: equal shares leave from each (Sokar et al. 2022, released code)."""
    ranks = _ranks(weight, mask, noise)
    return sum((rank / (rank > 0).sum((-2, -1), keepdim=True).clamp(min=1) for rank in ranks), torch.zeros_like(weight))


def gradient(grad: Tensor) -> Tensor:
    """|g|: the connections with the least gradient leave."""
    return grad.abs()


def saliency(weight: Tensor, grad: Tensor) -> Tensor:
    """|w g|: first-order change of the loss if the connection goes (Mozer & Smolensky 1989; SNIP, Lee et al. 2019)."""
    return (weight * grad).abs()


def magnitude_gradient(weight: Tensor, grad: Tensor, *, balance: float = 0.01) -> Tensor:
    """|w| + |balance g|: MEST (Yuan et al. 2021, Eq. 1)."""
    return weight.abs() + balance * grad.abs()


def dormancy(weight: Tensor, activity: Tensor) -> Tensor:
    """s + 1e-6 |w| / max |w|, s of the unit it enters: connections of dormant units leave first (Liu et al. 2025).

    s_i = E|h_i| / mean_k E|h_k| is ReDo's score (Sokar et al. 2023); within a unit the smallest weight leaves first.
    """
    size = weight.abs()
    return activity + 1e-6 * size / size.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)


def random(noise: Tensor) -> Tensor:
    """u: uniformly at random, the control of every other criterion."""
    return noise


def _ranks(weight: Tensor, mask: Tensor, tie: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks 1, 2, ... from zero outwards of the positive active weights of each member, and of the negative ones.

    0 elsewhere; equal weights by `tie`. Both signs stand in one order of the values, so that it is sorted once.
    """
    positive, negative = mask & (weight > 0), mask & (weight < 0)
    values, ties = torch.where(mask, weight, torch.zeros_like(weight)).flatten(-2), tie.flatten(-2)
    order = ties.argsort(dim=-1)
    order = order.gather(-1, values.gather(-1, order).argsort(dim=-1, stable=True))
    count = torch.arange(1, order.shape[-1] + 1, device=weight.device, dtype=weight.dtype).expand(order.shape)
    place = torch.zeros_like(count).scatter(-1, order, count).reshape(weight.shape)
    below = order.shape[-1] - positive.sum((-2, -1), keepdim=True)
    zero = torch.zeros_like(place)
    of_negative = negative.sum((-2, -1), keepdim=True) + 1 - place
    return torch.where(positive, place - below, zero), torch.where(negative, of_negative, zero)


@hookimpl
def register_prune(register: Callable[..., object]) -> None:
    for criterion in (
        magnitude,
        half_per_sign,
        share_per_sign,
        gradient,
        saliency,
        magnitude_gradient,
        dormancy,
        random,
    ):
        register(criterion)
