"""Rows of a study against each other, by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from studies.arrival import steps_to_dense
from studies.compare import comparisons, scores_by_seed
from studies.outcome import Outcome, Status


def run(label: str, seed: int, returns: Sequence[float], *, env: str = "A-v0", status: Status = "done") -> Outcome:
    steps = 100 * np.arange(len(returns))
    return Outcome(label, "td3", env, None, seed, status=status, steps=steps, returns=np.array(returns, dtype=float))


def flat(label: str, scores: Sequence[float], env: str = "A-v0") -> list[Outcome]:
    return [run(label, seed, [value], env=env) for seed, value in enumerate(scores)]


def along(axes: Mapping[str, str], runs: Sequence[Outcome]) -> list[Outcome]:
    return [replace(one, axes=axes) for one in runs]


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


def test_a_test_can_be_chosen_and_is_corrected_alike() -> None:
    outcomes = [
        one for env in ("A-v0", "B-v0") for one in (*flat("dense", [1, 2, 3], env), *flat("ds", [4, 5, 6], env))
    ]
    welch, exact = comparisons(outcomes), comparisons(outcomes, test="permutation")
    assert [one.difference.p for one in exact] == pytest.approx([0.1, 0.1])
    assert [one.adjusted for one in exact] == pytest.approx([0.2, 0.2])
    assert [one.difference.low for one in exact] == [one.difference.low for one in welch]
    with pytest.raises(ValueError, match=r"no test named 'wilcoxon'. Known: welch, permutation"):
        comparisons(outcomes, test="wilcoxon")  # type: ignore[arg-type]


def at(density: float | None, runs: Sequence[Outcome]) -> list[Outcome]:
    return [replace(one, density=density) for one in runs]


def test_a_row_is_compared_with_the_reference_of_its_own_density() -> None:
    reference = [*at(0.5, flat("SET", [0, 1])), *at(0.1, flat("SET", [100, 101]))]
    others = [*at(0.5, flat("mine", [3, 4])), *at(0.1, flat("mine", [104, 105]))]
    found = comparisons([*reference, *others, *flat("Dense", [9, 10])], against="SET")
    assert [(one.row.density, one.reference.density, one.difference.point) for one in found] == [
        (0.5, 0.5, 3),
        (0.1, 0.1, 4),
    ]
    (only,) = comparisons([*at(0.5, flat("SET", [0, 1])), *flat("Dense", [9, 10])], against="SET")
    assert only.difference.point == 9, "of a single reference there is no doubt"
