"""The figure: time of an update against density, both logarithmic, beside what would be in proportion."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from studies.bench.plan import KINDS, OURS, PEERS
from studies.bench.results import GroupResult, Results, Spread
from studies.figures.page import DASHES, DENSE_COLOUR, DPI, MARKERS, NOTE_WIDTH, PALETTE, WIDTH, Look, style, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT: Final = 2.4
NOTE_HEIGHT: Final = 0.55
FOOT: Final = 1.0
"""Inches: the note under a figure, and the note with the legend."""
PROPORTION: Final[dict[str, Any]] = {"color": "0.35", "linestyle": ":", "linewidth": 1.2, "zorder": 1}
IN_PROPORTION: Final = "in proportion"
NOTE: Final = (
    "Time of {agent} update, method {method}, {threads}: medians, and bars for the range of the blocks. Dotted, in "
    "proportion to density: fixed + density * (dense - fixed), where fixed is an update of our dense agent with "
    "hidden layers of 8 units, measured in the same turns: what an update costs at any width."
)


def draw(results: Results, stem: Path) -> list[Path]:
    """STEM.png and STEM.pdf, a panel for each width and batch on the fewest threads; none without a row of ours."""
    groups = [group for group in results.groups if not group.setting.published and _ours(group)]
    fewest = min((group.setting.threads for group in groups), default=0)
    groups = [group for group in groups if group.setting.threads == fewest]
    if not groups:
        return []
    stem.parent.mkdir(parents=True, exist_ok=True)
    with style():
        return write(_figure(groups), stem)


def _a(agent: str) -> str:
    return f"{'an' if agent[0] in 'aeis' else 'a'} {agent.upper()}"


def _figure(groups: Sequence[GroupResult]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(2, len(groups))
    lines = -(-len(groups) // columns)
    figure = Figure(figsize=(WIDTH, lines * PANEL_HEIGHT + FOOT), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for index, (ax, group) in enumerate(zip(axes, groups, strict=False)):
        _panel(ax, group)
        ax.set_title(f"width {group.setting.width}, batch {group.setting.batch}")
        ax.set_ylabel("" if index % columns else "update, milliseconds")
        ax.set_xlabel("density of hidden layers (sparser \u2192)" if index + columns >= len(groups) else "")
    for ax in axes[len(groups) :]:
        ax.remove()
    _foot(figure, groups)
    return figure


def _foot(figure: Figure, groups: Sequence[GroupResult]) -> None:
    """Legend and note in the strip under the panels."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    threads = groups[0].setting.threads
    said = NOTE.format(
        agent=_a(groups[0].setting.agent),
        method=groups[0].setting.method,
        threads="1 thread" if threads == 1 else f"{threads} threads",
    )
    note = "\n".join(textwrap.wrap(said, NOTE_WIDTH))
    height = figure.get_figheight()
    figure.text(0.015, 0.05 / height, note, color="0.25", linespacing=1.25, va="bottom").set_in_layout(False)
    found = {label: line for ax in figure.axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    entries = {label: found[label] for label in (*KINDS.values(), IN_PROPORTION) if label in found}
    place = (0.0, NOTE_HEIGHT / height, 1.0, 1.0)
    legend = figure.legend(
        entries.values(), entries.keys(), loc="lower center", ncols=4, bbox_to_anchor=place, borderaxespad=0.0
    )
    legend.set_in_layout(False)
    foot = FOOT / height
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0.0, foot, 1.0, 1.0 - foot)))
    # Laid out once, as PNG and PDF are to agree.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _panel(ax: Axes, group: GroupResult) -> None:
    """Ours as points over density, peers as levels, and the line in proportion."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    looks = _looks()
    for kind in PEERS:
        peer = group.find(kind)
        level = peer.spread("update") if peer else None
        if level:
            look = looks[kind]
            ax.axhline(1e3 * level.median, color=look.colour, linestyle=look.dashes, zorder=1, label=KINDS[kind])
            ax.axhspan(1e3 * level.low, 1e3 * level.high, color=look.colour, alpha=0.15, linewidth=0, zorder=0)
    _proportion(ax, group)
    for kind in OURS:
        points = _points(group, kind)
        if points:
            _series(ax, points, looks[kind], KINDS[kind])
    ax.set_xscale("log")
    ax.set_yscale("log")
    densities = sorted({density for kind in OURS for density, _ in _points(group, kind)})
    low, high = ax.get_ylim()
    ax.set_ylim(low / 1.1, high * 1.1)
    ax.set_xlim(densities[-1] * 1.25, densities[0] / 1.25)
    ax.xaxis.set_major_locator(FixedLocator(densities))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_minor_formatter(NullFormatter())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _proportion(ax: Axes, group: GroupResult) -> None:
    """From dense down to the sparsest row."""
    dense = group.find("dense")
    whole, fixed = (dense.spread("update"), dense.spread("fixed")) if dense else (None, None)
    if not whole or not fixed:
        return
    least = min((density for kind in OURS for density, _ in _points(group, kind)), default=1.0)
    densities = np.geomspace(1.0, least, 50)
    ax.plot(densities, 1e3 * proportional(densities, whole.median, fixed.median), **PROPORTION, label=IN_PROPORTION)


def proportional(densities: NDArray[np.float64], dense: float, fixed: float) -> NDArray[np.float64]:
    """fixed + density (dense - fixed): an update's time if all but its fixed part went with density."""
    return fixed + densities * (dense - fixed)


def _series(ax: Axes, points: Sequence[tuple[float, Spread]], look: Look, label: str) -> None:
    x = [density for density, _ in points]
    middle = [1e3 * each.median for _, each in points]
    ends = [
        [1e3 * (each.median - each.low) for _, each in points],
        [1e3 * (each.high - each.median) for _, each in points],
    ]
    ax.errorbar(x, middle, ends, fmt="none", ecolor=look.colour, elinewidth=0.9, capsize=1.5, capthick=0.9, zorder=3)
    line = {"color": look.colour, "linestyle": look.dashes, "marker": look.marker, "markeredgewidth": 0}
    ax.plot(x, middle, **line, zorder=4, label=label)


def _points(group: GroupResult, kind: str) -> list[tuple[float, Spread]]:
    """(density, update) of what was measured, from dense to sparse; our dense agent stands at 1."""
    found = [
        (1.0 if one.contestant.density is None else one.contestant.density, one.spread("update"))
        for one in group.measured
        if one.contestant.kind == kind
    ]
    return sorted(((density, each) for density, each in found if each), reverse=True)


def _ours(group: GroupResult) -> bool:
    return any(_points(group, kind) for kind in OURS)


def _looks() -> dict[str, Look]:
    import seaborn

    colours = [seaborn.color_palette("colorblind")[index] for index in PALETTE]
    return {
        "dense": Look(DENSE_COLOUR, "s", "none"),
        "masked": Look(colours[1], MARKERS[2], "-"),
        "sparse": Look(colours[0], MARKERS[0], "-"),
        "autograd": Look(colours[0], MARKERS[1], DASHES[1]),
        "sbx": Look(colours[2], "", DASHES[1]),
        "sb3": Look(colours[3], "", DASHES[2]),
    }
