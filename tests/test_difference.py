"""Two samples of scores: hand-worked cases, and simulated studies in which nothing differs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from studies.difference import difference, permutation, seeds_correlate


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


def test_a_permutation_test_is_exact_for_few_runs_and_drawn_by_seed_for_many() -> None:
    assert permutation([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / 20)
    assert permutation([1, 2, 3], [2, 4, 6], paired=True) == pytest.approx(2 / 8)
    a, b = np.random.default_rng(0).normal(size=(2, 8))
    first, second = (permutation(a, b, resamples=5000, seed=seed) for seed in (0, 1))
    assert first == permutation(a, b, resamples=5000, seed=0) != second
    assert first == pytest.approx(permutation(a, b), abs=0.02)
    assert permutation(np.arange(20), np.arange(20) + 100, resamples=999) == pytest.approx(2 / 1000, abs=1e-12)


def test_a_permutation_test_knows_what_it_cannot_tell_apart() -> None:
    assert permutation([1, 1], [1, 1]) == 1
    assert permutation([1, 1], [0, 0]) == pytest.approx(2 / 6), "where Welch's test is certain"


def studies(n: int, shared: float, count: int = 2000) -> NDArray[np.float64]:
    """Studies of two equal methods, (count, 2, n), whose scores correlate over seeds with r = `shared`."""
    generator = np.random.default_rng(1)
    luck, own = generator.normal(size=(count, 1, n)), generator.normal(size=(count, 2, n))
    return np.asarray(math.sqrt(shared) * luck + math.sqrt(1 - shared) * own)


TESTS: Mapping[str, Callable[..., float]] = {
    "welch": lambda a, b: difference(a, b).p,
    "permutation": lambda a, b: permutation(a, b, resamples=999),
    "normal": lambda a, b: (
        2 * stats.norm.sf(abs(a.mean() - b.mean()) / math.sqrt((np.var(a) + np.var(b)) / (a.size - 1)))
    ),
}


def false_positives(test: str, n: int, shared: float = 0.0) -> float:
    """In which share of them one method is found better."""
    return float(np.mean([TESTS[test](a, b) <= 0.05 for a, b in studies(n, shared)]))


@pytest.mark.parametrize(("test", "n"), [("welch", 3), ("welch", 10), ("permutation", 10)])
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_equal_methods_are_told_apart_in_at_most_six_of_a_hundred_studies(test: str, n: int, shared: float) -> None:
    assert (0.0 if shared or n == 3 else 0.04) <= false_positives(test, n, shared) <= 0.06


def test_pairing_the_rows_whose_seeds_seem_to_correlate_would_tell_too_many_apart() -> None:
    """Why `comparisons` never pairs."""
    taken = [
        difference(a, b, paired=True).p <= 0.05
        for a, b in studies(10, 0.0, 4000)
        if seeds_correlate(dict(enumerate(a)), dict(enumerate(b)))[1] < 0.05
    ]
    assert 0.04 < len(taken) / 4000 < 0.06
    assert np.mean(taken) > 0.12


def test_runs_that_fail_by_their_score_and_are_dropped_are_caught_by_that_simulation() -> None:
    generator, wrong = np.random.default_rng(2), 0
    for a, b in generator.normal(size=(2000, 2, 10)):
        found = difference(np.sort(a)[3:], b)  # The worst three "crash" and go unmentioned.
        wrong += not found.low <= 0 <= found.high
    assert wrong / 2000 > 0.07


def test_an_interval_of_the_normal_distribution_is_caught_by_that_simulation() -> None:
    assert false_positives("normal", 3) > 0.06


@pytest.mark.parametrize("sides", [([1.0], [1.0, 2.0]), ([1.0, math.inf], [1.0, 2.0])])
def test_what_cannot_be_compared_is_refused(sides: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="scores"):
        difference(*sides)
