"""A toy environment that draws itself with NumPy: pictures without a simulator, a screen, or OpenGL."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

ID = "Painted-v0"
SIDE = 33
"""Pixels: odd, as no codec likes it."""
LENGTH = 6


class Painted(gymnasium.Env[Any, Any]):
    """A white column moves over a red ground, four pixels a step; `LENGTH` steps an episode, reward |a|^2."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-1, 1, (3,))
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,))
        self.at = 0

    def _seen(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at += 1
        return self._seen(), float(np.square(action).sum()), False, self.at >= LENGTH, {}

    def render(self) -> Any:
        picture = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        picture[:, :, 0] = 200
        picture[:, 4 * self.at : 4 * self.at + 8] = 255
        return picture


gymnasium.register(ID, Painted, disable_env_checker=True)
