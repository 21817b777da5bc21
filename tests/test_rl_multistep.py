"""Targets over several steps: never over an episode's end, never past the newest transition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_rl_td3 import agent, batch
from toy import Carry

from rl import Batch, Training, UniformReplay, numpy_generator, stream, td3
from rl.agent import bootstrapped
from rl.sac import sac

CPU = torch.device("cpu")


class Row:
    """A transition whose numbers all tell when it was added."""

    def __init__(self, number: int, terminated: bool, truncated: bool) -> None:
        self.number, self.terminated, self.truncated = number, terminated, truncated
        self.reward = float(np.sin(number))


def filled(ends: list[int], capacity: int, dropped: int = 0) -> tuple[UniformReplay, list[Row]]:
    """A memory of `len(ends)` transitions (0 goes on, 1 terminates, 2 is cut off by time), and those that are left."""
    replay, rows = UniformReplay(1, 1, capacity), []
    for number, end in enumerate(ends):
        row = Row(number, end == 1, end == 2)
        replay.add(*(np.full(1, number),) * 2, row.reward, row.terminated, row.truncated, np.full(1, number + 0.5))
        rows.append(row)
    rows = rows[-capacity:]
    dropped = min(dropped, len(rows) - 1)
    replay.drop_oldest(dropped)
    return replay, rows[dropped:]


def walked(rows: list[Row], at: int, horizon: int, discount: float) -> tuple[float, float, bool, int]:
    """Step by step from a transition on: the return, where it ends, whether that is an end of the task, the steps."""
    total, steps = 0.0, 0
    for row in rows[at : at + horizon]:
        total, steps, last = total + discount**steps * row.reward, steps + 1, row
        if row.terminated or row.truncated:
            break
    return total, last.number + 0.5, last.terminated, steps


@given(
    ends=st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=1, max_size=30),
    capacity=st.integers(1, 40),
    dropped=st.integers(0, 10),
    horizon=st.integers(1, 6),
    discount=st.sampled_from([0.0, 0.9, 1.0]),
)
def test_a_batch_is_what_walking_step_by_step_gives(
    ends: list[int], capacity: int, dropped: int, horizon: int, discount: float
) -> None:
    replay, rows = filled(ends, capacity, dropped)
    assert len(replay) == len(rows)
    drawn = replay.sample(
        64, np.random.default_rng(0), device=CPU, dtype=torch.float64, horizon=horizon, discount=discount
    )
    ages = {float(row.number): age for age, row in enumerate(rows)}
    seen = set()
    for i, number in enumerate(drawn.observation[:, 0].tolist()):
        total, where, ended, steps = walked(rows, ages[number], horizon, discount)
        assert drawn.reward[i].item() == pytest.approx(total, abs=1e-6)
        assert drawn.next_observation[i].item() == where
        assert bool(drawn.terminated[i]) == ended
        assert drawn.steps is None if horizon == 1 else drawn.steps[i].item() == steps  # type: ignore[index]
        seen.add(number)
    assert len(seen) > len(rows) // 2  # All that are left can be drawn, and nothing else.


def test_one_step_draws_as_ever() -> None:
    replay, _ = filled([0] * 20, 50)
    one = replay.sample(8, np.random.default_rng(3), device=CPU, dtype=torch.float32)
    assert one.observation[:, 0].tolist() == np.random.default_rng(3).integers(20, size=8).tolist()


def test_a_target_over_n_steps_is_discounted_by_the_steps_it_took() -> None:
    value, reward, terminated = (
        torch.tensor([10.0, 10.0, 10.0]),
        torch.tensor([1.0, 2.0, 3.0]),
        torch.tensor([0, 0, 1.0]),
    )
    nothing = torch.zeros(3, 1)
    over = Batch(nothing, nothing, reward, nothing, terminated, torch.tensor([1.0, 3.0, 2.0]))
    assert bootstrapped(over, value, 0.5).tolist() == [6.0, 3.25, 3.0]
    assert bootstrapped(over._replace(steps=None), value, 0.5).tolist() == [6.0, 7.0, 3.0]


@pytest.mark.parametrize("build", [td3, sac])
def test_several_steps_begin_after_so_many_updates(build: Any) -> None:
    made = build(4, 2, 0, CPU, torch.float32, multi_step=3, multi_step_after=2, actor_hidden=(8,), critic_hidden=(8,))
    horizons = []
    for number in range(4):
        horizons.append(made.horizon)
        made.update(batch(number))
    assert horizons == [1, 1, 3, 3]
    assert agent().horizon == 1


class Spy(UniformReplay):
    """Notes what it was asked for."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.asked: list[dict[str, Any]] = []

    def sample(self, *args: Any, **how: Any) -> Batch:
        self.asked.append({key: how[key] for key in ("horizon", "discount") if key in how})
        return super().sample(*args, **how)


def trained(made: Any, replay: Any, steps: int = 20) -> None:
    list(
        Training(
            made, Carry(), Carry(), replay, seed=0, steps=steps, warmup=8, eval_every=100, episodes=1,
            device=CPU, dtype=torch.float32,
        )
    )  # fmt: skip


def small(**settings: Any) -> Any:
    sizes = (2, 1)
    return td3(*sizes, 0, CPU, torch.float32, actor_hidden=(8,), critic_hidden=(8,), batch_size=4, **settings)


def test_training_asks_for_as_many_steps_as_the_agent_wants() -> None:
    made = small(multi_step=3, multi_step_after=5, discount=0.9)
    spy = Spy(2, 1, 100)
    trained(made, spy)
    assert spy.asked == [{}] * 5 + [{"horizon": 3, "discount": 0.9}] * 7


class Old:
    """A memory of before there were several steps."""

    def __init__(self) -> None:
        self._memory = UniformReplay(2, 1, 100)
        self.add = self._memory.add

    def __len__(self) -> int:
        return len(self._memory)

    def sample(self, batch_size: int, generator: np.random.Generator, *, device: Any, dtype: Any) -> Batch:
        return self._memory.sample(batch_size, generator, device=device, dtype=dtype)


def test_a_memory_that_knows_no_horizon_serves_one_step_and_is_refused_for_more() -> None:
    trained(small(), Old())
    with pytest.raises(ValueError, match=r"Old\.sample knows no `horizon`: set multi_step = 1"):
        trained(small(multi_step=3), Old())


@pytest.mark.parametrize(("setting", "value"), [("multi_step", 0), ("multi_step_after", -1)])
@pytest.mark.parametrize("build", [td3, sac])
def test_bad_horizons_are_refused(build: Any, setting: str, value: int) -> None:
    with pytest.raises(ValueError, match=setting):
        build(4, 2, 0, CPU, torch.float32, **{setting: value})


def test_a_reward_that_comes_late_is_learnt_over_several_steps() -> None:
    """On a task whose reward is known two steps ahead, three-step targets tell its value at the first update."""
    replay = UniformReplay(1, 1, 10)
    for number, (reward, ended) in enumerate([(0.0, False), (0.0, False), (1.0, True)]):
        replay.add(np.full(1, number), np.zeros(1), reward, ended, False, np.full(1, number + 1))
    draw = numpy_generator(stream(0, "replay"))
    drawn = replay.sample(50, draw, device=CPU, dtype=torch.float32, horizon=3, discount=0.9)
    y = bootstrapped(drawn, torch.full((50,), 1000.0), 0.9)
    assert sorted(set(y.round(decimals=4).tolist())) == pytest.approx([0.81, 0.9, 1.0])
