"""Sparse execution undone: a network gets its dense parameters back, with zeros where connections are absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sparsity.execution.canonical import densified
from sparsity.execution.find import Layer, SparseSequential
from sparsity.weights import layer_of

if TYPE_CHECKING:
    from sparsity.execution.sparse import Sparse

Parameters = dict[tuple[int, str], nn.Parameter]


def undo(owner: Sparse) -> None:
    """Of the network, its slow copy and its optimiser. Where several share an optimiser, the last one held goes first.

    The parameters are new ones. The optimiser's moments are dense again too, zeros where absent.
    """
    learner, moments = owner.learner, densified(owner.optimizer.state_dict())
    modules = [learner.module] + ([learner.target.module] if learner.target is not None else [])
    states = [densified(module.state_dict()) for module in modules]
    owner.saved.unhook()
    fresh = [_laid_back(m, owner.layers, s) for m, s in zip(modules, states, strict=True)]
    owner.saved.give_up(owner.stack.values, fresh[0])
    owner.optimizer.load_state_dict(moments)


def _laid_back(module: nn.Module, layers: Sequence[Layer], state: Mapping[str, Tensor]) -> Parameters:
    """Dense parameters in the layers' modules, and no stack in their place."""
    trains = module._parameters.pop("values").requires_grad  # type: ignore[union-attr]
    del module.stack
    if type(module) is SparseSequential:
        module.__class__ = nn.Sequential  # type: ignore[assignment]
    fresh: dict[tuple[int, str], Any] = {}
    for number, layer in enumerate(layers):
        for kind, name in (("weight", layer.weight_name), ("bias", layer.bias_name)):
            parameter = nn.Parameter(state[name].detach().clone(), requires_grad=trains)
            layer_of(module, name)._parameters[kind] = parameter
            fresh[number, kind] = parameter
    return fresh
