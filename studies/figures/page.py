"""The page of a figure: looks, panels, legend and notes, written as PNG and PDF, equal at every render.

Figures are objects of their own, so that no global state of pyplot is read or left behind; matplotlib and
seaborn are imported when a figure is drawn.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from studies.compare import reference_label
from studies.problems import clean
from studies.statistics import RandomPolicy, Row
from studies.words import RANDOM, shorten

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

T = TypeVar("T")

WIDTH: Final = 6.5
"""Inches: the text width of a paper, so that 8 pt stay 8 pt in print."""
PANEL_HEIGHTS: Final = {1: 2.9, 2: 2.5, 3: 2.1}
"""Inches, by the number of panels side by side."""
COLUMNS: Final = 3
DPI: Final = 200
ROWS_A_PAGE: Final = 4
"""Further rows of panels go to a second figure, so that each fits a page."""
PALETTE: Final = (0, 1, 2, 4, 3, 9, 5, 6)
"""Of seaborn's "colorblind", in order of contrast; grey (dense has it) and yellow (pale) left out."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
DASHES: Final[tuple[Any, ...]] = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)))
DENSE_COLOUR: Final = "0.2"
RANDOM_LINE: Final[Mapping[str, Any]] = {"color": "0.35", "linestyle": ":", "linewidth": 1.2, "zorder": 1}
NOTE_WIDTH: Final = 108
"""Characters of 8 pt in WIDTH."""
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
    of: str = ""
    """What of its rows it shows, where panels show different things: a network."""


@dataclass(frozen=True)
class Drawing:
    """What the panels of a figure share: how to draw one, the looks, the x axis, notes below, title above."""

    draw: Callable[[Axes, Panel, Mapping[str, Look]], None]
    looks: Mapping[str, Look]
    axis: str
    notes: Sequence[str]
    title: str
    height: str = "return"
    """What the y axis shows."""
    legend: Mapping[str, str] | None = None
    """Texts by the names of the looks; None: of the methods in the panels, with how many of their runs are done."""


