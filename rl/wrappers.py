"""Environments made harder on purpose, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from registry import hookimpl


def noise_features(env: Any, seed: np.random.SeedSequence, *, share: float = 0.5) -> Any:
    """d observations padded to ceil(d / (1 - share)) with fresh N(0, 1) features (ANF, Grooten et al. 2023).

    The extremely noisy environment. `share` is the part of the observation that is noise, in [0, 1).
    """
    import gymnasium

    if not 0 <= share < 1:
        raise ValueError(f"noise_features: share must lie in [0, 1), not {share:g}")
    space = env.observation_space
    assert isinstance(space, gymnasium.spaces.Box)
    # 17 / (1 - 0.9) is a little more than 170 in floating point.
    extra = math.ceil(round(space.shape[0] / (1 - share), 9)) - space.shape[0]
    generator = np.random.default_rng(seed)
    padded = gymnasium.spaces.Box(
        np.concatenate([space.low, np.full(extra, -np.inf)]),
        np.concatenate([space.high, np.full(extra, np.inf)]),
        dtype=np.float64,
    )

    class NoiseFeatures(gymnasium.ObservationWrapper[Any, Any, Any]):
        def observation(self, observation: np.ndarray) -> np.ndarray:
            return np.concatenate([observation, generator.standard_normal(extra)])

        def state_dict(self) -> dict[str, Any]:
            return {"generator": generator.bit_generator.state}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            generator.bit_generator.state = state["generator"]

    wrapped = NoiseFeatures(env)
    wrapped.observation_space = padded
    return wrapped


@hookimpl
def register_wrapper(register: Callable[..., object]) -> None:
    register(noise_features)
