"""How many updates `learn` is going to make: schedules whose windows are shares of a run need it."""

from __future__ import annotations

import math
from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm


def planned_updates(model: Any, timesteps: int, start: int = 0) -> int | None:
    """Agent updates between two counts of timesteps; None where the lengths of episodes decide.

    Off-policy, an update is a gradient step; on-policy, a step of the optimiser, and an upper bound where `target_kl`
    may end a round of them early.
    """
    if isinstance(model, OffPolicyAlgorithm):
        return _off_policy(model, timesteps, start)
    collected = int(model.n_steps * model.n_envs)
    rollouts = max(0, math.ceil((timesteps - start) / collected))
    if isinstance(model, PPO):
        return rollouts * int(model.n_epochs) * math.ceil(collected / int(model.batch_size))
    return rollouts


def _off_policy(model: Any, timesteps: int, start: int) -> int | None:
    by_episode = model.train_freq.unit.value == "episode"
    if by_episode and model.gradient_steps >= 0:
        return None
    collected = 1 if by_episode else int(model.train_freq.frequency * model.n_envs)
    rollouts = max(0, math.ceil((timesteps - start) / collected))
    without = min(rollouts, max(0, (int(model.learning_starts) - start) // collected))
    steps = int(model.gradient_steps)
    return (rollouts - without) * (steps if steps >= 0 else collected)  # Those that end by learning_starts make none.
