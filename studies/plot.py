"""Every figure of a study.

Intervals are our own (studies.statistics), never the plotting library's. The page, its looks and its legend
are studies.figures.page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from studies.figures.churn import mask_churn
from studies.figures.curves import learning_curves, learning_curves_by_time
from studies.figures.density import sparsity_against_return
from studies.figures.layers import layer_densities
from studies.figures.page import NothingToDraw
from studies.figures.profiles import performance_profiles, probabilities_of_improvement
from studies.figures.survival import survival
from studies.figures.topology import topology
from studies.figures.tradeoff import return_against_flops, return_against_seconds
from studies.outcome import Outcome
from studies.problems import clean
from studies.statistics import Baseline
from studies.store import Store
from studies.topologies import are_kept

Figures = Mapping[str, Callable[..., list[Path]]]
"""By the stem of their files."""

log = logging.getLogger(__name__)

FIGURES: Final[Figures] = {
    "learning-curves": learning_curves,
    "learning-curves-by-time": learning_curves_by_time,
    "sparsity-against-return": sparsity_against_return,
    "return-against-flops": return_against_flops,
    "return-against-seconds": return_against_seconds,
    "performance-profiles": performance_profiles,
    "probability-of-improvement": probabilities_of_improvement,
}
"""By the stem of their files; of outcomes and a baseline."""
STORED: Final[Figures] = {"layer-densities": layer_densities, "mask-churn": mask_churn}
"""Of a store and outcomes of its runs."""
RECORDED: Final[Figures] = {"topology": topology, "survival": survival}
"""The same, where runs have kept their topologies."""


def plot(outcomes: Iterable[Outcome], baseline: Baseline, folder: Path, *, title: str = "") -> list[Path]:
    """Write every figure that the outcomes allow into `folder`; the others are logged with the reason.

    Raises NothingToDraw with all reasons where no figure came out.
    """
    runs = list(outcomes)
    return _drawn({name: partial(figure, runs, baseline) for name, figure in FIGURES.items()}, folder, title)


def plot_study(store: Store, name: str, outcomes: Iterable[Outcome], baseline: Baseline) -> list[Path]:
    """The same for a study of a store, with those figures that need more of its runs than their outcomes.

    Pictures of topologies come out where runs have diagnostics, and are not missed elsewhere.
    """
    return _drawn(figures_of(store, outcomes, baseline), store.study_folder(name), name)


def figures_of(store: Store, outcomes: Iterable[Outcome], baseline: Baseline) -> Figures:
    """The figures of a stored study by stem, to be called with the path of their files and a title."""
    runs = list(outcomes)
    more = {**STORED, **(RECORDED if are_kept(store, runs) else {})}
    plain = {stem: partial(figure, runs, baseline) for stem, figure in FIGURES.items()}
    return {**plain, **{stem: partial(figure, store, runs) for stem, figure in more.items()}}


def _drawn(figures: Figures, folder: Path, title: str) -> list[Path]:
    paths: list[Path] = []
    reasons: list[str] = []
    for name, figure in figures.items():
        try:
            paths += figure(folder / name, title=title)
        except NothingToDraw as error:
            reasons.append(f"{name}: {clean(str(error))}")
    if not paths:
        raise NothingToDraw("; ".join(reasons))
    for reason in reasons:
        log.warning("skipped %s", reason)
    return paths
