"""Memories that look at the agent: RLx2's dynamic capacity, and the review of old experience."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from toy import Carry

from rl import Batch, Training
from rl.asking_replays import DynamicReplay, ReviewedReplay, dynamic, reviewed
from rl.random_policy import random
from rl.td3 import td3

CPU = torch.device("cpu")
OBSERVATIONS, ACTIONS = 2, 1


class Steady:
    """An agent whose policy is one action, and whose critic has a given share of active units."""

    def __init__(self, action: float = 0.0, active: float = 1.0) -> None:
        self.batch_size, self.action, self._active = 2, action, active

    def mean_actions(self, observation: torch.Tensor) -> torch.Tensor:
        return torch.full((len(observation), ACTIONS), self.action, dtype=observation.dtype)

    def learners(self) -> Any:
        module = torch.nn.Linear(1, 1)
        module.stack = self  # type: ignore[assignment]
        return (type("Learner", (), {"module": module})(),)

    def activations(self, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        units = torch.zeros(2, len(inputs[0]), 10)
        units[..., : round(10 * self._active)] = 1
        return [units, units]


def filled(replay: Any, means: list[float], **more: Any) -> Any:
    for number, mean in enumerate(means):
        asked = {"mean_action": np.full(ACTIONS, mean)} if isinstance(replay, DynamicReplay) else {}
        replay.add(
            np.full(OBSERVATIONS, number), np.zeros(ACTIONS), number, False, False, np.zeros(OBSERVATIONS), **asked
        )
    return replay


def there(replay: Any, draws: int = 400) -> list[int]:
    """The rewards that can still be drawn."""
    batch: Batch = replay.sample(draws, np.random.default_rng(0), device=CPU, dtype=torch.float32)
    return sorted({int(reward) for reward in batch.reward.tolist()})


def memory(**settings: Any) -> DynamicReplay:
    return dynamic(OBSERVATIONS, ACTIONS, **{"capacity": 100, "least": 10, "batches": 1} | settings)


def test_a_policy_that_moved_drops_the_oldest_and_one_that_did_not_keeps_them() -> None:
    replay = filled(memory(repeat=False), [0.0] * 20)
    replay.review(Steady(0.0))
    assert there(replay) == list(range(20))
    replay.review(Steady(0.9))
    assert there(replay) == list(range(2, 20))  # a tenth of 20
    replay.review(Steady(0.9))
    assert there(replay) == list(range(3, 20))  # a tenth of 18, rounded down


def test_the_paper_repeats_until_the_oldest_are_near_again() -> None:
    """By hand: 20, 18, 17, 16 transitions; the oldest batch, 4 and 5, then is of the policy that is there."""
    replay = filled(memory(), [0.0] * 4 + [0.9] * 16)
    replay.review(Steady(0.9))
    assert there(replay) == list(range(4, 20))


def test_nothing_leaves_at_or_below_the_least() -> None:
    replay = filled(memory(least=18), [0.0] * 20)
    replay.review(Steady(0.9))
    assert len(replay) == 18
    replay.review(Steady(0.9))
    assert len(replay) == 18


def test_the_distances_by_hand() -> None:
    """The policy is 0.3 away in each of the action's components."""
    for name, expected in {"norm": 0.3 * ACTIONS**0.5, "half_squared": 0.3**2 / 2}.items():
        replay = filled(memory(distance=name), [0.5] * 20)
        assert replay.distance(Steady(0.8)) == pytest.approx(expected, abs=1e-6), name


def test_the_oldest_batches_decide_and_no_others() -> None:
    replay = filled(memory(batches=2), [0.0] * 4 + [0.9] * 16)  # two batches of two
    assert replay.distance(Steady(0.0)) == 0
    assert replay.distance(Steady(0.9)) > 0.5


def test_a_ring_that_is_full_and_was_cut_keeps_its_order() -> None:
    replay = filled(memory(capacity=20, repeat=False), [0.0] * 33)
    replay.review(Steady(0.9))
    assert there(replay) == list(range(15, 33))
    filled(replay, [0.9])
    assert len(replay) == 19


