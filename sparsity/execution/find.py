"""The stack of layers in a module, for sparse execution to take the place of."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Layer(NamedTuple):
    """A linear layer: its module, and its parameters with their names in the network."""

    module: nn.Module
    weight_name: str
    bias_name: str
    weight: nn.Parameter
    bias: nn.Parameter

    def emptied(self) -> Layer:
        """The same without its memory."""
        return self._replace(weight=_shape_of(self.weight), bias=_shape_of(self.bias))

    def initial_weight(self) -> Tensor:
        return initial(self.weight)

    def initial_bias(self) -> Tensor:
        return initial(self.bias)


def _shape_of(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype, device="meta"), parameter.requires_grad)


def initial(parameter: Tensor) -> Tensor:
    """Its values. A parameter may put off drawing them, and have a method `draw` instead of memory."""
    draw = getattr(parameter, "draw", None)
    return parameter.detach() if draw is None else draw()


def layers_of(module: nn.Module) -> list[Layer]:
    """The layers of a module that is a stack: linear layers with ReLU between them and nothing after the last.

    That is an `nn.Sequential` of `nn.Linear` and `nn.ReLU`, or a module with an attribute `stack` whose `layers` it
    calls through it (see `rl.Stack`). ValueError for anything else.
    """
    found = _named_stack(module) if hasattr(module, "stack") else _sequential(module)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    layers: list[Layer] = []
    for layer in found:
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        if not isinstance(weight, nn.Parameter) or not isinstance(bias, nn.Parameter):
            raise ValueError(f"sparse execution needs a weight and a bias in every layer; {layer} lacks one")
        layers.append(Layer(layer, names[id(weight)], names[id(bias)], weight, bias))
    if len({p.requires_grad for layer in layers for p in layer[3:]}) > 1:
        raise ValueError("sparse execution trains all parameters of a stack or none: some are frozen here")
    if len({id(p) for layer in layers for p in layer[3:]}) < 2 * len(layers):
        raise ValueError("sparse execution cannot hold layers that share parameters: choose masked execution")
    return layers


def is_stack(module: nn.Module) -> bool:
    """Whether the module says itself that it calls its layers through a `stack`, so that one may take its place."""
    return hasattr(getattr(module, "stack", None), "layers")


def _named_stack(module: nn.Module) -> list[Any]:
    layers = getattr(module.stack, "layers", None)
    if not layers:
        raise ValueError(f"{type(module).__name__}.stack has no layers to take the place of (is it sparse already?)")
    return list(layers)


def _sequential(module: nn.Module) -> list[Any]:
    if type(module) is not nn.Sequential:
        raise ValueError(
            f"sparse execution takes an nn.Sequential of Linear and ReLU, or a module with a `stack`, not "
            f"{type(module).__name__}: choose masked execution"
        )
    children = list(module)
    linear, between = children[::2], children[1::2]
    if len(children) % 2 == 0 or not all(type(child) is nn.Linear for child in linear):
        raise ValueError("sparse execution takes Linear layers with ReLU between them, the last one Linear")
    if not all(type(child) is nn.ReLU for child in between):
        raise ValueError("sparse execution knows no activation but ReLU between layers: choose masked execution")
    return linear


class SparseSequential(nn.Sequential):
    """A sequence of linear layers and ReLU whose weights are held sparsely by its `stack`."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.stack((x.reshape(-1, x.shape[-1]),))[0]  # type: ignore[operator]
        return out.reshape(*x.shape[:-1], out.shape[-1])
