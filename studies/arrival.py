"""How soon runs reach the return of the dense agent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from studies.compare import DENSE, reference_of
from studies.difference import ROUNDING
from studies.outcome import Outcome
from studies.statistics import Row, score, summary, window


@dataclass(frozen=True)
class Arrival:
    """When a row's runs reach the threshold, and how many never do (censored).

    `step` is the median over all of them, censored runs being later than any: None where that is half or more, so
    that one lucky run among ten is not the row's speed. `threshold` is nan where the dense row has no score.
    """

    row: Row
    threshold: float
    step: float | None
    reached: int
    censored: int


def steps_to_return(outcome: Outcome, threshold: float) -> int | None:
    """First step at which the running mean of `window(n)` evaluations is at least `threshold`; None if it never is.

    Sokar et al. 2022 take ten of 201 evaluations. Rounding keeps no curve from its own level.
    """
    if not len(outcome.returns):
        return None
    width, rounding = window(len(outcome.returns)), ROUNDING * abs(threshold)
    running = np.lib.stride_tricks.sliding_window_view(outcome.returns, width).mean(axis=-1)
    reached = np.nonzero(running >= threshold - rounding)[0]
    return int(outcome.steps[reached[0] + width - 1]) if reached.size else None


def steps_to_dense(outcomes: Iterable[Outcome], *, dense: str = DENSE) -> list[Arrival]:
    """For every row, when it reaches the mean over dense runs of their last evaluations (Sokar et al. 2022).

    The dense row itself is among them: its own crossing, which comes before its end, is what others are to be read
    against. Runs without a score never arrive, and are counted as censored.
    """
    rows = summary(outcomes)
    goals = [(row, reference_of(row, rows, dense)) for row in rows]
    return [_arrival(row, _goal(reference)) for row, reference in goals if reference is not None]


def _goal(reference: Row) -> float:
    """The mean, not `Row.score`, which is the interquartile mean from ten seeds on; nan for no score."""
    scores = sorted(score(run) for run in reference.finished)
    return float(np.mean(scores)) if scores else float("nan")


def _arrival(row: Row, threshold: float) -> Arrival:
    steps = [steps_to_return(run, threshold) for run in row.finished]
    known = sorted(step for step in steps if step is not None)
    censored = row.done - len(known) + row.failed + row.diverged
    median = float(np.median([*known, *[np.inf] * censored])) if known else np.inf
    return Arrival(row, threshold, median if np.isfinite(median) else None, len(known), censored)
