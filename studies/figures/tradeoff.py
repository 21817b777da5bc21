"""Return against what it costs: training FLOPs, and seconds of training. The Pareto front is marked."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from studies.figures.page import Drawing, Look, NothingToDraw, Panel, in_lines, looks_of, pages
from studies.figures.rows import LEAST_FOR_BAND, counts, drawable, one_agent, span_of, title_of
from studies.outcome import Outcome, training_time
from studies.statistics import Baseline, Row, summary
from studies.table import blocks, notes
from studies.words import busy, clock_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE: Final = 3.0
"""Times the cheapest row that the dearest costs, from which on the axis is logarithmic."""
FRONT: Final[Mapping[str, Any]] = {"color": "0.8", "linewidth": 3.5, "zorder": 0, "solid_capstyle": "round"}
REFERENCE_MARKER: Final = "h"
"""Of the row that has no marker in curves: here it is a point like the others."""


class Spent(NamedTuple):
    """What a row's runs cost: least, median and most over the seeds."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Cost:
    """What runs cost: the number of one, what the axis says, and what belongs under the figure."""

    of: Callable[[Outcome], float | None]
    axis: Callable[[Sequence[Row]], str]
    said: Callable[[Sequence[Row]], list[str]]


def _left_out(rows: Sequence[Row]) -> str:
    """Runs of older stores, and those of others, did not count their evaluations apart."""
    apart = {len(run.training_seconds) > 0 for row in rows for run in row.finished}
    if len(apart) > 1:
        return "evaluations left out in some runs only, which are not comparable in it"
    return "evaluations left out" if apart == {True} else "evaluations included"


FLOPS: Final = Cost(lambda run: run.flops, lambda rows: "training FLOPs, dense = 1", lambda rows: [])
SECONDS: Final = Cost(
    training_time,
    lambda rows: f"training seconds ({clock_of(rows)})",
    lambda rows: [f"Seconds: median over seeds, thin bars their range; {_left_out(rows)}.", *busy(rows)],
)


def return_against_flops(
    outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, *, title: str = ""
) -> list[Path]:
    """Return against training FLOPs as a share of the dense agent's; see `_tradeoff`."""
    return _tradeoff(FLOPS, outcomes, baseline, path_stem, title)


def return_against_seconds(
    outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, *, title: str = ""
) -> list[Path]:
    """Return against seconds of training, as they were on the machine of the runs; see `_tradeoff`."""
    return _tradeoff(SECONDS, outcomes, baseline, path_stem, title)


def _tradeoff(cost: Cost, outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, title: str) -> list[Path]:
    """A point a row, the densities of a method joined and written beside them, a panel for each environment.

    Points and bars are `statistics.interval`, bars from three seeds on. The broad grey line is the Pareto front: no row
    has a higher return at a lower cost. Returns the files written; a second page has "-2" after `path_stem`.
    """
    rows = drawable(summary(outcomes, baseline))
    different = {spent for row in rows if (spent := _spent(row, cost))}
    if len(different) < 2:
        raise NothingToDraw("all rows cost the same" if different else "no finished run says what it cost")

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        known = [(row, spent) for row in panel.rows if (spent := _spent(row, cost))]
        if not known:
            return
        ax.plot(*_stairs(pareto((spent.middle, row.score.point) for row, spent in known)), **FRONT)
        for label in dict.fromkeys(row.label for row, _ in known):
            _method(ax, [one for one in known if one[0].label == label], looks[label])
        _name_densities(ax, known)
        _axis(ax, [spent.middle for _, spent in known])

    alone = one_agent(rows)
    panels = [
        Panel(title_of(members[0], alone), members, policy, _roomy(span_of(members, policy, _heights)))
        for _, members, policy in blocks(rows, baseline)
    ]
    said = [notes(rows)[0], *cost.said(rows), "Grey: Pareto front. Numbers: density.", *counts(rows)]
    looks = {label: replace(look, marker=look.marker or REFERENCE_MARKER) for label, look in looks_of(rows).items()}
    drawing = Drawing(draw, looks, cost.axis(rows), said, title)
    return pages(in_lines(panels), drawing, path_stem)


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points (cost, return) to which no other has a higher return at no more cost; by rising cost and return."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def _spent(row: Row, cost: Cost) -> Spent | None:
    known = [value for run in row.finished if (value := cost.of(run)) is not None and value > 0]
    return Spent(min(known), statistics.median(known), max(known)) if known else None


def _heights(row: Row) -> list[float]:
    return [row.score.point, *([row.score.low, row.score.high] if row.done >= LEAST_FOR_BAND else [])]


def _roomy(span: tuple[float, float]) -> tuple[float, float]:
    """With room above for the densities."""
    return span[0], span[1] + 0.07 * (span[1] - span[0])


def _stairs(front: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The front as what is reached at each cost: level until the next better point."""
    xs, ys = [front[0][0]], [front[0][1]]
    for (x, y), (_, before) in zip(front[1:], front, strict=False):
        xs += [x, x]
        ys += [before, y]
    return xs, ys


def _method(ax: Axes, rows: Sequence[tuple[Row, Spent]], look: Look) -> None:
    """A method's densities joined, with bars of the return and, thin, the range of the cost."""
    line = {"color": look.colour, "linestyle": look.dashes, "marker": look.marker, "linewidth": 0.9, "zorder": 4}
    xs, ys = [spent.middle for _, spent in rows], [row.score.point for row, _ in rows]
    ax.plot(xs, ys, markeredgewidth=0, **line)
    bar: dict[str, Any] = {"fmt": "none", "ecolor": look.colour, "capsize": 1.5, "zorder": 3}
    for row, (low, middle, high) in rows:
        if row.done >= LEAST_FOR_BAND:
            ends = [[row.score.point - row.score.low], [row.score.high - row.score.point]]
            ax.errorbar([middle], [row.score.point], ends, elinewidth=0.8, capthick=0.8, **bar)
        ax.plot([low, high], [row.score.point] * 2, color=look.colour, linewidth=0.5, alpha=0.6, zorder=2)


def _name_densities(ax: Axes, rows: Sequence[tuple[Row, Spent]]) -> None:
    """Each density once, at the upper edge over the middle of its rows."""
    for density in dict.fromkeys(row.density for row, _ in rows if row.density is not None):
        middle = statistics.median(spent.middle for row, spent in rows if row.density == density)
        ax.text(middle, 0.985, f"{density:g}", transform=ax.get_xaxis_transform(), ha="center", va="top", color="0.25")


def _axis(ax: Axes, costs: Sequence[float]) -> None:
    """Logarithmic where costs lie far apart, with ticks that can be read as numbers."""
    low, high = min(costs), max(costs)
    if high < WIDE * low:
        return
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_xscale("log")
    ax.set_xlim(low / 1.25, high * 1.25)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    ax.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low / 1.25 <= tick <= high * 1.25]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
