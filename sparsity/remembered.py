"""What a method's criteria remember of the steps before: the values of its traces, one tensor a weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from registry import Bound, Registry, part
from sparsity.ask import ask, check_gradient, check_scores, demand_gradient, who
from sparsity.execution import MaskedWeight
from sparsity.made_sparse import Parts
from sparsity.method import Method

if TYPE_CHECKING:
    from sparsity.execution import Weight

Values = dict[str, dict[str, Tensor]]
"""By trace, by weight."""


class Traces:
    """Those that a criterion of `method` asks for, over the weights of the learner called `learner`, from zero."""

    def __init__(
        self, method: Method, parts: Parts, registry: Registry, learner: str, weights: Iterable[Weight]
    ) -> None:
        self._learner, self._bound = learner, _asked(method, parts, registry)
        empty = [(w.name, w.dense_shape, w.dtype, w.device) for w in weights] if self._bound else []
        self._values: Values = {
            trace: {name: torch.zeros(shape, dtype=dtype, device=device) for name, shape, dtype, device in empty}
            for trace in self._bound
        }

    def __bool__(self) -> bool:
        """Whether anything is remembered: dense gradients are wanted at every step then."""
        return bool(self._bound)

    def of(self, weight: str) -> dict[str, Tensor]:
        """The traces of one weight, as inputs of a criterion."""
        return {trace: kept[weight] for trace, kept in self._values.items()}

    def update(
        self,
        weights: Iterable[Weight],
        gradient: Callable[[MaskedWeight], Tensor | None],
        event_within: Callable[[int], bool],
    ) -> None:
        """One step further; a trace with a window that no event ends stays at zero."""
        for name, trace in self._bound.items():
            window = trace.entry.facts.get("window")
            if window is None or event_within(window):
                self._update(trace, self._values[name], weights, gradient)
            else:
                self._forget(name)

    def _update(
        self,
        trace: Bound,
        kept: dict[str, Tensor],
        weights: Iterable[Weight],
        gradient: Callable[[MaskedWeight], Tensor | None],
    ) -> None:
        for weight in weights:
            assert isinstance(weight, MaskedWeight), "methods with traces run masked"
            grad = gradient(weight)
            if trace.asks("grad"):
                check_gradient(demand_gradient(trace, grad, weight.name), f"{self._learner}/{weight.name}")
            kept[weight.name] = ask(trace, trace=kept[weight.name], weight=weight.value, mask=weight.mask, grad=grad)
            check_scores(f"{who(trace)} (layer {weight.name})", kept[weight.name], weight.mask, weight.mask)

    def end_windows(self) -> None:
        """After an event a trace with a window starts from zero."""
        for name, trace in self._bound.items():
            if trace.entry.facts.get("window") is not None:
                self._forget(name)

    def _forget(self, trace: str) -> None:
        for kept in self._values[trace].values():
            kept.zero_()

    def state_dict(self) -> Values:
        return {trace: {name: value.clone() for name, value in kept.items()} for trace, kept in self._values.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> None:
        self._values = {
            trace: {name: value.clone().to(device) for name, value in kept.items()} for trace, kept in state.items()
        }

    def check_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """ValueError for the state of a method with other traces."""
        if set(state) != set(self._bound):
            raise ValueError(f"this state has traces {sorted(state)}, the method {sorted(self._bound)}")


def _asked(method: Method, parts: Parts, registry: Registry) -> dict[str, Bound]:
    chosen = {choice.name: choice for choice in method.traces}
    asked = {name for kind in ("prune", "grow", "born", "spread") for name in parts[kind].entry.inputs}
    asked &= set(registry.names("trace"))
    return {name: registry.bind("trace", chosen.get(name, part(name))) for name in sorted(asked)}
