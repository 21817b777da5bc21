"""Learning curves: the return of every row over its seeds, as training goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from studies.figures.page import Drawing, Look, Panel, looks_of, pages
from studies.figures.rows import FEW, LEAST_FOR_BAND, counts, density_panels, drawable, one_agent
from studies.outcome import Outcome
from studies.statistics import Baseline, Row, shared_curves, summary, t_interval
from studies.table import blocks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    rows = drawable(summary(outcomes, baseline))
    longest = max(1, *(int(run.steps.max()) for row in rows for run in row.finished))
    unit, named = unit_of(longest)

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        for index, row in enumerate(panel.rows):
            if row.done:
                _curve(ax, row, looks[row.label], unit, index / len(panel.rows))
        ax.set_xlim(0, longest / unit)
        ax.locator_params(axis="x", nbins=5)

    alone = one_agent(rows)
    lines = [
        line
        for _, members, policy in blocks(rows, baseline)
        for line in density_panels(members, policy, alone, _heights)
    ]
    said = [_curve_note(rows), *counts(rows)]
    drawing = Drawing(draw, looks_of(rows), f"environment steps{named}", said, title, height)
    return pages(lines, drawing, path_stem)


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


def unit_of(longest: int) -> tuple[float, str]:
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
