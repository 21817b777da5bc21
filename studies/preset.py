"""Presets: an agent, methods and settings as a paper used them. Defaults < preset < study file < flags."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple


class Successor(NamedTuple):
    """What Gymnasium has of an environment of mujoco-py, and what is to be said of it."""

    env: str
    said: str


V3: Final[Mapping[str, Successor]] = {
    "HalfCheetah": Successor("HalfCheetah-v5", "the same task"),
    "Hopper": Successor("Hopper-v4", "the same task; v5 rewards differently"),
    "Walker2d": Successor("Walker2d-v4", "the same task; v5 rewards and rubs differently"),
    "Ant": Successor("Ant-v5", "not the same task (105 observations, v3 has 111): compare with your own dense rows"),
    "Humanoid": Successor(
        "Humanoid-v5", "not the same task (348 observations, v3 has 376): compare with your own rows"
    ),
}
"""The environments that the papers name, which need mujoco-py and cannot be had any more."""


@dataclass(frozen=True)
class Preset:
    """Settings of one publication. Method changes are written as in a study file."""

    agent: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the agent."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """Keys of a study file: `warmup`, `eval_every`, `episodes`, `replay`, `wrappers`."""
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Changes by base method, of single learners too; methods not named are left as they are."""
    envs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further changes to those methods, by the environment's name without its version."""
    successors: Mapping[str, Successor] = field(default_factory=dict)
    """What runs in place of the versions that the paper used, by the environment's name without its version."""

    def changes(self, base: str, env: str) -> list[Mapping[str, Any]]:
        """What the preset changes in a method for an environment, in order."""
        if base not in self.methods:
            return []
        name = env.rpartition("-v")[0]
        return [self.methods[base], *([self.envs[name]] if name in self.envs else [])]

    def environments(self, envs: Iterable[str]) -> list[str]:
        """The environments to run for those that are named. A warning says what is not as in the paper."""
        return [self._environment(env) for env in envs]

    def _environment(self, env: str) -> str:
        name, _, version = env.rpartition("-v")
        if name not in self.successors:
            return env
        successor, said = self.successors[name]
        if version in ("2", "3"):
            warnings.warn(f"{env} needs mujoco-py: {successor} runs in its place, {said}", stacklevel=2)
            return successor
        if env != successor:
            warnings.warn(f"the paper's {name} is {successor} here, {said}; {env} was asked for and runs", stacklevel=2)
        return env
