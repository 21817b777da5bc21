"""How many connections every weight is to have now: the allocation in the end, the budget on the way there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparsity.adapt import shared_goals
from sparsity.allocation import counts
from sparsity.made_sparse import Parts
from sparsity.method import Method
from sparsity.timetable import Due, Timetable

if TYPE_CHECKING:
    from sparsity.execution import Weight


class Goals:
    """Of a network's weights under a method, by the timetable that they follow.

    `stride` is how many updates of the training an optimiser step stands for, `total` how many updates are planned.
    """

    def __init__(
        self, method: Method, parts: Parts, weights: Sequence[Weight], *, stride: int, total: int | None
    ) -> None:
        densities = _densities(method, parts, weights)
        self._weights, self._traded = weights, not layers_apart(method)
        self._final = _final(weights, densities)
        self.timetable = _timetable(method, parts, weights, densities, stride, total)
        self.budget = self.timetable.budget(0)
        """The network's density as it was last asked for."""
        self.by_budget = self._at(self.budget)
        """Connections a member of every weight; where layers trade connections, they hold in total only."""

    def keep_drawn(self) -> None:
        """After the first topology: where it has its final density, a drawn number of connections is the budget."""
        if self.budget == self.timetable.density:
            self._final = {w.name: w.nnz for w in self._weights}
            self.by_budget = self._at(self.budget)

    def may_move(self, due: Due) -> bool:
        """Whether a step with this plan swaps, or has another budget than there is."""
        return due.fraction > 0 or due.density != self.budget

    def move(self, due: Due) -> bool:
        """Take over a step's budget; whether that step has an event: something to swap, or a count to be met."""
        if due.density != self.budget:
            self.by_budget, self.budget = self._at(due.density), due.density
            met = zip(self.now, self._weights, strict=True)
            return due.fraction > 0 or any(bool((goal != w.nnz).any()) for goal, w in met)
        return due.fraction > 0

    @property
    def now(self) -> list[Tensor]:
        """Connections a member that every weight is to have after an event, given what it has."""
        if not self._traded:
            return self.by_budget
        return shared_goals([w.nnz for w in self._weights], self.by_budget, [w.size for w in self._weights])

    @property
    def final(self) -> dict[str, Tensor]:
        """Connections a member of every weight in the end: with the budget, all that is remembered here."""
        return {name: count.clone() for name, count in self._final.items()}

    def go_on(self, budget: float, final: Mapping[str, Tensor], device: torch.device) -> None:
        """From what was remembered."""
        self.budget, self._final = budget, {name: count.clone().to(device) for name, count in final.items()}
        self.by_budget = self._at(budget)

    def _at(self, density: float) -> list[Tensor]:
        return self.timetable.goals(density, self._final, {w.name: w.size for w in self._weights})


def layers_apart(method: Method) -> bool:
    """Whether every layer keeps its own number of connections, rather than trade with the others."""
    return method.scope == method.swap_scope == "layer" and method.spread.name == "in_place"


def _densities(method: Method, parts: Parts, weights: Sequence[Weight]) -> Mapping[str, float]:
    shapes = {w.name: w.shape for w in weights}
    densities: Mapping[str, float] = parts["allocation"](shapes=shapes) if shapes else {}
    if set(densities) != set(shapes):
        raise ValueError(f"{method.allocation} must give a density for each of {', '.join(shapes)}")
    return densities


def _final(weights: Sequence[Weight], densities: Mapping[str, float]) -> dict[str, Tensor]:
    """Connections a member of every weight in the end."""
    exact = counts({w.name: w.shape for w in weights}, densities) if weights else {}
    return {w.name: torch.full(w.dense_shape[:1], exact[w.name], device=w.device) for w in weights}


def _timetable(
    method: Method,
    parts: Parts,
    weights: Sequence[Weight],
    densities: Mapping[str, float],
    stride: int,
    total: int | None,
) -> Timetable:
    kept = math.fsum(densities[w.name] * w.numel for w in weights)
    own = method.clock == "optimizer"
    return Timetable(
        parts["schedule"],
        parts["budget"],
        stride=1 if own else stride,
        total=total // stride if total and own else total,
        densities=densities,
        density=kept / sum(w.numel for w in weights) if weights else 1.0,
    )
