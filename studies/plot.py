"""Figures of a study: learning curves, and sparsity against return; as PNG and PDF, equal at every render.

Intervals are our own (studies.statistics), never the plotting library's. Figures are objects of their own, so
that no global state of pyplot is read or left behind; matplotlib and seaborn are imported when a figure is
asked for.
"""

from __future__ import annotations

import io
import logging
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from studies.outcome import Outcome
from studies.statistics import Baseline, RandomPolicy, Row, score, shared_curves, summary, t_interval, tally
from studies.table import Block, blocks, clean, heading, notes, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

WIDTH: Final = 6.5
"""Inches: the text width of a paper, so that 8 pt stay 8 pt in print."""
PANEL_HEIGHTS: Final = {1: 2.9, 2: 2.5, 3: 2.1}
"""Inches, by the number of panels side by side."""
COLUMNS: Final = 3
DPI: Final = 200
ROWS_A_PAGE: Final = 4
"""Further rows of panels go to a second figure, so that each fits a page."""
FEW: Final = 5
"""Below this many seeds each is drawn."""
LEAST_FOR_BAND: Final = 3
"""The t-interval of two seeds is 9 standard deviations to either side: bands would cover every panel."""
PALETTE: Final = (0, 1, 2, 4, 3, 9, 5, 6)
"""Of seaborn's "colorblind", in order of contrast; grey (dense has it) and yellow (pale) left out."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
DASHES: Final[tuple[Any, ...]] = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)))
DENSE_COLOUR: Final = "0.2"
RANDOM_LINE: Final[Mapping[str, Any]] = {"color": "0.35", "linestyle": ":", "linewidth": 1.2, "zorder": 1}
NOTE_WIDTH: Final = 108
"""Characters of 8 pt in WIDTH."""
NAMED_GAPS: Final = 4
"""Rows with missing runs that are named under a figure; further ones are counted."""
STYLE: Final[Mapping[str, Any]] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "figure.titlesize": 9.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.unicode_minus": True,
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "path.simplify": True,
}

log = logging.getLogger(__name__)


class NothingToDraw(ValueError):
    """No run gives this figure a point; the message says in one line why."""


@dataclass(frozen=True)
class Look:
    """How a method is drawn, the same in every panel of a study."""

    colour: Any
    marker: str
    dashes: Any


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its title, the rows it compares, the random policy, the range of returns it shows."""

    title: str
    rows: Sequence[Row]
    policy: RandomPolicy | None
    span: tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """What the panels of a figure share: how to draw one, the looks, the x axis, notes below, title above."""

    draw: Callable[[Axes, Panel, Mapping[str, Look]], None]
    looks: Mapping[str, Look]
    axis: str
    notes: Sequence[str]
    title: str


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


def learning_curves(outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, *, title: str = "") -> list[Path]:
    """Return against environment steps: panels by environment downwards, by density to the right.

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

    lines = [line for block in blocks(rows, baseline) for line in _density_panels(block, _one_agent(rows))]
    notes = [_curve_note(rows), *_counts(rows)]
    drawing = Drawing(draw, looks_of(rows), f"environment steps{named}", notes, title)
    return _pages(lines, drawing, path_stem)


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
    notes = [_point_note(rows), *_counts(rows)]
    drawing = Drawing(draw, looks_of(rows), "density asked for (sparser \u2192)", notes, title)
    return _pages(_in_lines(panels), drawing, path_stem)


FIGURES: Final[Mapping[str, Callable[..., list[Path]]]] = {
    "learning-curves": learning_curves,
    "sparsity-against-return": sparsity_against_return,
}


# What is drawn ----------------------------------------------------------------------------------------------


def looks_of(rows: Sequence[Row]) -> dict[str, Look]:
    """Colour, marker and dashes by label, in order of appearance; the first without a density is dark grey.

    Eight colours, seven markers and three line styles: no two of 168 methods share all.
    """
    import seaborn

    colours = seaborn.color_palette("colorblind")
    with_density = {row.label for row in rows if row.density is not None}
    labels = list(dict.fromkeys(row.label for row in rows))
    reference = next((label for label in labels if label not in with_density), None)
    methods = [label for label in labels if label != reference]
    looks = {reference: Look(DENSE_COLOUR, "", "-")} if reference is not None else {}
    for index, label in enumerate(methods):
        colour = colours[PALETTE[index % len(PALETTE)]]
        dashes = DASHES[index // len(PALETTE) % len(DASHES)]
        looks[label] = Look(colour, MARKERS[index % len(MARKERS)], dashes)
    return looks


def _drawable(rows: list[Row]) -> list[Row]:
    if not rows:
        raise NothingToDraw("no runs")
    if not any(row.done for row in rows):
        raise NothingToDraw(f"no finished run (n = {tally(rows)})")
    return rows


def _density_panels(block: Block, one_agent: bool) -> list[list[Panel]]:
    """The block's panels by density, in lines; a single one where no row has a density."""
    _, rows, policy = block
    where, span = _title(rows[0], one_agent), _span(rows, policy, _heights)
    densities = list(dict.fromkeys(row.density for row in rows if row.density is not None))
    if not densities:
        return [[Panel(where, rows, policy, span)]]
    members = {d: [row for row in rows if row.density in (None, d)] for d in densities}
    return _in_lines([Panel(f"{where}, density {d:g}", members[d], policy, span) for d in densities])


def _in_lines(panels: Sequence[Panel]) -> list[list[Panel]]:
    return [list(panels[start : start + COLUMNS]) for start in range(0, len(panels), COLUMNS)]


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


# Words in the figure ----------------------------------------------------------------------------------------


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


