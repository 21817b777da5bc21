"""Networks read from torch modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from sparsity.execution.find import SparseSequential
from sparsity.export.network import Array, Layer, Network, Unexportable

_ACTIVATIONS: Final[dict[type[nn.Module], str]] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.ELU: "elu"}
_PASSED_BY: Final = (nn.Identity, nn.Dropout)
"""Modules that change nothing when a trained network acts."""


def network_of(*modules: nn.Module, argmax: bool = False) -> Network:
    """The network that modules are, one after the other: linear layers and activations, in nn.Sequential or not.

    With `argmax` its action is the index of the largest output. What a sparsifier has made truly sparse is read, too.
    Unexportable names the first layer that cannot be written.
    """
    layers: list[Layer] = []
    for name, found in _leaves(modules):
        if isinstance(found, Layer):
            _check_sizes(layers, name, found)
            layers.append(found)
        else:
            activation = _activation(name, found)
            if not layers or layers[-1].activation != "identity":
                raise Unexportable(f"layer {name} is a {type(found).__name__} that follows no linear layer")
            layers[-1] = layers[-1]._replace(activation=activation)
    if not layers:
        raise Unexportable("there is no linear layer to export")
    if argmax:
        layers[-1] = _with_argmax(layers[-1])
    return Network(tuple(layers))


def _leaves(modules: tuple[nn.Module, ...]) -> Iterator[tuple[str, Layer | nn.Module]]:
    """Layers without their activation, and all other modules, by name; what changes nothing is left out."""
    for number, module in enumerate(modules):
        yield from _within(str(number) if len(modules) > 1 else "", module)


def _within(path: str, module: nn.Module) -> Iterator[tuple[str, Layer | nn.Module]]:
    dense = type(module).forward is nn.Sequential.forward
    if isinstance(module, SparseSequential) or dense:
        state = {} if dense else module.state_dict()
        for name, child in module.named_children():
            inner = f"{path}.{name}".lstrip(".")
            if f"{name}.weight" in state:
                yield inner, _layer(state[f"{name}.weight"], state[f"{name}.bias"])
            else:
                yield from _within(inner, child)
    elif isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
        yield path or "0", _layer(module.weight, module.bias)
    elif not isinstance(module, _PASSED_BY):
        yield path or "0", module


def _layer(weight: Tensor, bias: Tensor | None) -> Layer:
    values = _array(weight)
    return Layer(values, np.zeros(len(values), values.dtype) if bias is None else _array(bias), "identity")


def _array(tensor: Tensor) -> Array:
    whole = tensor.detach().to_dense().cpu()
    values: Array = (whole if whole.dtype == torch.float64 else whole.float()).numpy().copy()
    return values


def _activation(name: str, module: nn.Module) -> str:
    found = _ACTIVATIONS.get(type(module))
    if found is None or (isinstance(module, nn.ELU) and module.alpha != 1):
        kinds: list[type[nn.Module]] = [nn.Linear, *_ACTIVATIONS, *_PASSED_BY]
        known = ", ".join(kind.__name__ for kind in kinds)
        raise Unexportable(
            f"layer {name} is a {type(module).__name__}, which cannot be exported. What can: {known} (ELU with alpha 1)"
        )
    return found


def _check_sizes(before: list[Layer], name: str, layer: Layer) -> None:
    if before and len(before[-1].bias) != layer.weight.shape[1]:
        took, gave = layer.weight.shape[1], len(before[-1].bias)
        raise Unexportable(
            f"layer {name} takes {took} numbers, and the one before it gives {gave}: name modules in order"
        )


def _with_argmax(layer: Layer) -> Layer:
    if layer.activation != "identity":
        raise Unexportable(f"argmax is of a network that ends in a linear layer; this one ends in {layer.activation}")
    return layer._replace(activation="argmax")
