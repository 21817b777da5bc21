"""Which connections a stack of layers has, and where their weights are kept: the index that the kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsity.execution.choice import expands
from sparsity.execution.kernels import BIAS, EXPANDED, FULL, IN, KIND, OUT, ROWS, SCRATCH, SPARSE, T_ROWS, VALUES

Places = NDArray[np.int64]
"""Connections of a layer as sorted places in its full weight `(members, out, in)`, laid out row by row."""


class Shape(NamedTuple):
    """Of one layer: how many members a stack has, units, and what each reads."""

    members: int
    out: int
    fan_in: int

    @property
    def size(self) -> int:
        return self.members * self.out * self.fan_in


class Pattern:
    """The index of a stack. `places` holds the connections of each layer, None for a layer that has them all.

    Weights come first, layer by layer in the order of their places, then biases layer by layer. A slow copy lays its
    own out `like` those of its online network, and `at` says for each layer where its connections' weights are.
    ValueError for places that do not lie in their layer, or are not sorted: the kernels read whatever the index says.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        places: Sequence[Places | None],
        *,
        like: Pattern | None = None,
        at: Sequence[Places | None] | None = None,
    ) -> None:
        self.shapes = tuple(shapes)
        self.widths = (shapes[0].fan_in, *(shape.out for shape in shapes))
        """Numbers that the stack reads, and that every layer puts out."""
        for number, (shape, layer) in enumerate(zip(shapes, places, strict=True)):
            if layer is not None:
                _check(number, shape, layer)
        self.counts = tuple(s.size if p is None else len(p) for s, p in zip(shapes, places, strict=True))
        """Connections of each layer, all members together."""
        self.weights = tuple(np.cumsum([0, *self.counts]).tolist())
        """Where the weights of each layer begin, and where the biases do."""
        units = np.cumsum([0, *(s.members * s.out for s in shapes)]) + self.weights[-1]
        self.biases = tuple(units.tolist())
        """Where the biases of each layer begin, and the length of the flat parameter."""
        if like is not None:
            self.weights, self.biases = like.weights, like.biases
        self.plan = np.zeros((len(shapes), 8), np.int64)
        self._fill(places, at, transposed=like is None)

    @property
    def size(self) -> int:
        """Numbers in the flat parameter."""
        return int(self.biases[-1])

    @property
    def members(self) -> int:
        return self.shapes[0].members

    def places(self, layer: int) -> Places | None:
        """The connections of a layer; None if it has them all."""
        kind, shape = self.plan[layer, KIND], self.shapes[layer]
        if kind == FULL:
            return None
        first = self.plan[layer, ROWS]
        rows = self.rows[first : first + shape.members * shape.out + 1]
        units = np.repeat(np.arange(shape.members * shape.out), np.diff(rows))
        return units * shape.fan_in + self.columns[rows[0] : rows[-1]].astype(np.int64)

    def _fill(self, places: Sequence[Places | None], at: Sequence[Places | None] | None, transposed: bool) -> None:
        parts: dict[str, list[NDArray[np.generic]]] = {
            name: [] for name in ("rows", "columns", "at", "t_rows", "t_columns", "t_at")
        }
        start = row = t_row = scratch = 0
        for number, (shape, layer) in enumerate(zip(self.shapes, places, strict=True)):
            plan = self.plan[number]
            plan[[IN, OUT, VALUES, BIAS]] = shape.fan_in, shape.out, self.weights[number], self.biases[number]
            if layer is None:
                plan[KIND] = FULL
                continue
            density = len(layer) / shape.size
            plan[KIND] = EXPANDED if expands(shape.out, shape.fan_in, density) else SPARSE
            if plan[KIND] == EXPANDED:
                plan[SCRATCH], scratch = scratch, scratch + shape.size
            own = at[number] if at is not None else None
            kept = self.weights[number] + np.arange(len(layer)) if own is None else own
            rows = start + np.searchsorted(layer, np.arange(shape.members * shape.out + 1) * shape.fan_in)
            plan[ROWS], row = row, row + len(rows)
            parts["rows"].append(rows)
            parts["columns"].append((layer % shape.fan_in).astype(np.uint32))
            parts["at"].append(kept.astype(np.uint32))
            if transposed:
                turned, order = _turned(shape, layer)
                t_rows = start + np.searchsorted(turned, np.arange(shape.members * shape.fan_in + 1) * shape.out)
                plan[T_ROWS], t_row = t_row, t_row + len(t_rows)
                parts["t_rows"].append(t_rows)
                parts["t_columns"].append((turned % shape.out).astype(np.uint32))
                parts["t_at"].append(kept[order].astype(np.uint32))
            start += len(layer)
        kinds = {"rows": np.int64, "t_rows": np.int64}
        joined = {
            name: np.concatenate(pieces) if pieces else np.zeros(1, kinds.get(name, np.uint32))
            for name, pieces in parts.items()
        }
        self.rows, self.columns, self.at = joined["rows"].astype(np.int64), joined["columns"], joined["at"]
        self.t_rows, self.t_columns, self.t_at = joined["t_rows"].astype(np.int64), joined["t_columns"], joined["t_at"]
        self.scratch_size = scratch

    @property
    def nbytes(self) -> int:
        """Bytes of the index."""
        arrays = (self.rows, self.columns, self.at, self.t_rows, self.t_columns, self.t_at, self.plan)
        return sum(array.nbytes for array in arrays)


def _turned(shape: Shape, places: Places) -> tuple[Places, NDArray[np.intp]]:
    """Places in the transposed weight `(members, in, out)`, sorted, and the order that sorts them."""
    member, within = np.divmod(places, shape.out * shape.fan_in)
    unit, feature = np.divmod(within, shape.fan_in)
    turned = (member * shape.fan_in + feature) * shape.out + unit
    order = np.argsort(turned, kind="stable")
    return turned[order], order


def _check(number: int, shape: Shape, places: Places) -> None:
    if places.dtype != np.int64 or places.ndim != 1:
        raise ValueError(f"connections of layer {number} must be places of int64, not {places.dtype} {places.shape}")
    if len(places) and (places[0] < 0 or places[-1] >= shape.size or (np.diff(places) <= 0).any()):
        raise ValueError(
            f"connections of layer {number} must be places in 0 ... {shape.size - 1}, each once and in order: "
            "the index is damaged"
        )