def _entry(label: str, rows: Sequence[Row]) -> str:
    """A legend's text: "RigL (n = 10)", or "RigL (n = 7 to 10)" where cells differ."""
    done = sorted({row.done for row in rows if row.label == label})
    count = f"{done[0]}" if len(done) == 1 else f"{done[0]} to {done[-1]}"
    return f"{shorten(clean(label), 34)} (n = {count})"


def _verbatim(text: str) -> str:
    """No character of a label starts a formula, and none hides it from the legend (as a leading _ would)."""
    safe = text.replace("$", r"\$")
    return f" {safe}" if safe.startswith("_") else safe


# The page ---------------------------------------------------------------------------------------------------


def _pages(lines: Sequence[Sequence[Panel]], drawing: Drawing, path_stem: Path) -> list[Path]:
    """Lay out, draw and write the panels, ROWS_A_PAGE lines of them to a page."""
    paths: list[Path] = []
    path_stem.parent.mkdir(parents=True, exist_ok=True)
    with _style(), warnings.catch_warnings():
        # Labels may be in any script; what the font lacks is drawn as a box, and the table has the name.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        for start in range(0, len(lines), ROWS_A_PAGE):
            page = f"-{1 + start // ROWS_A_PAGE}" if start else ""
            figure = _figure(lines[start : start + ROWS_A_PAGE], drawing)
            paths += _write(figure, path_stem.with_name(f"{path_stem.name}{page}"))
    return paths


def _figure(lines: Sequence[Sequence[Panel]], drawing: Drawing) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(map(len, lines))
    height = len(lines) * PANEL_HEIGHTS[columns] + (0.3 if drawing.title else 0.0)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(lines), columns, squeeze=False)
    for down, line in enumerate(lines):
        for across, ax in enumerate(grid[down]):
            if across >= len(line):
                ax.remove()
                continue
            _frame(ax, line[across], columns)
            drawing.draw(ax, line[across], drawing.looks)
            lowest = down + 1 == len(lines) or across >= len(lines[down + 1])
            ax.set_xlabel(drawing.axis if lowest else "")
            ax.set_ylabel("" if across else "return")
            ax.tick_params(labelleft=not across or line[across].span != line[across - 1].span)
    if drawing.title:
        figure.suptitle("\n".join(textwrap.wrap(_verbatim(clean(drawing.title)), 90)))
    _footer(figure, [panel for line in lines for panel in line], drawing)
    return figure


def _frame(ax: Axes, panel: Panel, columns: int) -> None:
    """Title, range, ticks and the random policy: what the panels of all figures share."""
    from matplotlib.ticker import FuncFormatter

    ax.set_title("\n".join(textwrap.wrap(_verbatim(panel.title), 96 // columns)))
    ax.set_ylim(*panel.span)
    ax.locator_params(axis="y", nbins=6)
    for one in (ax.xaxis, ax.yaxis):
        one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace("-", "\u2212")))
    if panel.policy:
        ax.axhline(panel.policy.mean, **RANDOM_LINE)


def _footer(figure: Figure, panels: Sequence[Panel], drawing: Drawing) -> None:
    """Legend and notes under the panels, which move up by the height that these need."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    whole = [_verbatim(note).replace(" %", "\u00a0%") for note in drawing.notes]
    notes = "\n".join(part for note in whole for part in textwrap.wrap(note, NOTE_WIDTH))
    text = figure.text(0.015, 0.0, notes, color="0.25", linespacing=1.25, va="bottom")
    text.set_in_layout(False)
    legend = _legend(figure, panels, drawing.looks)
    note_height = text.get_window_extent().height / figure.dpi + 0.08
    bottom = note_height + legend.get_window_extent().height / figure.dpi + 0.04
    height = figure.get_figheight() + bottom
    figure.set_figheight(height)
    text.set_y(0.04 / height)
    legend.set_bbox_to_anchor((0.0, note_height / height, 1.0, 1.0), transform=figure.transFigure)
    rect = (0.0, bottom / height, 1.0, 1.0 - bottom / height)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=rect))
    # Laid out once: PNG and PDF then agree, and the slowest part is not done again for each.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _legend(figure: Figure, panels: Sequence[Panel], looks: Mapping[str, Look]) -> Legend:
    """One entry a method, in as many columns as the width holds."""
    from matplotlib.lines import Line2D

    rows = [row for panel in panels for row in panel.rows]
    present = {row.label for row in rows}
    entries = {
        _verbatim(_entry(label, rows)): Line2D(
            [], [], color=look.colour, marker=look.marker, linestyle=look.dashes, markeredgewidth=0
        )
        for label, look in looks.items()
        if label in present
    }
    handles, labels = list(entries.values()), list(entries)
    if any(panel.policy for panel in panels):
        handles.append(Line2D([], [], **RANDOM_LINE))
        labels.append("random policy")
    for columns in range(min(5, len(labels)), 0, -1):
        legend = figure.legend(handles, labels, loc="lower center", ncols=columns, borderaxespad=0.0)
        legend.set_in_layout(False)
        if columns == 1 or legend.get_window_extent().width <= (WIDTH - 0.1) * figure.dpi:
            break
        legend.remove()
    return legend


def _style() -> AbstractContextManager[None]:
    """The figures' look for the time of drawing, whatever the user's own settings are."""
    import matplotlib.style
    import seaborn

    return matplotlib.style.context(["default", seaborn.axes_style("ticks"), dict(STYLE)])


def _write(figure: Figure, stem: Path) -> list[Path]:
    """STEM.png and STEM.pdf, without dates and versions, so that equal studies give equal files."""
    kinds = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    paths = []
    for kind, metadata in kinds.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        paths[-1].write_bytes(buffer.getvalue())
    return paths
