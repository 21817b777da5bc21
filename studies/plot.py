"""Every figure of a study.

Intervals are our own (studies.statistics), never the plotting library's. The page, its looks and its legend
are studies.figures.page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from studies.figures.curves import learning_curves, learning_curves_by_time
from studies.figures.density import sparsity_against_return
from studies.figures.page import NothingToDraw
from studies.figures.profiles import performance_profiles, probabilities_of_improvement
from studies.figures.tradeoff import return_against_flops, return_against_seconds
from studies.outcome import Outcome
from studies.statistics import Baseline

log = logging.getLogger(__name__)

FIGURES: Final[Mapping[str, Callable[..., list[Path]]]] = {
    "learning-curves": learning_curves,
    "learning-curves-by-time": learning_curves_by_time,
    "sparsity-against-return": sparsity_against_return,
    "return-against-flops": return_against_flops,
    "return-against-seconds": return_against_seconds,
    "performance-profiles": performance_profiles,
    "probability-of-improvement": probabilities_of_improvement,
}
"""By the stem of their files."""


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
