"""How many seeds a claim needs: the power of the two-sided, two-sample t-test, as many runs on each side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy

ALPHA: Final = 0.05
POWER: Final = 0.8
CONFIDENCE: Final = 0.8
MOST: Final = 100_000
"""Seeds. What needs more is not going to be shown."""
FAR: Final = 6.0
"""Noncentralities from here on leave the other tail less than 1e-9, of which SciPy makes nan."""
CERTAIN: Final = 30.0
"""Beyond its limit, T is there for certain."""


def power(n: int, effect: float, *, alpha: float = ALPHA) -> float:
    """P(|T| > t(1 - alpha / 2, 2n - 2)), T noncentral t with nc = effect sqrt(n / 2) (Cohen 1988, section 2.2).

    `effect` is the difference of the means in standard deviations. Welch's test of equally many runs has this power
    where both sides spread alike. ValueError for fewer than two runs a side.
    """
    if n < 2:
        raise ValueError(f"n is {n}; a t-test needs two runs a side")
    df, centre = 2 * n - 2, abs(effect) * math.sqrt(n / 2)
    limit = float(scipy.stats.t.ppf(1 - alpha / 2, df))
    if centre > limit + CERTAIN:
        return 1.0
    other = float(scipy.stats.nct.cdf(-limit, df, centre)) if centre < FAR else 0.0
    return float(scipy.stats.nct.sf(limit, df, centre)) + other


def seeds_needed(
    difference: float, deviation: float, *, alpha: float = ALPHA, power_wanted: float = POWER
) -> int | None:
    """The least n a side that detects a difference of means with that power; None for over 100,000, or for none.

    `deviation` is the standard deviation over seeds, the same on both sides.
    """
    if deviation < 0 or not (math.isfinite(difference) and math.isfinite(deviation)):
        raise ValueError(f"difference is {difference}, deviation {deviation}; give numbers, the second at least 0")
    if difference == 0:
        return None
    if deviation == 0:
        return 2
    effect = abs(difference) / deviation
    enough, high = 1, 2
    while power(high, effect, alpha=alpha) < power_wanted:
        enough, high = high, 2 * high
        if enough > MOST:
            return None
    while high - enough > 1:
        middle = (enough + high) // 2
        enough, high = (enough, middle) if power(middle, effect, alpha=alpha) >= power_wanted else (middle, high)
    return high if high <= MOST else None


def pooled_deviation(*samples: Sequence[float]) -> tuple[float, int]:
    """sqrt(sum of (n_i - 1) s_i^2 / df) and df = sum of n_i - 1: what samples of different means share of spread.

    nan and 0 where no sample has two numbers.
    """
    df = sum(max(0, len(sample) - 1) for sample in samples)
    squares = sum(float(np.sum((np.asarray(sample) - np.mean(sample)) ** 2)) for sample in samples if len(sample) > 1)
    return (math.sqrt(squares / df), df) if df else (math.nan, 0)


def upper_deviation(deviation: float, df: int, *, confidence: float = CONFIDENCE) -> float:
    """s sqrt(df / chi2(1 - confidence, df)): with that confidence the true deviation is no larger (Browne 1995).

    A deviation from few runs is itself uncertain: from two and two, the 80 % bound is 2.1 times what was seen.
    """
    if df < 1:
        raise ValueError(f"df is {df}; a deviation needs two runs of a kind")
    return deviation * math.sqrt(df / float(scipy.stats.chi2.ppf(1 - confidence, df)))
