"""Numbers over several environments at once, of scores by task: one array of runs a task, as many as there are.

Scores of different environments are comparable only when normalised first (`normalised`). Give one array a task, a
mapping with one array a task, or, where every task has as many runs, an array (runs, tasks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

Scores = Sequence[NDArray[np.float64]] | NDArray[np.float64]
"""One array (runs,) a task, or an array (runs, tasks)."""
Given = Sequence[ArrayLike] | Mapping[str, ArrayLike] | NDArray[np.float64]
"""One array (runs,) a task, by name or in a row; an array (runs, tasks) is the case of equally many runs."""
Statistic = Callable[[Scores], NDArray[np.float64]]
"""Of tasks of shape (resamples, runs) each, one number a resample: (resamples,)."""
RESAMPLES: Final = 10_000
BATCH: Final = 1000
"""Resamples at a time, so that memory stays small whatever their number."""


@dataclass(frozen=True)
class Band:
    """A statistic and the 2.5 and 97.5 percentiles of its resamples; arrays where the statistic is one."""

    point: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def tasks(matrix: ArrayLike) -> list[NDArray[np.float64]]:
    """The columns of scores (runs, tasks). ValueError for another shape, no run, or a score that is not finite."""
    scores = np.asarray(matrix, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"scores have shape {scores.shape}; give (runs, tasks), or a list with one array a task")
    return checked(list(scores.T))


def checked(scores: Given) -> list[NDArray[np.float64]]:
    """Scores as arrays in ascending order, so that no result depends on the order in which runs ended."""
    if isinstance(scores, np.ndarray):
        return tasks(scores)
    given = scores.values() if isinstance(scores, Mapping) else scores
    arrays = [np.sort(np.asarray(task, dtype=np.float64)) for task in given]
    if not arrays:
        raise ValueError("there are no tasks; give at least one array of scores")
    for number, task in enumerate(arrays):
        if task.ndim != 1 or not task.size:
            raise ValueError(f"task {number} has scores of shape {task.shape}; give one number a run, at least one run")
        if not np.isfinite(task).all():
            raise ValueError(f"task {number} has scores that are not finite; count such runs as diverged instead")
    return arrays


def normalised(scores: ArrayLike, *, random: float, dense: float) -> NDArray[np.float64]:
    """(R - random) / (dense - random): 0 is the random policy, 1 the dense agent of the same study."""
    if random == dense or not np.isfinite([random, dense]).all():
        raise ValueError(f"random is {random} and dense {dense}: they must be finite and differ to measure by them")
    return np.asarray((np.asarray(scores, dtype=np.float64) - random) / (dense - random))


def mean(scores: Scores) -> NDArray[np.float64]:
    """Mean over tasks of the mean over runs."""
    return np.asarray(np.mean([task.mean(axis=-1) for task in _columns(scores)], axis=0))


def median(scores: Scores) -> NDArray[np.float64]:
    """Median over tasks of the mean over runs (Bellemare et al. 2013)."""
    return np.asarray(np.median([task.mean(axis=-1) for task in _columns(scores)], axis=0))


def iqm(scores: Scores) -> NDArray[np.float64]:
    """Mean of the middle half of all runs of all tasks together (Agarwal et al. 2021)."""
    return np.asarray(scipy.stats.trim_mean(np.concatenate(_columns(scores), axis=-1), 0.25, axis=-1))


def optimality_gap(scores: Scores, *, gamma: float = 1.0) -> NDArray[np.float64]:
    """Mean over tasks of gamma - min(score, gamma): what is missing to `gamma` (Agarwal et al. 2021)."""
    return gamma - mean([np.minimum(task, gamma) for task in _columns(scores)])


def stratified(scores: Given, statistic: Statistic, *, seed: int = 0, resamples: int = RESAMPLES) -> Band:
    """A statistic with its 95 % percentile bootstrap, runs drawn anew within each task (Agarwal et al. 2021)."""
    arrays = checked(scores)
    generator = np.random.default_rng(seed)
    drawn = [statistic(_resampled(arrays, size, generator)) for size in _sizes(resamples)]
    return _band(statistic([task[None] for task in arrays])[0], np.concatenate(drawn))


def profile(scores: Given, thresholds: ArrayLike, *, seed: int = 0, resamples: int = 2000) -> Band:
    """Share of runs with a score above each threshold, mean over tasks, (thresholds,) (Agarwal et al. 2021)."""
    arrays, limits = checked(scores), np.asarray(thresholds, dtype=np.float64)
    bands = [stratified(arrays, _above(limit), seed=seed, resamples=resamples) for limit in limits]
    return Band(*(np.array([getattr(band, side) for band in bands]) for side in ("point", "low", "high")))


def probability_of_improvement(x: Given, y: Given, *, seed: int = 0, resamples: int = 2000) -> Band:
    """Mean over tasks of P(X > Y) + P(X = Y) / 2, X and Y runs of the same task (Mann & Whitney 1947)."""
    first, second = checked(x), checked(_matched(x, y))
    if len(first) != len(second):
        raise ValueError(f"there are {len(first)} tasks on one side and {len(second)} on the other; give the same ones")
    generator = np.random.default_rng(seed)
    drawn = [
        _wins(_resampled(first, size, generator), _resampled(second, size, generator)) for size in _sizes(resamples)
    ]
    return _band(_wins([task[None] for task in first], [task[None] for task in second])[0], np.concatenate(drawn))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """max over j <= i of min(1, (m - j + 1) p_(j)), in the order given (Holm 1979): p values of m tests, adjusted."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p values must be numbers in [0, 1] in a row, not {p.tolist()}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def _columns(scores: Scores) -> Sequence[NDArray[np.float64]]:
    """One array a task; of an array (runs, tasks) its columns, since iterating it would take runs for tasks."""
    return list(scores.T) if isinstance(scores, np.ndarray) else scores


def _matched(x: Given, y: Given) -> Given:
    """`y` in the order of the tasks of `x`, where both name them."""
    if not (isinstance(x, Mapping) and isinstance(y, Mapping)):
        return y
    if set(x) != set(y):
        raise ValueError(f"one side has the tasks {sorted(x)}, the other {sorted(y)}; give the same ones")
    return {task: y[task] for task in x}


def _above(limit: float) -> Statistic:
    return lambda scores: mean([(task > limit).astype(np.float64) for task in scores])


def _wins(x: Scores, y: Scores) -> NDArray[np.float64]:
    each = [(np.sign(a[..., :, None] - b[..., None, :]) + 1).mean(axis=(-2, -1)) / 2 for a, b in zip(x, y, strict=True)]
    return np.asarray(np.mean(each, axis=0))


def _resampled(scores: Scores, size: int, generator: np.random.Generator) -> list[NDArray[np.float64]]:
    return [task[generator.integers(len(task), size=(size, len(task)))] for task in scores]


def _sizes(resamples: int) -> list[int]:
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, for instance {RESAMPLES}, not {resamples}")
    return [min(BATCH, resamples - start) for start in range(0, resamples, BATCH)]


def _band(point: NDArray[np.float64], drawn: NDArray[np.float64]) -> Band:
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    # Equal scores summed along another axis differ in the last bit; bounds must not cross the point for that.
    return Band(np.asarray(point), np.minimum(low, point), np.maximum(high, point))
