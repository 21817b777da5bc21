"""Sparse training of any torch module: criteria, methods, and the sparsifier that carries them out."""

from sparsity.attach import attach
from sparsity.event import Event, LayerChange, LayerDensity
from sparsity.left_dense import LeftDense
from sparsity.method import Method
from sparsity.published import DENSE, DENSE_SMALL, DS, DS_RELEASED, RIGL, SET, STATIC
from sparsity.rewire import Rewired, rewire
from sparsity.sparsifier import Sparsifier
from sparsity.trained import Tracked, Trained

__all__ = [
    "DENSE",
    "DENSE_SMALL",
    "DS",
    "DS_RELEASED",
    "RIGL",
    "SET",
    "STATIC",
    "Event",
    "LayerChange",
    "LayerDensity",
    "LeftDense",
    "Method",
    "Rewired",
    "Sparsifier",
    "Tracked",
    "Trained",
    "attach",
    "rewire",
]
