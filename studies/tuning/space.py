"""What may be tried of a setting, and the trials that a space of such settings gives: equally many for every method."""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np

from rl.streams import numpy_generator
from studies.problems import BadInput

Search = Literal["grid", "random"]
Trial = dict[str, Any]
"""One configuration: the value of every key of a space."""

EDGE: Final = 0.05
"""Of a range, on its own scale: what is nearer to an end says that better values may lie beyond."""
LARGEST_GRID: Final = 100_000
FRUITLESS: Final = 1000
"""Draws in a row that are all known: the space has no more to give."""


@dataclass(frozen=True)
class Values:
    """A list to choose from, every value as likely."""

    values: tuple[Any, ...]

    def draw(self, share: float) -> Any:
        """The value at a share in [0, 1) of the list."""
        return self.values[int(share * len(self.values))]

    def at_edge(self, value: Any) -> bool:
        """Whether a value is the lowest or the highest of a list of numbers."""
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)
        return numbers and len(self.values) > 1 and value in (min(self.values), max(self.values))


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, uniform or, with `log`, log-uniform: three digits, or whole."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, share: float) -> float | int:
        """low + share (high - low), or low (high / low)^share, rounded but never over a bound."""
        value = self.low + share * (self.high - self.low)
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        if self.whole:
            return int(min(max(round(value), math.ceil(self.low)), math.floor(self.high)))
        return min(max(float(f"{value:.3g}"), self.low), self.high)

    def at_edge(self, value: float) -> bool:
        """Whether a number lies in the outer 5 % of the range, on its own scale."""
        low, here, high = (math.log(v) if self.log else v for v in (self.low, value, self.high))
        return not EDGE <= (here - low) / (high - low) <= 1 - EDGE


Space = Mapping[str, Values | Range]


def trials(space: Space, search: Search, count: int | None, seed: int) -> list[Trial]:
    """`count` different configurations of a space; None is a whole grid.

    The first n do not hang on how many are asked for, and a range has the same values for every method that it reaches:
    methods differ in what they are, not in the luck of their draws. Lists do so until what is drawn was drawn before,
    which is left out; of a grid in part each method has its own. BadInput if the space has too few.
    """
    if search not in get_args(Search):
        raise BadInput(f"search must be 'grid' or 'random', not {search!r}")
    found = list(itertools.islice((_grid if search == "grid" else _drawn)(space, seed), count))
    if count is not None and len(found) < count:
        raise BadInput(f"has {len(found)} different settings for {count} trials: lower `trials`, or let more be tried")
    return found


def _grid(space: Space, seed: int) -> Iterator[Trial]:
    """Every combination once, in an order that is drawn."""
    lists = []
    for key, values in space.items():
        if not isinstance(values, Values):
            raise BadInput(f"{key} is a range, and a grid needs lists: list its values, or search = 'random'")
        lists.append(values.values)
    size = math.prod(map(len, lists))
    if size > LARGEST_GRID:
        raise BadInput(f"is a grid of {size:,} settings, over {LARGEST_GRID:,}: search = 'random' tries some of them")
    for place in _generator(seed, "grid").permutation(size):
        at = np.unravel_index(place, [len(values) for values in lists])
        yield {key: values[int(i)] for key, values, i in zip(space, lists, at, strict=True)}


def _drawn(space: Space, seed: int) -> Iterator[Trial]:
    """Random search (Bergstra & Bengio 2012): every key from a stream of its own, what was drawn before left out."""
    streams = {key: shares(_generator(seed, key)) for key in space}
    seen: set[str] = set()
    fruitless = 0
    while fruitless < FRUITLESS:
        trial = {key: values.draw(next(streams[key])) for key, values in space.items()}
        words = json.dumps(trial, sort_keys=True, default=str)
        fruitless = fruitless + 1 if words in seen else 0
        if words not in seen:
            seen.add(words)
            yield trial


def shares(generator: np.random.Generator) -> Iterator[float]:
    """Numbers each uniform in [0, 1), of which the first 2^k lie one in each of as many equal parts.

    With a stream a key that is a nested Latin hypercube (McKay et al. 1979; Qian 2009): a few independent draws
    would now and then leave half of a range untried.
    """
    drawn: list[float] = []
    while True:
        parts = max(1, 2 * len(drawn))
        empty = sorted(set(range(parts)) - {int(parts * share) for share in drawn})
        for part in generator.permutation(empty):
            drawn.append((float(part) + generator.random()) / parts)
            yield drawn[-1]


def _generator(seed: int, purpose: str) -> np.random.Generator:
    return numpy_generator(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),)))
