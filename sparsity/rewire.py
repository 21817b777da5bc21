"""Drop and grow: the one operation of dynamic sparse training, pure."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rewired(NamedTuple):
    """The new mask, and what changed: `dropped` were active and are absent, `grown` the reverse.

    `readmitted` left and came back in the same call: survivors, neither dropped nor grown.
    """

    mask: Tensor
    dropped: Tensor
    grown: Tensor
    readmitted: Tensor


def rewire(
    mask: Tensor,
    drop_score: Tensor,
    grow_score: Tensor,
    drop: Tensor,
    grow: Tensor,
    *,
    tie: Tensor,
    readmit: bool = False,
) -> Rewired:
    """Drop the `drop` lowest active scores of each member, grow the `grow` highest absent ones.

    Masks, scores and `tie` (uniform noise that decides between equal scores) are shaped `(*, out, fan_in)`, the counts
    `(*)`. Only connections absent before the call can grow; with `readmit`, those dropped in it too. ValueError if a
    member has fewer connections to drop, or less room to grow, than asked for.
    """
    leaving = lowest(drop_score, mask, drop, tie)
    entering = lowest(-grow_score, ~mask | leaving if readmit else ~mask, grow, 1 - tie)
    new = (mask & ~leaving) | entering
    return Rewired(new, mask & ~new, new & ~mask, leaving & entering)


def lowest(score: Tensor, among: Tensor, k: Tensor, tie: Tensor) -> Tensor:
    """Mask of exactly k entries of each member: the lowest scores `among` the candidates, equal scores by `tie`."""
    candidates = among.flatten(-2)
    if bool((k < 0).any()) or bool((k > candidates.sum(-1)).any()):
        raise ValueError(f"cannot choose {k.tolist()} of {candidates.sum(-1).tolist()} connections")
    order = tie.flatten(-2).argsort(dim=-1, stable=True)
    for key in (score.flatten(-2), ~candidates):
        order = order.gather(-1, key.gather(-1, order).argsort(dim=-1, stable=True))
    first = torch.arange(order.shape[-1], device=order.device) < k.unsqueeze(-1)
    return torch.zeros_like(candidates).scatter(-1, order, first).reshape(score.shape)
