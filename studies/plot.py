"""Figures of a study: what learning curves, and sparsity against return, show and say.

Intervals are our own (studies.statistics), never the plotting library's. The page, its looks and its legend
are studies.figure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from studies.figure import Drawing, Look, Panel, in_lines, looks_of, pages
from studies.outcome import Outcome
from studies.problems import clean
from studies.statistics import Baseline, RandomPolicy, Row, score, shared_curves, summary, t_interval, tally
from studies.table import blocks, heading, notes
from studies.words import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW: Final = 5
"""Below this many seeds each is drawn."""
LEAST_FOR_BAND: Final = 3
"""The t-interval of two seeds is 9 standard deviations to either side: bands would cover every panel."""
NAMED_GAPS: Final = 4
"""Rows with missing runs that are named under a figure; further ones are counted."""

log = logging.getLogger(__name__)


class NothingToDraw(ValueError):
    """No run gives this figure a point; the message says in one line why."""


def plot(outcomes: Iterable[Outcome], baseline: Baseline, folder: Path, *, title: str = "") -> list[Path]:
    """Write every figure that the outcomes allow into `folder`; the others are logged with the reason.

    Raises NothingToDraw with all reasons where no figure came out.
    """
    runs = list(outcomes)
    paths: list[Path] = []
    reasons: list[str] = []
    for name, figure in FIGURES.items():
        try:
            paths += figure(runs, baseline, folder / name, title=title)
        except NothingToDraw as error:
            reasons.append(f"{name}: {error}")
    if not paths:
        raise NothingToDraw("; ".join(reasons))
    for reason in reasons:
        log.warning("skipped %s", reason)
    return paths


def learning_curves(
    outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, *, title: str = "", height: str = "return"
) -> list[Path]:
    """Return against environment steps: panels by environment downwards, by density to the right.

    `height` names what the outcomes' curves are of, where it is not the return.
    Lines are means over the finished seeds at the evaluation steps that all of a row's seeds share, bands 95
    % t-intervals from three seeds on; fewer than five seeds are drawn each as a thin line. Rows without a
    density (dense) stand in every panel as reference. Returns the files written; a second page has "-2" after
    `path_stem`.
    """
    rows = _drawable(summary(outcomes, baseline))
    longest = max(1, *(int(run.steps.max()) for row in rows for run in row.finished))
    unit, named = _unit(longest)

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        for index, row in enumerate(panel.rows):
            if row.done:
                _curve(ax, row, looks[row.label], unit, index / len(panel.rows))
        ax.set_xlim(0, longest / unit)
        ax.locator_params(axis="x", nbins=5)

    one_agent = _one_agent(rows)
    lines = [
        line for _, members, policy in blocks(rows, baseline) for line in _density_panels(members, policy, one_agent)
    ]
    said = [_curve_note(rows), *_counts(rows)]
    drawing = Drawing(draw, looks_of(rows), f"environment steps{named}", said, title, height)
    return pages(lines, drawing, path_stem)


def sparsity_against_return(
    outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, *, title: str = ""
) -> list[Path]:
    """Return against the density asked for, sparser to the right, one panel for each environment.

    Points and bars are `statistics.interval`; hollow points score failed and diverged runs as the random
    policy. Rows without a density (dense) are horizontal lines, their interval a band from three seeds on;
    fewer than five seeds are drawn each as a dot. Returns the files written; a second page has "-2" after
    `path_stem`.
    """
    rows = _drawable(summary(outcomes, baseline))
    sparse = [row for row in rows if row.density is not None]
    if not any(row.done for row in sparse):
        raise NothingToDraw(f"no finished run has a density (of {len(sparse)} rows with one)")
    densities = sorted({row.density for row in sparse if row.density is not None}, reverse=True)

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        _against_density(ax, panel, looks, densities)

    panels = [
        Panel(_title(members[0], _one_agent(rows)), members, policy, _span(members, policy, _scores))
        for _, members, policy in blocks(rows, baseline)
    ]
    said = [_point_note(rows), *_counts(rows)]
    drawing = Drawing(draw, looks_of(rows), "density asked for (sparser \u2192)", said, title)
    return pages(in_lines(panels), drawing, path_stem)


FIGURES: Final[Mapping[str, Callable[..., list[Path]]]] = {
    "learning-curves": learning_curves,
    "sparsity-against-return": sparsity_against_return,
}


# What is drawn ----------------------------------------------------------------------------------------------


def _drawable(rows: list[Row]) -> list[Row]:
    if not rows:
        raise NothingToDraw("no runs")
    if not any(row.done for row in rows):
        raise NothingToDraw(f"no finished run (n = {tally(rows)})")
    return rows


def _density_panels(rows: Sequence[Row], policy: RandomPolicy | None, one_agent: bool) -> list[list[Panel]]:
    """A block's panels by density, in lines; a single one where no row has a density."""
    where, span = _title(rows[0], one_agent), _span(rows, policy, _heights)
    densities = list(dict.fromkeys(row.density for row in rows if row.density is not None))
    if not densities:
        return [[Panel(where, rows, policy, span)]]
    members = {d: [row for row in rows if row.density in (None, d)] for d in densities}
    return in_lines([Panel(f"{where}, density {d:g}", members[d], policy, span) for d in densities])


