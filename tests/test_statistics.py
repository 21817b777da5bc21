"""Intervals, scores and rows over seeds, against hand-worked numbers and independent implementations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from studies.outcome import Outcome, Status
from studies.statistics import (
    Interval,
    bootstrap,
    interval,
    iqm,
    learning_curve_area,
    random_policy,
    score,
    shared_curves,
    standing,
    summary,
    t_interval,
    tally,
    window,
)

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)
BASELINE = {"Hopper-v5": np.array([10.0, 20.0, 30.0])}


def scores(least: int, most: int) -> st.SearchStrategy[list[float]]:
    return st.lists(FINITE, min_size=least, max_size=most)


def run(value: float = 0.0, seed: int = 0, status: Status = "done", label: str = "RigL") -> Outcome:
    """A run whose every evaluation returned `value`."""
    steps = np.arange(0, 2100, 100)
    return Outcome(label, "td3", "Hopper-v5", 0.1, seed, status, steps, np.full(21, value))


@pytest.mark.parametrize(("evaluations", "last"), [(1, 1), (9, 1), (19, 1), (21, 2), (99, 9), (100, 10), (201, 10)])
def test_a_score_takes_a_tenth_of_the_evaluations_and_ten_at_most(evaluations: int, last: int) -> None:
    returns = np.arange(evaluations, dtype=float)
    assert window(evaluations) == last
    assert score(replace(run(), returns=returns)) == pytest.approx(sum(range(evaluations)[-last:]) / last)


def test_the_learning_curve_area_counts_step_zero() -> None:
    assert learning_curve_area(replace(run(), returns=np.array([0.0, 3.0, 6.0]))) == 3.0


def test_a_curve_without_evaluations_has_no_score_and_no_area() -> None:
    empty = Outcome("RigL", "td3", "Hopper-v5", 0.1, 0)
    assert math.isnan(score(empty))
    assert math.isnan(learning_curve_area(empty))


@given(scores(1, 60))
def test_the_iqm_equals_the_mean_of_the_middle_half(values: list[float]) -> None:
    cut = len(values) // 4
    middle = sorted(values)[cut : len(values) - cut]
    assert iqm(values) == pytest.approx(math.fsum(middle) / len(middle), rel=1e-12, abs=1e-9)


def test_the_iqm_equals_an_independent_one_on_a_thousand_random_matrices_to_1e_12() -> None:
    generator = np.random.default_rng(1)
    for _ in range(1000):
        values = generator.normal(3000, 500, generator.integers(4, 60))
        cut = math.floor(len(values) * 0.25)
        expected = np.sort(values)[cut : len(values) - cut].mean()
        assert iqm(values) == pytest.approx(expected, rel=1e-12)


def test_the_iqm_of_eight_scores_by_hand() -> None:
    #  cut: 1 2 | kept: 3 4 5 7 | cut: 50 100
    assert iqm([100, 7, 1, 5, 50, 3, 2, 4]) == 4.75


def test_no_scores_have_no_iqm() -> None:
    with pytest.raises(ValueError, match="at least one"):
        iqm([])


def test_the_t_interval_of_three_scores_by_hand() -> None:
    # mean 4, s = 2, t(0.975, 2) = 4.302653, half width 4.302653 * 2 / sqrt(3) = 4.968275
    found = interval([2.0, 4.0, 6.0])
    assert (found.point, found.kind) == (4.0, "mean, 95 % t")
    assert found.low == pytest.approx(4 - 4.968275, abs=1e-5)
    assert found.high == pytest.approx(4 + 4.968275, abs=1e-5)


@given(scores(2, 9))
def test_below_ten_seeds_the_interval_is_scipys_t_interval(values: list[float]) -> None:
    found = interval(values)
    error = stats.sem(values)
    low, high = (
        stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error) if error else (found.point,) * 2
    )
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-6)


def test_the_t_interval_works_along_the_first_axis() -> None:
    mean, half = t_interval([[2.0, 0.0], [4.0, 0.0], [6.0, 0.0]])
    assert mean.tolist() == [4.0, 0.0]
    assert half == pytest.approx([4.968275, 0.0], abs=1e-5)


def test_the_t_interval_covers_the_mean_at_its_nominal_rate() -> None:
    mean, half = t_interval(np.random.default_rng(2).normal(size=(5, 20_000)))
    assert np.mean(np.abs(mean) <= half) == pytest.approx(0.95, abs=0.006)


@settings(max_examples=30, deadline=None)
@given(scores(10, 30))
def test_from_ten_seeds_the_interval_is_the_bootstrap_of_the_iqm(values: list[float]) -> None:
    found = interval(values, seed=3)
    ordered = np.sort(values)
    drawn = np.random.default_rng(3).integers(len(ordered), size=(10_000, len(ordered)))
    cut = len(ordered) // 4
    means = np.sort(ordered[drawn], axis=1)[:, cut : len(ordered) - cut].mean(axis=1)
    assert found.kind == "IQM, 95 % bootstrap"
    assert found.point == iqm(values)
    assert (found.low, found.high) == pytest.approx(np.percentile(means, [2.5, 97.5]), rel=1e-9, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(scores(2, 25))
def test_the_point_lies_within_its_bounds(values: list[float]) -> None:
    found = interval(values)
    assert found.low <= found.point <= found.high


@settings(max_examples=40, deadline=None)
@given(st.data(), scores(0, 15))
def test_the_order_of_seeds_is_immaterial(data: st.DataObject, values: list[float]) -> None:
    shuffled = data.draw(st.permutations(values))
    assert repr(interval(shuffled)) == repr(interval(values))


def test_the_bootstrap_repeats_for_a_seed_and_differs_between_seeds() -> None:
    values = np.random.default_rng(5).normal(size=12)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_a_bootstrap_interval_covers_the_iqm_in_most_studies() -> None:
    generator = np.random.default_rng(4)
    studies = [interval(generator.normal(size=20)) for _ in range(100)]
    assert np.mean([study.low <= 0 <= study.high for study in studies]) > 0.85


def test_one_seed_has_a_point_without_bounds() -> None:
    found = interval([5.0])
    assert (found.point, found.kind) == (5.0, "one seed")
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert interval([]).kind == "no seed"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        interval([1.0, bad])


def test_a_finished_run_with_a_bad_curve_does_not_count_as_done() -> None:
    assert standing(run()) == "done"
    assert standing(run(math.nan)) == "diverged"
    assert standing(Outcome("RigL", "td3", "Hopper-v5", 0.1, 0)) == "failed"
    assert standing(run(status="running")) == "running"


def test_every_run_is_counted_once() -> None:
    statuses: list[Status] = ["done", "done", "failed", "diverged", "running", "missing", "missing"]
    (row,) = summary([run(1.0, seed, status) for seed, status in enumerate(statuses)])
    assert (row.planned, row.done, row.failed, row.diverged, row.unfinished) == (7, 2, 1, 1, 3)
    assert tally([row]) == "2 of 7, 1 failed, 1 diverged, 3 unfinished"
    assert tally([]) == "0"


def test_failures_are_scored_as_the_random_policy_beside_the_finished_runs() -> None:
    runs = [
        run(100.0, 0),
        run(110.0, 1),
        run(999.0, 2, "failed"),
        run(999.0, 3, "diverged"),
        run(0, 4, "missing"),
    ]
    (row,) = summary(runs, BASELINE)
    assert row.score == interval([100.0, 110.0])
    assert row.with_failures == interval([100.0, 110.0, 20.0, 20.0])


def test_there_is_no_second_interval_without_failures_or_without_a_random_policy() -> None:
    assert summary([run(1.0)], BASELINE)[0].with_failures is None
    assert summary([run(1.0, status="failed")], {})[0].with_failures is None
    assert summary([run(1.0, status="failed")], {"Hopper-v5": np.array([math.nan])})[0].with_failures is None


def test_an_all_failed_row_has_no_score_and_is_worth_the_random_policy() -> None:
    (row,) = summary([run(5.0, seed, "failed") for seed in range(3)], BASELINE)
    assert row.score.kind == "no seed"
    assert row.with_failures == Interval(20.0, 20.0, 20.0, "mean, 95 % t")


def test_rows_are_cells_of_the_study_in_order_of_first_appearance() -> None:
    dense, wide = replace(run(label="dense"), density=None), replace(run(), axes={"hidden": "1024"})
    rows = summary([run(seed=0), dense, wide, run(seed=1), replace(run(), density=0.5), replace(run(), agent="sac")])
    assert [(row.label, row.density, dict(row.axes), row.agent, row.planned) for row in rows] == [
        ("RigL", 0.1, {}, "td3", 2),
        ("dense", None, {}, "td3", 1),
        ("RigL", 0.1, {"hidden": "1024"}, "td3", 1),
        ("RigL", 0.5, {}, "td3", 1),
        ("RigL", 0.1, {}, "sac", 1),
    ]


def test_sizes_are_means_and_seconds_a_median_over_the_finished_runs() -> None:
    sized = [
        replace(run(seed=i), realised=0.1 * i, parameters=i, flops=0.5, seconds=s) for i, s in enumerate((1, 2, 90))
    ]
    failed = replace(run(status="failed"), realised=9.0, parameters=9, flops=9.0, seconds=9.0)
    (row,) = summary([*sized, failed])
    assert (row.realised, row.parameters, row.flops, row.seconds) == (pytest.approx(0.1), 1.0, 0.5, 2.0)


def test_the_random_policy_has_a_standard_error_over_episodes() -> None:
    policy = random_policy("Hopper-v5", BASELINE)
    assert policy is not None
    assert (policy.mean, policy.episodes) == (20.0, 3)
    assert policy.error == pytest.approx(10 / math.sqrt(3))
    assert random_policy("Ant-v5", BASELINE) is None


def test_ragged_curves_are_compared_at_the_steps_they_share() -> None:
    first = replace(run(), steps=np.array([0, 10, 20, 30]), returns=np.array([1.0, 2.0, 3.0, 4.0]))
    second = replace(run(), steps=np.array([0, 20, 25]), returns=np.array([5.0, 6.0, 7.0]))
    steps, returns = shared_curves([first, second])
    assert steps.tolist() == [0, 20]
    assert returns.tolist() == [[1.0, 3.0], [5.0, 6.0]]


def test_curves_may_share_no_step() -> None:
    steps, returns = shared_curves([run(), replace(run(), steps=run().steps + 1)])
    assert (steps.shape, returns.shape) == ((0,), (2, 0))
