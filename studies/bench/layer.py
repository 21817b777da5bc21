"""Passes over one hidden layer, sparse and dense, each timed alone.

A sparse layer is a difference: a network of two such layers between a first of one input and a last of one output, less
one of the first and last alone. What turns samples into tiles and back so cancels out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from sparsity.execution import kernels
from sparsity.execution.crossover import EXPAND_FROM
from sparsity.execution.pattern import Pattern, Places, Shape
from studies.bench.plan import CHOICE, LAYER, Setting

DENSITIES: Final = (0.5, 0.2, 0.1, 0.05, 0.02)
CHOICE_DENSITIES: Final = (0.95, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2)
"""Where a layer is tried as it is and filled up."""
HIDDEN: Final = 2
"""Layers of a kind in a network, as in TD3's."""

Call = Callable[[], Any]


class Network:
    """A network of square hidden layers with these connections, and all that the kernels want of a caller."""

    def __init__(self, setting: Setting, hidden: Sequence[Places]) -> None:
        width, batch = setting.width, setting.batch
        shapes = [Shape(1, width, 1), *(Shape(1, width, width) for _ in hidden), Shape(1, 1, width)]
        self.pattern = pattern = Pattern(shapes, [None, *hidden, None])
        draw = np.random.default_rng(0)
        self._values = (draw.normal(size=pattern.size) / np.sqrt(width)).astype(np.float32)
        self._x = draw.normal(size=(batch, 1)).astype(np.float32)
        self._d = draw.normal(size=(1, batch, 1)).astype(np.float32)
        self._y, self._grad = np.empty_like(self._d), np.zeros_like(self._values)
        self._scratch = np.zeros(pattern.scratch_size, np.float32)
        self._tape = torch.empty(kernels.tape_size(pattern.widths, 1, batch)).numpy()
        self._index = (pattern.at, pattern.columns, pattern.rows)
        self._turned = (pattern.t_at, pattern.t_columns, pattern.t_rows)
        self._nobody_asks = np.empty((batch, 0), np.float32)
        self.forward()

    def forward(self) -> None:
        kernels.forward(
            self._values, self._scratch, *self._index, self.pattern.plan, 1, self._x, self._tape, self._y
        )  # fmt: skip

    def back(self) -> None:
        """Gradients of the inputs of all layers but the first."""
        self._back(False)

    def learn(self) -> None:
        """The same, and those of all weights."""
        self._back(True)

    def _back(self, learns: bool) -> None:
        kernels.backward(
            self._values, self._scratch, *self._index, *self._turned, self.pattern.plan, 1,
            self._tape, self._d, self._grad, learns, self._nobody_asks, 0,
        )  # fmt: skip


class Work(NamedTuple):
    """Calls whose time counts, and calls whose time is taken off, for so many layers."""

    more: tuple[Call, ...]
    less: tuple[Call, ...] = ()
    layers: int = 1

    def seconds(self, n: int) -> float:
        """Of one layer in n calls."""
        return max(_timed(self.more, n) - _timed(self.less, n), 1e-9) / self.layers


class Layers:
    """Kinds of work by name."""

    def __init__(self, works: Mapping[str, Work], facts: Mapping[str, Any]) -> None:
        self._works, self._facts = works, facts

    def warm(self) -> dict[str, Any]:
        """Seconds of a call as the clock has them, what is taken off included: they decide the size of a block."""
        seconds = {}
        for name, work in self._works.items():
            calls = (*work.more, *work.less)
            seconds[name] = min(_timed(calls, 2) / 2 for _ in range(3))  # The first compiles.
        return {"seconds": seconds, "facts": self._facts}

    def block(self, work: str, n: int) -> float:
        return self._works[work].seconds(n)


def passes(setting: Setting) -> Layers:
    """`forward`, `weights` and `inputs` at each density, and dense: "forward 0.1", "weights dense", ..."""
    _set_up(setting)
    works, bare = _dense(setting), Network(setting, [])
    active, expanded = {}, []
    for density in DENSITIES:
        name, places = f"{density:g}", _places(setting.width, density)
        net = Network(setting, places)
        active[name] = len(places[0]) / setting.width**2
        expanded += [name] if net.pattern.scratch_size else []
        works[f"forward {name}"] = Work((net.forward,), (bare.forward,), HIDDEN)
        works[f"weights {name}"] = Work((net.learn, bare.back), (net.back, bare.learn), HIDDEN)
        works[f"inputs {name}"] = Work((net.back,), (bare.back,), HIDDEN)
    return Layers(works, {"active": active, "expanded": expanded})


def choices(setting: Setting) -> Layers:
    """Forward and back of a layer as it is and filled up: "sparse 0.5", "expanded 0.5", ..."""
    _set_up(setting)
    works, bare = {}, Network(setting, [])
    for density in CHOICE_DENSITIES:
        places = _places(setting.width, density)
        for name, beginning in (("sparse", 2.0), ("expanded", 0.0)):
            with _expanding_from(beginning):
                net = Network(setting, places)
            works[f"{name} {density:g}"] = Work((net.forward, net.learn), (bare.forward, bare.learn), HIDDEN)
    return Layers(works, {})


RUNNERS: Final[dict[str, Callable[[Setting], Layers]]] = {LAYER: passes, CHOICE: choices}


def _dense(setting: Setting) -> dict[str, Work]:
    """The same passes as bare products, features first as our dense stack has them; as many matrices in turns."""
    draw = torch.Generator().manual_seed(0)
    w = [torch.randn(setting.width, setting.width, generator=draw) / setting.width**0.5 for _ in range(HIDDEN)]
    x, d = (torch.randn(setting.width, setting.batch, generator=draw) for _ in range(2))
    products = {
        "forward": [partial(torch.mm, each, x, out=torch.empty_like(x)) for each in w],
        "weights": [partial(torch.mm, d, x.t(), out=torch.empty_like(each)) for each in w],
        "inputs": [partial(torch.mm, each.t(), d, out=torch.empty_like(x)) for each in w],
    }
    return {f"{name} dense": Work(tuple(calls), layers=HIDDEN) for name, calls in products.items()}


def _places(width: int, density: float) -> list[Places]:
    """Of each layer, exactly that share of its connections, drawn uniformly."""
    draw, count = np.random.default_rng(1), round(density * width**2)
    return [np.sort(draw.choice(width**2, count, replace=False)).astype(np.int64) for _ in range(HIDDEN)]


@contextmanager
def _expanding_from(density: float) -> Iterator[None]:
    """Layers made in here are filled up from that density on."""
    kept = dict(EXPAND_FROM)
    EXPAND_FROM.update(dict.fromkeys(kept, density))
    try:
        yield
    finally:
        EXPAND_FROM.update(kept)


def _set_up(setting: Setting) -> None:
    torch.set_num_threads(setting.threads)
    torch.set_flush_denormal(True)


def _timed(calls: Sequence[Call], n: int) -> float:
    started = time.perf_counter()
    for _ in range(n):
        for call in calls:
            call()
    return time.perf_counter() - started
