"""How dense every layer is: over time where methods move connections between layers, else at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from studies.figures.curves import unit_of
from studies.figures.networks import where
from studies.figures.page import (
    DASHES,
    MARKERS,
    PALETTE,
    Drawing,
    Look,
    NothingToDraw,
    Panel,
    in_lines,
    looks_of,
    pages,
    verbatim,
)
from studies.figures.rows import counts, drawable, last_step
from studies.figures.stairs import SPREAD, Spread, Stairs, draw_spread, spread
from studies.history import History, histories
from studies.outcome import Outcome
from studies.problems import clean
from studies.statistics import Row, summary
from studies.store import Store
from studies.table import blocks
from studies.words import named, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Seen = Mapping[str, Mapping[str, History]]
"""Layers by their names, by run."""
LEGIBLE: Final = 9
"""Layers whose names have room beside each other across a page."""


def layer_densities(store: Store, outcomes: Iterable[Outcome], path_stem: Path, *, title: str = "") -> list[Path]:
    """Active connections of every layer as a share of what it could have, means over seeds with their range.

    Against environment steps, a panel a row, a line a layer; rows that keep the same densities from beginning to end
    share a panel. Where all rows of a study keep theirs, a panel a density shows them by layer instead. Returns the
    files written; a second page has "-2" after `path_stem`.
    """
    rows = drawable(summary(outcomes))
    runs = dict.fromkeys(run.run for row in rows for run in row.finished)
    seen = {run: {f"{one.learner} {one.layer}": one for one in histories(store, run)} for run in runs}
    sparse = [row for row in rows if any(seen[run.run] for run in row.finished)]
    if not sparse:
        raise NothingToDraw("no method has sparse layers")
    dense = named("Without sparse layers", [row for row in rows if row.done and row not in sparse])
    said = [*dense, *counts(rows)]
    if any(moves(row, seen) for row in sparse):
        return _over_time(sparse, seen, said, title, path_stem)
    return _at_the_end(sparse, seen, looks_of(rows), said, title, path_stem)


def moves(row: Row, seen: Seen) -> bool:
    """Whether a layer of one of its seeds ever changes its density."""
    return any(np.ptp(layer.active) > 0 for run in row.finished for layer in seen[run.run].values())


def _over_time(rows: Sequence[Row], seen: Seen, said: Sequence[str], title: str, path_stem: Path) -> list[Path]:
    end = last_step(rows)
    unit, of_steps = unit_of(end)

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        lines = densities(panel.rows[0], seen, end)
        for index, (layer, line) in enumerate(lines.items()):
            draw_spread(ax, line, looks[layer], unit, index / len(lines))
        ax.set_xlim(0, end / unit)
        ax.locator_params(axis="x", nbins=5)

    looks = _looks(seen)
    highest = max(float(line.high.max()) for row in rows for line in densities(row, seen, end).values())
    panels = [
        Panel(
            f"{_names(group)}, {where(rows, group[0], group[0].density)}",
            group,
            None,
            (-0.03 * highest, 1.05 * highest),
        )
        for group in _alike(rows, seen)
    ]
    constant = named("Every layer keeps its density in", [row for row in rows if not moves(row, seen)])
    notes = [SPREAD, *constant, *said]
    axis = f"environment steps{of_steps}"
    drawing = Drawing(draw, looks, axis, notes, title, "density", {name: _short(name) for name in looks})
    return pages(in_lines(panels), drawing, path_stem)


def _at_the_end(
    rows: Sequence[Row], seen: Seen, looks: Mapping[str, Look], said: Sequence[str], title: str, path_stem: Path
) -> list[Path]:
    end = last_step(rows)
    layers = list(_looks(seen))
    many = len(layers) > LEGIBLE
    dots = {label: replace(look, marker=look.marker or "o", dashes="none") for label, look in looks.items()}

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        gap = min(0.12, 0.8 / len(panel.rows))
        for index, row in enumerate(panel.rows):
            dodge = gap * (index - (len(panel.rows) - 1) / 2)
            _dots(ax, densities(row, seen, end), looks[row.label], layers, dodge)
        names = [_short(layer) if many else _short(layer).replace(" ", "\n", 1) for layer in layers]
        ax.set_xticks(range(len(layers)), list(map(verbatim, names)), rotation=90 if many else 0)
        ax.set_xlim(-0.5, len(layers) - 0.5)
        ax.grid(visible=False, axis="x")

    panels = []
    for _, members, _ in blocks(rows):
        for density in dict.fromkeys(row.density for row in members):
            there = [row for row in members if row.density == density]
            highest = max(float(line.high.max()) for row in there for line in densities(row, seen, end).values())
            panels.append(Panel(where(rows, there[0], density), there, None, (0.0, 1.08 * highest)))
    notes = ["Points: mean over seeds, bars: from the lowest to the highest. No layer ever changes its density.", *said]
    beside = 2 if max(len(layers), *(len(panel.rows) // 2 for panel in panels)) <= LEGIBLE // 2 else 1
    lines = [panels[start : start + beside] for start in range(0, len(panels), beside)]
    return pages(lines, Drawing(draw, dots, "", notes, title, "density"), path_stem)


def densities(row: Row, seen: Seen, end: int) -> dict[str, Spread]:
    """Of every layer of a row, over its finished seeds."""
    names = dict.fromkeys(name for run in row.finished for name in seen[run.run])
    runs = [seen[run.run] for run in row.finished]
    return {
        name: spread([Stairs(of[name].steps, of[name].density) for of in runs if name in of], end) for name in names
    }


def _dots(ax: Axes, lines: Mapping[str, Spread], look: Look, layers: Sequence[str], dodge: float) -> None:
    for layer, line in lines.items():
        place = layers.index(layer) + dodge
        ax.plot([place, place], [line.low[-1], line.high[-1]], color=look.colour, linewidth=0.9, zorder=2)
        ax.plot([place], [line.mean[-1]], color=look.colour, marker=look.marker, markeredgewidth=0, zorder=3)


def _alike(rows: Sequence[Row], seen: Seen) -> list[list[Row]]:
    """The rows in the order of their panels; those of one density whose layers stay alike are together."""
    groups: dict[object, list[Row]] = {}
    for number, (_, members, _) in enumerate(blocks(rows)):
        for row in members:
            layers = {(name, one.active[0], one.size) for run in row.finished for name, one in seen[run.run].items()}
            key = row.label if moves(row, seen) else frozenset(layers)
            groups.setdefault((number, row.density, key), []).append(row)
    return list(groups.values())


def _names(rows: Sequence[Row]) -> str:
    """The panel's rows, the first of many, and how many seeds they are means of."""
    labels = [shorten(clean(row.label), 26) for row in rows]
    some = labels if len(labels) <= 4 else [*labels[:3], f"{len(labels) - 3} more"]
    done = sorted({row.done for row in rows})
    return f"{', '.join(some)} (n = {' to '.join(map(str, dict.fromkeys((done[0], done[-1]))))})"


def _looks(seen: Seen) -> dict[str, Look]:
    """A colour for every layer of a network, dashes for every network."""
    import seaborn

    colours = seaborn.color_palette("colorblind")
    learners: dict[str, dict[str, None]] = {}
    for layers in seen.values():
        for name, one in layers.items():
            learners.setdefault(one.learner, {}).setdefault(name)
    return {
        name: Look(colours[PALETTE[place % len(PALETTE)]], MARKERS[place % len(MARKERS)], DASHES[number % len(DASHES)])
        for number, layers in enumerate(learners.values())
        for place, name in enumerate(layers)
    }


def _short(layer: str) -> str:
    return shorten(clean(layer).removesuffix(".weight"), 26)
