"""A network's passes as single compiled calls: forward, backward, and forward for one sample.

A stack has `copies` members of the same shape. Arrays that describe it (`Pattern` makes them):

- `plan`: a row a layer, its columns named below;
- `rows`: for each sparse layer, where the connections of each (member, unit) begin in `columns` and `at`, and an end;
- `columns`, `at`: of each connection the feature it reads, and the place of its weight in `values`;
- `t_rows`, `t_columns`, `t_at`: the same by (member, feature), for the gradient of the inputs.

`values` is the flat parameter: weights layer by layer, then biases. A `tape` holds the input and every layer's output
in tiles; a tile's stride has a line more than its features, or tiles would compete for the same sets of the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
import numpy as np

from sparsity.execution.vector import LANES, block, outer, outer_block, product

IN, OUT, KIND, VALUES, BIAS, ROWS, T_ROWS, SCRATCH = range(8)
"""Columns of a plan. VALUES and BIAS are places in `values`, ROWS and T_ROWS in `rows` and `t_rows`."""
SPARSE, FULL, EXPANDED = 0, 1, 2
"""Kinds of layers. FULL ones have every connection; EXPANDED ones nearly: they are computed densely in `scratch`."""

GROUP = 4
"""Tiles held in registers at a time: with more, what a row reads no longer stays in the second cache."""
_WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f", False))
_HEIGHT = 4 if _WIDE else 1
"""Rows of a matrix without gaps that are computed at a time. Four fill the registers of AVX-512."""
_PAIR = 2 if _WIDE else 1
"""The same for gradients of weights, which hold a sum for each of four features too."""


def compiled(function: Callable[..., Any]) -> Any:
    """numba.njit with the machine code kept on disk, or only in memory where no folder can be written to."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        return numba.njit(**options)(function)


_inner = numba.njit(nogil=True, error_model="numpy", boundscheck=False)


@_inner
def stride(features: Any) -> Any:
    """Numbers from one tile to the next."""
    return features * LANES + LANES


def group_size(widths: tuple[int, ...]) -> int:
    """Numbers that a tape holds for one group of tiles; `widths` are those of the input and of every layer."""
    return GROUP * LANES * (sum(widths) + len(widths))


