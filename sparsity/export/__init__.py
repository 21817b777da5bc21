"""Feed-forward networks as files that need neither torch nor this project: safetensors, NumPy and SciPy, ONNX."""

from sparsity.export.compaction import compact, unread_inputs
from sparsity.export.folder import FORMATS, Exported, Occupied, export
from sparsity.export.modules import network_of
from sparsity.export.network import Layer, Network, Unexportable

__all__ = [
    "FORMATS",
    "Exported",
    "Layer",
    "Network",
    "Occupied",
    "Unexportable",
    "compact",
    "export",
    "network_of",
    "unread_inputs",
]
