"""The replay memory."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl import Batch, UniformReplay, bytes_needed, uniform

CPU = torch.device("cpu")


def add(replay: UniformReplay, i: int, *, terminated: bool = False, truncated: bool = False) -> None:
    """Transition number i: every one of its numbers tells which it is."""
    replay.add(np.full(3, i), np.full(2, -i), 10.0 * i, terminated, truncated, np.full(3, i + 0.5))


def sample(replay: UniformReplay, size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
    return replay.sample(size, np.random.default_rng(seed), device=CPU, dtype=dtype)


@given(st.integers(1, 12), st.integers(1, 40))
def test_the_newest_transitions_are_kept_whole(capacity: int, added: int) -> None:
    replay = uniform(3, 2, capacity=capacity)
    for i in range(added):
        add(replay, i)
    assert len(replay) == min(capacity, added)
    batch = sample(replay, 400)
    i = batch.observation[:, 0]
    assert set(i.int().tolist()) <= set(range(max(0, added - capacity), added))
    assert torch.equal(batch.observation, i[:, None].expand(-1, 3))
    assert torch.equal(batch.action, -i[:, None].expand(-1, 2))
    assert torch.equal(batch.reward, 10 * i)
    assert torch.equal(batch.next_observation, i[:, None].expand(-1, 3) + 0.5)


def test_every_transition_is_drawn_equally_often() -> None:
    replay = uniform(3, 2, capacity=10)
    for i in range(25):
        add(replay, i)
    counts = torch.bincount(sample(replay, 20_000).observation[:, 0].long(), minlength=25)
    assert counts[:15].sum() == 0
    assert (counts[15:] - 2000).abs().max() < 250  # 6 standard deviations


def test_a_batch_carries_terminated_and_not_truncated() -> None:
    replay = uniform(3, 2)
    add(replay, 0, truncated=True)
    add(replay, 1, terminated=True)
    add(replay, 2, terminated=True, truncated=True)
    batch = sample(replay, 100)
    assert batch.terminated.shape == batch.reward.shape == (100,)
    assert torch.equal(batch.terminated, (batch.observation[:, 0] >= 1).float())
    assert sorted(replay.state_dict()["rows"][:, 7].tolist()) == [0, 1, 1]  # kept, though no batch carries it


def test_batches_come_in_the_dtype_asked_for_and_repeat_with_the_generator() -> None:
    replay = uniform(3, 2)
    for i in range(50):
        add(replay, i)
    for one, two in zip(sample(replay, 8, dtype=torch.float64)[:5], sample(replay, 8)[:5], strict=True):
        assert one.dtype == torch.float64
        assert torch.equal(one.float(), two)


def test_a_restored_replay_goes_on_as_the_first() -> None:
    one, two = uniform(3, 2, capacity=10), uniform(3, 2, capacity=10)
    for i in range(13):
        add(one, i)
    two.load_state_dict(one.state_dict())
    for replay in (one, two):
        add(replay, 13)
    assert torch.equal(one.state_dict()["rows"], two.state_dict()["rows"])
    assert one.added == two.added == 14


@pytest.mark.parametrize(("sizes", "capacity"), [((4, 2), 10), ((3, 2), 5)])
def test_a_state_of_other_sizes_is_refused(sizes: tuple[int, int], capacity: int) -> None:
    replay = uniform(3, 2, capacity=10)
    for i in range(13):
        add(replay, i)
    with pytest.raises(ValueError, match=r"replay state has rows \(10, 11\)"):
        uniform(*sizes, capacity=capacity).load_state_dict(replay.state_dict())


@pytest.mark.parametrize("which", [0, 1, 5])
@pytest.mark.parametrize("wrong", [np.zeros(1), np.zeros((3, 1)), np.float64(0)])
def test_wrong_shapes_are_refused_rather_than_broadcast(which: int, wrong: Any) -> None:
    transition = [np.zeros(3), np.zeros(2), 0.0, False, False, np.zeros(3)]
    transition[which] = wrong
    with pytest.raises(ValueError, match="this replay keeps shape"):
        uniform(3, 2).add(*transition)


def test_a_capacity_below_one_and_an_empty_replay_are_refused() -> None:
    with pytest.raises(ValueError, match="capacity of the replay is 0; it must be at least 1"):
        uniform(3, 2, capacity=0)
    with pytest.raises(ValueError, match="empty"):
        sample(uniform(3, 2), 1)


def test_bytes_needed_is_what_a_full_replay_takes() -> None:
    assert bytes_needed(3, 2, 10) == uniform(3, 2, capacity=10)._rows.nbytes
    assert bytes_needed(17, 6, 1_000_000) == 172_000_000
