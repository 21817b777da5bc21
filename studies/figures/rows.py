"""What the figures of a study share: rows worth drawing, panels and their ranges, counts in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from studies.figures.page import NothingToDraw, Panel, in_lines
from studies.problems import clean
from studies.statistics import RandomPolicy, Row, score, tally
from studies.table import heading, notes
from studies.words import shorten, with_density

FEW: Final = 5
"""Below this many seeds each is drawn."""
LEAST_FOR_BAND: Final = 3
"""The t-interval of two seeds is 9 standard deviations to either side: bands would cover every panel."""
NAMED_GAPS: Final = 4
"""Rows with missing runs that are named under a figure; further ones are counted."""


def drawable(rows: list[Row]) -> list[Row]:
    if not rows:
        raise NothingToDraw("no runs")
    if not any(row.done for row in rows):
        raise NothingToDraw(f"no finished run (n = {tally(rows)})")
    return rows


def last_step(rows: Sequence[Row]) -> int:
    """At which the longest of the finished runs ended."""
    return max(1, *(int(run.steps.max()) for row in rows for run in row.finished))


def density_panels(
    rows: Sequence[Row], policy: RandomPolicy | None, one_agent: bool, heights: Callable[[Row], list[float]]
) -> list[list[Panel]]:
    """A block's panels by density, in lines; a single one where no row has a density."""
    where, span = title_of(rows[0], one_agent), span_of(rows, policy, heights)
    densities = list(dict.fromkeys(row.density for row in rows if row.density is not None))
    if not densities:
        return [[Panel(where, rows, policy, span)]]
    members = {d: [row for row in rows if row.density in (None, d)] for d in densities}
    return in_lines([Panel(f"{where}, density {d:g}", members[d], policy, span) for d in densities])


def scores_of(row: Row) -> list[float]:
    """The returns that a row's point covers: itself, its bar from three seeds on, single seeds."""
    bounds = [row.score.low, row.score.high] if row.done >= LEAST_FOR_BAND else []
    return [row.score.point, *bounds, *(score(run) for run in row.finished if row.done < FEW)]


def span_of(
    rows: Sequence[Row], policy: RandomPolicy | None, heights: Callable[[Row], list[float]]
) -> tuple[float, float]:
    """The range of returns of a panel, with a margin; the interval of two seeds may leave it."""
    values = [height for row in rows if row.done for height in heights(row)]
    values += [row.with_failures.point for row in rows if row.with_failures]
    values += [policy.mean] if policy else []
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def one_agent(rows: Sequence[Row]) -> bool:
    return len({row.agent for row in rows}) == 1


def title_of(row: Row, one_agent: bool) -> str:
    """Where a panel's rows belong; the agent is left out where the figure has but one."""
    where = heading(row)
    return where.replace(f", {clean(row.agent)}", "", 1) if one_agent else where


def counts(rows: Sequence[Row]) -> list[str]:
    """The study's count, and the rows where fewer runs are done than planned."""
    gaps = [row for row in rows if row.done < row.planned]
    told = []
    for row in gaps[:NAMED_GAPS]:
        where = shorten(title_of(row, one_agent(rows)), 40)
        told.append(f"{with_density(row)}, {where}: n = {tally([row])}")
    more = f"; and {len(gaps) - NAMED_GAPS} more" if len(gaps) > NAMED_GAPS else ""
    return [notes(rows)[-1], *([f"{'; '.join(told)}{more}."] if told else [])]