def tape_size(widths: tuple[int, ...], copies: int, samples: int) -> int:
    """Numbers that a tape holds for a whole batch."""
    return -(-samples // LANES) * LANES * (widths[0] + 1 + copies * (sum(widths[1:]) + len(widths) - 1))


@_inner
def _pack(samples: Any, tile: Any, count: Any, tape: Any, start: Any) -> None:
    """Samples, one a row, of `count` tiles from `tile` on; lanes without a sample are 0."""
    features = samples.shape[1]
    for t in range(count):
        for lane in range(LANES):
            sample, place = (tile + t) * LANES + lane, start + t * stride(features) + lane
            for feature in range(features):
                tape[place + feature * LANES] = samples[sample, feature] if sample < samples.shape[0] else 0


@_inner
def _unpack(tape: Any, start: Any, tile: Any, count: Any, samples: Any, begin: Any, features: Any) -> None:
    """Add `count` tiles to the samples: features from `begin` on of those that the tiles have."""
    for t in range(count):
        for lane in range(LANES):
            sample, place = (tile + t) * LANES + lane, start + t * stride(features) + lane
            if sample < samples.shape[0]:
                for feature in range(samples.shape[1]):
                    samples[sample, feature] += tape[place + (begin + feature) * LANES]


@_inner
def _expand(values: Any, at: Any, columns: Any, rows: Any, plan: Any, layer: Any, copies: Any, scratch: Any) -> None:
    """The weights of a nearly full layer, put into their places in a full one."""
    for row in range(copies * plan[layer, OUT]):
        start = plan[layer, SCRATCH] + row * plan[layer, IN]
        for k in range(rows[plan[layer, ROWS] + row], rows[plan[layer, ROWS] + row + 1]):
            scratch[start + columns[k]] = values[at[k]]


@_inner
def _collect(grad: Any, at: Any, columns: Any, rows: Any, plan: Any, layer: Any, copies: Any, scratch: Any) -> None:
    """The gradient of a nearly full layer, at the connections that there are."""
    for row in range(copies * plan[layer, OUT]):
        start = plan[layer, SCRATCH] + row * plan[layer, IN]
        for k in range(rows[plan[layer, ROWS] + row], rows[plan[layer, ROWS] + row + 1]):
            grad[at[k]] += scratch[start + columns[k]]


def _passes(tiles: int) -> tuple[Any, Any, Any]:
    """The three passes over one layer of one member, for so many tiles at a time."""

    @_inner
    def forward(values, scratch, at, columns, rows, plan, layer, member, x, x_from, y, y_from, relu):
        n_in, n_out = plan[layer, IN], plan[layer, OUT]
        x_stride, y_stride = stride(n_in), stride(n_out)
        bias = plan[layer, BIAS] + member * n_out
        if plan[layer, KIND] == SPARSE:
            begin = plan[layer, ROWS] + member * n_out
            for i in range(n_out):
                product(tiles, 0, values, at, columns, rows[begin + i], rows[begin + i + 1], x, x_from, x_stride,
                        y, y_from + i * LANES, y_stride, values, bias + i, relu, y)  # fmt: skip
            return
        weights = values if plan[layer, KIND] == FULL else scratch
        first = (plan[layer, VALUES] if plan[layer, KIND] == FULL else plan[layer, SCRATCH]) + member * n_in * n_out
        whole = n_out - n_out % _HEIGHT
        for i in range(0, whole, _HEIGHT):
            block(_HEIGHT, tiles, 0, weights, first + i * n_in, n_in, 1, n_in, x, x_from, x_stride,
                  y, y_from + i * LANES, y_stride, values, bias + i, relu, y)  # fmt: skip
        for i in range(whole, n_out):
            block(1, tiles, 0, weights, first + i * n_in, n_in, 1, n_in, x, x_from, x_stride,
                  y, y_from + i * LANES, y_stride, values, bias + i, relu, y)  # fmt: skip

    @_inner
    def weight_gradient(grad, scratch, at, columns, rows, plan, layer, member, x, x_from, d, d_from):
        n_in, n_out = plan[layer, IN], plan[layer, OUT]
        x_stride, d_stride = stride(n_in), stride(n_out)
        bias = plan[layer, BIAS] + member * n_out
        if plan[layer, KIND] == SPARSE:
            begin = plan[layer, ROWS] + member * n_out
            for i in range(n_out):
                outer(tiles, grad, bias + i, at, columns, rows[begin + i], rows[begin + i + 1],
                      x, x_from, x_stride, d, d_from + i * LANES, d_stride)  # fmt: skip
            return
        into = grad if plan[layer, KIND] == FULL else scratch
        first = (plan[layer, VALUES] if plan[layer, KIND] == FULL else plan[layer, SCRATCH]) + member * n_in * n_out
        whole = n_out - n_out % _PAIR
        for i in range(0, whole, _PAIR):
            outer_block(_PAIR, tiles, grad, bias + i, into, first + i * n_in, n_in, n_in, x, x_from, x_stride,
                        d, d_from + i * LANES, d_stride)  # fmt: skip
        for i in range(whole, n_out):
            outer_block(1, tiles, grad, bias + i, into, first + i * n_in, n_in, n_in, x, x_from, x_stride,
                        d, d_from + i * LANES, d_stride)  # fmt: skip

    @_inner
    def input_gradient(values, scratch, at, columns, rows, plan, layer, member, d, d_from, g, g_from,
                       gated, begin, end):  # fmt: skip
        """Of features `begin` to `end`, into `g`; if `gated`, g holds the activations and keeps 0 where they are."""
        n_in, n_out = plan[layer, IN], plan[layer, OUT]
        d_stride, g_stride = stride(n_out), stride(n_in)
        zeros = np.zeros(_HEIGHT, values.dtype)
        if plan[layer, KIND] == SPARSE:
            start = plan[layer, T_ROWS] + member * n_in
            for j in range(begin, end):
                if gated:
                    product(tiles, 1, values, at, columns, rows[start + j], rows[start + j + 1],
                            d, d_from, d_stride, g, g_from + j * LANES, g_stride, zeros, 0, False, g)  # fmt: skip
                else:
                    product(tiles, 0, values, at, columns, rows[start + j], rows[start + j + 1],
                            d, d_from, d_stride, g, g_from + j * LANES, g_stride, zeros, 0, False, g)  # fmt: skip
            return
        weights = values if plan[layer, KIND] == FULL else scratch
        first = (plan[layer, VALUES] if plan[layer, KIND] == FULL else plan[layer, SCRATCH]) + member * n_in * n_out
        j = begin
        while j < end:
            if gated and j + _HEIGHT <= end:
                block(_HEIGHT, tiles, 1, weights, first + j, 1, n_in, n_out, d, d_from, d_stride,
                      g, g_from + j * LANES, g_stride, zeros, 0, False, g)  # fmt: skip
                j += _HEIGHT
            elif gated:
                block(1, tiles, 1, weights, first + j, 1, n_in, n_out, d, d_from, d_stride,
                      g, g_from + j * LANES, g_stride, zeros, 0, False, g)  # fmt: skip
                j += 1
            else:
                block(1, tiles, 0, weights, first + j, 1, n_in, n_out, d, d_from, d_stride,
                      g, g_from + j * LANES, g_stride, zeros, 0, False, g)  # fmt: skip
                j += 1

    return forward, weight_gradient, input_gradient


_forward_1, _weights_1, _inputs_1 = _passes(1)
_forward_2, _weights_2, _inputs_2 = _passes(2)
_forward_4, _weights_4, _inputs_4 = _passes(4)


@_inner
def _places(plan: Any, copies: Any, tiles: Any, member: Any, tile: Any, places: Any) -> None:
    """Where a group of tiles has its input and the output of each layer on a tape that holds the whole batch."""
    places[0] = tile * stride(plan[0, IN])
    start = tiles * stride(plan[0, IN])
    for layer in range(plan.shape[0]):
        size = stride(plan[layer, OUT])
        places[layer + 1] = start + (member * tiles + tile) * size
        start += copies * tiles * size


@_inner
def _places_alone(plan: Any, places: Any) -> Any:
    """The same on a tape that holds one group of one member at a time; and the size of such a tape."""
    places[0] = 0
    start = GROUP * stride(plan[0, IN])
    for layer in range(plan.shape[0]):
        places[layer + 1] = start
        start += GROUP * stride(plan[layer, OUT])
    return start


@_inner
def _ahead(values, scratch, at, columns, rows, plan, member, group, tape, places):
    """From the input of a group of tiles to the output of every layer."""
    layers = plan.shape[0]
    for layer in range(layers):
        x_from, y_from, relu = places[layer], places[layer + 1], layer < layers - 1
        if group == 4:
            _forward_4(values, scratch, at, columns, rows, plan, layer, member, tape, x_from, tape, y_from, relu)
        elif group == 2:
            _forward_2(values, scratch, at, columns, rows, plan, layer, member, tape, x_from, tape, y_from, relu)
        else:
            _forward_1(values, scratch, at, columns, rows, plan, layer, member, tape, x_from, tape, y_from, relu)


@_inner
def _back(values, scratch, at, columns, rows, t_at, t_columns, t_rows, plan, member, group, tape, places,
          grad, collected, learns, work, begin, end):  # fmt: skip
    """From the gradients of the output, in its place, to those of weights, and of inputs `begin` to `end` in `work`.

    Activations make place for the gradients of what each layer put out.
    """
    for layer in range(plan.shape[0] - 1, -1, -1):
        x_from, d_from = places[layer], places[layer + 1]
        if learns:
            if group == 4:
                _weights_4(grad, collected, at, columns, rows, plan, layer, member, tape, x_from, tape, d_from)
            elif group == 2:
                _weights_2(grad, collected, at, columns, rows, plan, layer, member, tape, x_from, tape, d_from)
            else:
                _weights_1(grad, collected, at, columns, rows, plan, layer, member, tape, x_from, tape, d_from)
        if layer == 0 and end == begin:
            return
        into, into_from = (tape, x_from) if layer > 0 else (work, 0)
        low, high = (0, plan[layer, IN]) if layer > 0 else (begin, end)
        if group == 4:
            _inputs_4(values, scratch, t_at, t_columns, t_rows, plan, layer, member,
                      tape, d_from, into, into_from, layer > 0, low, high)  # fmt: skip
        elif group == 2:
            _inputs_2(values, scratch, t_at, t_columns, t_rows, plan, layer, member,
                      tape, d_from, into, into_from, layer > 0, low, high)  # fmt: skip
        else:
            _inputs_1(values, scratch, t_at, t_columns, t_rows, plan, layer, member,
                      tape, d_from, into, into_from, layer > 0, low, high)  # fmt: skip


@_inner
def _group(tiles: Any, tile: Any) -> Any:
    """How many tiles from this one on are done at a time: 4, 2 or 1."""
    return 4 if tile + 4 <= tiles else 2 if tile + 2 <= tiles else 1


@_inner
def _expand_all(values, at, columns, rows, plan, copies, scratch):
    for layer in range(plan.shape[0]):
        if plan[layer, KIND] == EXPANDED:
            _expand(values, at, columns, rows, plan, layer, copies, scratch)


@_inner
def _collect_all(grad, at, columns, rows, plan, copies, collected):
    for layer in range(plan.shape[0]):
        if plan[layer, KIND] == EXPANDED:
            _collect(grad, at, columns, rows, plan, layer, copies, collected)


@compiled
def forward(values, scratch, at, columns, rows, plan, copies, x, tape, y):
    """The outputs `(copies, samples, out)` of samples `(samples, in)`; what lies between stays on the tape."""
    layers, tiles = plan.shape[0], (x.shape[0] + LANES - 1) // LANES
    places = np.empty(layers + 1, np.int64)
    _pack(x, 0, tiles, tape, 0)
    _expand_all(values, at, columns, rows, plan, copies, scratch)
    y[:] = 0
    for member in range(copies):
        tile = 0
        while tile < tiles:
            group = _group(tiles, tile)
            _places(plan, copies, tiles, member, tile, places)
            _ahead(values, scratch, at, columns, rows, plan, member, group, tape, places)
            _unpack(tape, places[layers], tile, group, y[member], 0, plan[layers - 1, OUT])
            tile += group


@compiled
def backward(values, scratch, at, columns, rows, t_at, t_columns, t_rows, plan, copies,
             tape, d, grad, learns, dx, begin):  # fmt: skip
    """From d loss / d outputs `(copies, samples, out)`: add to `grad` if `learns`; add to `dx`, features from `begin`.

    `dx` is `(samples, features)`, with no features where nobody asks. The tape is used up.
    """
    layers, tiles, end = plan.shape[0], (d.shape[1] + LANES - 1) // LANES, begin + dx.shape[1]
    places = np.empty(layers + 1, np.int64)
    work = np.empty(GROUP * stride(plan[0, IN]) if end > begin else 0, values.dtype)
    collected = np.zeros(scratch.shape[0] if learns else 0, values.dtype)
    for member in range(copies):
        tile = 0
        while tile < tiles:
            group = _group(tiles, tile)
            _places(plan, copies, tiles, member, tile, places)
            _pack(d[member], tile, group, tape, places[layers])
            _back(values, scratch, at, columns, rows, t_at, t_columns, t_rows, plan, member, group, tape, places,
                  grad, collected, learns, work, begin, end)  # fmt: skip
            if end > begin:
                _unpack(work, 0, tile, group, dx, begin, plan[0, IN])
            tile += group
    if learns:
        _collect_all(grad, at, columns, rows, plan, copies, collected)


@compiled
def straight(values, scratch, at, columns, rows, t_at, t_columns, t_rows, plan, copies,
             x, tape, y, aim, slope, grad, learns, dx, begin):  # fmt: skip
    """Forward, and if `slope` is not 0 back at once, a group of tiles at a time, so that nothing leaves the cache.

    d loss / d output is slope (output - aim), aim `(samples,)` the same for all members and outputs; the constant slope
    where `aim` is empty. `tape` need hold one group only.
    """
    layers, tiles, end = plan.shape[0], (x.shape[0] + LANES - 1) // LANES, begin + dx.shape[1]
    places = np.empty(layers + 1, np.int64)
    _places_alone(plan, places)
    work = np.empty(GROUP * stride(plan[0, IN]) if end > begin else 0, values.dtype)
    collected = np.zeros(scratch.shape[0] if learns else 0, values.dtype)
    _expand_all(values, at, columns, rows, plan, copies, scratch)
    n_out = plan[layers - 1, OUT]
    y[:] = 0
    tile = 0
    while tile < tiles:
        group = _group(tiles, tile)
        for member in range(copies):
            if member == 0:
                _pack(x, tile, group, tape, 0)
            _ahead(values, scratch, at, columns, rows, plan, member, group, tape, places)
            _unpack(tape, places[layers], tile, group, y[member], 0, n_out)
            if slope == 0:
                continue
            for t in range(group):
                start = places[layers] + t * stride(n_out)
                for lane in range(LANES):
                    sample = (tile + t) * LANES + lane
                    for i in range(n_out):
                        d = slope
                        if sample >= x.shape[0]:
                            d = slope * 0
                        elif aim.shape[0] > 0:
                            d = slope * (y[member, sample, i] - aim[sample])
                        tape[start + i * LANES + lane] = d
            _back(values, scratch, at, columns, rows, t_at, t_columns, t_rows, plan, member, group, tape, places,
                  grad, collected, learns, work, begin, end)  # fmt: skip
            if end > begin:
                _unpack(work, 0, tile, group, dx, begin, plan[0, IN])
        tile += group
    if learns:
        _collect_all(grad, at, columns, rows, plan, copies, collected)


@compiled
def single(values, at, columns, rows, plan, x, y):
    """The output `(out,)` of the first member for one sample `(in,)`."""
    layers = plan.shape[0]
    for layer in range(layers):
        n_in, n_out = plan[layer, IN], plan[layer, OUT]
        z = np.empty(n_out, values.dtype)
        full = plan[layer, KIND] == FULL
        for i in range(n_out):
            # Four sums, as one alone waits for itself.
            a = values[plan[layer, BIAS] + i]
            b = c = e = values.dtype.type(0)
            if full:
                k, last = plan[layer, VALUES] + i * n_in, plan[layer, VALUES] + (i + 1) * n_in
                feature = 0
                while k + 4 <= last:
                    a += values[k] * x[feature]
                    b += values[k + 1] * x[feature + 1]
                    c += values[k + 2] * x[feature + 2]
                    e += values[k + 3] * x[feature + 3]
                    k, feature = k + 4, feature + 4
                while k < last:
                    a += values[k] * x[feature]
                    k, feature = k + 1, feature + 1
            else:
                k, last = rows[plan[layer, ROWS] + i], rows[plan[layer, ROWS] + i + 1]
                while k + 4 <= last:
                    a += values[at[k]] * x[columns[k]]
                    b += values[at[k + 1]] * x[columns[k + 1]]
                    c += values[at[k + 2]] * x[columns[k + 2]]
                    e += values[at[k + 3]] * x[columns[k + 3]]
                    k += 4
                while k < last:
                    a += values[at[k]] * x[columns[k]]
                    k += 1
            total = (a + b) + (c + e)
            z[i] = 0 if total <= 0 and layer < layers - 1 else total
        x = z
    y[:] = x
