"""Learning curves: the return of every row over its seeds, as training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studies.figures.page import Drawing, Look, NothingToDraw, Panel, looks_of, pages
from studies.figures.rows import FEW, LEAST_FOR_BAND, counts, density_panels, drawable, last_step, one_agent
from studies.outcome import Outcome
from studies.statistics import Baseline, Row, shared_curves, summary, t_interval
from studies.table import blocks
from studies.words import busy, clock_of, named

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
    longest = last_step(rows)
    unit, of_steps = unit_of(longest)
    axis = Along(lambda run: run.steps, longest, unit, f"environment steps{of_steps}")
    return _curves(rows, baseline, axis, path_stem, title, height, [], looks_of(rows))


def learning_curves_by_time(
    outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, *, title: str = ""
) -> list[Path]:
    """The same against seconds of training, evaluations left out: the median of a row's seeds at each evaluation."""
    every = drawable(summary(outcomes, baseline))
    rows = [row for row in every if all(len(run.training_seconds) == len(run.steps) for run in row.finished)]
    if not any(row.done for row in rows):
        raise NothingToDraw("no finished run counted its seconds at its evaluations")
    longest = max(float(np.median([run.training_seconds[-1] for run in row.finished])) for row in rows if row.done)
    unit, of_time = (60.0, "minutes") if longest > 300 else (1.0, "seconds")
    axis = Along(lambda run: run.training_seconds, longest, unit, f"{of_time} of training ({clock_of(rows)})")
    without = named("Without seconds at their evaluations", [row for row in every if row not in rows])
    return _curves(rows, baseline, axis, path_stem, title, "return", [*busy(rows), *without], looks_of(every))


@dataclass(frozen=True)
class Along:
    """The axis of a curve: where a run was at each evaluation, the longest of a row, its unit and its name."""

    of: Callable[[Outcome], NDArray[Any]]
    longest: float
    unit: float
    said: str


def _curves(
    rows: list[Row],
    baseline: Baseline,
    along: Along,
    path_stem: Path,
    title: str,
    height: str,
    more: Sequence[str],
    looks: Mapping[str, Look],
) -> list[Path]:
    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        for index, row in enumerate(panel.rows):
            if row.done:
                _curve(ax, row, looks[row.label], along, index / len(panel.rows))
        ax.set_xlim(0, 1.01 * along.longest / along.unit)
        ax.locator_params(axis="x", nbins=5)

    alone = one_agent(rows)
    lines = [
        line
        for _, members, policy in blocks(rows, baseline)
        for line in density_panels(members, policy, alone, _heights)
    ]
    said = [_curve_note(rows), *more, *counts(rows)]
    return pages(lines, Drawing(draw, looks, along.said, said, title, height), path_stem)


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


def _curve(ax: Axes, row: Row, look: Look, along: Along, stagger: float) -> None:
    """Mean, band and thin seed lines; about six markers a curve, staggered to keep the methods apart."""
    if row.done < FEW:
        for run in row.finished:
            ax.plot(along.of(run) / along.unit, run.returns, color=look.colour, linewidth=0.5, alpha=0.45, zorder=1)
    steps, returns = shared_curves(row.finished)
    mean, x = returns.mean(axis=0), _places(row, steps, along)
    if row.done >= LEAST_FOR_BAND:
        _, half = t_interval(returns)
        alpha = 0.08 if row.done < FEW else 0.13
        ax.fill_between(x, mean - half, mean + half, color=look.colour, alpha=alpha, linewidth=0, zorder=0)
    every = max(1, len(x) // 6)
    line = {"color": look.colour, "linestyle": look.dashes, "marker": look.marker, "zorder": 3}
    ax.plot(x, mean, markevery=(int(stagger * every), every), markeredgewidth=0, **line)


def _places(row: Row, steps: NDArray[np.float64], along: Along) -> NDArray[np.float64]:
    """The median over a row's runs of where they were at these steps."""
    places = [along.of(run)[np.searchsorted(run.steps, steps)] for run in row.finished]
    return np.asarray(np.median(np.array(places, dtype=np.float64), axis=0) / along.unit)


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