def looks_of(rows: Sequence[Row]) -> dict[str, Look]:
    """Colour, marker and dashes by label, in order of appearance; the dense one of a study is dark grey.

    Eight colours, seven markers and three line styles: no two of 168 methods share all.
    """
    import seaborn

    colours = seaborn.color_palette("colorblind")
    reference = reference_label(rows)
    methods = [label for label in dict.fromkeys(row.label for row in rows) if label != reference]
    looks = {reference: Look(DENSE_COLOUR, "", "-")} if reference is not None else {}
    for index, label in enumerate(methods):
        colour = colours[PALETTE[index % len(PALETTE)]]
        dashes = DASHES[index // len(PALETTE) % len(DASHES)]
        looks[label] = Look(colour, MARKERS[index % len(MARKERS)], dashes)
    return looks


def in_lines(panels: Sequence[Panel]) -> list[list[Panel]]:
    """The panels from left to right, COLUMNS to a line."""
    return [list(panels[start : start + COLUMNS]) for start in range(0, len(panels), COLUMNS)]


def pages(lines: Sequence[Sequence[Panel]], drawing: Drawing, path_stem: Path) -> list[Path]:
    """Lay out, draw and write the panels, ROWS_A_PAGE lines of them to a page."""
    return paged(lines, ROWS_A_PAGE, lambda some: _figure(some, drawing), path_stem)


def paged(lines: Sequence[T], a_page: int, figure_of: Callable[[Sequence[T]], Figure], path_stem: Path) -> list[Path]:
    """Draw and write a figure of so many lines to a page; a second page has "-2" after `path_stem`."""
    paths: list[Path] = []
    path_stem.parent.mkdir(parents=True, exist_ok=True)
    with style(), warnings.catch_warnings():
        # Labels may be in any script; what the font lacks is drawn as a box, and the table has the name.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        for start in range(0, len(lines), a_page):
            page = f"-{1 + start // a_page}" if start else ""
            figure = figure_of(lines[start : start + a_page])
            paths += write(figure, path_stem.with_name(f"{path_stem.name}{page}"))
    return paths


def _figure(lines: Sequence[Sequence[Panel]], drawing: Drawing) -> Figure:
    columns = max(map(len, lines))
    height = len(lines) * PANEL_HEIGHTS[columns] + (0.3 if drawing.title else 0.0)
    figure = blank(height)
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
            ax.set_ylabel("" if across else drawing.height)
            ax.tick_params(labelleft=not across or line[across].span != line[across - 1].span)
    finish(figure, drawing.title, _entries([panel for line in lines for panel in line], drawing), drawing.notes)
    return figure


def blank(height: float) -> Figure:
    """A figure of the text's width and of so many inches, without axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _frame(ax: Axes, panel: Panel, columns: int) -> None:
    """Title, range, ticks and the random policy: what the panels of all figures share."""
    from matplotlib.ticker import FuncFormatter

    ax.set_title("\n".join(textwrap.wrap(verbatim(panel.title), 96 // columns)))
    ax.set_ylim(*panel.span)
    ax.locator_params(axis="y", nbins=6)
    for one in (ax.xaxis, ax.yaxis):
        one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace("-", "\u2212")))
    if panel.policy:
        ax.axhline(panel.policy.mean, **RANDOM_LINE)


def finish(figure: Figure, title: str, entries: Mapping[str, Artist], said: Sequence[str]) -> None:
    """The title above; legend and notes under the panels, which move up by the height that these need."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if title:
        figure.suptitle("\n".join(textwrap.wrap(verbatim(clean(title)), 90)))
    whole = [verbatim(note).replace(" %", "\u00a0%") for note in said]
    notes = "\n".join(part for note in whole for part in textwrap.wrap(note, NOTE_WIDTH))
    text = figure.text(0.015, 0.0, notes, color="0.25", linespacing=1.25, va="bottom")
    text.set_in_layout(False)
    legend = _legend(figure, entries)
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


def _entries(panels: Sequence[Panel], drawing: Drawing) -> dict[str, Artist]:
    """A line for every text of the legend."""
    from matplotlib.lines import Line2D

    rows = [row for panel in panels for row in panel.rows]
    texts = drawing.legend
    if texts is None:
        present = {row.label for row in rows}
        texts = {label: _entry(label, rows) for label in drawing.looks if label in present}
    entries: dict[str, Artist] = {}
    for name, text in texts.items():
        look = drawing.looks[name]
        line = {"color": look.colour, "marker": look.marker, "linestyle": look.dashes, "markeredgewidth": 0}
        entries[verbatim(text)] = Line2D([], [], **line)
    if any(panel.policy for panel in panels):
        entries[RANDOM] = Line2D([], [], **RANDOM_LINE)
    return entries


def _legend(figure: Figure, entries: Mapping[str, Artist]) -> Legend:
    """In as many columns as the width holds."""
    handles, labels = list(entries.values()), list(entries)
    for columns in range(min(5, len(labels)), 0, -1):
        legend = figure.legend(handles, labels, loc="lower center", ncols=columns, borderaxespad=0.0)
        legend.set_in_layout(False)
        if columns == 1 or legend.get_window_extent().width <= (WIDTH - 0.1) * figure.dpi:
            break
        legend.remove()
    return legend


def _entry(label: str, rows: Sequence[Row]) -> str:
    """A legend's text: "RigL (n = 10)", or "RigL (n = 7 to 10)" where cells differ."""
    done = sorted({row.done for row in rows if row.label == label})
    count = f"{done[0]}" if len(done) == 1 else f"{done[0]} to {done[-1]}"
    return f"{shorten(clean(label), 34)} (n = {count})"


def verbatim(text: str) -> str:
    """No character of a label starts a formula, and none hides it from the legend (as a leading _ would)."""
    safe = text.replace("$", r"\$")
    return f" {safe}" if safe.startswith("_") else safe


def style() -> AbstractContextManager[None]:
    """The figures' look for the time of drawing, whatever the user's own settings are."""
    import matplotlib.style
    import seaborn

    return matplotlib.style.context(["default", seaborn.axes_style("ticks"), dict(STYLE)])


def write(figure: Figure, stem: Path) -> list[Path]:
    """STEM.png and STEM.pdf, without dates and versions, so that equal studies give equal files."""
    kinds = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    paths = []
    for kind, metadata in kinds.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        paths.append(stem.with_name(f"{stem.name}.{kind}"))
        paths[-1].write_bytes(buffer.getvalue())
    return paths
