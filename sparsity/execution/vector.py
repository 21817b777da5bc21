"""The two inner loops of sparse execution as LLVM vectors, through numba: no compiler is needed on the user's machine.

Activations lie in tiles of 16 samples: `array[tile, feature, sample]`, so that a connection reads one run of 16 numbers
a tile, which is one cache line in float32. A loop holds several tiles in registers and reads index and weight of a
connection once for all of them. LLVM cuts the vectors to what the machine has (AVX-512, AVX2, NEON).

numba keeps machine code by the file of the function that it compiles: after a change here, touch `kernels.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16
"""Samples of a tile."""

_INT = ir.IntType(64)


class _Emitter:
    """Vectors of 16 numbers of one kind, in one function that is being built."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.context, self.builder = context, builder
        self.scalar = ir.FloatType() if dtype == types.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, LANES)
        self.suffix = f"v{LANES}f{32 if dtype == types.float32 else 64}"
        self.zero = ir.Constant(self.vector, [0.0] * LANES)

    def pointer(self, kind: Any, array: Any) -> Any:
        return self.context.make_array(kind)(self.context, self.builder, array).data

    def at(self, base: Any, offset: Any) -> Any:
        return self.builder.gep(base, [offset])

    def plus(self, base: Any, step: Any, times: int) -> Any:
        return self.builder.add(base, self.builder.mul(step, ir.Constant(_INT, times)))

    def load(self, base: Any, offset: Any) -> Any:
        loaded = self.builder.load(self.builder.bitcast(self.at(base, offset), self.vector.as_pointer()))
        loaded.align = 4  # Rows of foreign memory need not start at a vector's boundary.
        return loaded

    def store(self, value: Any, base: Any, offset: Any) -> None:
        self.builder.store(value, self.builder.bitcast(self.at(base, offset), self.vector.as_pointer())).align = 4

    def splat(self, value: Any) -> Any:
        first = ir.Constant(ir.IntType(32), 0)
        undefined = ir.Constant(self.vector, ir.Undefined)
        placed = self.builder.insert_element(undefined, value, first)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.builder.shuffle_vector(placed, undefined, lanes)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        call = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fmuladd.{self.suffix}")
        return self.builder.call(call, [a, b, c])

    def sum(self, value: Any) -> Any:
        """Of the 16 lanes, pairwise."""
        kind = ir.FunctionType(self.scalar, [self.scalar, self.vector])
        call = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.vector.reduce.fadd.{self.suffix}")
        return self.builder.call(call, [ir.Constant(self.scalar, 0.0), value], fastmath=("reassoc",))

    def sums(self, values: list[Any]) -> list[Any]:
        """The sum of each: of four at once by halving, which takes half the instructions of one after the other."""
        if len(values) != 4:
            return [self.sum(value) for value in values]
        low, high = list(range(8)), list(range(8, 16))
        one, two = (self._folded(a, b, low + [16 + i for i in low], high + [16 + i for i in high])
                    for a, b in (values[:2], values[2:]))  # fmt: skip
        odd = [i for start in (0, 8, 16, 24) for i in range(start, start + 4)]
        four = self._folded(one, two, odd, [i + 4 for i in odd])
        pairs = self._folded(four, four, list(range(16)), [i ^ 2 for i in range(16)])
        total = self._folded(pairs, pairs, list(range(16)), [i ^ 1 for i in range(16)])
        return [self.builder.extract_element(total, ir.Constant(ir.IntType(32), lane)) for lane in (0, 4, 8, 12)]

    def _folded(self, a: Any, b: Any, one: list[int], other: list[int]) -> Any:
        kind = ir.VectorType(ir.IntType(32), LANES)
        picked = (self.builder.shuffle_vector(a, b, ir.Constant(kind, lanes)) for lanes in (one, other))
        return self.builder.fadd(*picked)

    def dot(self, deltas: list[Any], read: list[Any]) -> Any:
        """Lane by lane, the sum over tiles of deltas x read. Two chains, as one alone waits for itself."""
        chains: list[Any] = [None, None]
        for t, (delta, x) in enumerate(zip(deltas, read, strict=True)):
            chain = chains[t % 2]
            chains[t % 2] = self.builder.fmul(delta, x) if chain is None else self.fma(delta, x, chain)
        return chains[0] if chains[1] is None else self.builder.fadd(*chains)

    def add(self, value: Any, place: Any) -> None:
        """*place += value"""
        self.builder.store(self.builder.fadd(self.builder.load(place), value), place)

    def add_sum(self, tiles: list[Any], place: Any) -> None:
        """*place += the sum over tiles and lanes."""
        total = tiles[0]
        for tile in tiles[1:]:
            total = self.builder.fadd(total, tile)
        self.add(self.sum(total), place)

    def next(self, k: Any, steps: int) -> Any:
        return self.builder.add(k, ir.Constant(_INT, steps))

    def positive(self, of: Any, value: Any) -> Any:
        """`value` where `of` is positive, else 0. NaN passes, so that a run that diverges is seen to."""
        return self.builder.select(self.builder.fcmp_ordered("<=", of, self.zero), self.zero, value)

    def finish(self, total: Any, y: Any, place: Any, relu: Any, gate: Any) -> None:
        """Store a sum: where the gate is positive if there is one, else its positive part if `relu` says so."""
        if gate is not None:
            total = self.positive(self.load(gate, place), total)
        else:
            total = self.builder.select(relu, self.positive(total, total), total)
        self.store(total, y, place)

    def index(self, array: Any, position: Any) -> Any:
        return self.builder.zext(self.builder.load(self.at(array, position)), _INT)


