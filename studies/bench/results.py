"""What came of a race: seconds of every block, and the numbers that tables say of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from studies.bench.plan import PEERS, Contestant, Setting


class Spread(NamedTuple):
    """Median and range of what was measured again and again."""

    median: float
    low: float
    high: float


class Ratio(NamedTuple):
    """How many times as fast: the ratio of the medians, and the ratios of single repeats.

    The second is the better number on a machine whose speed drifts: the two blocks of a repeat lie close in time.
    """

    of_medians: float
    repeats: Spread


@dataclass
class Measured:
    """A contestant of a group: seconds per update and per step of every counted block, or why there are none."""

    contestant: Contestant
    problem: str = ""
    cores: list[int] = field(default_factory=list)
    """To which its process was bound."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Of ours: density and FLOPs as shares of dense, bytes by purpose, what an event takes."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Updates or steps of a block, by the kind of work."""
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def spread(self, work: str) -> Spread | None:
        """Of seconds; None if this was not measured, or not to the end."""
        return None if self.problem or not self.seconds.get(work) else spread(self.seconds[work])


@dataclass
class GroupResult:
    """A setting and all who were measured under it."""

    setting: Setting
    measured: list[Measured]

    def find(self, kind: str, density: float | None = None) -> Measured | None:
        """The contestant, if it was measured to the end."""
        wanted = Contestant(kind, density)
        return next((one for one in self.measured if one.contestant == wanted and not one.problem), None)

    @property
    def reference(self) -> Measured | None:
        """Whom the others are compared with: SBX, else SB3, else our dense."""
        return next((found for kind in (*PEERS, "dense") if (found := self.find(kind))), None)


@dataclass
class Results:
    """All groups, the plan they come of, the machine's world, and single layers."""

    groups: list[GroupResult]
    plan: Mapping[str, Any] = field(default_factory=dict)
    world: Mapping[str, Any] = field(default_factory=dict)
    layers: list[GroupResult] = field(default_factory=list)

    def find(self, **setting: Any) -> GroupResult | None:
        """The group of this setting; what is not named is as by default."""
        wanted = {"threads": 1, "published": False} | setting
        return next((g for g in self.groups if all(getattr(g.setting, k) == v for k, v in wanted.items())), None)

    def as_json(self) -> dict[str, Any]:
        """Everything, in seconds."""
        return asdict(self)


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """How many times as long the first took, over repeats of the same number."""
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return Ratio(statistics.median(slow) / statistics.median(fast), spread(each))


def speedup(reference: Measured | None, one: Measured, work: str) -> Ratio | None:
    """How many times as fast as the reference; None where one of the two was not measured."""
    if reference is None or reference.spread(work) is None or one.spread(work) is None:
        return None
    return ratio(reference.seconds[work], one.seconds[work])
