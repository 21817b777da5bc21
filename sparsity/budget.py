"""Budgets: step -> the density of the network from this step on, as a staircase.

`density` is what the allocation gives in the end. `step` 0 is the density at the start; steps count agent updates, and
`total` is how many are planned. Windows are shares of the planned updates when floats, updates when ints.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from registry import hookimpl
from sparsity.schedule import in_updates


def constant(density: float) -> float:
    """d(t) = d: the number of connections never changes."""
    return density


def cubic(
    step: int,
    total: int | None,
    density: float,
    *,
    start: float = 1.0,
    begin: float | int = 0.2,
    end: float | int = 0.8,
    every: int = 1000,
) -> float:
    """d + (start - d) (1 - (t - begin) / (end - begin))^3, in stairs: gradual pruning (Zhu & Gupta 2018, Eq. 1).

    The window of 20 to 80 % is that of Graesser et al. 2022. The last stair is at `end` itself.
    """
    _check_start(start, every)
    first, last = in_updates(begin, total, "begin"), in_updates(end, total, "end")
    if first >= last:
        raise ValueError(f"the window must end after it begins, not {begin:g} ... {end:g}")
    if step >= last:
        return density
    stair = max(0, math.floor((step - first) / every)) * every
    return density + (start - density) * (1 - stair / (last - first)) ** 3


def at_once(step: int, total: int | None, density: float, *, start: float = 1.0, at: float | int = 0.2) -> float:
    """`start` until step `at`, d from then on: one-shot pruning (LeCun et al. 1990)."""
    _check_start(start, 1)
    return density if step >= in_updates(at, total, "at") else start


def grow(
    step: int, total: int | None, density: float, *, start: float = 4 / 15, gain: float = 0.00384, every: int = 100
) -> float:
    """d min(1, start + gain floor(step / every)): Neuroplastic Expansion (Liu et al. 2025).

    Shares of the final density: theirs grows from 0.2 to 0.75, at each event by 0.008 of 0.6 N, of which 0.4 leave.
    """
    _check_start(start, every)
    if not 0 < gain <= 1:
        raise ValueError(f"gain is a share of the final density in (0, 1], not {gain:g}")
    return density * min(1.0, start + gain * (step // every))


def soft_bound(
    step: int,
    total: int | None,
    density: float,
    *,
    factors: tuple[float, ...] = (1.5, 1.25),
    ends: tuple[float, ...] = (0.5625, 0.75),
) -> float:
    """factor d in each stage, d after the last: MEST's soft memory bound (Yuan et al. 2021, EM&S).

    `ends` are shares of the planned updates: 90 and 120 of 160 epochs.
    """
    if len(factors) != len(ends) or list(ends) != sorted(set(ends)) or min(factors, default=1.0) < 1:
        raise ValueError(f"soft_bound: a factor of at least 1 and an end a stage, ends rising, not {factors, ends}")
    for factor, end in zip(factors, ends, strict=True):
        if step < in_updates(end, total, "ends"):
            return min(1.0, factor * density)
    return density


def final_cut(
    step: int,
    total: int | None,
    density: float,
    *,
    fraction: float = 0.05,
    after: float | int = 37 / 39,
    every: int = 1000,
    phase: int = 2,
) -> float:
    """d, then (1 - fraction) d from the first step over `after` with step mod every = phase.

    The released code of Sokar et al. 2022: its last adaptation drops without growing, after 925,000 of 975,000
    planned updates, which is 37/39.
    """
    if not 0 <= fraction < 1 or every < 1 or not 0 <= phase < every:
        raise ValueError(f"final_cut: fraction in [0, 1) and 0 <= phase < every, not {fraction:g}, {phase}, {every}")
    last_whole = in_updates(after, total, "after")
    if step <= last_whole:
        return density
    first = math.floor(last_whole) + 1
    return density * (1 - fraction) if step >= first + (phase - first) % every else density


def _check_start(start: float, every: int) -> None:
    if not 0 < start <= 1:
        raise ValueError(f"start is a density in (0, 1], not {start:g}")
    if every < 1:
        raise ValueError(f"every must be at least 1 update, not {every}")


@hookimpl
def register_budget(register: Callable[..., object]) -> None:
    for budget in (constant, cubic, at_once, grow, soft_bound, final_cut):
        register(budget)
