"""What of a slow copy may stay, decided after each of its updates. At the start it has the online topology."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from registry import hookimpl


def follow(mask: Tensor) -> Tensor:
    """The online mask: RLx2 (Tan et al. 2023); Graesser et al. 2022 assign it with the weights."""
    return mask


def keep_largest(target: Tensor, online: Tensor, mask: Tensor, *, count: Literal["mask", "nonzero"] = "mask") -> Tensor:
    """The k largest |target|, k = number of online connections: Sokar et al. 2022, Alg. 3. The topology lags behind.

    `count` says whether k counts the online mask (the paper's prose) or its non-zero values (the released code).
    Exactly k stay; of equal values the one with the lower index.
    """
    k = mask.sum((-2, -1)) if count == "mask" else online.count_nonzero((-2, -1))
    return largest(target.abs(), k)


def drift(target: Tensor, mask: Tensor) -> Tensor:
    """Everything: the union of all topologies so far. Its density is reported, not bounded."""
    return mask | (target != 0)


def largest(value: Tensor, k: Tensor) -> Tensor:
    """Mask of the k largest entries of each member, in linear time, ties to the lower index.

    `value` is shaped `(*, out, in)`, `k` is `(*)`.
    """
    flat = value.reshape(-1, value.shape[-2] * value.shape[-1])
    chosen = torch.stack([_largest(row, int(n)) for row, n in zip(flat, k.reshape(-1), strict=True)])
    return chosen.reshape(value.shape)


def _largest(row: Tensor, k: int) -> Tensor:
    if k <= 0:
        return torch.zeros_like(row, dtype=torch.bool)
    if k >= row.numel():
        return torch.ones_like(row, dtype=torch.bool)
    threshold = row.topk(k, sorted=False).values.min()
    chosen = row >= threshold
    extra = int(chosen.count_nonzero()) - k
    if extra == 0:
        return chosen
    ties = (row == threshold).nonzero().squeeze(1)
    chosen[ties[len(ties) - extra :]] = False
    return chosen


@hookimpl
def register_target(register: Callable[..., object]) -> None:
    for rule in (follow, keep_largest, drift):
        register(rule)
