"""Trials of a space: reproducible, a longer list begins with the shorter one, and all within what may be tried."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from studies.problems import BadInput
from studies.tuning.space import Range, Space, Values, shares, trials

LISTS = st.lists(st.integers(0, 50), min_size=1, max_size=5, unique=True).map(lambda v: Values(tuple(v)))
RANGES = st.builds(
    lambda low, times, log: Range(low, low * times, log), st.floats(1e-6, 1), st.floats(2, 1e4), st.booleans()
)
KEYS = st.sampled_from(["td3.learning_rate", "td3.tau", "schedule.fraction", "born"])
SPACES = st.dictionaries(KEYS, LISTS | RANGES, min_size=1)
GRIDS = st.dictionaries(KEYS, LISTS, min_size=1)


@given(SPACES | GRIDS, st.sampled_from(["grid", "random"]), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_more_trials_keep_the_earlier_ones(space: Space, search: str, count: int, seed: int) -> None:
    try:
        longer = trials(space, search, count, seed)  # type: ignore[arg-type]
    except BadInput:
        return
    assert len(longer) == count
    for fewer in range(1, count):
        assert trials(space, search, fewer, seed) == longer[:fewer]  # type: ignore[arg-type]


@given(SPACES, st.integers(0, 2**32 - 1))
def test_drawn_trials_lie_within_what_may_be_tried(space: Space, seed: int) -> None:
    for trial in trials(space, "random", 1, seed):
        assert trial.keys() == space.keys()
        for key, value in trial.items():
            tried = space[key]
            assert value in tried.values if isinstance(tried, Values) else tried.low <= value <= tried.high


@given(SPACES, RANGES, st.integers(0, 2**32 - 1))
def test_what_else_is_tried_moves_no_draw_of_a_key(space: Space, other: Range, seed: int) -> None:
    """So methods that share a setting try the same values of it, whatever else they have."""
    [alone], [beside] = trials(space, "random", 1, seed), trials({**space, "td3.beside": other}, "random", 1, seed)
    assert alone == {key: beside[key] for key in alone}


@given(GRIDS, st.integers(0, 2**32 - 1))
def test_a_whole_grid_has_every_combination_once(space: Space, seed: int) -> None:
    found = [tuple(trial.values()) for trial in trials(space, "grid", None, seed)]
    lists = [values.values for values in space.values() if isinstance(values, Values)]
    assert sorted(found) == sorted(itertools.product(*lists))


def test_no_configuration_is_tried_twice() -> None:
    found = trials({"a": Values((1, 2, 3)), "b": Values((1, 2))}, "random", 6, 0)
    assert len({json.dumps(trial) for trial in found}) == 6


def test_other_seeds_draw_other_trials() -> None:
    space = {"a": Range(0.0, 1.0)}
    assert trials(space, "random", 4, 0) != trials(space, "random", 4, 1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 7))
def test_a_few_draws_leave_no_part_of_a_range_untried(seed: int, doublings: int) -> None:
    drawn = list(itertools.islice(shares(np.random.default_rng(seed)), 2**doublings))
    assert sorted(int(share * 2**doublings) for share in drawn) == list(range(2**doublings))


def test_draws_of_two_keys_have_nothing_to_do_with_each_other() -> None:
    found = [trials({"a": Range(0.0, 1.0), "b": Range(0.0, 1.0)}, "random", 4, seed) for seed in range(300)]
    pairs = np.array([[trial["a"], trial["b"]] for four in found for trial in four])
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.1
    assert stats.kstest(pairs[3::4, 0], "uniform").pvalue > 0.01, "the fourth draw is as uniform as the first"


def test_log_uniform_draws_have_uniform_logarithms() -> None:
    drawn = trials({"a": Range(1e-4, 1e-1, log=True)}, "random", 500, 3)
    places = [(math.log10(trial["a"]) + 4) / 3 for trial in drawn]
    assert stats.kstest(places, "uniform").pvalue > 0.01
    assert stats.kstest([trial["a"] for trial in drawn], "uniform", args=(1e-4, 0.1)).pvalue < 1e-6


def test_values_are_drawn_to_three_digits_and_whole_ones_whole() -> None:
    assert Range(1e-4, 1e-2, log=True).draw(0.5) == 0.001
    assert Range(0.0, 1.0).draw(1 / 3) == 0.333
    assert Range(32.0, 512.0, log=True, whole=True).draw(0.5) == 128
    assert Range(1.0, 9.0, whole=True).draw(0.999) == 9
    assert Range(0.12341, 0.12349).draw(0.5) == 0.12341, "never over a bound"


def test_the_ends_of_what_was_tried_are_its_edge() -> None:
    assert [Values((0.05, 0.3, 0.1)).at_edge(v) for v in (0.05, 0.1, 0.3)] == [True, False, True]
    assert not Values(("zero", "stepped")).at_edge("zero")
    assert not Values((True, False)).at_edge(True)
    assert not Values((3,)).at_edge(3)
    rates = Range(1e-4, 1e-2, log=True)
    assert [rates.at_edge(v) for v in (1e-4, 1.2e-4, 1e-3, 8.1e-3)] == [True, True, False, True]
    assert not Range(1e-4, 1e-2).at_edge(8.1e-3), "on its own scale"


def test_a_space_that_has_too_few_is_refused() -> None:
    with pytest.raises(BadInput, match="has 2 different settings for 3 trials"):
        trials({"a": Values((1, 2))}, "random", 3, 0)
    with pytest.raises(BadInput, match="has 2 different settings for 3 trials"):
        trials({"a": Values((1, 2))}, "grid", 3, 0)
    with pytest.raises(BadInput, match="a grid needs lists"):
        trials({"a": Range(0.0, 1.0)}, "grid", 3, 0)
    with pytest.raises(BadInput, match=r"1,000,000 settings, over 100,000"):
        trials({key: Values(tuple(range(10))) for key in "abcdef"}, "grid", 3, 0)
    with pytest.raises(BadInput, match="'grid' or 'random'"):
        trials({"a": Values((1, 2))}, "bayes", 3, 0)  # type: ignore[arg-type]
