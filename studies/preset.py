"""Presets: an agent, methods and settings as a paper used them. Defaults < preset < study file < flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from registry import hookimpl


@dataclass(frozen=True)
class Preset:
    """Settings of one publication. Method changes are written as in a study file."""

    agent: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the agent."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """`warmup`, `eval_every`, `episodes`."""
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Changes by base method; methods not named are left as they are."""
    envs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further changes to those methods, by the environment's name without its version."""

    def changes(self, base: str, env: str) -> list[Mapping[str, Any]]:
        """What the preset changes in a method for an environment, in order."""
        if base not in self.methods:
            return []
        name = env.rpartition("-v")[0]
        return [self.methods[base], *([self.envs[name]] if name in self.envs else [])]


DS_TD3 = Preset(
    agent="td3",
    settings={"learning_rate": 1e-3, "weight_decay": 2e-4, "batch_size": 100},
    run={"warmup": 25_000, "eval_every": 5_000, "episodes": 10},
    methods={"ds": {}, "ds_released": {}, "static": {"allocation": "lambdas", "initial": "bernoulli"}},
    envs={
        "Ant": {"allocation": {"first": 40.0, "rest": 64.0}},
        "Humanoid": {"allocation": {"first": 61.0, "rest": 64.0}},
    },
)

TD3_OFFICIAL = Preset(
    agent="td3",
    settings={"learning_rate": 3e-4, "weight_decay": 0.0, "batch_size": 256},
    run={"warmup": 25_000, "eval_every": 5_000, "episodes": 10},
)


@hookimpl
def register_preset(register: Callable[..., object]) -> None:
    register(DS_TD3, name="ds-td3", about="TD3, DS-TD3 and Static-TD3 with one set of settings (Sokar et al. 2022).")
    register(TD3_OFFICIAL, name="td3-official", about="TD3 as in its authors' released code (Fujimoto et al. 2018).")
