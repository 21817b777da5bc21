"""What can be exported: linear layers, each with an activation, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ACTIVATIONS: Final[dict[str, Callable[[Array], Array]]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "argmax": lambda x: x.argmax(-1),
}
"""What an activation computes. `argmax`, the action of a Q-network, may only be the last one."""


class Unexportable(ValueError):
    """A network that no format here can express. The message names the layer and its type."""


class Layer(NamedTuple):
    """x -> activation(weight x + bias): weight (out, in), bias (out,)."""

    weight: Array
    bias: Array
    activation: str

    def __repr__(self) -> str:
        """Sizes: the numbers themselves would fill pages."""
        (out, into), active = self.weight.shape, np.count_nonzero(self.weight)
        return f"Layer({into} -> {out}, {self.activation}, {active:,} of {self.weight.size:,} weights)"


@dataclass(frozen=True, eq=False)
class Network:
    """Layers from the observation to the action; at least one."""

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        for number, layer in enumerate(self.layers):
            if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
                raise Unexportable(f"layer {number} has weights that are not finite: the network has diverged")

    def __call__(self, x: Array) -> Array:
        """(*, observation_size) -> (*, action_size), in the precision of the weights."""
        for layer in self.layers:
            x = ACTIVATIONS[layer.activation](x @ layer.weight.T + layer.bias)
        return x

    @property
    def observation_size(self) -> int:
        return int(self.layers[0].weight.shape[1])

    @property
    def action_size(self) -> int:
        """Numbers that come out; 1, the index of an action, after an argmax."""
        return 1 if self.layers[-1].activation == "argmax" else len(self.layers[-1].bias)

    @property
    def units(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(len(layer.bias) for layer in self.layers[:-1])

    @property
    def connections(self) -> int:
        """Weights that are not zero."""
        return sum(int(np.count_nonzero(layer.weight)) for layer in self.layers)

    @property
    def weights(self) -> int:
        """Entries of the weight matrices, zeros among them."""
        return sum(layer.weight.size for layer in self.layers)

    @property
    def biases(self) -> int:
        return sum(len(layer.bias) for layer in self.layers)

    def single_precision(self) -> Network:
        """The same in float32, in which every format holds it."""
        return self._in(np.float32)

    def double_precision(self) -> Network:
        """The same in float64: how far its outputs are from those in float32 is what rounding does."""
        return self._in(np.float64)

    def _in(self, dtype: type[np.floating[Any]]) -> Network:
        def taken(values: Array) -> Array:
            return np.ascontiguousarray(values, dtype=dtype)

        return Network(tuple(Layer(taken(weight), taken(bias), name) for weight, bias, name in self.layers))
