"""Runs and runners that are killed at random, and go on: a slice always, more of them by `-m reliability`.

B3 and B4 of the runs, D1 and D5 of the runners; the ledger counts many more (`python -m benchmarks.reliability`). Each
harness is shown to find a bug that was planted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from faults import mutated

from benchmarks.reliability import runners, runs
from rl.train import Training
from studies.keeping import last
from studies.underway import Underway

SEED = 4_000


def test_a_run_that_is_killed_ends_in_the_same_bytes() -> None:
    outcome = runs.kills(15, SEED)
    assert outcome.failures == 0, outcome.notes


def test_a_study_whose_runner_is_killed_ends_in_the_same_bytes() -> None:
    outcome = runners.kills(6, SEED)
    assert outcome.failures == 0, outcome.notes


@pytest.mark.reliability
def test_a_hundred_kills_of_runs() -> None:
    outcome = runs.kills(100, SEED + 100)
    assert outcome.failures == 0, outcome.notes


@pytest.mark.reliability
def test_a_hundred_kills_of_runners() -> None:
    outcome = runners.kills(100, SEED + 100)
    assert outcome.failures == 0, outcome.notes


BUGS: dict[str, tuple[Any, tuple[str, str], str]] = {
    "replay not loaded": (
        Underway._load,
        ('self._replay.load_state_dict(state["replay"])', "pass"),
        "weights.safetensors has other bytes",
    ),
    "draws not loaded": (
        Training.load_state_dict,
        ('self._draws.bit_generator.state = state["draws"]', "pass"),
        "weights.safetensors has other bytes",
    ),
    "logs not loaded": (
        Underway.__init__,
        ("(folder / name).write_bytes(content)", "pass"),
        "evaluations.csv has other bytes",
    ),
    "first checkpoint": (last, ("newest(earlier[::-1])", "newest(earlier)"), "went on from step"),
}
"""What is planted where, and what is to be found: that a run never ends, say, would prove nothing."""


@pytest.mark.parametrize("bug", BUGS)
def test_kills_of_runs_find_a_bug(bug: str) -> None:
    function, change, found = BUGS[bug]
    for kind in range(len(runs.KINDS)):
        runs.undisturbed(kind)
    with mutated(function, change), runs.hurried():
        chains = (runs.chain(seed, Counter())[0] for seed in range(SEED, SEED + 80))  # Where kills fall is chance.
        assert any(each.startswith(found) for wrong in chains for each in wrong)


def test_kills_of_runners_find_a_bug() -> None:
    with mutated(last, ("if loaded is None:", "if True:")), runners.ready():
        chains = (runners.chain(seed, most=12)[0] for seed in range(SEED, SEED + 40))
        assert any("went on from step 0," in each for wrong in chains for each in wrong)
