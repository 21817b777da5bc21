"""The slow copy of a sparse network: the online pattern, and a tail of connections that online has dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from registry import Bound
from sparsity.execution.canonical import Places, carried
from sparsity.execution.find import Layer
from sparsity.execution.pattern import Pattern
from sparsity.execution.selection import keep_largest
from sparsity.execution.stack import SparseStack


class SlowStack:
    """Values in the order of the online ones, moved by whoever updates the copy, and the tail, moved here.

    A connection that returns online while it is in the tail keeps its value, a newcomer starts at 0, and what was cut
    from the tail does not return.
    """

    def __init__(self, online: SparseStack, layers: Sequence[Layer], places: Sequence[Places | None]) -> None:
        self._online, self._main = online, list(places)
        self._tail: list[Places] = [np.zeros(0, np.int64) for _ in layers]
        weights = [
            layer.initial_weight().reshape(-1) if layer_places is None
            else layer.initial_weight().reshape(-1)[torch.from_numpy(layer_places)]
            for layer, layer_places in zip(layers, places, strict=True)
        ]  # fmt: skip
        values = torch.cat([*weights, *(layer.initial_bias().reshape(-1) for layer in layers)])
        self.stack = SparseStack(online.pattern, nn.Parameter(values, requires_grad=False))

    def topology_changed(self, old: Sequence[Places | None], new: Sequence[Places | None]) -> None:
        """The online network has other connections now: what it dropped goes to the tail, what it regrew comes back."""
        self.stack.current()
        values, before = self.stack.values.detach(), self.stack.pattern
        kept = [self._whole(number, values, before, self._places(number, old)) for number in range(len(new))]
        self._main = list(new)
        main, tails = [], []
        for number, (places, numbers) in enumerate(kept):
            mine = self._places(number, new)
            main.append(carried(places, numbers, mine))
            left = ~np.isin(places, mine, assume_unique=True) & (numbers != 0).numpy()
            self._tail[number] = places[left]
            tails.append(numbers[torch.from_numpy(left)])
        self._lay([*main, values[before.biases[0] :]], tails)

    def updated(self, rule: Bound, eligible: Sequence[int], tau: float) -> None:
        """After a move towards the online network by `tau`: the tail fades, and the rule says what stays."""
        self.fade(tau)
        if rule.entry.name == "follow" and len(self.stack.tail):
            self._tail = [places[:0] for places in self._tail]
            self._lay([self.stack.values.detach()], [])
        elif rule.entry.name == "keep_largest":
            self._cut(eligible, nonzero=rule.settings["count"] == "nonzero")

    def fade(self, tau: float) -> None:
        """Move the tail towards the zeros that it has online."""
        self.stack.current()  # The values may have been given other memory, and the tail goes with them.
        tail = self.stack.tail
        if len(tail):
            tail.zero_() if tau == 1 else tail.add_(tail, alpha=-tau)

    def nonzero(self, number: int) -> int:
        """Weights of a layer that are not zero."""
        pattern, values = self.stack.pattern, self.stack.values.detach()
        begin, end = self._tail_bounds(number)
        main = values[pattern.weights[number] : pattern.weights[number + 1]]
        return int(main.count_nonzero()) + int(self.stack.memory[begin:end].count_nonzero())

    def layer(self, number: int) -> tuple[Places, Tensor]:
        """Places and weights of a layer, the tail's among them, sorted."""
        self.stack.current()
        return self._whole(number, self.stack.values.detach(), self.stack.pattern, self._places(number, self._main))

    def load(self, layers: Sequence[tuple[Places, Tensor]], biases: Tensor) -> None:
        """Take these weights: those of online connections, and a tail of the others."""
        main, tails = [], []
        for number, (places, numbers) in enumerate(layers):
            mine = self._places(number, self._main)
            main.append(carried(places, numbers, mine))
            # Zeros that are stored are what was cut since the last event: they go with it, no sooner.
            left = ~np.isin(places, mine, assume_unique=True)
            self._tail[number] = places[left]
            tails.append(numbers[torch.from_numpy(left)])
        self._lay([*main, biases], tails)

    def _lay(self, main: list[Tensor], tails: list[Tensor]) -> None:
        """New memory, values first and the tail behind them, with an index for both."""
        memory = torch.cat([*main, *tails]).contiguous()
        online = self._online.pattern
        if len(memory) == online.size:
            self.stack.values.data = memory
            self.stack.adopt(online)
            return
        places: list[Places | None] = []
        order: list[Places | None] = []
        start = online.size
        for number, mine in enumerate(self._main):
            tail = self._tail[number]
            if mine is None:
                places.append(None)
                order.append(None)
                continue
            joined = np.concatenate([mine, tail])
            at = np.concatenate([online.weights[number] + np.arange(len(mine)), start + np.arange(len(tail))])
            sorting = np.argsort(joined, kind="stable")
            places.append(joined[sorting])
            order.append(at[sorting])
            start += len(tail)
        pattern = Pattern(online.shapes, places, like=online, at=order)
        self.stack.values.data = memory[: online.size]
        self.stack.adopt(pattern, memory)

    def _whole(self, number: int, values: Tensor, pattern: Pattern, main: Places) -> tuple[Places, Tensor]:
        begin, end = self._tail_bounds(number)
        numbers = torch.cat(
            [values[pattern.weights[number] : pattern.weights[number + 1]], self.stack.memory[begin:end]]
        )
        places = np.concatenate([main, self._tail[number]])
        order = np.argsort(places, kind="stable")
        return places[order], numbers[torch.from_numpy(order)]

    def _tail_bounds(self, number: int) -> tuple[int, int]:
        start = self.stack.pattern.size + sum(len(tail) for tail in self._tail[:number])
        return start, start + len(self._tail[number])

    def _places(self, number: int, of: Sequence[Places | None]) -> Places:
        places = of[number]
        return np.arange(self._online.pattern.shapes[number].size) if places is None else places

    def _cut(self, eligible: Sequence[int], *, nonzero: bool) -> None:
        online, numbers = self._online, self.stack.memory.numpy()
        for number in eligible:
            shape, main, tail = online.pattern.shapes[number], self._main[number], self._tail[number]
            if main is None and not nonzero:
                continue
            if not len(tail) and not nonzero:
                continue  # As many as online has, and no more: all stay.
            mine = self._places(number, self._main)
            start, (tail_start, _) = online.pattern.weights[number], self._tail_bounds(number)
            edges = np.arange(shape.members + 1) * shape.out * shape.fan_in
            of_main, of_tail = np.searchsorted(mine, edges), np.searchsorted(tail, edges)
            for member in range(shape.members):
                a, b = of_main[member : member + 2]
                c, d = of_tail[member : member + 2]
                k = int(b - a)
                if nonzero:
                    k = int(online.values.detach()[start + a : start + b].count_nonzero())
                segments = np.array([[start + a, start + b], [tail_start + c, tail_start + d]], np.int64)
                keep_largest(numbers, segments, (mine[a:b], tail[c:d]), k)
