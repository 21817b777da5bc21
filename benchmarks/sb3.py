"""What sparse training costs or saves in Stable-Baselines3: milliseconds per gradient step, interleaved in one process.

    OMP_NUM_THREADS=1 python -m benchmarks.sb3 --repeats 9

Plain Stable-Baselines3 beside masked and sparse execution, SET with its swap every 1,000 updates, HalfCheetah's sizes
on random transitions. A step is all of `model.train`: sampling, both networks, targets. Medians over blocks, and the
ratio to the plain model's block of the same repeat: timings drift with the machine, ratios do less.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import SAC, TD3

from sparsity.sb3 import SparseCallback

AGENTS = {"td3": TD3, "sac": SAC}


class Sized(gym.Env[Any, Any]):
    """Spaces of HalfCheetah, and noise."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (17,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (6,), np.float32)

    def __init__(self) -> None:
        self._draw = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self._draw.normal(size=17).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        return self._draw.normal(size=17).astype(np.float32), float(self._draw.normal()), False, False, {}


class Contestant:
    """A model with its memory filled, and its callback attached, if it has one."""

    def __init__(self, agent: str, width: int, batch: int, callback: SparseCallback | None) -> None:
        sizes = {"policy_kwargs": {"net_arch": [width, width]}, "batch_size": batch}
        self.model = AGENTS[agent]("MlpPolicy", Sized(), buffer_size=10_000, seed=0, device="cpu", **sizes)
        self.model.learn(100, log_interval=10**9)  # Makes the logger, and no update.
        self.model.learning_starts = 10**9
        self.model.learn(2 * batch, log_interval=10**9, reset_num_timesteps=False)
        if callback is not None:
            self.model._total_timesteps = 10**9
            self.model.learning_starts = 0
            callback.init_callback(self.model)

    def milliseconds(self, updates: int, batch: int) -> float:
        """Per gradient step, over a block."""
        started = time.perf_counter()
        for _ in range(updates):
            self.model.train(gradient_steps=1, batch_size=batch)
        return 1000 * (time.perf_counter() - started) / updates


def contestants(agent: str, width: int, batch: int, densities: list[float]) -> dict[str, Contestant]:
    """The plain model, and every density in both executions."""
    found = {"Stable-Baselines3": Contestant(agent, width, batch, None)}
    for density in densities:
        for execution in ("masked", "sparse"):
            callback = SparseCallback("set", density=density, execution=execution)  # type: ignore[arg-type]
            found[f"{execution} {density:g}"] = Contestant(agent, width, batch, callback)
    return found


def main() -> None:
    """Print a table an agent."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=9)
    arguments.add_argument("--updates", type=int, default=50, help="updates a block")
    arguments.add_argument("--width", type=int, default=256)
    arguments.add_argument("--batch", type=int, default=256)
    arguments.add_argument("--densities", type=float, nargs="+", default=[0.5, 0.1, 0.05])
    arguments.add_argument("--agents", nargs="+", default=list(AGENTS), choices=AGENTS)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    for agent in given.agents:
        found = contestants(agent, given.width, given.batch, given.densities)
        for each in found.values():
            each.milliseconds(10, given.batch)
        times: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(given.repeats):
            for name, each in found.items():
                times[name].append(each.milliseconds(given.updates, given.batch))
        print(f"| {agent}, width {given.width}, batch {given.batch} | ms an update | times plain | range |")
        print("|:---|---:|---:|:---|")
        for name, taken in times.items():
            ratios = np.array(times["Stable-Baselines3"]) / np.array(taken)
            spread = f"{ratios.min():.2f} ... {ratios.max():.2f}"
            print(f"| {name} | {np.median(taken):.2f} | {np.median(ratios):.2f} | {spread} |")


if __name__ == "__main__":
    main()
