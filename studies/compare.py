"""Methods against each other over seeds: differences, intervals, and how soon the dense return is reached."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from studies.aggregate import holm, probability_of_improvement
from studies.outcome import Outcome
from studies.statistics import Row, score, standing, summary, window

DENSE: Final = "dense"
ROUNDING: Final = 1e-13
"""Relative; means of equal returns differ by less."""


@dataclass(frozen=True)
class Difference:
    """mean(a) - mean(b), its 95 % t-interval, and the two-sided p value of no difference."""

    point: float
    low: float
    high: float
    p: float
    paired: bool


@dataclass(frozen=True)
class Comparison:
    """A row of a study against the reference row of its environment; `failed` are runs without a score."""

    row: Row
    reference: Row
    difference: Difference
    adjusted: float
    """p after Holm's correction over the environments of this row's label, density and axes."""
    better: float
    """P(a run of the row beats one of the reference), ties by half."""
    failed: int
    reference_failed: int


@dataclass(frozen=True)
class Arrival:
    """When a row's runs reach the threshold: the median step of those that do, and how many never do (censored)."""

    row: Row
    threshold: float
    step: float | None
    reached: int
    censored: int


def difference(a: ArrayLike, b: ArrayLike, *, paired: bool = False) -> Difference:
    """mean(a) - mean(b) with Welch's t-interval (Welch 1947); `paired`: Student's of a_i - b_i.

    Pair only where seeds are shown to correlate (`seeds_correlate`). ValueError for fewer than two scores a side.
    """
    first, second = (np.asarray(side, dtype=np.float64) for side in (a, b))
    if min(first.size, second.size) < 2 or (paired and first.size != second.size):
        need = "equally many scores, at least two," if paired else "at least two scores"
        raise ValueError(f"there are {first.size} and {second.size} scores; give {need} on both sides")
    if not np.isfinite([*first, *second]).all():
        raise ValueError("scores must be finite; count runs without a score as failed instead")
    point = float(first.mean() - second.mean())
    if _equal(first - second) if paired else _equal(first) and _equal(second):
        same = bool(np.isclose(first.mean(), second.mean(), rtol=ROUNDING, atol=0))
        return Difference(point, point, point, float(same), paired)  # No spread: nothing is left to chance.
    with warnings.catch_warnings():  # SciPy warns of each side without a spread of its own.
        warnings.filterwarnings("ignore", message="Precision loss", category=RuntimeWarning)
        test = stats.ttest_rel(first, second) if paired else stats.ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval(0.95)
    return Difference(point, float(low), float(high), float(test.pvalue), paired)


def _equal(scores: NDArray[np.float64]) -> bool:
    """Whether scores differ by no more than rounding."""
    return bool(np.ptp(scores) <= ROUNDING * np.abs(scores).max())


def seeds_correlate(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float, float]:
    """Pearson's r of the scores of common seeds and the one-sided p of r <= 0; nan for fewer than three."""
    common = sorted(set(a) & set(b))
    x, y = np.array([a[seed] for seed in common]), np.array([b[seed] for seed in common])
    if len(common) < 3 or not np.ptp(x) or not np.ptp(y):
        return float("nan"), float("nan")
    test = stats.pearsonr(x, y, alternative="greater")
    return float(test.statistic), float(test.pvalue)


def comparisons(outcomes: Iterable[Outcome], *, against: str = DENSE) -> list[Comparison]:
    """Every other row with two scores against the row labelled `against` of its agent and environment.

    p values are corrected by Holm (1979) over the environments of a method, the family in which it is judged.
    """
    rows = summary(outcomes)
    references = {(row.agent, row.env): row for row in rows if row.label == against}
    if not references:
        known = ", ".join(dict.fromkeys(row.label for row in rows)) or "none"
        raise ValueError(f"no row is labelled {against!r} to compare with. Known: {known}")
    made = [_compared(row, references.get((row.agent, row.env))) for row in rows if row.label != against]
    return _corrected([comparison for comparison in made if comparison is not None])


def steps_to_return(outcome: Outcome, threshold: float) -> int | None:
    """First step at which the running mean of `window(n)` evaluations is at least `threshold`; None if it never is.

    Sokar et al. 2022 take ten of 201 evaluations.
    """
    width = window(len(outcome.returns))
    if len(outcome.returns) < width or not len(outcome.returns):
        return None
    running = np.convolve(outcome.returns, np.full(width, 1 / width), mode="valid")
    reached = np.nonzero(running >= threshold)[0]
    return int(outcome.steps[reached[0] + width - 1]) if reached.size else None


def steps_to_dense(outcomes: Iterable[Outcome], *, dense: str = DENSE) -> list[Arrival]:
    """For every row, when it reaches the dense agent's mean return over its last evaluations (Sokar et al. 2022).

    The dense row itself is among them: its own crossing, which comes before its end, is what others are to be read
    against. Runs without a score never arrive, and are counted as censored.
    """
    rows = summary(outcomes)
    goals = {(row.agent, row.env): row.score.point for row in rows if row.label == dense and row.done}
    return [_arrival(row, goals[row.agent, row.env]) for row in rows if (row.agent, row.env) in goals]


def _arrival(row: Row, threshold: float) -> Arrival:
    steps = [steps_to_return(run, threshold) for run in row.finished]
    known = [step for step in steps if step is not None]
    censored = row.done - len(known) + row.failed + row.diverged
    return Arrival(row, threshold, float(np.median(known)) if known else None, len(known), censored)


def _compared(row: Row, reference: Row | None) -> Comparison | None:
    if reference is None or row.done < 2 or reference.done < 2:
        return None
    a, b = ([score(run) for run in side.finished] for side in (row, reference))
    return Comparison(
        row=row,
        reference=reference,
        difference=difference(a, b),
        adjusted=float("nan"),
        better=float(probability_of_improvement([a], [b], resamples=1).point),
        failed=row.failed + row.diverged,
        reference_failed=reference.failed + reference.diverged,
    )


def _corrected(made: Sequence[Comparison]) -> list[Comparison]:
    families: dict[tuple[object, ...], list[int]] = {}
    for place, one in enumerate(made):
        key = (one.row.agent, one.row.label, one.row.density, tuple(sorted(one.row.axes.items())))
        families.setdefault(key, []).append(place)
    adjusted = np.full(len(made), np.nan)
    for places in families.values():
        adjusted[places] = holm([made[place].difference.p for place in places])
    return [_with(one, float(p)) for one, p in zip(made, adjusted, strict=True)]


def _with(one: Comparison, adjusted: float) -> Comparison:
    return Comparison(**{**vars(one), "adjusted": adjusted})


def scores_by_seed(outcomes: Iterable[Outcome]) -> dict[int, float]:
    """Scores of the runs that have one, by seed."""
    return {run.seed: score(run) for run in outcomes if standing(run) == "done"}
