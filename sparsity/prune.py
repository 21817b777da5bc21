"""Prune criteria: a score for every connection; the lowest active ones leave.

A criterion is a pure function of tensors shaped `(*, out, fan_in)`; leading dimensions are a population. It may ask for
`weight` (0 where absent), `grad` (valid at active positions), `mask`, `noise` (uniform in [0, 1)) and any trace.
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
    positive, negative = mask & (weight > 0), mask & (weight < 0)
    return _rank(weight.abs(), positive, noise) + _rank(weight.abs(), negative, noise)


def share_per_sign(weight: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """Rank within the sign / number of that sign: equal shares leave from each (Sokar et al. 2022, released code)."""
    signs = (mask & (weight > 0), mask & (weight < 0))
    return sum(
        (_rank(weight.abs(), sign, noise) / sign.sum((-2, -1), keepdim=True).clamp(min=1) for sign in signs),
        torch.zeros_like(weight),
    )


def gradient(grad: Tensor) -> Tensor:
    """|g|: the connections with the least gradient leave."""
    return grad.abs()


def saliency(weight: Tensor, grad: Tensor) -> Tensor:
    """|w g|: first-order change of the loss if the connection goes (Mozer & Smolensky 1989; SNIP, Lee et al. 2019)."""
    return (weight * grad).abs()


def random(noise: Tensor) -> Tensor:
    """u: uniformly at random, the control of every other criterion."""
    return noise


def _rank(value: Tensor, among: Tensor, tie: Tensor) -> Tensor:
    """Ranks 1, 2, ... of the chosen entries of each member by value, equal values by `tie`; 0 elsewhere."""
    keys, chosen, ties = value.flatten(-2), among.flatten(-2), tie.flatten(-2)
    order = ties.argsort(dim=-1)
    keys = torch.where(chosen, keys, torch.inf).gather(-1, order)
    order = order.gather(-1, keys.argsort(dim=-1, stable=True))
    places = torch.arange(1, order.shape[-1] + 1, device=value.device, dtype=value.dtype).expand(order.shape)
    ranks = torch.zeros_like(places).scatter(-1, order, places)
    return torch.where(chosen, ranks, torch.zeros_like(ranks)).reshape(value.shape)


@hookimpl
def register_prune(register: Callable[..., object]) -> None:
    for criterion in (magnitude, half_per_sign, share_per_sign, gradient, saliency, random):
        register(criterion)
