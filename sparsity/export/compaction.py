"""The same function in fewer units: what sparsity has cut off goes."""

from __future__ import annotations

import numpy as np

from sparsity.export.network import ACTIVATIONS, Layer, Network


def compact(network: Network) -> Network:
    """A network of the same outputs, but for rounding, without its dead units.

    A unit that nothing enters is a constant: b' = b + w activation(b) in the next layer, and it goes. A unit that
    nothing leaves goes. One pass forwards and one backwards find all of them: the first makes no unit a constant that
    it has passed, the second none at all. Observation and action keep their sizes; a network that reads nothing
    becomes one layer without connections.
    """
    layers = list(network.layers)
    for number in range(len(layers) - 1):
        layers[number : number + 2] = _without_constants(*layers[number : number + 2])
    for number in reversed(range(len(layers) - 1)):
        layers[number : number + 2] = _without_unread(*layers[number : number + 2])
    if not all(len(layer.bias) for layer in layers):
        last = layers[-1]
        nothing = np.zeros((len(last.bias), network.observation_size), last.weight.dtype)
        layers = [last._replace(weight=nothing)]
    return Network(tuple(layers))


def unread_inputs(network: Network) -> list[int]:
    """Places of the observation that no unit reads."""
    return [int(place) for place in np.flatnonzero(np.count_nonzero(network.layers[0].weight, axis=0) == 0)]


def _without_constants(layer: Layer, after: Layer) -> tuple[Layer, Layer]:
    """Units that nothing enters, as part of the next layer's bias."""
    constant = np.count_nonzero(layer.weight, axis=1) == 0
    value = ACTIVATIONS[layer.activation](layer.bias[constant].astype(np.float64))
    bias = (after.bias + after.weight[:, constant] @ value).astype(after.bias.dtype)
    return _keeping(~constant, layer, after._replace(bias=bias))


def _without_unread(layer: Layer, after: Layer) -> tuple[Layer, Layer]:
    """Units that nothing leaves."""
    return _keeping(np.count_nonzero(after.weight, axis=0) > 0, layer, after)


def _keeping(units: np.ndarray, layer: Layer, after: Layer) -> tuple[Layer, Layer]:
    kept = layer._replace(weight=layer.weight[units], bias=layer.bias[units])
    return kept, after._replace(weight=after.weight[:, units])
