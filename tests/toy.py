"""Small environments with known optima, for tests of agents: no simulator, a few microseconds a step."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Box:
    """What training reads of an action space."""

    def __init__(self, size: int) -> None:
        self.shape = (size,)


class Carry:
    """Two steps an episode: choose a place for a goal that is shown, hear only at the second step how good it was.

    s1 = (0, goal), reward 0; s2 = (1, a1 - goal), reward -(a1 - goal)^2 - (a2 - 1/2)^2, terminated.
    The optimum, 0, is a1 = goal and a2 = 1/2; a1 is learned through the bootstrap alone.
    """

    action_space = Box(1)

    def __init__(self) -> None:
        self.random = np.random.default_rng()
        self.observation = np.zeros(2, dtype=np.float32)

    def reset(self, *, seed: int | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.observation[:] = 0, self.random.uniform(-0.8, 0.8)
        return self.observation, {}

    def step(self, action: Any, /) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """The observation's array is written over at each step, as some real environments do."""
        later, number = self.observation.tolist()
        if not later:
            self.observation[:] = 1, float(action[0]) - number
            return self.observation, 0.0, False, False, {}
        return self.observation, -(number**2) - (float(action[0]) - 0.5) ** 2, True, False, {}


class Paid:
    """Reward 1 a step, for ever: Q = 1 / (1 - discount), unless the end after `length` steps is the task's own."""

    action_space = Box(1)

    def __init__(self, *, length: int = 1, terminates: bool = False, pay: tuple[float, ...] = (1.0,)) -> None:
        self.length, self.terminates, self.pay = length, terminates, pay
        self.seeds: list[int | None] = []
        self.actions: list[NDArray[Any]] = []
        self.seen = np.ones(1)
        self.steps = self.elapsed = 0

    def reset(self, *, seed: int | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
        self.seeds.append(seed)
        self.elapsed = 0
        return np.ones(1), {}

    def step(self, action: Any, /) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Pay `pay` in turn, the last for ever; observe `seen`."""
        self.actions.append(np.array(action))
        reward = self.pay[min(self.steps, len(self.pay) - 1)]
        self.steps += 1
        self.elapsed += 1
        ended = self.elapsed >= self.length
        return self.seen, reward, ended and self.terminates, ended and not self.terminates, {}
