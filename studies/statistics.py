"""Numbers over seeds: the score of a run, intervals, and one row for each cell of a study.

Statistics are over seeds, never over episodes. A run that failed or diverged has no score; it is counted, and
a second interval scores it as the random policy, so that a method cannot gain by crashing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import scipy  # Not `from scipy import stats`: that takes most of a second, and is had at the first use.
from numpy.typing import ArrayLike, NDArray

from studies.outcome import Outcome, Status

Kind = Literal["no seed", "one seed", "mean, 95 % t", "IQM, 95 % bootstrap"]
Baseline = Mapping[str, NDArray[np.float64]]
"""Returns of the uniform random policy, one number an episode, by environment."""

NO_BASELINE: Final[Baseline] = MappingProxyType({})
RESAMPLES: Final = 10_000
SEEDS_FOR_IQM: Final = 10
"""From here on the interquartile mean; below it a quarter cut at each end leaves too few runs to resample."""


@dataclass(frozen=True)
class Interval:
    """A point between its 95 % bounds; nan bounds for fewer than two scores, a nan point for none."""

    point: float
    low: float
    high: float
    kind: Kind


@dataclass(frozen=True)
class RandomPolicy:
    """The uniform random policy: mean return, its standard error s / sqrt(episodes), number of episodes."""

    mean: float
    error: float
    episodes: int


@dataclass(frozen=True)
class Row:
    """One cell of a study over its seeds: who, how many runs came to what, and their numbers."""

    agent: str
    env: str
    label: str
    density: float | None
    axes: Mapping[str, str]
    planned: int
    done: int
    failed: int
    diverged: int
    unfinished: int
    """Runs that are running or not started."""
    score: Interval
    area: Interval
    with_failures: Interval | None
    """`score` with failed and diverged runs as the random policy; None without such runs or that policy."""
    realised: float | None
    parameters: float | None
    flops: float | None
    seconds: float | None
    """Median; the three above are means."""
    finished: tuple[Outcome, ...] = field(compare=False, repr=False)
    """The runs behind the numbers, in order of appearance."""


def window(evaluations: int) -> int:
    """max(1, min(10, n // 10)): evaluations in a score, 10 of the paper's 201, a tenth of shorter curves."""
    return max(1, min(10, evaluations // 10))


def score(outcome: Outcome) -> float:
    """Mean return over the last `window(n)` of n evaluations (Sokar et al. 2022, "R"); nan for none."""
    returns = outcome.returns
    return float(np.mean(returns[-window(len(returns)) :])) if len(returns) else float("nan")


def learning_curve_area(outcome: Outcome) -> float:
    """LCA = mean of all evaluations, step 0 included if there (Sokar et al. 2022, in returns); nan for none."""
    return float(np.mean(outcome.returns)) if len(outcome.returns) else float("nan")


def standing(outcome: Outcome) -> Status:
    """The run's status; done with a non-finite return is diverged, done without an evaluation failed."""
    if outcome.status != "done":
        return outcome.status
    if not len(outcome.returns):
        return "failed"
    return "done" if np.all(np.isfinite(outcome.returns)) else "diverged"


def iqm(scores: ArrayLike) -> float:
    """Mean of the middle half: floor(n / 4) scores cut at each end (Agarwal et al. 2021, "IQM")."""
    values = _finite(scores)
    if not values.size:
        raise ValueError("the interquartile mean of no scores; give at least one")
    return float(scipy.stats.trim_mean(values, 0.25))


def t_interval(scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and half width t(0.975, n - 1) s / sqrt(n) over the first axis, n >= 2 (Student 1908)."""
    values = np.asarray(scores, dtype=np.float64)
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
    return np.mean(values, axis=0), np.asarray(half)


def bootstrap(scores: ArrayLike, *, seed: int = 0) -> tuple[float, float]:
    """2.5 and 97.5 percentiles of the IQM of 10,000 resamples of n of n (Efron 1979; Agarwal et al. 2021).

    One environment is one stratum, so resampling its runs is the stratified bootstrap.
    """
    values = _finite(scores)
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(scipy.stats.trim_mean(values[drawn], 0.25, axis=1), (2.5, 97.5))
    return float(low), float(high)


def interval(scores: ArrayLike, *, seed: int = 0) -> Interval:
    """Mean and 95 % t-interval for 2 to 9 scores; IQM and 95 % percentile bootstrap from 10 on.

    The order of the scores is immaterial. Raises ValueError for scores that are not finite: a run without a
    score is counted, not averaged.
    """
    values = _finite(scores)
    if len(values) < 2:
        point = float(values[0]) if len(values) else float("nan")
        return Interval(point, float("nan"), float("nan"), "one seed" if len(values) else "no seed")
    if len(values) < SEEDS_FOR_IQM:
        mean, half = t_interval(values)
        return Interval(float(mean), float(mean - half), float(mean + half), "mean, 95 % t")
    point, (low, high) = iqm(values), bootstrap(values, seed=seed)
    # Equal scores summed along another axis differ in the last bit; bounds must not cross the point for that.
    return Interval(point, min(low, point), max(high, point), "IQM, 95 % bootstrap")


def random_policy(env: str, baseline: Baseline) -> RandomPolicy | None:
    """Mean and standard error over episodes, None where no finite episode of this environment is known."""
    returns = np.asarray(baseline.get(env, ()), dtype=np.float64)
    returns = returns[np.isfinite(returns)]
    if not returns.size:
        return None
    error = float(np.std(returns, ddof=1) / np.sqrt(returns.size)) if returns.size > 1 else float("nan")
    return RandomPolicy(float(np.mean(returns)), error, int(returns.size))


def summary(outcomes: Iterable[Outcome], baseline: Baseline = NO_BASELINE, *, seed: int = 0) -> list[Row]:
    """One row for each (agent, env, label, density, axes), by first appearance; every run is counted."""
    groups: dict[tuple[object, ...], list[Outcome]] = {}
    for outcome in outcomes:
        axes = tuple(sorted(outcome.axes.items()))
        key = (outcome.agent, outcome.env, outcome.label, outcome.density, axes)
        groups.setdefault(key, []).append(outcome)
    return [_row(runs, baseline, seed) for runs in groups.values()]


def tally(rows: Sequence[Row]) -> str:
    """How many runs are done: "10", or "3 of 10, 2 failed, 5 unfinished" where some are not."""
    done, planned = sum(row.done for row in rows), sum(row.planned for row in rows)
    if done == planned:
        return str(done)
    missing = {
        "failed": sum(row.failed for row in rows),
        "diverged": sum(row.diverged for row in rows),
        "unfinished": sum(row.unfinished for row in rows),
    }
    return ", ".join([f"{done} of {planned}", *(f"{count} {name}" for name, count in missing.items() if count)])


def shared_curves(runs: Sequence[Outcome]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps at which all runs were evaluated, ascending, (steps,), and the returns there, (runs, steps).

    Ragged curves are compared nowhere else: a mean over whichever seeds got that far would change its seeds
    on the way.
    """
    curves = [dict(zip(run.steps.tolist(), run.returns.tolist(), strict=True)) for run in runs]
    steps = sorted(set[int]().union(*curves).intersection(*curves))
    returns = [[curve[step] for step in steps] for curve in curves]
    shape = (len(runs), len(steps))
    return np.array(steps, dtype=np.float64), np.array(returns, dtype=np.float64).reshape(shape)


def _row(runs: Sequence[Outcome], baseline: Baseline, seed: int) -> Row:
    standings = [standing(run) for run in runs]
    finished = tuple(run for run, status in zip(runs, standings, strict=True) if status == "done")
    failed, diverged = standings.count("failed"), standings.count("diverged")
    scores = [score(run) for run in finished]
    policy, fallen = random_policy(runs[0].env, baseline), failed + diverged
    punished = interval([*scores, *[policy.mean] * fallen], seed=seed) if policy and fallen else None
    return Row(
        agent=runs[0].agent,
        env=runs[0].env,
        label=runs[0].label,
        density=runs[0].density,
        axes=runs[0].axes,
        planned=len(runs),
        done=len(finished),
        failed=failed,
        diverged=diverged,
        unfinished=len(runs) - len(finished) - fallen,
        score=interval(scores, seed=seed),
        area=interval([learning_curve_area(run) for run in finished], seed=seed),
        with_failures=punished,
        realised=_mean(run.realised for run in finished),
        parameters=_mean(run.parameters for run in finished),
        flops=_mean(run.flops for run in finished),
        seconds=_median(run.seconds for run in finished),
        finished=finished,
    )


def _finite(scores: ArrayLike) -> NDArray[np.float64]:
    """Scores in ascending order, so that no result depends on the order in which runs ended."""
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not np.all(np.isfinite(values)):
        raise ValueError(f"scores must be finite, got {values.tolist()}; count such runs as diverged instead")
    return values


def _mean(values: Iterable[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return float(np.mean(known)) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
