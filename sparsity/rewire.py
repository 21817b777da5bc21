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
    """Mask of exactly k entries of each member: the lowest scores `among` the candidates, equal scores by `tie`.

    In linear time: what lies below the k-th score is in, and `tie` is looked at only where scores equal it.
    """
    candidates = among.flatten(-2)
    if bool((k < 0).any()) or bool((k > candidates.sum(-1)).any()):
        raise ValueError(f"cannot choose {k.tolist()} of {candidates.sum(-1).tolist()} connections")
    size = candidates.shape[-1]
    scores, within, ties = (t.reshape(-1, size) for t in (score, candidates, tie))
    chosen = [_lowest(*member) for member in zip(scores, within, ties, k.reshape(-1).tolist(), strict=True)]
    return torch.stack(chosen).reshape(score.shape)


def _lowest(score: Tensor, among: Tensor, tie: Tensor, k: int) -> Tensor:
    chosen = torch.zeros_like(among)
    if k == 0:
        return chosen
    places = among.nonzero().squeeze(1)
    scores = score[places]
    threshold = scores.kthvalue(k).values
    chosen[places[scores < threshold]] = True
    tied = places[scores == threshold]
    missing = k - int(chosen.sum())
    if missing < len(tied):
        tied = tied[tie[tied].argsort(stable=True)[:missing]]
    chosen[tied] = True
    return chosen
