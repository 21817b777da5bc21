"""Comparisons of methods: hand-worked cases, and simulated studies in which nothing differs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from studies.compare import comparisons, difference, scores_by_seed, seeds_correlate, steps_to_dense, steps_to_return
from studies.outcome import Outcome, Status


def run(label: str, seed: int, returns: Sequence[float], *, env: str = "A-v0", status: Status = "done") -> Outcome:
    steps = 100 * np.arange(len(returns))
    return Outcome(label, "td3", env, None, seed, status=status, steps=steps, returns=np.array(returns, dtype=float))


def flat(label: str, scores: Sequence[float], env: str = "A-v0") -> list[Outcome]:
    return [run(label, seed, [value], env=env) for seed, value in enumerate(scores)]


def test_welch_is_its_formula() -> None:
    a, b = [1.0, 2.0, 4.0], [0.0, 0.5, 1.0, 2.5]
    va, vb = np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 4
    freedom = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(va + vb)
    found, point = difference(a, b), 7 / 3 - 1
    assert (found.point, found.low, found.high) == pytest.approx((point, point - half, point + half), abs=1e-12)
    assert found.p == pytest.approx(2 * stats.t.sf(point / math.sqrt(va + vb), freedom), abs=1e-12)


def test_pairs_are_compared_by_their_differences() -> None:
    a, b = np.array([1.0, 5.0, 9.0]), np.array([0.0, 4.5, 7.0])
    half = stats.t.ppf(0.975, 2) * np.std(a - b, ddof=1) / math.sqrt(3)
    found = difference(a, b, paired=True)
    assert (found.low, found.high) == pytest.approx(((a - b).mean() - half, (a - b).mean() + half), abs=1e-12)
    assert found.high - found.low < difference(a, b).high - difference(a, b).low


def test_scores_without_spread_differ_or_do_not() -> None:
    assert (difference([1, 1], [0, 0]).low, difference([1, 1], [0, 0]).p) == (1, 0)
    assert difference([1, 1], [1, 1]).p == 1
    assert difference([0.1 + 0.2, 0.3], [0.3, 0.3]).p == 1, "rounding is no difference"
    assert difference([1.0, 2.0, 3.0], [0.1 + 0.2, 0.3]).low < 1.7


def test_seeds_correlate_where_they_share_their_luck() -> None:
    luck = dict(enumerate(np.random.default_rng(0).normal(size=10)))
    r, p = seeds_correlate(luck, {seed: 2 * value + 1 for seed, value in luck.items() if seed})
    assert (round(r, 12), p < 1e-6) == (1, True)
    assert math.isnan(seeds_correlate(luck, {0: 1.0, 1: 2.0})[0])


def false_positives(interval: str, n: int) -> float:
    """In which share of 2,000 studies of two equal methods one is found better."""
    generator, wrong = np.random.default_rng(1), 0
    for a, b in generator.normal(size=(2000, 2, n)):
        if interval == "t":
            found = difference(a, b)
            wrong += not found.low <= 0 <= found.high
        else:
            half = 1.96 * math.sqrt(np.var(a, ddof=1) / n + np.var(b, ddof=1) / n)
            wrong += abs(a.mean() - b.mean()) > half
    return wrong / 2000


@pytest.mark.parametrize("n", [3, 10])
def test_equal_methods_are_told_apart_in_at_most_six_of_a_hundred_studies(n: int) -> None:
    assert false_positives("t", n) <= 0.06


def test_an_interval_of_the_normal_distribution_is_caught_by_that_simulation() -> None:
    assert false_positives("normal", 3) > 0.06


def test_every_row_is_compared_on_its_own_environment_and_corrected_over_them() -> None:
    shifts = {"A-v0": 5.0, "B-v0": 0.3, "C-v0": 1.5}
    outcomes: list[Outcome] = []
    for number, (env, shift) in enumerate(shifts.items()):
        noise = np.random.default_rng(number).normal(size=(2, 6))
        outcomes += flat("dense", noise[0], env) + flat("ds", noise[1] + shift, env)
    found = comparisons(outcomes)
    assert [one.row.env for one in found] == list(shifts)
    raw = sorted(one.difference.p for one in found)
    assert sorted(one.adjusted for one in found) == pytest.approx(np.maximum.accumulate(np.array(raw) * [3, 2, 1]))
    assert found[0].better == 1


def test_failed_runs_are_counted_on_both_sides() -> None:
    lost = [run("ds", 7, [], status="failed"), run("dense", 7, [float("nan")]), run("dense", 8, [], status="failed")]
    (found,) = comparisons([*flat("dense", [1, 2, 3]), *flat("ds", [2, 3, 5]), *lost])
    assert (found.row.done, found.failed, found.reference.done, found.reference_failed) == (3, 1, 3, 2)
    assert scores_by_seed([*flat("ds", [2, 3]), lost[0]]) == {0: 2, 1: 3}


def test_a_reference_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"no row is labelled 'dense'.*Known: ds"):
        comparisons(flat("ds", [1, 2]))


@pytest.mark.parametrize("sides", [([1.0], [1.0, 2.0]), ([1.0, math.inf], [1.0, 2.0])])
def test_what_cannot_be_compared_is_refused(sides: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="scores"):
        difference(*sides)


def test_a_return_is_reached_when_the_running_mean_gets_there() -> None:
    curve = run("ds", 0, [0.0] * 10 + [10.0] * 10)  # 20 evaluations: a window of two
    assert steps_to_return(curve, 5) == 1000
    assert steps_to_return(curve, 5.1) == 1100
    assert steps_to_return(curve, 11) is None
    assert steps_to_return(run("ds", 0, []), 0) is None


def test_steps_to_the_dense_return_say_who_never_arrived() -> None:
    dense = [run("dense", seed, [0.0, 4.0, 8.0]) for seed in range(2)]
    fast, slow = run("ds", 0, [0.0, 9.0, 9.0]), run("ds", 1, [0.0, 1.0, 2.0])
    own, other = steps_to_dense([*dense, fast, slow, run("ds", 2, [], status="failed")])
    assert (own.threshold, own.step, own.reached, own.censored) == (8, 200, 2, 0)
    assert (other.threshold, other.step, other.reached, other.censored) == (8, 100, 1, 2)