def _loop(emit: _Emitter, begin: Any, end: Any, sums: list[Any], step: Callable[[Any, list[Any]], list[Any]]) -> Any:
    """`sums = step(k, sums)` for k in begin ... end - 1, the sums kept in registers."""
    builder, before = emit.builder, emit.builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(_INT)
    k.add_incoming(begin, before)
    phis = [builder.phi(emit.vector) for _ in sums]
    for phi, start in zip(phis, sums, strict=True):
        phi.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", k, end), body, after)
    builder.position_at_end(body)
    stepped = step(k, phis)
    k.add_incoming(builder.add(k, ir.Constant(_INT, 1)), builder.block)
    for phi, new in zip(phis, stepped, strict=True):
        phi.add_incoming(new, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return phis


@intrinsic(prefer_literal=True)
def product(typing: Any, tiles: Any, gated: Any, values: Any, at: Any, columns: Any, begin: Any, end: Any,
            x: Any, x_from: Any, x_stride: Any, y: Any, y_from: Any, y_stride: Any,
            biases: Any, b_from: Any, relu: Any, gate: Any) -> Any:  # fmt: skip
    """y[t] = biases[b_from] + sum over k of values[at[k]] x[t, columns[k]] for `tiles` tiles; k from `begin` to `end`.

    With `relu` its positive part is stored. If `gated` (literal, as `tiles` is) there is no bias, and the sum is stored
    where `gate`, laid out as y, is positive, 0 elsewhere. Offsets and strides (from tile to tile) count numbers.
    """
    signature = types.void(tiles, gated, values, at, columns, begin, end, x, x_from, x_stride, y, y_from, y_stride,
                           biases, b_from, relu, gate)  # fmt: skip
    count, masked = tiles.literal_value, gated.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature.args[2].dtype)
        w, order, col, xs, ys, bs, gs = (emit.pointer(signature.args[i], args[i]) for i in (2, 3, 4, 7, 10, 13, 16))
        begin, end, x_from, x_stride, y_from, y_stride, b_from, relu = (args[i] for i in (5, 6, 8, 9, 11, 12, 14, 15))

        def step(k: Any, sums: list[Any]) -> list[Any]:
            weight = emit.splat(builder.load(emit.at(w, emit.index(order, k))))
            start = builder.add(x_from, builder.shl(emit.index(col, k), ir.Constant(_INT, 4)))
            return [emit.fma(weight, emit.load(xs, emit.plus(start, x_stride, t)), s) for t, s in enumerate(sums)]

        bias = emit.zero if masked else emit.splat(builder.load(emit.at(bs, b_from)))
        for t, total in enumerate(_loop(emit, begin, end, [bias] * count, step)):
            emit.finish(total, ys, emit.plus(y_from, y_stride, t), relu, gs if masked else None)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def block(typing: Any, rows: Any, tiles: Any, gated: Any, weights: Any, w_from: Any, w_row: Any, w_step: Any,
          count: Any, x: Any, x_from: Any, x_stride: Any, y: Any, y_from: Any, y_stride: Any,
          biases: Any, b_from: Any, relu: Any, gate: Any) -> Any:  # fmt: skip
    """`product` for `rows` neighbouring rows of a matrix without gaps: each x is read once for all of them.

    The weight of row r and feature k is weights[w_from + r w_row + k w_step]. If `gated` there is no bias.
    """
    signature = types.void(rows, tiles, gated, weights, w_from, w_row, w_step, count, x, x_from, x_stride,
                           y, y_from, y_stride, biases, b_from, relu, gate)  # fmt: skip
    height, width, masked = rows.literal_value, tiles.literal_value, gated.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature.args[3].dtype)
        w, xs, ys, bs, gs = (emit.pointer(signature.args[i], args[i]) for i in (3, 8, 11, 14, 17))
        w_from, w_row, w_step, count, x_from, x_stride, y_from, y_stride, b_from, relu = (
            args[i] for i in (4, 5, 6, 7, 9, 10, 12, 13, 15, 16)
        )
        line = ir.Constant(_INT, LANES)

        def step(k: Any, sums: list[Any]) -> list[Any]:
            start = builder.add(x_from, builder.mul(k, line))
            read = [emit.load(xs, emit.plus(start, x_stride, t)) for t in range(width)]
            first = builder.add(w_from, builder.mul(k, w_step))
            news = []
            for r in range(height):
                weight = emit.splat(builder.load(emit.at(w, emit.plus(first, w_row, r))))
                news += [emit.fma(weight, read[t], sums[r * width + t]) for t in range(width)]
            return news

        starts = []
        for r in range(height):
            bias = emit.zero
            if not masked:
                bias = emit.splat(builder.load(emit.at(bs, builder.add(b_from, ir.Constant(_INT, r)))))
            starts += [bias] * width
        totals = _loop(emit, ir.Constant(_INT, 0), count, starts, step)
        for r in range(height):
            for t in range(width):
                place = builder.add(emit.plus(y_from, y_stride, t), ir.Constant(_INT, r * LANES))
                emit.finish(totals[r * width + t], ys, place, relu, gs if masked else None)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def outer(typing: Any, tiles: Any, grad: Any, bias: Any, at: Any, columns: Any, begin: Any, end: Any,
          x: Any, x_from: Any, x_stride: Any, d: Any, d_from: Any, d_stride: Any) -> Any:  # fmt: skip
    """grad[at[k]] += sum over samples of d x[columns[k]], k from `begin` to `end`; grad[bias] += sum of d: a row's."""
    signature = types.void(tiles, grad, bias, at, columns, begin, end, x, x_from, x_stride, d, d_from, d_stride)
    count = tiles.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature.args[1].dtype)
        g, order, col, xs, ds = (emit.pointer(signature.args[i], args[i]) for i in (1, 3, 4, 7, 10))
        begin, end, x_from, x_stride, d_from, d_stride = (args[i] for i in (5, 6, 8, 9, 11, 12))
        deltas = [emit.load(ds, emit.plus(d_from, d_stride, t)) for t in range(count)]
        emit.add_sum(deltas, emit.at(g, args[2]))

        def dots(k: Any, how_many: int) -> None:
            found = []
            for n in range(how_many):
                start = builder.add(x_from, builder.shl(emit.index(col, emit.next(k, n)), ir.Constant(_INT, 4)))
                found.append(emit.dot(deltas, [emit.load(xs, emit.plus(start, x_stride, t)) for t in range(count)]))
            for n, total in enumerate(emit.sums(found)):
                emit.add(total, emit.at(g, emit.index(order, emit.next(k, n))))

        _in_fours(emit, begin, end, dots)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def outer_block(typing: Any, rows: Any, tiles: Any, biases: Any, bias: Any, grad: Any, g_from: Any, g_row: Any,
                count: Any, x: Any, x_from: Any, x_stride: Any, d: Any, d_from: Any, d_stride: Any) -> Any:  # fmt: skip
    """grad[g_from + r g_row + k] += sum over samples of d[r] x[k], k below `count`; biases[bias + r] += sum of d[r].

    `outer` for neighbouring rows of a matrix without gaps.
    """
    signature = types.void(
        rows, tiles, biases, bias, grad, g_from, g_row, count, x, x_from, x_stride, d, d_from, d_stride
    )
    height, width = rows.literal_value, tiles.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature.args[2].dtype)
        bs, g, xs, ds = (emit.pointer(signature.args[i], args[i]) for i in (2, 4, 8, 11))
        g_from, g_row, count, x_from, x_stride, d_from, d_stride = (args[i] for i in (5, 6, 7, 9, 10, 12, 13))
        deltas = []
        for r in range(height):
            line = builder.add(d_from, ir.Constant(_INT, r * LANES))
            deltas.append([emit.load(ds, emit.plus(line, d_stride, t)) for t in range(width)])
            emit.add_sum(deltas[r], emit.at(bs, builder.add(args[3], ir.Constant(_INT, r))))

        def dots(k: Any, how_many: int) -> None:
            found: list[list[Any]] = [[] for _ in range(height)]
            for n in range(how_many):
                start = builder.add(x_from, builder.mul(emit.next(k, n), ir.Constant(_INT, LANES)))
                read = [emit.load(xs, emit.plus(start, x_stride, t)) for t in range(width)]
                for r in range(height):
                    found[r].append(emit.dot(deltas[r], read))
            for r in range(height):
                for n, total in enumerate(emit.sums(found[r])):
                    emit.add(total, emit.at(g, builder.add(emit.plus(g_from, g_row, r), emit.next(k, n))))

        _in_fours(emit, ir.Constant(_INT, 0), count, dots)
        return context.get_dummy_value()

    return signature, generate


def _in_fours(emit: _Emitter, begin: Any, end: Any, do: Callable[[Any, int], None]) -> None:
    """do(k, 4) for the fours from `begin` on, do(k, 1) for those that remain before `end`."""
    four = ir.Constant(_INT, 4)
    fours = emit.builder.sdiv(emit.builder.sub(end, begin), four)

    def step(k: Any, _: list[Any]) -> list[Any]:
        do(emit.builder.add(begin, emit.builder.mul(k, four)), 4)
        return []

    def rest(k: Any, _: list[Any]) -> list[Any]:
        do(k, 1)
        return []

    _loop(emit, ir.Constant(_INT, 0), fours, [], step)
    _loop(emit, emit.builder.add(begin, emit.builder.mul(fours, four)), end, [], rest)