def _heights(row: Row) -> list[float]:
    """The returns that a row's curve covers: mean, band, single seeds."""
    _, returns = shared_curves(row.finished)
    heights = returns.mean(axis=0).tolist()
    if row.done < FEW:
        heights += np.concatenate([run.returns for run in row.finished]).tolist()
    if row.done >= LEAST_FOR_BAND:
        mean, half = t_interval(returns)
        heights += [*(mean - half).tolist(), *(mean + half).tolist()]
    return list(heights)


def _scores(row: Row) -> list[float]:
    """The returns that a row's point covers: itself, its bar from three seeds on, single seeds."""
    bounds = [row.score.low, row.score.high] if row.done >= LEAST_FOR_BAND else []
    return [row.score.point, *bounds, *(score(run) for run in row.finished if row.done < FEW)]


def _span(
    rows: Sequence[Row], policy: RandomPolicy | None, heights: Callable[[Row], list[float]]
) -> tuple[float, float]:
    """The range of returns of a panel, with a margin; the interval of two seeds may leave it."""
    values = [height for row in rows if row.done for height in heights(row)]
    values += [row.with_failures.point for row in rows if row.with_failures]
    values += [policy.mean] if policy else []
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _curve(ax: Axes, row: Row, look: Look, unit: float, stagger: float) -> None:
    """Mean, band and thin seed lines; about six markers a curve, staggered to keep the methods apart."""
    if row.done < FEW:
        for run in row.finished:
            ax.plot(run.steps / unit, run.returns, color=look.colour, linewidth=0.5, alpha=0.45, zorder=1)
    steps, returns = shared_curves(row.finished)
    mean, x = returns.mean(axis=0), steps / unit
    if row.done >= LEAST_FOR_BAND:
        _, half = t_interval(returns)
        alpha = 0.08 if row.done < FEW else 0.13
        ax.fill_between(x, mean - half, mean + half, color=look.colour, alpha=alpha, linewidth=0, zorder=0)
    every = max(1, len(x) // 6)
    line = {"color": look.colour, "linestyle": look.dashes, "marker": look.marker, "zorder": 3}
    ax.plot(x, mean, markevery=(int(stagger * every), every), markeredgewidth=0, **line)


def _against_density(ax: Axes, panel: Panel, looks: Mapping[str, Look], densities: Sequence[float]) -> None:
    methods = list(dict.fromkeys(row.label for row in panel.rows if row.density is not None))
    gap = min(0.1, 0.7 / max(1, len(methods)))
    for row in panel.rows:
        if row.density is None and row.done:
            _reference(ax, row, looks[row.label])
    for index, label in enumerate(methods):
        dodge = gap * (index - (len(methods) - 1) / 2)
        places = {d: densities.index(d) + dodge for d in densities}
        rows = [row for row in panel.rows if row.label == label and row.density is not None]
        _method(ax, rows, looks[label], [places[row.density] for row in rows if row.density is not None])
    ax.set_xticks(range(len(densities)), [f"{density:g}" for density in densities])
    ax.set_xlim(-0.5, len(densities) - 0.5)
    ax.grid(visible=False, axis="x")


def _reference(ax: Axes, row: Row, look: Look) -> None:
    ax.axhline(row.score.point, color=look.colour, linestyle=look.dashes, linewidth=1.1, zorder=1)
    if row.done >= LEAST_FOR_BAND:
        ax.axhspan(row.score.low, row.score.high, color=look.colour, alpha=0.12, linewidth=0, zorder=0)
    elif row.done > 1:
        for run in row.finished:
            ax.axhline(score(run), color=look.colour, linewidth=0.5, alpha=0.45, zorder=0)


def _method(ax: Axes, rows: Sequence[Row], look: Look, places: Sequence[float]) -> None:
    """Line and bars over a method's densities; dots for few seeds, hollow where failures count as random."""
    for row, place in zip(rows, places, strict=True):
        if 1 < row.done < FEW:
            scores = [score(run) for run in row.finished]
            ax.plot([place] * row.done, scores, ".", color=look.colour, markersize=3, alpha=0.6, zorder=2)
        if row.with_failures:
            hollow = {"color": look.colour, "markerfacecolor": "white", "marker": look.marker, "zorder": 5}
            ax.plot([place], [row.with_failures.point], **hollow)
        ends = [[row.score.point - row.score.low], [row.score.high - row.score.point]]
        bar: dict[str, Any] = {"elinewidth": 0.9, "capthick": 0.9, "capsize": 1.5, "ecolor": look.colour}
        faint: dict[str, Any] = {"elinewidth": 0.6, "alpha": 0.4} if row.done < LEAST_FOR_BAND else {}
        ax.errorbar([place], [row.score.point], ends, fmt="none", zorder=3, **bar | faint)
    line = {"color": look.colour, "linestyle": look.dashes, "marker": look.marker, "linewidth": 1.0}
    ax.plot(places, [row.score.point for row in rows], markeredgewidth=0, zorder=4, **line)


# What is said -----------------------------------------------------------------------------------------------


def _one_agent(rows: Sequence[Row]) -> bool:
    return len({row.agent for row in rows}) == 1


def _title(row: Row, one_agent: bool) -> str:
    """Where a panel's rows belong; the agent is left out where the figure has but one."""
    where = heading(row)
    return where.replace(f", {clean(row.agent)}", "", 1) if one_agent else where


def _unit(longest: int) -> tuple[float, str]:
    """Divisor and name of the steps' unit, so that tick labels stay short."""
    if longest < 20_000:
        return 1, ""
    return (1e3, " (thousands)") if longest < 10_000_000 else (1e6, " (millions)")


def _curve_note(rows: Sequence[Row]) -> str:
    drawn = {row.done for row in rows if row.done}
    parts = ["Lines: mean over seeds"]
    parts += ["bands: 95 % t-interval of the mean"] if max(drawn) >= LEAST_FOR_BAND else []
    parts += ["thin lines: single seeds"] if drawn & set(range(2, FEW)) else []
    return f"{'; '.join(parts)}."


def _point_note(rows: Sequence[Row]) -> str:
    drawn = {row.done for row in rows if row.done}
    parts = [notes(rows)[0]]
    parts += ["Dots: single seeds."] if drawn & set(range(2, FEW)) else []
    parts += ["Two seeds: bars are faint and may leave the panel, dense has no band."] if 2 in drawn else []
    parts += ["Hollow: failed and diverged runs scored as random."] if any(r.with_failures for r in rows) else []
    return " ".join(parts)


def _counts(rows: Sequence[Row]) -> list[str]:
    """The study's count, and the rows where fewer runs are done than planned."""
    gaps = [row for row in rows if row.done < row.planned]
    named = []
    for row in gaps[:NAMED_GAPS]:
        density = "" if row.density is None else f" at {row.density:g}"
        where = shorten(_title(row, _one_agent(rows)), 40)
        named.append(f"{shorten(clean(row.label), 30)}{density}, {where}: n = {tally([row])}")
    more = f"; and {len(gaps) - NAMED_GAPS} more" if len(gaps) > NAMED_GAPS else ""
    return [notes(rows)[-1], *([f"{'; '.join(named)}{more}."] if named else [])]
