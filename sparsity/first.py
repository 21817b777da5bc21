"""A network's first topology, and the values that it starts with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from registry import Bound
from sparsity.ask import ask, check_mask, check_scores, who
from sparsity.execution.find import initial as drawn
from sparsity.rewire import rewire
from sparsity.weights import as_matrices, candidate_weights, member_shapes


class Weight(Protocol):
    """What of a sparse weight counts before there is a topology. Shapes are `(members, out, fan_in)`."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> Tensor: ...
    @property
    def dense_shape(self) -> tuple[int, ...]: ...
    @property
    def device(self) -> torch.device: ...
    def begin_with(self, value: Tensor, mask: Tensor) -> None: ...


def first_masks(
    initial: Bound,
    module: nn.Module,
    weights: Sequence[Weight],
    goals: Sequence[Tensor],
    *,
    density: float,
    layer_density: Callable[[str], float],
    noise: Callable[[Weight], Tensor],
) -> Iterator[Tensor]:
    """Layer by layer, so that one need be whole at a time; a part that asks for the network is asked once.

    `goals` are connections a member, `density` is the network's at the start. ValueError for masks and scores that
    are none, and for a layer that is left without a connection.
    """
    if weights and initial.asks("network"):
        yield from _of_network(initial, module, weights, goals, density)
        return
    for weight, goal in zip(weights, goals, strict=True):
        yield _of_layer(initial, weight, goal, layer_density(weight.name), noise)


def give_first_values(weights: Bound, weight: Weight, mask: Tensor) -> None:
    """Initial values that know the topology, in the slow copy too."""
    value = ask(weights, weight=weight.value, mask=mask)
    check_scores(f"{who(weights)} (layer {weight.name})", value, mask, mask)
    weight.begin_with(value, mask)


def _of_network(
    initial: Bound, module: nn.Module, weights: Sequence[Weight], goals: Sequence[Tensor], density: float
) -> list[Tensor]:
    shapes = member_shapes(module)
    network = {name: as_matrices(drawn(p), shapes[name]) for name, p in candidate_weights(module).items()}
    eligible = tuple(w.name for w in weights)
    connections = sum(int(goal[0]) for goal in goals)
    masks = ask(initial, network=network, eligible=eligible, connections=connections, density=density)
    if not isinstance(masks, Mapping) or set(masks) != set(eligible):
        raise ValueError(f"{who(initial)} must give a mask for each of {', '.join(eligible)}")
    for weight in weights:
        _check(f"{who(initial)} (layer {weight.name})", weight, masks[weight.name])
    return [masks[name] for name in eligible]


def _of_layer(
    initial: Bound, weight: Weight, goal: Tensor, density: float, noise: Callable[[Weight], Tensor]
) -> Tensor:
    """A bool tensor is the mask itself; of scores, the highest enter, as many as the allocation says."""
    empty = torch.zeros(weight.dense_shape, dtype=torch.bool, device=weight.device)
    value = weight.value.clone() if initial.asks("weight") else None
    first = ask(initial, density=density, weight=value, noise=noise(weight), mask=empty)
    what = f"{who(initial)} (layer {weight.name})"
    if not isinstance(first, Tensor) or first.dtype != torch.bool:
        check_scores(what, first, empty, ~empty)
        return rewire(empty, first, first, torch.zeros_like(goal), goal, tie=noise(weight)).mask
    _check(what, weight, first)
    return first


def _check(what: str, weight: Weight, mask: Tensor) -> None:
    check_mask(what, mask, torch.empty(weight.dense_shape, device="meta"))
    if not bool(mask.flatten(1).any(dim=1).all()):
        raise ValueError(f"{what} left a layer without any connection: choose a higher density")
