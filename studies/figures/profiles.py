"""Over all environments of a study: performance profiles, and the probability of improvement on the dense agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from studies.aggregate import probability_of_improvement, profile
from studies.compare import reference_label
from studies.figures.page import Drawing, Look, NothingToDraw, Panel, in_lines, looks_of, pages, verbatim
from studies.figures.rows import LEAST_FOR_BAND, counts, drawable
from studies.measured import Measured, measured
from studies.outcome import Outcome
from studies.problems import clean
from studies.statistics import Baseline, Row, summary
from studies.words import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THRESHOLDS: Final = 81
RESAMPLES: Final = 2000
NAMES: Final = 26
"""Characters of a method's name beside its line."""


def performance_profiles(
    outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, *, title: str = ""
) -> list[Path]:
    """Share of runs above each normalised score, mean over environments (Agarwal et al. 2021, Eq. 3).

    Scores are (R - random) / (dense - random) of the same study, failed runs 0. Bands are 95 % stratified bootstraps,
    from three runs an environment on. Panels by density, rows without one in each. Returns the files written.
    """
    rows = drawable(summary(outcomes, baseline))
    methods, reference, reasons = _measured(rows, baseline)
    every = np.concatenate([scores for one in methods for scores in one.scores.values()])
    low, high = min(0.0, float(every.min())), max(1.0, float(every.max()))
    margin = 0.03 * (high - low)
    thresholds = np.linspace(low - margin, high + margin, THRESHOLDS)

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        for one in methods:
            if _stands_in(one, panel):
                _profile(ax, one, looks[one.label], thresholds, methods.index(one) / len(methods))
        ax.axvline(1.0, color="0.75", linewidth=0.8, zorder=0)
        ax.set_xlim(thresholds[0], thresholds[-1])

    scored = f"Score: 0 is the random policy, 1 the mean of {clean(reference)}; failed runs score 0."
    said = [scored, *_bands(methods), *_environments(methods), *reasons, *counts(rows)]
    drawing = Drawing(draw, looks_of(rows), "normalised score", said, title, "share of runs above it")
    return pages(in_lines(_panels(methods, (-0.03, 1.03))), drawing, path_stem)


def probabilities_of_improvement(
    outcomes: Iterable[Outcome], baseline: Baseline, path_stem: Path, *, title: str = ""
) -> list[Path]:
    """P(a run of a method beats one of the dense agent), ties by half, mean over environments (Agarwal et al. 2021).

    Bars are 95 % stratified bootstraps, where both sides have three runs an environment. A panel a density, a line a
    method. Returns the files written.
    """
    rows = drawable(summary(outcomes, baseline))
    methods, reference, reasons = _measured(rows, baseline)
    dense = {one.setting: one for one in methods if one.label == reference}
    compared = [one for one in methods if one.label != reference and one.setting in dense]
    if not compared:
        raise NothingToDraw(f"nothing to compare with {reference}")
    labels = list(dict.fromkeys(one.label for one in compared))

    def draw(ax: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
        for one in compared:
            if _stands_in(one, panel):
                _probability(ax, one, dense[one.setting], labels.index(one.label), looks[one.label])
        ax.axvline(0.5, color="0.75", linewidth=0.8, zorder=0)
        ax.set_xlim(-0.03, 1.03)
        ax.set_yticks(range(len(labels)), [verbatim(shorten(clean(label), NAMES)) for label in labels])
        ax.grid(visible=False, axis="y")

    what = f"Probability that a run of the method has a higher score than one of {clean(reference)}, ties by half."
    said = [what, *_bands(compared), *_environments(compared), *reasons, *counts(rows)]
    looks = {label: look for label, look in looks_of(rows).items() if label != reference}
    axis = f"P(better than {verbatim(shorten(clean(reference), NAMES))})"
    return pages(
        in_lines(_panels(compared, (len(labels) - 0.5, -0.5))), Drawing(draw, looks, axis, said, title, ""), path_stem
    )


def _measured(rows: Sequence[Row], baseline: Baseline) -> tuple[list[Measured], str, list[str]]:
    """The methods, who is 1, and what is to be said; NothingToDraw where nothing can be measured."""
    reference = reference_label(rows)
    if reference is None:
        raise NothingToDraw("there is no dense row to measure by")
    try:
        methods, reasons = measured(rows, baseline, reference)
    except ValueError as error:  # Several rows could be the reference.
        raise NothingToDraw(str(error)) from None
    if not any(one.label != reference for one in methods):
        raise NothingToDraw(" ".join(reasons) or f"nothing to compare with {reference}")
    return methods, reference, reasons


def _panels(methods: Sequence[Measured], span: tuple[float, float]) -> list[Panel]:
    """A panel for every setting and density; rows without a density stand in each, or in one of their own."""
    settings = dict.fromkeys(one.setting for one in methods)
    agents = {agent for agent, _ in settings}
    panels = []
    for agent, axes in settings:
        mine = [one for one in methods if one.setting == (agent, axes)]
        densities: list[float | None] = [
            *sorted({one.density for one in mine if one.density is not None}, reverse=True)
        ]
        for density in densities or [None]:
            members = [row for one in mine if one.density in (None, density) for row in one.rows]
            where = [agent] if len(agents) > 1 or density is None else []
            where += [f"{name} = {value}" for name, value in axes]
            where += [] if density is None else [f"density {density:g}"]
            panels.append(Panel(clean(", ".join(where)), members, None, span))
    return panels


def _stands_in(one: Measured, panel: Panel) -> bool:
    return any(row is one.rows[0] for row in panel.rows)


def _few(*sides: Measured) -> bool:
    return min(len(scores) for side in sides for scores in side.scores.values()) < LEAST_FOR_BAND


def _profile(ax: Axes, one: Measured, look: Look, thresholds: NDArray[np.float64], stagger: float) -> None:
    """A staircase with its band; a few markers, staggered to keep the methods apart."""
    band = profile(one.scores, thresholds, resamples=RESAMPLES)
    every = THRESHOLDS // 5
    line: dict[str, Any] = {"color": look.colour, "linestyle": look.dashes, "marker": look.marker}
    ax.plot(
        thresholds,
        band.point,
        drawstyle="steps-post",
        markevery=(int(stagger * every), every),
        markeredgewidth=0,
        **line,
    )
    if not _few(one):
        ax.fill_between(thresholds, band.low, band.high, step="post", color=look.colour, alpha=0.1, linewidth=0)


def _probability(ax: Axes, one: Measured, against: Measured, place: int, look: Look) -> None:
    band = probability_of_improvement(one.scores, against.scores, resamples=RESAMPLES)
    if not _few(one, against):
        ax.plot([float(band.low), float(band.high)], [place, place], color=look.colour, linewidth=1.1)
    ax.plot([float(band.point)], [place], color=look.colour, marker=look.marker or "o", markeredgewidth=0)


def _bands(methods: Sequence[Measured]) -> list[str]:
    return [] if all(map(_few, methods)) else ["Bands and bars: 95 % bootstrap over runs, stratified by environment."]


def _environments(methods: Sequence[Measured]) -> list[str]:
    envs = sorted({env for one in methods for env in one.scores})
    return [f"Mean over {len(envs)} environments: {', '.join(map(clean, envs))}."] if len(envs) > 1 else []
