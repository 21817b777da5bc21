"""DDPG is TD3 with one critic, no delay and no noise on the target's action."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from numpy.random import SeedSequence
from test_rl_td3 import batch

from registry import part
from rl import td3
from rl.ddpg import ddpg
from sparsity import DS, RIGL, SET, Method, Sparsifier

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"actor_hidden": (16, 12), "critic_hidden": (14, 10), "batch_size": 32}


def test_the_target_is_the_one_critics_own() -> None:
    agent = ddpg(4, 2, 0, CPU, torch.float64, discount=0.9, **SMALL)
    seen = batch(0, torch.float64)
    action = agent.actor_target.module(seen.next_observation)
    q = agent.critics_target.module(seen.next_observation, action)
    assert q.shape == (1, 32)
    assert torch.allclose(agent.bootstrap(seen), seen.reward + 0.9 * (1 - seen.terminated) * q[0])


def test_the_actor_and_the_slow_copies_move_at_every_update() -> None:
    agent = ddpg(4, 2, 0, CPU, torch.float32, **SMALL)
    assert [learner.stride for learner in agent.learners()] == [1, 1]
    assert "actor_loss" in agent.update(batch(0))
    assert (agent.actor_target.calls, agent.critics_target.calls) == (1, 1)


@pytest.mark.parametrize("method", [SET, RIGL, DS], ids=["set", "rigl", "ds"])
def test_one_critic_is_the_same_masked_and_sparse(method: Method) -> None:
    agents = []
    for execution in ("masked", "sparse"):
        agent = ddpg(4, 2, 0, CPU, torch.float64, **SMALL)
        chosen = replace(
            method,
            allocation=part("erk", density=0.4),
            initial=part("random"),
            schedule=part("periodic", fraction=0.3, every=5),
        )
        for learner in agent.learners():
            Sparsifier(learner, chosen, seed=SeedSequence(1), total=40, execution=execution)  # type: ignore[arg-type]
        for number in range(40):
            agent.update(batch(number, torch.float64))
        agents.append(agent)
    for name, masked in agents[0].critics.state_dict().items():
        sparse = agents[1].critics.state_dict()[name]
        assert torch.allclose(masked, sparse.to_dense() if sparse.is_sparse else sparse, atol=1e-9), name


def test_td3_with_the_same_settings_is_the_same_agent() -> None:
    one = ddpg(4, 2, 0, CPU, torch.float32, **SMALL)
    other = td3(4, 2, 0, CPU, torch.float32, critics=1, policy_delay=1, target_noise=0.0, **SMALL)
    assert [one.update(batch(i)) for i in range(3)] == [other.update(batch(i)) for i in range(3)]
    with pytest.raises(ValueError, match="critics of td3"):
        td3(4, 2, 0, CPU, torch.float32, critics=0)
