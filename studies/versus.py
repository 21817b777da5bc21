"""Every row of a study against one of them, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from studies.arrival import Arrival, steps_to_dense
from studies.compare import Comparison, Test, comparisons
from studies.difference import PERMUTATIONS
from studies.formats import Cells, Sheet, csv_text
from studies.outcome import Outcome
from studies.problems import BadInput, clean
from studies.statistics import Row, summary, tally
from studies.table import WRITERS, Format, heading
from studies.words import ABSENT, evaluations, row_name

HEAD: Final = ("row", "n", "difference", "95 % interval", "p", "p (Holm)", "P(better)", "steps to its return")
CSV_HEAD: Final = (
    *("method", "density", "agent", "env", "axes", "done", "planned", "against", "against_done"),
    *("difference", "difference_low", "difference_high", "test", "p", "p_holm", "probability_better"),
)
P: Final[Mapping[Test, str]] = {
    "welch": "p: Welch's t-test",
    "permutation": f"p: permutation test, exact up to {PERMUTATIONS:,} reassignments, else of so many drawn ones",
}


def versus(
    outcomes: Sequence[Outcome],
    against: str,
    test: Test = "welch",
    *,
    format: Format = "text",  # noqa: A002 - the name that users type
) -> str:
    """A line a row: its difference to the row labelled `against`, and when its runs reach that row's return."""
    if format == "csv":
        return _comma_separated(_compared(outcomes, against, test), test)
    return WRITERS[format](versus_sheet(outcomes, against, test))


def versus_sheet(outcomes: Sequence[Outcome], against: str, test: Test = "welch") -> Sheet:
    """The same in words. Where there is nothing to compare the sheet has a note that says so, and no lines."""
    compared = _compared(outcomes, against, test)
    left_out = _left_out(outcomes, compared, against)
    if all(math.isnan(one.difference.point) for one in compared):
        return Sheet("", HEAD, [], [*_nothing(compared, against), *left_out])
    arrivals = {_key(arrival.row): arrival for arrival in steps_to_dense(outcomes, dense=against)}
    blocks: dict[str, list[Cells]] = {}
    for one in compared:
        blocks.setdefault(heading(one.row), []).append(_cells(one, arrivals[_key(one.row)]))
    return Sheet("", HEAD, list(blocks.items()), [*_legend(compared, arrivals, against, test), *left_out])


def _compared(outcomes: Sequence[Outcome], against: str, test: Test) -> list[Comparison]:
    """BadInput for a row that there is not."""
    try:
        return comparisons(outcomes, against=against, test=test)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _nothing(compared: Sequence[Comparison], against: str) -> list[str]:
    said = f"nothing to compare with {clean(against)}: a difference needs two finished runs on both sides"
    return [said, *(f"{row_name(one.row)}, {heading(one.row)}: {_sides(one)}" for one in compared)]


def _left_out(outcomes: Sequence[Outcome], compared: Sequence[Comparison], against: str) -> list[str]:
    """Which rows stand in no line: beside several rows of that name, nobody can say which a dense one goes with."""
    known = {_key(one.row) for one in compared}
    rows = [row for row in summary(outcomes) if row.label != against and _key(row) not in known]
    names = ", ".join(dict.fromkeys(row_name(row) for row in rows))
    reason = f"as {clean(against)} has no row there, or several of which none has their density"
    return [f"not compared, {reason}: {names}"] if rows else []


def _cells(one: Comparison, arrival: Arrival) -> tuple[str, ...]:
    found = one.difference
    numbers: tuple[str, ...] = (ABSENT,) * 5
    if not math.isnan(found.point):
        interval = f"[{found.low:,.4g}, {found.high:,.4g}]"
        numbers = (f"{found.point:+,.4g}", interval, f"{found.p:.3g}", f"{one.adjusted:.3g}", f"{one.better:.2f}")
    return row_name(one.row), _sides(one), *numbers, _arrived(arrival)


def _sides(one: Comparison) -> str:
    return f"{tally([one.row])} against {tally([one.reference])}"


def _arrived(arrival: Arrival) -> str:
    counted = arrival.reached + arrival.censored
    if math.isnan(arrival.threshold) or not counted:
        return ABSENT
    step = "not by half" if arrival.step is None else f"{arrival.step:,.0f}"
    return f"{step} ({arrival.reached} of {counted} arrived)"


def _legend(
    compared: Sequence[Comparison], arrivals: Mapping[tuple[object, ...], Arrival], against: str, test: Test
) -> list[str]:
    name = clean(against)
    own = {_key(one.reference): one.reference for one in compared}
    scored = evaluations([side for one in compared for side in (one.row, one.reference)])
    return [
        f"score: {scored}; curve: a run's running mean of as many",
        f"difference: mean score of the row less that of {name}, runs not paired, with Welch's 95 % t-interval",
        P[test],
        "p (Holm): corrected over the environments of a row, p being 1 where there is none",
        "P(better): that a run of the row beats one of the other, ties by half",
        *(["-: fewer than two finished runs on a side"] if any(math.isnan(one.better) for one in compared) else []),
        f"steps to its return: median step at which the curves of a row's runs first reach the mean score of {name}; "
        "not by half: half of the runs or more never do, failed ones included",
        *(f"{row_name(row)} itself, {heading(row)}: {_arrived(arrivals[key])}" for key, row in own.items()),
    ]


def _key(row: Row) -> tuple[object, ...]:
    return row.agent, row.env, row.label, row.density, tuple(sorted(row.axes.items()))


def _comma_separated(compared: Sequence[Comparison], test: Test) -> str:
    """Numbers at full precision, empty where there is none; a line a row."""
    lines = []
    for one in compared:
        row, found = one.row, one.difference
        where = [row.label, row.density, row.agent, row.env, "; ".join(f"{k}={v}" for k, v in sorted(row.axes.items()))]
        counts = [row.done, row.planned, one.reference.label, one.reference.done]
        numbers = [found.point, found.low, found.high, test, found.p, one.adjusted, one.better]
        lines.append([*where, *counts, *numbers])
    return csv_text(CSV_HEAD, lines)
