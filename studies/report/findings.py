"""What a study shows, in sentences that its numbers allow and no others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from studies.aggregate import holm
from studies.compare import Comparison, comparisons, reference_label, reference_of
from studies.outcome import Outcome, training_time
from studies.problems import clean
from studies.statistics import NO_BASELINE, Baseline, Interval, Row, summary, tally
from studies.table import heading
from studies.words import clock_of, number, row_name

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
    return said if reference is None else [*said, *_compared(outcomes, rows, reference), *_costs(rows, reference)]


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
    """The highest mean at each density, among the rows that have it: with failed runs as random, so that none gains."""
    for density in dict.fromkeys(row.density for row in rows if row.density is not None):
        members = [row for row in rows if row.density == density and row.done]
        if len(members) > 1:
            best = max(members, key=lambda row: _ranked(row).point)
            failed = f", {best.failed + best.diverged} failed runs as random" if best.with_failures else ""
            yield f"{where}: highest at density {density:g} is {row_name(best)} with {_score(_ranked(best))}{failed}."


def _ranked(row: Row) -> Interval:
    return row.with_failures or row.score


def _score(score: Interval) -> str:
    point = number(score.point, _digits(score.point))
    if math.isnan(score.low):
        return point
    low, high = (number(bound, _digits(score.point)) for bound in (score.low, score.high))
    return f"{point} [{low}, {high}]"


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3


def _compared(outcomes: Sequence[Outcome], rows: Sequence[Row], reference: str) -> list[str]:
    """Who is better, who is worse, how many cannot be told apart, and how many had too few runs for it."""
    try:
        made = comparisons(outcomes, against=reference)
    except ValueError as error:  # Several rows could be the reference.
        return [f"Rows are not compared: {clean(str(error))}."]
    tested = [not math.isnan(one.difference.p) for one in made]
    name = clean(reference)
    if not any(tested):
        return [f"No row can be compared with {name}: that takes two finished runs on both sides."]
    # As in `comparisons`: what cannot be tested counts as p = 1, so that runs which fail relax no test.
    adjusted = holm([one.difference.p if known else 1.0 for one, known in zip(made, tested, strict=True)])
    clear = [one for one, p in zip(made, adjusted, strict=True) if p < LEVEL]
    better = [one for one in clear if one.difference.point > 0]
    worse = [one for one in clear if one.difference.point < 0]
    by = f"at p < {LEVEL} (Welch, Holm's correction over {len(made)} comparison{'s' if len(made) > 1 else ''})"
    rest, few = sum(tested) - len(clear), sum(row.label != reference for row in rows) - sum(tested)
    caution = ", which does not prove them equal" if rest else ""
    several = len({heading(one.row) for one in made}) > 1
    return [
        f"Better than {name}: {_listed(better, several)}.",
        f"Worse than {name}: {_listed(worse, several)}.",
        f"Not told apart from {name}: {rest} of {sum(tested)} rows, {by}{caution}.",
        *([f"Not compared with {name}, for want of two finished runs on both sides: {few}."] if few else []),
    ]


def _listed(made: Sequence[Comparison], several: bool) -> str:
    """The rows with their differences, and where they belong if a study has several environments, agents or axes."""
    if not made:
        return "none"
    named = [
        f"{row_name(one.row)}{f' in {heading(one.row)}' if several else ''} ({one.difference.point:+,.4g})"
        for one in made[:NAMED]
    ]
    return ", ".join(named) + (f" and {len(made) - NAMED} more" if len(made) > NAMED else "")


def _costs(rows: Sequence[Row], reference: str) -> list[str]:
    """Time and FLOPs of the rows at each density, as shares of those of the reference row beside them."""
    said = []
    for density in sorted({row.density for row in rows if row.density is not None}, reverse=True):
        pairs = [(row, _beside(row, rows, reference)) for row in rows if row.density == density]
        known = [(row, dense) for row, dense in pairs if dense is not None]
        times = [share for row, dense in known if (share := _time_share(row, dense))]
        flops = [row.flops / dense.flops for row, dense in known if row.flops is not None and dense.flops]
        if times and flops:
            taken = f"{statistics.median(times):.2f} of the training time of {clean(reference)} ({clock_of(rows)})"
            said.append(f"At density {density:g}: {taken}, {statistics.median(flops):.2f} of its FLOPs (medians).")
    return said


def _beside(row: Row, rows: Sequence[Row], reference: str) -> Row | None:
    try:
        return reference_of(row, rows, reference)
    except ValueError:  # Several could be, as `_compared` says.
        return None


def _time_share(row: Row, dense: Row) -> float | None:
    """Of the medians over seeds: without evaluations where all runs of both counted them apart, else with them."""
    apart = all(len(run.training_seconds) for side in (row, dense) for run in side.finished)
    mine, its = (_median_time(side, training_time if apart else lambda run: run.seconds) for side in (row, dense))
    return mine / its if mine and its else None


def _median_time(row: Row, time: Callable[[Outcome], float | None]) -> float | None:
    known = [spent for run in row.finished if (spent := time(run))]
    return statistics.median(known) if known else None