@pytest.mark.parametrize("build", [memory, lambda: reviewed(OBSERVATIONS, ACTIONS, capacity=30)])
def test_a_restored_memory_goes_on_as_the_first(build: Any) -> None:
    one, other = filled(build(), [0.0] * 40), build()
    one.review(Steady(0.9, active=0.1))
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for each in (one, other):
        filled(each, [0.1] * 3)
        each.review(Steady(0.5, active=0.2))
    draws = [each.sample(16, np.random.default_rng(1), device=CPU, dtype=torch.float32).reward for each in (one, other)]
    assert torch.equal(*draws) and len(one) == len(other)  # noqa: PT018


def review(active: float) -> ReviewedReplay:
    replay: ReviewedReplay = filled(reviewed(OBSERVATIONS, ACTIONS, capacity=200), [0.0] * 100)
    replay.review(Steady(active=active))  # type: ignore[arg-type]
    return replay


def test_old_experience_comes_back_while_the_critics_sleep() -> None:
    assert review(1.0).chance == review(0.4).chance == 0
    assert review(0.0).chance == pytest.approx(1 - 1 / (1 + 0.9 * np.exp(0.4)))
    asleep, generator = review(0.1), np.random.default_rng(0)
    batches = [asleep.sample(8, generator, device=CPU, dtype=torch.float32).reward for _ in range(400)]
    old = np.mean([float(batch.max()) < 30 for batch in batches])  # 8 uniform draws are all that old once in 15,000
    assert old == pytest.approx(asleep.chance, abs=0.08)


def test_awake_critics_draw_as_a_uniform_memory_does() -> None:
    awake, generator = review(1.0), np.random.default_rng(2)
    drawn = awake.sample(8, generator, device=CPU, dtype=torch.float32).reward
    assert drawn.tolist() == np.random.default_rng(2).integers(100, size=8).tolist()


class Listening(DynamicReplay):
    """Notes when it was asked."""

    def review(self, agent: Any) -> None:
        self.reviewed_at = [*getattr(self, "reviewed_at", []), len(self)]
        super().review(agent)


def trained(agent: Any, replay: Any) -> None:
    list(
        Training(
            agent, Carry(), Carry(), replay, seed=0, steps=30, warmup=10, eval_every=100, episodes=1,
            device=CPU, dtype=torch.float32,
        )
    )  # fmt: skip


def test_training_reviews_and_tells_the_policys_own_action() -> None:
    agent = td3(OBSERVATIONS, ACTIONS, 0, CPU, torch.float32, actor_hidden=(8,), critic_hidden=(8,), batch_size=4)
    settings: dict[str, Any] = {"distance": "norm", "limit": 0.2, "least": 1000, "share": 0.1, "batches": 1}
    replay = Listening(memory()._memory, review_every=7, repeat=True, **settings)
    trained(agent, replay)
    assert replay.reviewed_at == [14, 21, 28]  # after the warm-up only
    actions, means = replay._memory._rows[:30, OBSERVATIONS : OBSERVATIONS + ACTIONS], replay._means[:30]
    assert (actions[:10] == means[:10]).all()  # what was drawn at random is its own mean
    assert (actions[10:] != means[10:]).any()


class Mute:
    """An agent that tells nobody its policy, nor what its network does."""

    multi_step = 1

    def learners(self) -> Any:
        return (type("Learner", (), {"module": torch.nn.Linear(1, 1)})(),)


def test_an_agent_that_tells_nothing_is_refused_before_the_first_step() -> None:
    with pytest.raises(ValueError, match="Mute has no mean_actions: use another replay"):
        trained(Mute(), memory())
    with pytest.raises(ValueError, match="activations of Linear, which has no stack: use another replay"):
        trained(Mute(), reviewed(OBSERVATIONS, ACTIONS))


def test_the_random_policy_fills_any_memory() -> None:
    replay = memory()
    trained(random(ACTIONS, 0), replay)
    assert len(replay) == 30


@pytest.mark.parametrize(
    ("build", "setting", "value"),
    [(dynamic, "every", 0), (dynamic, "limit", 0.0), (dynamic, "share", 1.0), (dynamic, "least", 3),
     (dynamic, "batches", 0),
     (reviewed, "every", 0), (reviewed, "awake", 1.5), (reviewed, "strength", -1.0), (reviewed, "share", 0.0)],
)  # fmt: skip
def test_bad_settings_are_refused(build: Any, setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=setting):
        build(OBSERVATIONS, ACTIONS, **{setting: value})
