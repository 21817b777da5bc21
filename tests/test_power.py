"""How many seeds a difference needs, against published numbers, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from studies.power import pooled_deviation, power, seeds_needed, upper_deviation


@pytest.mark.parametrize(("effect", "n"), [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17), (1.2, 12), (2.0, 6)])
def test_the_seeds_for_power_0_8_are_those_of_the_literature(effect: float, n: int) -> None:
    """Two-sided alpha = 0.05, as G*Power and R's power.t.test give them; Cohen 1988, table 2.4.1 for 0.2, 0.5, 0.8."""
    assert seeds_needed(effect, 1.0) == n
    assert seeds_needed(-40 * effect, 40.0) == n, "only the ratio counts"


@pytest.mark.parametrize(("effect", "n"), [(0.5, 86), (0.8, 34), (1.0, 23)])
def test_the_seeds_for_power_0_9_are_those_of_the_literature(effect: float, n: int) -> None:
    assert seeds_needed(effect, 1.0, power_wanted=0.9) == n


def test_few_seeds_need_the_t_distribution_and_not_the_normal_one() -> None:
    normal = 2 * ((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / 2.0) ** 2
    assert math.ceil(normal) == 4
    assert seeds_needed(2.0, 1.0) == 6


def test_without_an_effect_the_power_is_the_level() -> None:
    assert power(7, 0.0) == pytest.approx(0.05)
    assert power(7, 0.0, alpha=0.01) == pytest.approx(0.01)


def test_the_power_is_what_simulated_tests_detect() -> None:
    draws = np.random.default_rng(0).standard_normal((2, 20_000, 5))
    found = stats.ttest_ind(draws[0] + 1.5, draws[1], axis=1).pvalue < 0.05
    assert power(5, 1.5) == pytest.approx(found.mean(), abs=0.01)


@given(st.floats(0.05, 50))
def test_the_seeds_are_the_least_that_have_the_power(effect: float) -> None:
    n = seeds_needed(effect, 1.0)
    assert n is not None
    assert power(n, effect) >= 0.8
    assert n == 2 or power(n - 1, effect) < 0.8


def test_nothing_to_find_needs_no_number_and_no_spread_needs_two() -> None:
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1.0, 0.0) == 2
    assert seeds_needed(1e12, 1.0) == 2
    assert seeds_needed(0.001, 1.0) is None, "over 100,000"


def test_a_deviation_is_pooled_over_samples_of_different_means() -> None:
    """(1 - 2)^2 + (3 - 2)^2 = 2 and 2 * 2^2 = 8: sqrt(10 / 2)."""
    assert pooled_deviation([1, 3], [10, 14]) == (pytest.approx(math.sqrt(5)), 2)
    assert pooled_deviation([1, 3], [7]) == (pytest.approx(math.sqrt(2)), 1)
    deviation, df = pooled_deviation([1], [7])
    assert math.isnan(deviation)
    assert df == 0


def test_the_upper_bound_covers_the_true_deviation_as_often_as_it_says() -> None:
    """chi2(0.2, 2) = -2 ln 0.8: two and two runs leave 2.12 times what was seen open."""
    assert upper_deviation(1.0, 2) == pytest.approx(math.sqrt(2 / (-2 * math.log(0.8))))
    draws = np.random.default_rng(1).standard_normal((20_000, 4))
    covered = [upper_deviation(s, 3) >= 1.0 for s in draws.std(axis=1, ddof=1)]
    assert np.mean(covered) == pytest.approx(0.8, abs=0.01)


def test_what_says_nothing_of_a_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="two runs a side"):
        power(1, 1.0)
    with pytest.raises(ValueError, match="two runs of a kind"):
        upper_deviation(1.0, 0)
    with pytest.raises(ValueError, match="at least 0"):
        seeds_needed(1.0, -1.0)
    with pytest.raises(ValueError, match="give numbers"):
        seeds_needed(math.nan, 1.0)
