"""One event over the layers of a network: the cut or growth to the budget, and the swap.

Layers come as lists of tensors shaped `(members, out, fan_in)`; every function is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sparsity.rewire import Rewired, lowest, rewire

Scope = Literal["layer", "network"]
Spread = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Shares of the growth, one a layer and member, from what each lost, had, and has room for."""


class Scored(NamedTuple):
    """A layer with what decides its event: who leaves, who enters, and who wins a tie."""

    mask: Tensor
    drop_score: Tensor
    grow_score: Tensor
    tie: Tensor


def swaps(layer: Scored, goal: Tensor, fraction: float, *, readmit: bool) -> Tensor:
    """k = floor(f nnz + 1e-9) connections to swap, and no more than there are left to drop or places to grow in."""
    nnz = _nnz(layer.mask)
    wanted = torch.floor(fraction * nnz.double() + 1e-9).long()
    droppable = torch.minimum(nnz, goal)
    room = _room(layer) - (goal - nnz).clamp(min=0)
    limit = droppable if readmit else torch.minimum(droppable, room)
    return torch.minimum(wanted, limit).clamp(min=0)


def adapt(
    layers: Sequence[Scored],
    goals: Sequence[Tensor],
    fraction: float,
    *,
    readmit: bool,
    scope: Scope,
    swap_scope: Scope,
    spread: Spread | None,
) -> list[Rewired]:
    """Bring every layer to its goal (connections a member) and swap a fraction; exact counts.

    With `spread` or a network-wide scope the goals hold in total and the layers share them anew.
    """
    before = [layer.mask for layer in layers]
    if scope == "layer":
        goals = list(goals)
    else:
        layers = _resize_network(layers, goals, readmit)
        goals = [_nnz(layer.mask) for layer in layers]
    if swap_scope == "layer":
        done = _swap_layers(layers, goals, fraction, readmit, spread)
    else:
        done = _swap_network(layers, goals, fraction, readmit, spread)
    return [
        # What the cut took and the swap grew again is a survivor, as what the swap itself dropped and grew is.
        Rewired(new.mask, old & ~new.mask, new.mask & ~old, new.readmitted | (old & ~layer.mask & new.mask))
        for old, layer, new in zip(before, layers, done, strict=True)
    ]


