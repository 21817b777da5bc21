"""Asking the parts of a method at an event: who leaves, who enters, with which value, and where growth goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparsity.activity import Activity
from sparsity.adapt import Scored
from sparsity.ask import ask, check_scores, demand_gradient, who
from sparsity.made_sparse import Parts
from sparsity.noise import Noise
from sparsity.remembered import Traces

if TYPE_CHECKING:
    from sparsity.execution import Weight


class Criteria:
    """Of one method. `readmit` says whether what leaves in an event may return in it.

    The order of the questions is the order in which noise is drawn, and so decides the topology: of every layer prune,
    grow and the tie-break, then of every layer born.
    """

    def __init__(self, parts: Parts, *, readmit: bool, noise: Noise, traces: Traces, activity: Activity | None) -> None:
        self._parts, self._readmit, self._noise, self._traces = parts, readmit, noise, traces
        self._activity, self._told = activity, dict[str, Tensor]()
        self.want_dense = any(parts[kind].asks("grad") for kind in ("prune", "grow", "born"))
        """Whether one of them asks for the gradient of absent connections."""
        self.want_stepped = parts["born"].asks("stepped")
        """Whether newly born connections ask for the optimiser's own step."""

    def expect(self, event: bool) -> None:
        """Before a step's passes: whether they are to leave what the event will ask."""
        if self._activity is not None:
            self._activity.expect(event)

    def listen(self, weights: Sequence[Weight]) -> None:
        """At an event, before the first question: how active the units were."""
        if self._activity is not None:
            self._told = self._activity.told(weights)

    def scored(self, weight: Weight, grad: Tensor | None) -> Scored:
        """A layer with its scores and noise for ties. ValueError for scores that are none."""
        mask = weight.mask
        drop, grow = (self._ask(kind, weight, grad) for kind in ("prune", "grow"))
        layer = f"(layer {weight.name})"
        check_scores(f"{who(self._parts['prune'])} {layer}", drop, mask, mask)
        candidates = torch.ones_like(mask) if self._readmit else ~mask
        check_scores(f"{who(self._parts['grow'])} {layer}", grow, mask, candidates)
        return Scored(mask, drop, grow, self._noise(weight))

    def born(self, weight: Weight, grad: Tensor | None, stepped: Tensor | None) -> Tensor:
        """Values of connections that enter; `stepped` is the weight after the optimiser's own step."""
        return self._ask("born", weight, grad, stepped=stepped)

    def spread(self, weights: Sequence[Weight], removed: Tensor, nnz: Tensor, room: Tensor) -> Tensor:
        """Shares of the growth, one a layer and member."""
        spread = self._parts["spread"]
        remembered = [self._traces.of(weight.name) for weight in weights]
        traces = {name: [each[name] for each in remembered] for name in (remembered[0] if remembered else ())}
        masks = [weight.mask for weight in weights] if spread.asks("masks") else None
        shares: Tensor = ask(spread, removed=removed, nnz=nnz, room=room, masks=masks, **traces)
        if shares.shape != room.shape or not bool((torch.isfinite(shares) & (shares >= 0)).all()):
            raise ValueError(f"{who(spread)} must give {room.numel()} shares, finite and not negative, not {shares!r}")
        return shares

    def _ask(self, kind: str, weight: Weight, grad: Tensor | None, **more: Tensor | None) -> Tensor:
        criterion = self._parts[kind]
        if criterion.asks("grad"):
            demand_gradient(criterion, grad, weight.name)
        scores: Tensor = ask(
            criterion,
            weight=weight.value if criterion.asks("weight") else None,
            grad=grad,
            mask=weight.mask if criterion.asks("mask") else None,
            noise=self._noise(weight) if criterion.asks("noise") else None,
            activity=self._told.get(weight.name),
            **self._traces.of(weight.name),
            **more,
        )
        return scores
