"""A sparse network, and what exports of it are read by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsity.export import Layer, Network

SEEN = np.random.default_rng(1).normal(size=(100, 5)).astype(np.float32)


def sparse_network(width: int = 40, density: float = 0.2, last: str = "tanh", first: str = "relu") -> Network:
    """5 inputs, two hidden layers, 3 outputs; some units without connections."""
    draw = np.random.default_rng(0)
    layers = []
    for ins, outs, activation in ((5, width, first), (width, width, "relu"), (width, 3, last)):
        kept = density if ins == outs else 0.5
        weight = draw.normal(size=(outs, ins)) * (draw.random((outs, ins)) < kept) / np.sqrt(max(1, ins * kept))
        weight[::7] = 0
        layers.append(Layer(weight, draw.normal(size=outs), activation))
    return Network(tuple(layers)).single_precision()


def session_of(path: Path) -> Any:
    return pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
