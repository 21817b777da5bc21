"""Policies of Stable-Baselines3 through `network_of`, as docs/export.md has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from sparsity.export import Network, network_of

sb3 = pytest.importorskip("stable_baselines3")

NETWORKS = {
    "TD3": lambda policy: network_of(policy.actor.mu),
    "DDPG": lambda policy: network_of(policy.actor.mu),
    "SAC": lambda policy: network_of(policy.actor.latent_pi, policy.actor.mu, nn.Tanh()),
    "PPO": lambda policy: network_of(policy.mlp_extractor.policy_net, policy.action_net),
    "A2C": lambda policy: network_of(policy.mlp_extractor.policy_net, policy.action_net),
    "DQN": lambda policy: network_of(policy.q_net.q_net, argmax=True),
}


def in_bounds(name: str, action: np.ndarray, space: Any) -> np.ndarray:
    """What `predict` gives: TD3, DDPG and SAC rescale, PPO and A2C clip, DQN counts."""
    if name == "DQN":
        return action
    if name in ("PPO", "A2C"):
        return action.clip(space.low, space.high)
    return space.low + (action + 1) / 2 * (space.high - space.low)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_what_predict_does(name: str) -> None:
    env = "CartPole-v1" if name == "DQN" else "Pendulum-v1"
    model = getattr(sb3, name)("MlpPolicy", env, seed=0, device="cpu")
    network: Network = NETWORKS[name](model.policy)
    space = model.observation_space
    seen = np.random.default_rng(0).uniform(-1, 1, size=(20, space.shape[0])).astype(np.float32)
    expected, _ = model.predict(seen, deterministic=True)
    np.testing.assert_allclose(in_bounds(name, network(seen), model.action_space), expected, atol=1e-6)
