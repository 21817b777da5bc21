"""Figures of what becomes of a network's connections: a panel a network and density, a line a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studies.figures.curves import unit_of
from studies.figures.page import Drawing, Look, Panel, in_lines, pages
from studies.figures.rows import last_step, one_agent, title_of
from studies.figures.stairs import Spread, Stairs, draw_spread, spread
from studies.problems import clean
from studies.statistics import Row
from studies.table import blocks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Network = tuple[str, str]
"""A run's id and a learner's name."""


def network_lines(
    rows: Sequence[Row],
    seen: Mapping[Network, Stairs],
    looks: Mapping[str, Look],
    path_stem: Path,
    *,
    title: str,
    height: str,
    notes: Sequence[str],
    stairs: bool = True,
) -> list[Path]:
    """Percentages against environment steps, from 0 on, of the networks that are `seen`: means and ranges over seeds.

    A line of panels for each environment and density, in it the learners; `looks` are those of the whole study.
    """
    end = last_step(rows)
    unit, named = unit_of(end)

    def line_of(row: Row, learner: str) -> Spread:
        return spread([seen[run.run, learner] for run in row.finished if (run.run, learner) in seen], end)

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        for index, row in enumerate(panel.rows):
            line = line_of(row, panel.of)
            draw_spread(ax, line, looks[row.label], unit, index / len(panel.rows), stairs=stairs)
        ax.set_xlim(0, end / unit)
        ax.locator_params(axis="x", nbins=5)

    highest = max(float(one.heights.max()) for one in seen.values())
    lines = list(_panels(rows, seen, (-0.03 * highest, 1.05 * highest)))
    drawing = Drawing(draw, looks, f"environment steps{named}", notes, title, height)
    return pages(lines, drawing, path_stem)


def _panels(rows: Sequence[Row], seen: Mapping[Network, Stairs], span: tuple[float, float]) -> Iterator[list[Panel]]:
    learners = sorted({learner for _, learner in seen})
    for _, members, _ in blocks(rows):
        for density in dict.fromkeys(row.density for row in members):
            panels = []
            for learner in learners:
                there = [row for row in members if row.density == density and _is_seen(row, learner, seen)]
                name = f"{clean(learner)}, {where(rows, members[0], density)}"
                panels += [Panel(name, there, None, span, of=learner)] if there else []
            yield from in_lines(panels)


def _is_seen(row: Row, learner: str, seen: Mapping[Network, Stairs]) -> bool:
    return any((run.run, learner) in seen for run in row.finished)


def where(rows: Sequence[Row], row: Row, density: float | None) -> str:
    """The density of a panel, after its place if a figure's rows have more than one."""
    place = [title_of(row, one_agent(rows))] if len(blocks(rows)) > 1 else []
    return ", ".join([*place, "densities of its own" if density is None else f"density {density:g}"])
