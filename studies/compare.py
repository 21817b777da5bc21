"""Methods against each other over seeds: differences, intervals, and how soon the dense return is reached."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
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
PERMUTATIONS: Final = 200_000
"""As many as are tried one by one; ten runs against ten have 184,756."""


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
    """A row of a study against the reference row of its environment; `failed` are runs without a score.

    Where either side has fewer than two scores the numbers are nan, and the row is listed with its failures.
    """

    row: Row
    reference: Row
    difference: Difference
    adjusted: float
    """p after Holm's correction over the environments of this row's agent, label, density and axes.

    An environment without a p value counts in the family as p = 1, so that runs which fail relax no test.
    """
    better: float
    """P(a run of the row beats one of the reference), ties by half."""
    failed: int
    reference_failed: int


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


def permutation(a: ArrayLike, b: ArrayLike, *, paired: bool = False) -> float:
    """Exact two-sided p of mean(a) - mean(b) over all reassignments of scores, or of signs if paired (Fisher 1935).

    It assumes no distribution. With three runs a side it cannot be under 0.1, whatever the difference.
    """
    first, second = (np.asarray(side, dtype=np.float64) for side in (a, b))
    if not paired:
        first, second = np.sort(first), np.sort(second)
    difference(first, second, paired=paired)  # Refuses what has no difference.
    count = 2**first.size if paired else comb(first.size + second.size, first.size)
    if count > PERMUTATIONS:
        raise ValueError(f"{count:,} reassignments are too many, at most {PERMUTATIONS:,}; use `difference`")
    test = stats.permutation_test(
        (first, second),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=10_000,
    )
    return float(test.pvalue)


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
    """Every other row against the row labelled `against` of its agent, environment and, if there are several, axes.

    p values are corrected by Holm (1979) over the environments of a method, the family in which it is judged. Left
    out are only rows of an agent and environment in which no reference was planned.
    """
    rows = summary(outcomes)
    if not any(row.label == against for row in rows):
        known = ", ".join(dict.fromkeys(row.label for row in rows)) or "none"
        raise ValueError(f"no row is labelled {against!r} to compare with. Known: {known}")
    others = [(row, _reference(row, rows, against)) for row in rows if row.label != against]
    return _corrected([_compared(row, reference) for row, reference in others if reference is not None])


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
    goals = [(row, _reference(row, rows, dense)) for row in rows]
    return [_arrival(row, _goal(reference)) for row, reference in goals if reference is not None]


def _goal(reference: Row) -> float:
    """The mean, not `Row.score`, which is the interquartile mean from ten seeds on; nan for no score."""
    scores = sorted(score(run) for run in reference.finished)
    return float(np.mean(scores)) if scores else float("nan")


def _reference(row: Row, rows: Sequence[Row], label: str) -> Row | None:
    """The row labelled so of the same agent and environment: the one of the same axes, or the only one."""
    if row.label == label:
        return row
    known = [one for one in rows if (one.label, one.agent, one.env) == (label, row.agent, row.env)]
    same = [one for one in known if one.axes == row.axes] if len(known) > 1 else known
    if len(same) == 1 or not known:
        return same[0] if same else None
    raise ValueError(
        f"{len(known)} rows are labelled {label!r} for {row.agent} on {row.env}, and {len(same)} of them have the axes "
        f"{dict(row.axes)} of {row.label}; one must: give only the outcomes of one reference"
    )


def _arrival(row: Row, threshold: float) -> Arrival:
    steps = [steps_to_return(run, threshold) for run in row.finished]
    known = sorted(step for step in steps if step is not None)
    censored = row.done - len(known) + row.failed + row.diverged
    median = float(np.median([*known, *[np.inf] * censored])) if known else np.inf
    return Arrival(row, threshold, median if np.isfinite(median) else None, len(known), censored)


def _compared(row: Row, reference: Row) -> Comparison:
    a, b = (sorted(score(run) for run in side.finished) for side in (row, reference))
    known, nan = min(len(a), len(b)) > 1, float("nan")
    return Comparison(
        row=row,
        reference=reference,
        difference=difference(a, b) if known else Difference(nan, nan, nan, nan, paired=False),
        adjusted=nan,
        better=float(probability_of_improvement([a], [b], resamples=1).point) if known else nan,
        failed=row.failed + row.diverged,
        reference_failed=reference.failed + reference.diverged,
    )


def _corrected(made: Sequence[Comparison]) -> list[Comparison]:
    families: dict[tuple[object, ...], list[int]] = {}
    for place, one in enumerate(made):
        key = (one.row.agent, one.row.label, one.row.density, tuple(sorted(one.row.axes.items())))
        families.setdefault(key, []).append(place)
    p = np.array([one.difference.p for one in made])
    adjusted = np.full(len(made), np.nan)
    for places in families.values():
        adjusted[places] = holm(np.nan_to_num(p[places], nan=1.0))
    adjusted[np.isnan(p)] = np.nan
    return [replace(one, adjusted=float(value)) for one, value in zip(made, adjusted, strict=True)]


def scores_by_seed(outcomes: Iterable[Outcome]) -> dict[int, float]:
    """Scores of the runs that have one, by seed."""
    return {run.seed: score(run) for run in outcomes if standing(run) == "done"}
