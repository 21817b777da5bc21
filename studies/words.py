"""Names, numbers and returns in words: what every table and figure of a study says alike.

Labels come from study files that others may have written: they are cleaned (`studies.problems.clean`) wherever they are
shown; escaping the specials of a format is that format's own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from studies.outcome import Clock, Outcome
from studies.problems import clean
from studies.statistics import Row, window

RANDOM: Final = "random policy"
ABSENT: Final = "-"
NAMED: Final = 8
"""Rows that a note names; further ones are counted."""
BUSY: Final = 1.2
"""Wall-clock seconds for one on the CPU from which on a machine is said to have been busy."""
CLOCKS: Final[Mapping[Clock, str]] = {"wall": "wall clock", "cpu": "CPU time"}


def shorten(text: str, width: int) -> str:
    """Text of at most `width` characters; the middle goes, for variants of a method differ at the end."""
    tail = (width - 2) // 2
    return text if len(text) <= width else f"{text[: width - 2 - tail]}..{text[-tail:]}"


def number(value: float | None, decimals: int = 0) -> str:
    """1,234.5; exponents from 1e9 on; "-" for what is not known; never a negative zero."""
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:.3e}" if abs(value) >= 1e9 else f"{round(value, decimals) + 0.0:,.{decimals}f}"


def evaluations(rows: Sequence[Row]) -> str:
    """What a return is: "mean of a run's last 10 of 201 evaluations", or the rule if curves differ."""
    counts = sorted({len(run.returns) for row in rows for run in row.finished})
    if len(counts) == 1:
        return f"mean of a run's last {window(counts[0])} of {counts[0]} evaluations"
    rule = "mean of a run's last max(1, min(10, m // 10)) of m evaluations"
    return f"{rule}, m = {counts[0]} to {counts[-1]}" if counts else rule


def clock_of(rows: Sequence[Row]) -> str:
    """By which clock the seconds of these rows are, in words."""
    return CLOCKS[next((run.clock for row in rows for run in row.finished), "wall")]


def busy(rows: Sequence[Row]) -> list[str]:
    """That the machine had other work, where wall-clock seconds are far more than those on the CPU."""
    known = [
        run.seconds / run.cpu_seconds
        for row in rows
        for run in row.finished
        if run.clock == "wall" and run.seconds and run.cpu_seconds
    ]
    stretch = statistics.median(known) if known else 0.0
    said = f"The machine was busy: runs took {stretch:.1f} times their CPU time (see --clock cpu)."
    return [said] if stretch > BUSY else []


def row_name(row: Row | Outcome) -> str:
    """A row's label, and its density if it has one, as tables and sentences name it: "RigL 0.5"."""
    return clean(row.label) + ("" if row.density is None else f" {row.density:g}")


def named(what: str, rows: Sequence[Row]) -> list[str]:
    """A sentence that names rows, once each, if there are any: "No connection is replaced in: SET; RigL at 0.5." """
    names = dict.fromkeys(with_density(row) for row in rows)
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return [f"{what}: {'; '.join([*list(names)[:NAMED], *more])}."] if names else []


def with_density(row: Row) -> str:
    """A row's label, and its density if it has one."""
    density = "" if row.density is None else f" at {row.density:g}"
    return f"{shorten(clean(row.label), 30)}{density}"
