"""Schedules: step -> the fraction of active connections to swap now; 0 means not now.

`step` counts agent updates from 1 and `total` is how many are planned (None if nobody knows). A schedule may also ask
for `density`, that of the network before this step, and `final`, that of its allocation. `until` is a share of the
planned updates when it is a float in (0, 1], a number of updates when it is an int.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from registry import hookimpl


def never(step: int) -> float:
    """0: the topology never changes. Static sparse training."""
    return 0.0


def periodic(
    step: int,
    total: int | None,
    *,
    fraction: float = 0.05,
    every: int = 1000,
    phase: int = 0,
    until: float | int = 1.0,
) -> float:
    """The same fraction at every step with step mod every = phase (Sokar et al. 2022: 0.05, every 1000)."""
    return fraction if _due(step, total, fraction, every, phase, until) else 0.0


def cosine(
    step: int,
    total: int | None,
    *,
    fraction: float = 0.3,
    every: int = 100,
    phase: int = 0,
    until: float | int = 0.75,
    floor: float = 0.0,
) -> float:
    """floor + (fraction - floor) / 2 (1 + cos(pi step / T)), T = until: RigL (Evci et al. 2020) has no floor.

    Nothing is swapped after T. SNFS, GraNet and ITOP fall to a floor of 0.005.
    """
    if not 0 <= floor <= fraction:
        raise ValueError(f"floor must lie between 0 and fraction = {fraction:g}, not {floor:g}")
    if not _due(step, total, fraction, every, phase, until):
        return 0.0
    return floor + (fraction - floor) / 2 * (1 + math.cos(math.pi * step / in_updates(until, total)))


def linear(
    step: int,
    total: int | None,
    *,
    fraction: float = 0.3,
    every: int = 100,
    phase: int = 0,
    until: float | int = 0.75,
) -> float:
    """fraction (1 - step / T), T = until: falls to zero in a straight line (Evci et al. 2020, appendix)."""
    if not _due(step, total, fraction, every, phase, until):
        return 0.0
    return fraction * (1 - step / in_updates(until, total))


def staged(
    step: int,
    total: int | None,
    *,
    fractions: tuple[float, ...] = (0.1, 0.1, 0.1, 0.1),
    periods: tuple[int, ...] = (1000, 2000, 4000, 8000),
    ends: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0),
) -> float:
    """A fraction and a period a stage; `ends` are shares of the planned updates: DSR's period of 1,000 ... 8,000
    (Mostafa & Wang 2019), MEST's falling mutation (Yuan et al. 2021)."""
    if not len(fractions) == len(periods) == len(ends) > 0 or list(ends) != sorted(set(ends)):
        given = f"{fractions}, {periods}, {ends}"
        raise ValueError(f"staged: as many fractions and periods as ends, and ends that rise, not {given}")
    last = [in_updates(end, total) for end in ends]
    stage = next((number for number, end in enumerate(last) if step <= end), None)
    if stage is None:
        return 0.0
    return fractions[stage] if _due(step, total, fractions[stage], periods[stage], 0, 1.0) else 0.0


def expanding(
    step: int,
    total: int | None,
    density: float,
    final: float,
    *,
    exchange: float = 0.00256,
    fraction: float = 0.2,
    every: int = 100,
    until: float | int = 1.0,
) -> float:
    """exchange final / density while the network grows, then RigL's cosine: Neuroplastic Expansion (Liu et al. 2025).

    Of the connections that are to be in the end, a share `exchange` is pruned at each event and grown beside the rest:
    0.4 of 0.008 of 0.6 N, where 0.75 N are to be.
    """
    if not 0 <= exchange <= 1:
        raise ValueError(f"exchange must lie in [0, 1], not {exchange:g}")
    if density < final:
        return min(1.0, exchange * final / density) if _due(step, total, fraction, every, 0, until) else 0.0
    return cosine(step, total, fraction=fraction, every=every, until=until)


def in_updates(when: float | int, total: int | None, name: str = "until") -> float:
    """A setting in updates: itself if an int, a share of the planned updates if a float. The end of a run that nobody
    planned never comes."""
    least, shares = (1, "(0, 1]") if name == "until" else (0, "[0, 1]")
    if isinstance(when, int):
        if when < least:
            raise ValueError(f"{name} must be at least {least} updates, or a share in {shares}, not {when}")
        return when
    if not 0 <= when <= 1 or (when == 0 and least):
        raise ValueError(f"{name} as a share must lie in {shares}, not {when:g}; a number of updates is an int")
    if when == 1 and total is None:
        return math.inf
    if total is None:
        raise ValueError(f"{name} = {when:g} is a share of the planned updates: say how many (total=...)")
    # Shares such as 37/39 must land on the step that they came from.
    return round(when * total, 6)


def _due(step: int, total: int | None, fraction: float, every: int, phase: int, until: float | int) -> bool:
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction of connections to swap must lie in [0, 1], not {fraction:g}")
    if every < 1:
        raise ValueError(f"every must be at least 1 update, not {every}")
    if not 0 <= phase < every:
        raise ValueError(f"phase must lie in 0 ... every - 1 = {every - 1}, not {phase}")
    return 1 <= step <= in_updates(until, total) and step % every == phase


@hookimpl
def register_schedule(register: Callable[..., object]) -> None:
    for schedule in (never, periodic, cosine, linear, staged, expanding):
        register(schedule)
