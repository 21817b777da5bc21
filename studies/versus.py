"""Every row of a study against one of them, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from studies.compare import Arrival, Comparison, comparisons, steps_to_dense
from studies.outcome import Outcome
from studies.problems import BadInput, clean
from studies.statistics import Row, tally

HEAD: Final = (
    "row", "environment", "n", "difference", "95 % interval", "p", "p (Holm)", "P(better)", "steps to its return",
)  # fmt: skip


def versus(outcomes: Sequence[Outcome], against: str) -> str:
    """A line a row: its difference to the row labelled `against`, and when its runs reach that row's return."""
    try:
        compared = comparisons(outcomes, against=against)
    except ValueError as error:
        raise BadInput(f"--against: {error}") from None
    arrivals = {_key(arrival.row): arrival for arrival in steps_to_dense(outcomes, dense=against)}
    if not compared:
        return f"nothing to compare with {clean(against)}: a comparison needs two finished runs on both sides"
    lines = [HEAD, *(_cells(one, arrivals[_key(one.row)]) for one in compared)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, "", *_legend(compared, arrivals, against)])


def _cells(one: Comparison, arrival: Arrival) -> tuple[str, ...]:
    row, found = one.row, one.difference
    sides = f"{tally([row])} against {tally([one.reference])}"
    interval = f"[{found.low:,.4g}, {found.high:,.4g}]"
    numbers = (f"{found.point:+,.4g}", interval, f"{found.p:.3g}", f"{one.adjusted:.3g}", f"{one.better:.2f}")
    return _name(row), row.env, sides, *numbers, _arrived(arrival)


def _arrived(arrival: Arrival) -> str:
    step = "never" if arrival.step is None else f"{arrival.step:,.0f}"
    return f"{step} ({arrival.reached} of {arrival.reached + arrival.censored})"


def _legend(compared: Sequence[Comparison], arrivals: Mapping[tuple[object, ...], Arrival], against: str) -> list[str]:
    own = {one.reference.env: _arrived(arrivals[_key(one.reference)]) for one in compared}
    control = "; ".join(f"{env} {arrived}" for env, arrived in own.items())
    return [
        f"difference: mean score of the row less that of {clean(against)}, with Welch's 95 % t-interval and p",
        "p (Holm): corrected over the environments of a row",
        "P(better): that a run of the row beats one of the other, ties by half",
        "steps to its return: median step at which the running mean of a run's evaluations reaches that mean score,",
        f"and how many runs ever do; {clean(against)} itself: {control}",
    ]


def _key(row: Row) -> tuple[object, ...]:
    return row.agent, row.env, row.label, row.density, tuple(sorted(row.axes.items()))


def _name(row: Row) -> str:
    density = "" if row.density is None else f" {row.density:g}"
    axes = "".join(f" {key}={value}" for key, value in row.axes.items())
    return clean(f"{row.label}{density}{axes}")
