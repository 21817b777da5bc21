"""Statistics over environments: against the published formulas as loops, and on simulated studies of equal methods."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from studies.aggregate import (
    holm,
    iqm,
    mean,
    median,
    normalised,
    optimality_gap,
    probability_of_improvement,
    profile,
    stratified,
    tasks,
)

STATISTICS = {"mean": mean, "median": median, "iqm": iqm, "optimality_gap": optimality_gap}


def by_hand(name: str, scores: list[NDArray[np.float64]], gamma: float = 1.0) -> float:
    """The formulas of Agarwal et al. 2021 as loops."""
    means = [sum(task) / len(task) for task in scores]
    if name == "mean":
        return float(sum(means) / len(means))
    if name == "median":
        ordered, half = sorted(means), len(means) // 2
        return float(ordered[half] if len(means) % 2 else (ordered[half - 1] + ordered[half]) / 2)
    if name == "optimality_gap":
        missing = [[gamma - min(score, gamma) for score in task] for task in scores]
        return float(sum(sum(task) / len(task) for task in missing) / len(missing))
    every = sorted(score for task in scores for score in task)
    cut = len(every) // 4
    middle = every[cut : len(every) - cut]
    return float(sum(middle) / len(middle))


def random_scores(seed: int) -> list[NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=int(runs)) for runs in generator.integers(1, 12, size=generator.integers(1, 6))]


@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_is_its_formula(name: str) -> None:
    for seed in range(200):
        scores = random_scores(seed)
        assert stratified(scores, STATISTICS[name], resamples=1).point == pytest.approx(
            by_hand(name, scores), abs=1e-12
        )


def test_improvement_is_counted_pair_by_pair() -> None:
    for seed in range(100):
        x, y = random_scores(seed), random_scores(seed)
        y = [np.round(task[::-1] + 0.3, 1) for task in y]
        x = [np.round(task, 1) for task in x]
        each = [np.mean([(a > b) + (a == b) / 2 for a in p for b in q]) for p, q in zip(x, y, strict=True)]
        assert probability_of_improvement(x, y, resamples=1).point == pytest.approx(np.mean(each), abs=1e-12)
        u = [stats.mannwhitneyu(p, q).statistic / (len(p) * len(q)) for p, q in zip(x, y, strict=True)]
        assert probability_of_improvement(x, y, resamples=1).point == pytest.approx(np.mean(u), abs=1e-12)


def test_hand_worked_numbers() -> None:
    scores = tasks([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0], [3.0, 40.0]])
    assert stratified(scores, mean).point == 13.25
    assert stratified(scores, median).point == 13.25
    assert stratified(scores, iqm).point == (2 + 3 + 10 + 20) / 4
    assert stratified(scores, optimality_gap).point == 0.125
    assert normalised([0.0, 5.0, 10.0], random=0, dense=5).tolist() == [0, 1, 2]
    assert profile(scores, [-1.0, 1.0, 25.0, 40.0]).point.tolist() == [1.0, 0.75, 0.25, 0.0]
    assert probability_of_improvement([[1, 2]], [[0, 2]]).point == (1 + 0 + 1 + 0.5) / 4
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])


def test_an_interval_is_that_of_resampling_run_by_run_within_each_task() -> None:
    for seed in range(200):
        scores, generator = [np.sort(task) for task in random_scores(seed)], np.random.default_rng(seed)
        drawn = [generator.integers(len(task), size=(40, len(task))) for task in scores]
        name = sorted(STATISTICS)[seed % len(STATISTICS)]
        values = sorted(
            by_hand(name, [task[places[i]] for task, places in zip(scores, drawn, strict=True)]) for i in range(40)
        )
        expected = []
        for share in (0.025, 0.975):
            place = share * 39
            below = int(place)
            expected.append(values[below] + (place - below) * (values[below + 1] - values[below]))
        band = stratified(scores, STATISTICS[name], seed=seed, resamples=40)
        low, high = min(expected[0], band.point), max(expected[1], band.point)
        assert (band.low, band.high) == pytest.approx((low, high), abs=1e-12)


def test_runs_of_a_matrix_are_its_rows() -> None:
    matrix = np.array([[0.0, 10.0, 100.0]] * 4 + [[1.0, 11.0, 101.0]])  # five runs, three tasks
    assert median(matrix) == pytest.approx(10.2)
    for statistic in STATISTICS.values():
        whole, listed = (stratified(scores, statistic, resamples=50) for scores in (matrix, tasks(matrix)))
        assert (whole.low, whole.point, whole.high) == (listed.low, listed.point, listed.high)
        assert statistic(matrix) == pytest.approx(whole.point, abs=1e-12)


def test_tasks_with_names_are_matched_by_name() -> None:
    x, y = {"A": [1.0, 2.0], "B": [0.0]}, {"B": [5.0], "A": [0.0, 0.5]}
    assert probability_of_improvement(x, y).point == 0.5
    assert stratified(x, mean).point == 0.75
    with pytest.raises(ValueError, match="give the same ones"):
        probability_of_improvement(x, {"A": [0.0], "C": [0.0]})


numbers = st.floats(-100, 100, allow_nan=False)
some_tasks = st.lists(st.lists(numbers, min_size=1, max_size=8), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(some_tasks, st.sampled_from(sorted(STATISTICS)))
def test_the_point_lies_in_its_interval_whatever_the_order_of_runs(scores: list[list[float]], name: str) -> None:
    band = stratified(scores, STATISTICS[name], resamples=50)
    assert band.low <= band.point <= band.high
    again = stratified([task[::-1] for task in scores], STATISTICS[name], resamples=50)
    assert (band.low, band.point, band.high) == (again.low, again.point, again.high)


@settings(max_examples=60, deadline=None)
@given(some_tasks, st.lists(numbers, min_size=2, max_size=8))
def test_a_profile_never_rises(scores: list[list[float]], thresholds: list[float]) -> None:
    band = profile(scores, sorted(thresholds), resamples=50)
    for side in (band.low, band.point, band.high):
        assert (np.diff(side) <= 1e-12).all()
    assert (band.low <= band.point).all()
    assert (band.point <= band.high).all()


@settings(max_examples=60, deadline=None)
@given(some_tasks)
def test_improvement_and_worsening_are_all_there_is(scores: list[list[float]]) -> None:
    other = [[score + 1 for score in task] for task in scores[::-1]]
    there = probability_of_improvement(scores, other, resamples=20)
    back = probability_of_improvement(other, scores, resamples=20)
    assert there.point + back.point == pytest.approx(1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_only_raises_keeps_order_and_rejects_by_the_step_down_rule(p: list[float]) -> None:
    adjusted, given_ = holm(p), np.array(p)
    assert (adjusted >= given_).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(given_, kind="stable")]) >= 0).all()
    rejected, m = 0, len(p)
    for number, value in enumerate(sorted(p)):
        if value * (m - number) > 0.05:
            break
        rejected += 1
    assert int((adjusted <= 0.05).sum()) == rejected


def test_twice_the_same_call_gives_the_same_numbers() -> None:
    scores = random_scores(3)
    first, second = stratified(scores, iqm), stratified(scores, iqm)
    assert (first.low, first.high) == (second.low, second.high)
    assert stratified(scores, iqm, seed=1).low != first.low


def test_methods_that_are_equal_are_rarely_told_apart() -> None:
    """A/A: of 500 studies of 4 tasks and 10 runs, in how many the interval of P(X > Y) leaves out one half."""
    generator, wrong = np.random.default_rng(0), 0
    for _ in range(500):
        x, y = generator.normal(size=(2, 4, 10))
        band = probability_of_improvement(list(x), list(y), resamples=200)
        wrong += not band.low <= 0.5 <= band.high
    assert wrong / 500 <= 0.08, "a percentile bootstrap of ten runs is a little too narrow, but not more"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tasks([1.0, 2.0]), "give .runs, tasks."),
        (lambda: stratified([], mean), "no tasks"),
        (lambda: stratified([[1.0], []], mean), "task 1 has scores of shape"),
        (lambda: stratified([[1.0, float("nan")]], mean), "task 0 .* not finite"),
        (lambda: stratified([[1.0]], mean, resamples=0), "at least 1"),
        (lambda: probability_of_improvement([[1.0]], [[1.0], [2.0]]), "1 tasks on one side and 2"),
        (lambda: normalised([1.0], random=2, dense=2), "differ"),
        (lambda: holm([0.5, 1.5]), r"\[0, 1\]"),
    ],
)
def test_what_cannot_be_computed_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
