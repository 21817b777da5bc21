"""Two samples of scores: how far their means are apart, and how sure that is."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

ROUNDING: Final = 1e-13
"""Relative; means of equal returns differ by less."""
PERMUTATIONS: Final = 200_000
"""Reassignments that are tried: all where there are no more (ten runs against ten have 184,756), else drawn ones."""


@dataclass(frozen=True)
class Difference:
    """mean(a) - mean(b), its 95 % t-interval, and the two-sided p value of no difference."""

    point: float
    low: float
    high: float
    p: float
    paired: bool


def difference(a: ArrayLike, b: ArrayLike, *, paired: bool = False) -> Difference:
    """mean(a) - mean(b) with Welch's t-interval (Welch 1947); `paired`: Student's of a_i - b_i.

    Whether to pair must not hang on these very scores (`studies.compare.comparisons` says why). ValueError for fewer
    than two scores a side.
    """
    first, second = _sides(a, b, paired)
    point = float(first.mean() - second.mean())
    if _equal(first - second) if paired else _equal(first) and _equal(second):
        same = bool(np.isclose(first.mean(), second.mean(), rtol=ROUNDING, atol=0))
        return Difference(point, point, point, float(same), paired)  # No spread: nothing is left to chance.
    with warnings.catch_warnings():  # SciPy warns of each side without a spread of its own.
        warnings.filterwarnings("ignore", message="Precision loss", category=RuntimeWarning)
        test = scipy.stats.ttest_rel(first, second) if paired else scipy.stats.ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval(0.95)
    return Difference(point, float(low), float(high), float(test.pvalue), paired)


def permutation(
    a: ArrayLike, b: ArrayLike, *, paired: bool = False, resamples: int = PERMUTATIONS, seed: int = 0
) -> float:
    """Two-sided p of mean(a) - mean(b) over reassignments of scores, or of signs if paired (Fisher 1935).

    Twice the share at least as far out on the nearer side: exact where there are at most `resamples`, else of so many
    drawn ones and the observed one. It assumes no distribution, and cannot be under 0.1 for three runs a side, 0.0079
    for five. ValueError as for `difference`.
    """
    first, second = _sides(a, b, paired)
    if not paired:
        first, second = np.sort(first), np.sort(second)
    test = scipy.stats.permutation_test(
        (first, second),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=resamples,
        batch=10_000,
        random_state=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def seeds_correlate(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float, float]:
    """Pearson's r of the scores of common seeds and the one-sided p of r <= 0; nan for fewer than three.

    What it says of some runs is a reason to pair others, such as those of a later study, but never the same.
    """
    common = sorted(set(a) & set(b))
    x, y = np.array([a[seed] for seed in common]), np.array([b[seed] for seed in common])
    if len(common) < 3 or not np.ptp(x) or not np.ptp(y):
        return float("nan"), float("nan")
    test = scipy.stats.pearsonr(x, y, alternative="greater")
    return float(test.statistic), float(test.pvalue)


def _sides(a: ArrayLike, b: ArrayLike, paired: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = (np.asarray(side, dtype=np.float64) for side in (a, b))
    if min(first.size, second.size) < 2 or (paired and first.size != second.size):
        need = "equally many scores, at least two," if paired else "at least two scores"
        raise ValueError(f"there are {first.size} and {second.size} scores; give {need} on both sides")
    if not np.isfinite([*first, *second]).all():
        raise ValueError("scores must be finite; count runs without a score as failed instead")
    return first, second


def _equal(scores: NDArray[np.float64]) -> bool:
    """Whether scores differ by no more than rounding."""
    return bool(np.ptp(scores) <= ROUNDING * np.abs(scores).max())
