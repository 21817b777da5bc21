"""Comparisons of methods: hand-worked cases, and simulated studies in which nothing differs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from studies.compare import (
    comparisons,
    difference,
    permutation,
    scores_by_seed,
    seeds_correlate,
    steps_to_dense,
    steps_to_return,
)
from studies.outcome import Outcome, Status


def run(label: str, seed: int, returns: Sequence[float], *, env: str = "A-v0", status: Status = "done") -> Outcome:
    steps = 100 * np.arange(len(returns))
    return Outcome(label, "td3", env, None, seed, status=status, steps=steps, returns=np.array(returns, dtype=float))


def flat(label: str, scores: Sequence[float], env: str = "A-v0") -> list[Outcome]:
    return [run(label, seed, [value], env=env) for seed, value in enumerate(scores)]


def along(axes: Mapping[str, str], runs: Sequence[Outcome]) -> list[Outcome]:
    return [replace(one, axes=axes) for one in runs]


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


@pytest.mark.parametrize("seed", range(8))
def test_a_permutation_test_counts_every_reassignment(seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, 4)).round(1)
    every = [*a, *b]
    chosen = [set(places) for places in combinations(range(8), 4)]
    means = [
        sum(every[i] for i in places) / 4 - sum(every[i] for i in range(8) if i not in places) / 4 for places in chosen
    ]
    extreme = sum(abs(value) >= abs(a.mean() - b.mean()) - 1e-9 for value in means)
    assert permutation(a, b) == pytest.approx(extreme / 70, abs=1e-12)
    assert permutation(b[::-1], a) == permutation(a, b)


def test_a_permutation_test_of_few_runs_is_exact_and_of_many_refused() -> None:
    assert permutation([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / 20)
    assert permutation([1, 2, 3], [2, 4, 6], paired=True) == pytest.approx(2 / 8)
    with pytest.raises(ValueError, match="too many, at most 200,000; use `difference`"):
        permutation(range(12), range(12))


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
    assert (0.02 if n == 10 else 0) <= false_positives("t", n) <= 0.06


def test_runs_that_fail_by_their_score_and_are_dropped_are_caught_by_that_simulation() -> None:
    generator, wrong = np.random.default_rng(2), 0
    for a, b in generator.normal(size=(2000, 2, 10)):
        found = difference(np.sort(a)[3:], b)  # The worst three "crash" and go unmentioned.
        wrong += not found.low <= 0 <= found.high
    assert wrong / 2000 > 0.07


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


def test_a_row_whose_runs_all_failed_is_listed_with_its_count() -> None:
    lost = [run("ds", seed, [], status="failed") for seed in range(5)]
    (found,) = comparisons([*flat("dense", [1, 2, 3]), *lost])
    assert (found.failed, found.reference_failed) == (5, 0)
    assert all(math.isnan(number) for number in (found.difference.p, found.adjusted, found.better))
    (turned,) = comparisons([*lost, *flat("dense", [1, 2, 3])], against="ds")
    assert (turned.failed, turned.reference_failed) == (0, 5)


def test_failures_on_one_environment_relax_no_test_on_another() -> None:
    outcomes = [*flat("dense", [1, 2, 3]), *flat("ds", [4, 5, 7]), *flat("dense", [1, 2, 3], "B-v0")]
    lost = [run("ds", seed, [], env="B-v0", status="failed") for seed in range(3)]
    there, _ = comparisons([*outcomes, *lost])
    assert there.adjusted == pytest.approx(2 * there.difference.p)


def test_a_row_is_compared_with_the_reference_of_its_own_axes() -> None:
    first, second = {"lr": "a"}, {"lr": "b"}
    dense = [*along(first, flat("dense", [0, 1])), *along(second, flat("dense", [100, 101]))]
    (found,) = comparisons([*dense, *along(first, flat("ds", [1, 2]))])
    assert (found.difference.point, found.reference.axes) == (1, first)
    assert [one.threshold for one in steps_to_dense([*dense, *along(first, flat("ds", [1, 2]))])] == [0.5, 100.5, 0.5]
    (only,) = comparisons([*flat("dense", [0, 1]), *along(first, flat("ds", [1, 2]))])
    assert only.difference.point == 1
    with pytest.raises(ValueError, match=r"2 rows are labelled 'dense'.*0 of them"):
        comparisons([*dense, *flat("ds", [1, 2])])


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


def test_a_flat_curve_is_at_its_own_level_from_the_first_window_on() -> None:
    for level in np.random.default_rng(0).normal(3000, 500, size=300):
        assert steps_to_return(run("ds", 0, [level] * 101), float(level)) == 900


def test_the_threshold_is_the_mean_over_dense_runs_however_many() -> None:
    (own,) = steps_to_dense(flat("dense", [1] * 9 + [101]))
    assert (own.threshold, own.step, own.reached, own.censored) == (11, None, 1, 9)


def test_without_a_dense_score_there_is_no_threshold_and_every_run_is_censored() -> None:
    _, other = steps_to_dense([run("dense", 0, [], status="failed"), *flat("ds", [1, 2])])
    assert (math.isnan(other.threshold), other.step, other.censored) == (True, None, 2)


def test_steps_to_the_dense_return_say_who_never_arrived() -> None:
    dense = [run("dense", seed, [0.0, 4.0, 8.0]) for seed in range(2)]
    fast, slow = run("ds", 0, [0.0, 9.0, 9.0]), run("ds", 1, [0.0, 1.0, 2.0])
    own, other = steps_to_dense([*dense, fast, slow, run("ds", 2, [], status="failed")])
    assert (own.threshold, own.step, own.reached, own.censored) == (8, 200, 2, 0)
    assert (other.threshold, other.step, other.reached, other.censored) == (8, None, 1, 2)
    _, faster = steps_to_dense([*dense, fast, replace(fast, seed=3), slow])
    assert (faster.step, faster.reached, faster.censored) == (100, 2, 1)
