"""The speeds that we hold ourselves to, and whether they were met here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from studies.bench.results import Measured, Ratio, Results, speedup


class Bar(NamedTuple):
    """A promise: how many times as fast as another it must be, and would like to be. SAC is held to those of TD3."""

    what: str
    must: float
    aim: float
    measured: Callable[[Results], Ratio | None]


def _step(density: float | None) -> Callable[[Results], Ratio | None]:
    """Our whole step against SBX's, width 256, batch 256, one thread."""

    def measured(results: Results) -> Ratio | None:
        group = results.find(width=256, batch=256)
        ours = group.find("dense" if density is None else "sparse", density) if group else None
        return speedup(group.find("sbx"), ours, "step") if group and ours else None

    return measured


def _paper(results: Results) -> Ratio | None:
    """Our sparse update against SBX's dense one in the paper's setting."""
    group = results.find(width=256, batch=100, published=True)
    return _between(group.find("sbx"), group.find("sparse")) if group else None


def _wide(results: Results) -> Ratio | None:
    """Our sparse update against our dense one, width 1024, density 0.05, batch 256."""
    group = results.find(width=1024, batch=256)
    return _between(group.find("dense"), group.find("sparse", 0.05)) if group else None


def _between(slow: Measured | None, fast: Measured | None) -> Ratio | None:
    return speedup(slow, fast, "update") if fast else None


STEP: Final = "step, width 256, batch 256, times SBX"
BARS: Final = (
    Bar(f"{STEP}: dense", 1.0, 1.1, _step(None)),
    Bar(f"{STEP}: density 0.5", 1.0, 1.2, _step(0.5)),
    Bar(f"{STEP}: density 0.1", 2.7, 3.5, _step(0.1)),
    Bar(f"{STEP}: density 0.05", 3.7, 4.5, _step(0.05)),
    Bar(f"{STEP}: density 0.02", 4.7, 6.0, _step(0.02)),
    Bar("update, the paper's setting, times SBX (a cost of at most 1.5)", 1 / 1.5, 1.0, _paper),
    Bar("update, width 1024, batch 256, density 0.05, times our dense", 8.0, 8.0, _wide),
)


def verdict(value: float, bar: float) -> str:
    return "ok" if value >= bar else "missed"
