"""One change of topology: all layers are asked, the event is reckoned, and the execution carries it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from sparsity.adapt import adapt
from sparsity.ask import check_gradient
from sparsity.criteria import Criteria
from sparsity.event import LayerChange
from sparsity.execution import Masked, MaskedWeight
from sparsity.goals import Goals, layers_apart
from sparsity.method import Method
from sparsity.rewire import Rewired

if TYPE_CHECKING:
    from sparsity.execution import Weight
    from sparsity.execution.sparse import Sparse


class Change:
    """By a method, of the weights that an execution holds. Called with the fraction to swap, it says what changed.

    FloatingPointError, before anything is changed, if weights or gradients of the learner are not finite.
    """

    def __init__(
        self, method: Method, learner: str, execution: Masked | Sparse, goals: Goals, criteria: Criteria
    ) -> None:
        self._method, self._learner, self._goals, self._criteria = method, learner, goals, criteria
        self._execution = execution
        self._weights: Sequence[Weight] = execution.weights

    def __call__(self, fraction: float) -> tuple[LayerChange, ...]:
        self._check_finite()
        stepped = self._stepped()
        self._execution.settle()
        goals = dict(zip((w.name for w in self._weights), self._goals.now, strict=True))
        self._criteria.listen(self._weights)
        one_by_one = layers_apart(self._method) and self._execution.one_by_one
        groups = [[weight] for weight in self._weights] if one_by_one else [self._weights]
        changes = [change for group in groups for change in self._of(group, goals, fraction, stepped)]
        self._execution.commit()
        return tuple(changes)

    def _of(
        self, weights: Sequence[Weight], goals: Mapping[str, Tensor], fraction: float, stepped: Mapping[str, Tensor]
    ) -> list[LayerChange]:
        """Choose what changes in these layers; nothing is changed before all layers of the network have chosen."""
        gradients = [self._dense_gradient(weight) for weight in weights]
        done = adapt(
            [self._criteria.scored(weight, grad) for weight, grad in zip(weights, gradients, strict=True)],
            [goals[weight.name] for weight in weights],
            fraction,
            readmit=self._method.readmit,
            scope=self._method.scope,
            swap_scope=self._method.swap_scope,
            spread=None if self._method.spread.name == "in_place" else partial(self._criteria.spread, weights),
        )
        changes = []
        for weight, grad, rewired in zip(weights, gradients, done, strict=True):
            born = self._criteria.born(weight, grad, stepped.get(weight.name))
            changes.append(_told(weight, rewired))
            self._execution.plan(weight, rewired, born)  # type: ignore[arg-type]
        return changes

    def _stepped(self) -> dict[str, Tensor]:
        """Weights as the optimiser left them, absent ones too, for connections that are born with them."""
        if not self._criteria.want_stepped:
            return {}
        return {w.name: w.value.clone() for w in self._weights if isinstance(w, MaskedWeight)}

    def _dense_gradient(self, weight: Weight) -> Tensor | None:
        """Of this step's losses, absent connections included, if a criterion asks for it."""
        gradient = self._execution.gradient(weight) if self._criteria.want_dense else None  # type: ignore[arg-type]
        if gradient is not None:
            check_gradient(gradient, f"{self._learner}/{weight.name}")
        return gradient

    def _check_finite(self) -> None:
        """A training that has diverged is not the criteria's fault."""
        for weight in self._weights:
            if not weight.finite():
                raise FloatingPointError(f"weight {self._learner}/{weight.name}")


def _told(weight: Weight, rewired: Rewired) -> LayerChange:
    active, dropped, grown, readmitted = (int(each.sum()) for each in rewired)
    zeros = int((weight.mask & (weight.value == 0)).sum())
    return LayerChange(weight.name, active, dropped, grown, readmitted, zeros)
