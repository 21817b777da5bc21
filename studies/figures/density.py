"""Return against density: how much of a network a method can do without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.figures.page import Drawing, Look, NothingToDraw, Panel, in_lines, looks_of, pages
from studies.figures.rows import FEW, LEAST_FOR_BAND, counts, drawable, one_agent, scores_of, span_of, title_of
from studies.outcome import Outcome
from studies.statistics import Baseline, Row, score, summary
from studies.table import blocks, notes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def sparsity_against_return(
    outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, *, title: str = ""
) -> list[Path]:
    """Return against the density asked for, sparser to the right, one panel for each environment.

    Points and bars are `statistics.interval`; hollow points score failed and diverged runs as the random
    policy. Rows without a density (dense) are horizontal lines, their interval a band from three seeds on;
    fewer than five seeds are drawn each as a dot. Returns the files written; a second page has "-2" after
    `path_stem`.
    """
    rows = drawable(summary(outcomes, baseline))
    sparse = [row for row in rows if row.density is not None]
    if not any(row.done for row in sparse):
        raise NothingToDraw(f"no finished run has a density (of {len(sparse)} rows with one)")
    densities = sorted({row.density for row in sparse if row.density is not None}, reverse=True)

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        _against_density(ax, panel, looks, densities)

    panels = [
        Panel(title_of(members[0], one_agent(rows)), members, policy, span_of(members, policy, scores_of))
        for _, members, policy in blocks(rows, baseline)
    ]
    said = [_point_note(rows), *counts(rows)]
    drawing = Drawing(draw, looks_of(rows), "density asked for (sparser \u2192)", said, title)
    return pages(in_lines(panels), drawing, path_stem)


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


def _point_note(rows: Sequence[Row]) -> str:
    drawn = {row.done for row in rows if row.done}
    parts = [notes(rows)[0]]
    parts += ["Dots: single seeds."] if drawn & set(range(2, FEW)) else []
    parts += ["Two seeds: bars are faint and may leave the panel, dense has no band."] if 2 in drawn else []
    parts += ["Hollow: failed and diverged runs scored as random."] if any(r.with_failures for r in rows) else []
    return " ".join(parts)
