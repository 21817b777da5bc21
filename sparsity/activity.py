"""How active the units of a network are, for criteria that ask: told by networks that pass through a `stack`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from registry import Bound
from sparsity.ask import who


class Weight(Protocol):
    """A sparse weight, by its name in the network; shapes are `(members, out, fan_in)`."""

    @property
    def name(self) -> str: ...
    @property
    def dense_shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...


class Activity:
    """Of a module whose weights, in the order of its layers, are called `names`. ValueError if it tells nothing.

    `asking` names the part that asks, for the error.
    """

    def __init__(self, module: nn.Module, names: Sequence[str], asking: str) -> None:
        if not hasattr(getattr(module, "stack", None), "activations"):
            raise ValueError(
                f"{asking} asks for the activity of units, which {type(module).__name__} does not tell: it needs "
                "a `stack` with `activations`, as rl.Stack has"
            )
        self._module, self._names = module, names

    def expect(self, event: bool) -> None:
        """Before a step: whether its passes are to leave their inputs, as its event will ask."""
        self._module.stack.remembers = event  # type: ignore[union-attr]

    def told(self, weights: Sequence[Weight]) -> dict[str, Tensor]:
        """s_i = E|h_i| / mean_k E|h_k| of every unit (Sokar et al. 2023), `(members, out, 1)`; 1 in output layers.

        On the inputs of the last pass before the step.
        """
        stack: Any = self._module.stack
        if stack.remembered is None:
            raise ValueError(f"{type(self._module).__name__} has no activity to tell: nothing passed through it yet")
        sizes = [layer.abs().mean(dim=-2) for layer in stack.activations(stack.remembered)]
        stack.remembered = None
        scores = [size / size.mean(dim=-1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny) for size in sizes]
        hidden = dict(zip(self._names, scores, strict=False))
        return {
            w.name: hidden[w.name].unsqueeze(-1)
            if w.name in hidden
            else torch.ones(*w.dense_shape[:2], 1, dtype=w.dtype, device=w.device)
            for w in weights
        }


def activity_asked(prune: Bound, grow: Bound, module: nn.Module, names: Sequence[str]) -> Activity | None:
    """Of a module, if a criterion asks for it; see `Activity`."""
    asking = [criterion for criterion in (prune, grow) if criterion.asks("activity")]
    return Activity(module, names, who(asking[0])) if asking else None