def shared_goals(nnz: Sequence[Tensor], goals: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Goals with the same total, in proportion to the present connections: for layers that trade connections."""
    total, now = sum(int(g.sum()) for g in goals), torch.cat([n.reshape(-1) for n in nnz])
    if total == int(now.sum()):
        return list(nnz)
    room = torch.cat([torch.full_like(n.reshape(-1), size) for n, size in zip(nnz, sizes, strict=True)])
    return _like(apportion(now.double(), total, room), nnz)


def apportion(shares: Tensor, total: int, room: Tensor) -> Tensor:
    """Whole numbers in proportion to `shares` that sum to `total`, none over its `room`; largest remainder.

    What a full place cannot take goes to the others, in proportion again. All shares zero count as equal.
    """
    given = torch.zeros_like(room)
    left = min(total, int(room.sum()))
    while left > 0:
        free = room - given
        weight = torch.where(free > 0, shares.double(), 0.0)
        weight = weight if weight.sum() > 0 else (free > 0).double()
        quota = left * weight / weight.sum()
        whole = quota.floor().long()
        if bool((whole <= free).all()):
            remainder = torch.where((free > whole) & (weight > 0), quota - whole, -1.0)
            order = remainder.argsort(descending=True, stable=True)[: left - int(whole.sum())]
            whole[order] += (remainder[order] >= 0).long()
        given = given + torch.minimum(whole, free)
        left = min(total, int(room.sum())) - int(given.sum())
    return given


def _swap_layers(
    layers: Sequence[Scored],
    goals: Sequence[Tensor],
    fraction: float,
    readmit: bool,
    spread: Spread | None,
) -> list[Rewired]:
    drops, grows = [], []
    for layer, goal in zip(layers, goals, strict=True):
        nnz = _nnz(layer.mask)
        k = swaps(layer, goal, fraction, readmit=readmit)
        drops.append((nnz - goal).clamp(min=0) + k)
        grows.append((goal - nnz).clamp(min=0) + k)
    return _rewired(layers, drops, grows, readmit, spread)


def _rewired(
    layers: Sequence[Scored],
    drops: Sequence[Tensor],
    grows: Sequence[Tensor],
    readmit: bool,
    spread: Spread | None,
) -> list[Rewired]:
    if spread is not None:
        grows = _spread(layers, drops, grows, readmit, spread)
    return [
        rewire(*layer[:3], drop, grow, tie=layer.tie, readmit=readmit)
        for layer, drop, grow in zip(layers, drops, grows, strict=True)
    ]


def _spread(
    layers: Sequence[Scored],
    drops: Sequence[Tensor],
    grows: Sequence[Tensor],
    readmit: bool,
    spread: Spread,
) -> list[Tensor]:
    removed = torch.cat([drop.reshape(-1) for drop in drops])
    nnz = torch.cat([_nnz(layer.mask).reshape(-1) for layer in layers])
    room = torch.cat([_room(layer).reshape(-1) for layer in layers]) + (removed if readmit else 0)
    total = sum(int(grow.sum()) for grow in grows)
    return _like(apportion(spread(removed, nnz, room), total, room), grows)


def _resize_network(layers: Sequence[Scored], goals: Sequence[Tensor], readmit: bool) -> list[Scored]:
    """The network-wide cut or growth to the sum of the goals. What it grew does not leave in the swap, and what it cut
    returns only with `readmit`."""
    joined, change = _join(layers), sum(int(g.sum()) for g in goals) - sum(int(x.mask.sum()) for x in layers)
    drop, grow = torch.tensor([max(0, -change)]), torch.tensor([max(0, change)])
    done = rewire(*joined[:3], drop.to(joined.mask.device), grow.to(joined.mask.device), tie=joined.tie)
    resized = []
    for layer, mask in zip(layers, _split(done.mask, layers), strict=True):
        drop_score = torch.where(mask & ~layer.mask, torch.inf, layer.drop_score)
        cut = layer.mask & ~mask
        grow_score = layer.grow_score if readmit else torch.where(cut, -torch.inf, layer.grow_score)
        resized.append(Scored(mask, drop_score, grow_score, layer.tie))
    return resized


def _swap_network(
    layers: Sequence[Scored], goals: Sequence[Tensor], fraction: float, readmit: bool, spread: Spread | None
) -> list[Rewired]:
    """The swap over all layers at once, cut and growth to the goals' total included.

    With `spread` what leaves is chosen over all layers, and growth is shared out among them.
    """
    joined = _join(layers)
    nnz, goal = _nnz(joined.mask), torch.stack([g.sum() for g in goals]).sum().reshape(1)
    k = swaps(joined, goal, fraction, readmit=readmit)
    drop, grow = (nnz - goal).clamp(min=0) + k, (goal - nnz).clamp(min=0) + k
    if spread is not None:
        leaving = _split(lowest(joined.drop_score, joined.mask, drop, joined.tie), layers)
        drops = [_nnz(each) for each in leaving]
        return _rewired(layers, drops, _like(_first(grow, drops), drops), readmit, spread)
    done = rewire(*joined[:3], drop, grow, tie=joined.tie, readmit=readmit)
    return [Rewired(*pieces) for pieces in zip(*(_split(field, layers) for field in done), strict=True)]


def _join(layers: Sequence[Scored]) -> Scored:
    return Scored(*(torch.cat([t.reshape(1, 1, -1) for t in column], dim=-1) for column in zip(*layers, strict=True)))


def _split(joined: Tensor, layers: Sequence[Scored]) -> list[Tensor]:
    pieces = torch.split(joined.reshape(-1), [layer.mask.numel() for layer in layers])
    return [piece.reshape(layer.mask.shape) for piece, layer in zip(pieces, layers, strict=True)]


def _first(total: Tensor, like: Sequence[Tensor]) -> Tensor:
    """A total as numbers one a layer and member, all in the first: where it stands is for a spread to say."""
    return torch.cat([total, total.new_zeros(sum(t.numel() for t in like) - 1)])


def _like(flat: Tensor, shapes: Sequence[Tensor]) -> list[Tensor]:
    pieces = torch.split(flat, [t.numel() for t in shapes])
    return [piece.reshape(t.shape) for piece, t in zip(pieces, shapes, strict=True)]


def _nnz(mask: Tensor) -> Tensor:
    return mask.sum((-2, -1))


def _room(layer: Scored) -> Tensor:
    """Absent connections that may enter. Those that a network-wide cut has just taken have a score of -inf."""
    return (~layer.mask & (layer.grow_score > -torch.inf)).sum((-2, -1))
