"""Steps to the dense return, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from test_compare import flat, run

from studies.arrival import steps_to_dense, steps_to_return


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
