"""`policy.npz`: the layers as CSR arrays, and `run_policy.py`, which acts by them with NumPy alone."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparsity.export.network import Array, Network

FILE = "policy.npz"
RUNNER = "run_policy.py"
_FOR_OUR_TYPE_CHECKER = "# mypy: ignore-errors\n"


def files(network: Network, about: Mapping[str, Any]) -> dict[str, bytes]:
    """For layer n `n.data`, `n.indices`, `n.indptr`, `n.shape`, `n.bias` and `n.activation`, and `about` as JSON."""
    arrays: dict[str, Array] = {"about": np.array(json.dumps(about).encode())}
    for number, layer in enumerate(network.layers):
        csr = _csr(layer.weight) | {"bias": layer.bias, "activation": np.array(layer.activation)}
        arrays |= {f"{number}.{key}": array for key, array in csr.items()}
    return {FILE: _npz(arrays), RUNNER: runner()}


def dense_bytes(network: Network) -> int:
    """Of the same network in whole matrices."""
    arrays = {f"{number}.weight": layer.weight for number, layer in enumerate(network.layers)}
    return len(_npz(arrays | {f"{number}.bias": layer.bias for number, layer in enumerate(network.layers)}))


def runner() -> bytes:
    """The source of `run_policy.py`."""
    source = Path(__file__).with_name(RUNNER).read_text(encoding="utf-8")
    return source.replace(_FOR_OUR_TYPE_CHECKER, "").encode()


def _csr(weight: Array) -> dict[str, Array]:
    rows, columns = np.nonzero(weight)
    ends = np.searchsorted(rows, np.arange(len(weight) + 1))
    return {
        "data": weight[rows, columns],
        "indices": columns.astype(np.int32),
        "indptr": ends.astype(np.int32),
        "shape": np.array(weight.shape, np.int32),
    }


def _npz(arrays: Mapping[str, Array]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()
