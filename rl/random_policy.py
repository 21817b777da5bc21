"""The floor of every comparison: an agent that acts at random and learns nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import hookimpl
from rl.agent import Batch, Learner
from rl.streams import numpy_generator, stream


class RandomPolicy:
    """a ~ U(-1, 1), whether it explores or not; two generators, so that evaluating disturbs no training."""

    batch_size = 0

    def __init__(self, action_size: int, exploring: np.random.Generator, evaluated: np.random.Generator) -> None:
        self.action_size = action_size
        self.exploring = exploring
        self.evaluated = evaluated

    def act(self, observation: NDArray[Any], *, explore: bool) -> NDArray[np.float32]:
        generator = self.exploring if explore else self.evaluated
        return generator.uniform(-1, 1, self.action_size).astype(np.float32)

    def update(self, batch: Batch) -> Mapping[str, float]:
        """Nothing: there is nothing to learn."""
        return {}

    def learners(self) -> tuple[Learner, ...]:
        return ()

    def state_dict(self) -> dict[str, Any]:
        return {
            "exploring": self.exploring.bit_generator.state,
            "evaluated": self.evaluated.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.exploring.bit_generator.state = state["exploring"]
        self.evaluated.bit_generator.state = state["evaluated"]


def random(action_size: int, seed: int) -> RandomPolicy:
    """a ~ U(-1, 1) at every step: the score that normalised returns call zero."""
    return RandomPolicy(
        action_size,
        exploring=numpy_generator(stream(seed, "exploration")),
        evaluated=numpy_generator(stream(seed, "exploration", 1)),
    )


@hookimpl
def register_agent(register: Callable[[Callable[..., object]], None]) -> None:
    register(random)
