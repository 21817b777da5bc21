"""Dense TD3 and SAC as others ship them: Stable-Baselines3 (torch) and SBX (JAX), set up as equals of ours."""

from __future__ import annotations

import importlib
import importlib.util
import time
from typing import Any, Final

import numpy as np

from studies.bench.plan import Setting

MODULES: Final = {"sb3": "stable_baselines3", "sbx": "sbx"}
ROWS: Final = 10_000
"""Random transitions in the memory, as many as ours has."""


def missing(kind: str) -> str:
    """Why a peer cannot take part, in one line; else nothing."""
    if kind not in MODULES or importlib.util.find_spec(MODULES[kind]):
        return ""
    return f"{MODULES[kind]} is not installed; pip install 'sparsity-rl[bench]' brings it"


class Peer:
    """One of their agents, its memory filled, its noise and widths as ours."""

    def __init__(self, kind: str, setting: Setting) -> None:
        import torch

        torch.set_num_threads(setting.threads)
        # As in our own processes; it favours neither.
        torch.set_flush_denormal(True)
        theirs: Any = importlib.import_module(MODULES[kind])
        self._batch = setting.batch
        noise = {"action_noise": _noise(setting.env)} if setting.agent == "td3" else {}
        self._model: Any = getattr(theirs, setting.agent.upper())(
            "MlpPolicy",
            setting.env,
            learning_rate=setting.learning_rate,
            batch_size=setting.batch,
            learning_starts=0,
            train_freq=1,
            gradient_steps=1,
            policy_kwargs={"net_arch": [setting.width, setting.width]},
            **noise,
            seed=0,
            device="cpu",
        )
        # A logger of no outputs: their default makes a folder.
        logger: Any = importlib.import_module("stable_baselines3.common.logger")
        self._model.set_logger(logger.Logger(None, []))
        self._fill()
        self._draw = self._model.replay_buffer.sample
        self._prepared: dict[int, Any] = {}

    def warm(self) -> dict[str, Any]:
        """Compile both kinds of update, and the step; XLA compiles a block's size anew in the first block of it."""
        self.block("update", 10)
        self.block("step", 4)
        return {"seconds": {"update": self.block("update", 10) / 10}, "facts": {}}

    def block(self, work: str, n: int) -> float:
        """`update`: one call for all n, their best case, on a prepared batch; `step`: `learn`, one update a step."""
        return self._learned(n) if work == "step" else self._trained(n)

    def _trained(self, n: int) -> float:
        self._model.replay_buffer.sample = self._same
        started = time.perf_counter()
        self._model.train(gradient_steps=n, batch_size=self._batch)
        self._wait()
        seconds = time.perf_counter() - started
        self._model.replay_buffer.sample = self._draw
        return seconds

    def _learned(self, n: int) -> float:
        """Between two calls back that lie n steps apart: `learn` itself sets up and tears down outside of them."""
        marks: list[float] = []

        def mark(*_: Any) -> bool:
            marks.append(time.perf_counter())
            return True

        # One step before the first mark and one after the last keep the number even: XLA compiles for each parity.
        self._model.learn(n + 2, callback=mark, reset_num_timesteps=False)
        return marks[n] - marks[0]

    def _same(self, size: int, env: Any = None) -> Any:
        if size not in self._prepared:
            self._prepared[size] = self._draw(size, env=env)
        return self._prepared[size]

    def _wait(self) -> None:
        """Until the last of the update is done: JAX answers before it is."""
        state = getattr(self._model.policy, "qf_state", None)
        if state is not None:
            jax: Any = importlib.import_module("jax")
            jax.block_until_ready((state.params, self._model.policy.actor_state.params))

    def _fill(self) -> None:
        draw, memory = np.random.default_rng(0), self._model.replay_buffer
        observation, action = (1, *memory.obs_shape), (1, memory.action_dim)
        for _ in range(ROWS):
            before, after = draw.normal(size=(2, *observation))
            memory.add(before, after, draw.uniform(-1, 1, action), draw.normal(size=1), np.zeros(1), [{}])


def _noise(env: str) -> Any:
    import gymnasium

    noise: Any = importlib.import_module("stable_baselines3.common.noise")
    made = gymnasium.make(env)
    shape = made.action_space.shape or ()
    made.close()
    return noise.NormalActionNoise(np.zeros(shape), np.full(shape, 0.1))
