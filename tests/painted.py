"""A toy environment that draws itself with NumPy, without a simulator, a screen, or OpenGL; and finished runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from lab import QUICK, Lab, draw_nothing

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


def trained(lab: Lab, env: str, *words: object) -> str:
    """The id of a sparse run, four episodes an evaluation."""
    methods = ("--methods", "set", "--densities", "0.5", "--envs", env, *QUICK, "--set", "episodes=4", "--name", "tiny")
    answer = lab.run(*methods, "--set", "random_episodes=0", *words)
    assert answer.code == 0, answer.err
    return lab.folder_of("set").name


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a sparse run on the environment that draws itself, and the run's id."""
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        lab = Lab(tmp_path_factory.mktemp("once"))
        return lab.store, trained(lab, ID, "--execution", "sparse")


def trained_with_a_plugin(lab: Lab) -> tuple[Path, Path]:
    """The folder of a run whose criterion `mine` is of a plugin, and that plugin's file, mine.py."""
    plugin = lab.file(
        "from registry import hookimpl\n\ndef mine(weight):\n    return weight.abs()\n\n"
        "@hookimpl\ndef register_prune(register):\n    register(mine)\n",
        "mine.py",
    )
    study = (
        f'agents=["td3"]\nenvs=["{ID}"]\nseeds=1\nsteps=80\nwarmup=40\nrandom_episodes=0\ndensities=[0.5]\n'
        '[methods]\n"mine" = { base = "set", prune = "mine" }\n[settings.td3]\nbatch_size=8\nhidden=[8, 8]\n'
    )
    assert lab.study(study, "--plugin", plugin).code == 0
    return lab.folder_of("mine", name="study"), plugin
