"""What a run took: evaluations apart, and over interruptions."""

from __future__ import annotations

import pytest

from studies import clock
from studies.clock import Clock


class Time:
    """A wall clock and a CPU's, moved by hand."""

    wall = cpu = 0.0

    def monotonic(self) -> float:
        return 1000.0 + self.wall

    def process_time(self) -> float:
        return 50.0 + self.cpu


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    hands = Time()
    monkeypatch.setattr(clock, "time", hands)
    return hands


def test_training_is_what_evaluations_did_not_take(time: Time) -> None:
    counted = Clock()
    time.wall, time.cpu = 3.0, 2.0
    counted.evaluated((3.0, 2.0))
    time.wall, time.cpu = 13.0, 10.0
    counted.evaluated((4.0, 3.0))
    told = counted.told()
    assert told["training_seconds"] == [0.0, 9.0]
    assert told["training_cpu_seconds"] == [0.0, 7.0]
    assert (told["seconds"], told["cpu_seconds"]) == (13.0, 10.0)


def test_a_run_that_goes_on_counts_on_and_not_the_time_between(time: Time) -> None:
    first = Clock()
    time.wall, time.cpu = 5.0, 5.0
    first.evaluated((2.0, 2.0))
    time.wall, time.cpu = 8.0, 7.0
    state = first.state_dict()
    time.wall, time.cpu = 500.0, 0.0  # Another process, much later.
    second = Clock()
    second.load_state_dict(state)
    time.wall, time.cpu = 504.0, 3.0
    second.evaluated((1.0, 1.0))
    told = second.told()
    assert told["training_seconds"] == [3.0, 9.0]  # 8 - 2 of the first, 4 - 1 of the second.
    assert told["training_cpu_seconds"] == [3.0, 7.0]
    assert (told["seconds"], told["cpu_seconds"]) == (12.0, 10.0)
