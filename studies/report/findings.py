"""What a study shows, in sentences that its numbers allow and no others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Final

from studies.aggregate import holm
from studies.compare import Comparison, comparisons
from studies.figures.tradeoff import training_time
from studies.measured import reference_label
from studies.outcome import Outcome
from studies.problems import clean
from studies.statistics import NO_BASELINE, Baseline, Row, summary, tally
from studies.table import heading
from studies.words import clock_of, number

LEVEL: Final = 0.05
FEW_SEEDS: Final = 5
"""Below this many a mean is an anecdote."""
NAMED: Final = 6
"""Rows that are named in a sentence; further ones are counted."""


def findings(outcomes: Sequence[Outcome], baseline: Baseline = NO_BASELINE) -> list[str]:
    """Sentences: how much of it is done, who is highest, who differs from the dense row, what it cost.

    Rows are told apart from the reference by Welch's test with Holm's correction over all comparisons of the study.
    """
    rows = summary(outcomes, baseline)
    if not rows:
        return ["The study has no runs."]
    said = [f"Runs done: {tally(rows)} of {sum(row.planned for row in rows)}." if _whole(rows) else _unfinished(rows)]
    if not any(row.done for row in rows):
        return said
    said += _cautions(rows)
    for where in dict.fromkeys(map(heading, rows)):
        said += _highest(where, [row for row in rows if heading(row) == where])
    reference = reference_label(rows)
    return said if reference is None else [*said, *_compared(outcomes, reference), *_costs(rows, reference)]


def _whole(rows: Sequence[Row]) -> bool:
    return all(row.done == row.planned for row in rows)


def _unfinished(rows: Sequence[Row]) -> str:
    return f"Runs done: {tally(rows)}. What follows is of those that are done."


def _cautions(rows: Sequence[Row]) -> list[str]:
    least = min(row.done for row in rows)
    if least >= FEW_SEEDS:
        return []
    seeds = "no finished seed" if not least else "one seed" if least == 1 else f"{least} seeds"
    return [f"Some rows have {seeds}: fewer than {FEW_SEEDS} are an anecdote, whatever the figures look like."]


def _highest(where: str, rows: Sequence[Row]) -> Iterator[str]:
    """The highest mean at each density, among the rows that have it."""
    for density in dict.fromkeys(row.density for row in rows if row.density is not None):
        members = [row for row in rows if row.density == density and row.done]
        if len(members) > 1:
            best = max(members, key=lambda row: row.score.point)
            yield f"{where}: highest at density {density:g} is {_name(best)} with {_score(best)}."


def _score(row: Row) -> str:
    point = number(row.score.point, _digits(row.score.point))
    if math.isnan(row.score.low):
        return point
    low, high = (number(bound, _digits(row.score.point)) for bound in (row.score.low, row.score.high))
    return f"{point} [{low}, {high}]"


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3


def _compared(outcomes: Sequence[Outcome], reference: str) -> list[str]:
    """Who is better, who is worse, and how many cannot be told apart."""
    try:
        made = comparisons(outcomes, against=reference)
    except ValueError as error:  # Several rows could be the reference.
        return [f"Rows are not compared: {error}."]
    tested = [one for one in made if not math.isnan(one.difference.p)]
    name = clean(reference)
    if not tested:
        return [f"No row can be compared with {name}: that takes two finished runs on both sides."]
    adjusted = holm([one.difference.p for one in tested])
    clear = [one for one, p in zip(tested, adjusted, strict=True) if p < LEVEL]
    better = [one for one in clear if one.difference.point > 0]
    worse = [one for one in clear if one.difference.point < 0]
    said = [f"Better than {name}: {_listed(better)}.", f"Worse than {name}: {_listed(worse)}."]
    rest = len(tested) - len(clear)
    by = f"at p < {LEVEL} (Welch, Holm's correction over {len(tested)} comparison{'s' if len(tested) > 1 else ''})"
    rest_said = f"Not told apart from {name}: {rest} of {len(tested)} rows, {by}, which does not prove them equal."
    return [*said, rest_said]


def _listed(made: Sequence[Comparison]) -> str:
    if not made:
        return "none"
    named = [f"{_name(one.row)} ({one.difference.point:+,.4g})" for one in made[:NAMED]]
    return ", ".join(named) + (f" and {len(made) - NAMED} more" if len(made) > NAMED else "")


def _name(row: Row) -> str:
    return clean(row.label) + ("" if row.density is None else f" {row.density:g}")


def _costs(rows: Sequence[Row], reference: str) -> list[str]:
    """Time and FLOPs of the rows at each density, as shares of the reference's."""
    dense = _median_time([row for row in rows if row.label == reference])
    if not dense:
        return []
    said = []
    for density in sorted({row.density for row in rows if row.density is not None}, reverse=True):
        members = [row for row in rows if row.density == density]
        time, flops = _median_time(members), [row.flops for row in members if row.flops is not None]
        if time and flops:
            times = f"{time / dense:.2f} of the training time of {clean(reference)} ({clock_of(members)})"
            said.append(f"At density {density:g}: {times}, {statistics.median(flops):.2f} of its FLOPs (medians).")
    return said


def _median_time(rows: Sequence[Row]) -> float | None:
    """The median over rows of the median over seeds."""
    medians = []
    for row in rows:
        known = [spent for run in row.finished if (spent := training_time(run))]
        medians += [statistics.median(known)] if known else []
    return statistics.median(medians) if medians else None
