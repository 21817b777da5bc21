"""`policy.safetensors`: the tensors of an `nn.Sequential` by their names there, each in its smaller form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sparsity.export.network import Array, Network

FILE = "policy.safetensors"


def files(network: Network, about: Mapping[str, Any]) -> dict[str, bytes]:
    """`0.weight`, `0.bias`, `2.weight`, ...: Linear layers with their activations between; `about` in the header.

    A sparse weight is three tensors where that is smaller: `0.weight@shape`, `0.weight@places` in its flattened form,
    and `0.weight@values`.
    """
    return {FILE: _file(network, {"about": json.dumps(about)}, sparse=True)}


def dense_bytes(network: Network) -> int:
    """Of the same network in whole matrices."""
    return len(_file(network, None, sparse=False))


def _file(network: Network, header: dict[str, str] | None, *, sparse: bool) -> bytes:
    from safetensors.numpy import save

    tensors: dict[str, Array] = {}
    for name, layer in zip(names(network), network.layers, strict=True):
        apart = _apart(layer.weight) if sparse else {}
        if apart and sum(part.nbytes for part in apart.values()) < layer.weight.nbytes:
            tensors |= {f"{name}.weight@{what}": part for what, part in apart.items()}
        else:
            tensors[f"{name}.weight"] = layer.weight
        tensors[f"{name}.bias"] = layer.bias
    written: bytes = save(tensors, header)  # One key in the header: several come in any order.
    return written


def names(network: Network) -> list[int]:
    """Places of the linear layers in the `nn.Sequential`; `identity` takes none."""
    steps = [1 + (layer.activation not in ("identity", "argmax")) for layer in network.layers]
    return [sum(steps[:number]) for number in range(len(steps))]


def _apart(weight: Array) -> dict[str, Array]:
    flat = weight.reshape(-1)
    places = np.flatnonzero(flat)
    kind = np.int32 if flat.size < 2**31 else np.int64
    return {"shape": np.array(weight.shape, np.int64), "places": places.astype(kind), "values": flat[places]}
