"""An environment that lets the training loop be timed in blocks."""

from __future__ import annotations

from typing import Any

from rl.environment import Environment


class Paced:
    """Says after every n-th step that time is up, so that training tells of an episode, and goes on where it was.

    The loop's own signals would do too, but they check and measure all weights, as a run does every 1,000 steps: done
    every few steps, that is a fifth of a wide agent's time.
    """

    def __init__(self, env: Environment, n: int) -> None:
        self.action_space, self._env, self._n = env.action_space, env, n
        self._steps = 0
        self._seen: Any = None
        """The last observation; none where a new episode must begin."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """The observation at which it was stopped, or a new episode's if the last one is really over."""
        return self._env.reset(seed=seed) if self._seen is None else (self._seen, {})

    def step(self, action: Any, /) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        seen, reward, terminated, truncated, more = self._env.step(action)
        self._steps += 1
        self._seen = None if terminated or truncated else seen
        return seen, reward, terminated, truncated or self._steps % self._n == 0, more
