"""Memories that look at the agent: what is too far from its policy leaves, or old experience comes back."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from registry import hookimpl
from rl.activity import active_share
from rl.agent import Agent, Batch
from rl.replay import UniformReplay
from rl.settings import demand


class DynamicReplay:
    """Drops its oldest transitions while the policy is far from the one that made them. Build it with `dynamic`."""

    wants_mean = True

    def __init__(
        self,
        memory: UniformReplay,
        *,
        review_every: int,
        distance: Literal["norm", "half_squared"],
        limit: float,
        least: int,
        share: float,
        batches: int,
        repeat: bool,
    ) -> None:
        self._memory, self.review_every = memory, review_every
        self._distance, self._limit, self._least, self._share = distance, limit, least, share
        self._batches, self._repeat = batches, repeat
        self._means = np.zeros((memory.capacity, memory.action_size), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._memory)

    def add(
        self,
        observation: NDArray[Any],
        action: NDArray[Any],
        reward: float,
        terminated: bool,
        truncated: bool,
        next_observation: NDArray[Any],
        mean_action: NDArray[Any] | None = None,
    ) -> None:
        """Remember one transition, and what the policy would have done without noise (the action, if nobody says)."""
        place = self._memory.added % self._memory.capacity
        self._memory.add(observation, action, reward, terminated, truncated, next_observation)
        self._means[place] = action if mean_action is None else mean_action

    def sample(self, batch_size: int, generator: np.random.Generator, **how: Any) -> Batch:
        """As `UniformReplay.sample`."""
        return self._memory.sample(batch_size, generator, **how)

    def check(self, agent: Agent) -> None:
        """ValueError for an agent that does not tell its policy."""
        if not hasattr(agent, "mean_actions"):
            kind = type(agent).__name__
            raise ValueError(
                f"dynamic asks for the policy's actions, and {kind} has no mean_actions: use another replay"
            )

    def review(self, agent: Agent) -> None:
        """Drop the oldest share if the policy has moved away from it by more than the limit; again, if `repeat`."""
        while len(self) > self._least and self.distance(agent) > self._limit:
            self._memory.drop_oldest(int(self._share * len(self)))
            if not self._repeat:
                return

    def distance(self, agent: Agent) -> float:
        """Between the policy's actions and those stored with the oldest transitions, `batches` batches of them."""
        observations, rows = self._memory.oldest(self._batches * agent.batch_size)
        example: Tensor = next(agent.learners()[0].module.parameters())
        now: Tensor = agent.mean_actions(  # type: ignore[attr-defined]
            torch.from_numpy(observations).to(device=example.device, dtype=example.dtype)
        )
        moved = now.double().cpu().numpy() - self._means[rows]
        if self._distance == "norm":
            return float(np.linalg.norm(moved, axis=1).mean())
        return float(np.square(moved).mean() / 2)

    def bytes_needed(self, added: int) -> int:
        """That of the memory, and of an action a transition."""
        memory = self._memory
        return memory.bytes_needed(added) + 4 * memory.action_size * min(added, memory.capacity)

    def state_dict(self) -> dict[str, Any]:
        """That of the memory, and the policy's actions beside it (a view: copy to keep)."""
        state = self._memory.state_dict()
        return state | {"means": torch.from_numpy(self._means[: len(state["rows"])])}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._memory.load_state_dict(state)
        self._means[: len(state["means"])] = state["means"].numpy()


class ReviewedReplay:
    """Draws from its oldest transitions, now and then, while the critics are half asleep. Build it with `reviewed`."""

    def __init__(
        self, memory: UniformReplay, *, review_every: int, awake: float, strength: float, share: float
    ) -> None:
        self._memory, self.review_every = memory, review_every
        self._awake, self._strength, self._share = awake, strength, share
        self._active, self._reviews = 1.0, 0

    def __len__(self) -> int:
        return len(self._memory)

    def add(self, *transition: Any) -> None:
        """As `UniformReplay.add`."""
        self._memory.add(*transition)

    @property
    def chance(self) -> float:
        """1 - 1 / (1 + strength exp(awake - FAU)) where FAU < awake, else 0: of a batch from the oldest."""
        if self._active >= self._awake:
            return 0.0
        return 1 - 1 / (1 + self._strength * float(np.exp(self._awake - self._active)))

    def sample(self, batch_size: int, generator: np.random.Generator, **how: Any) -> Batch:
        """As `UniformReplay.sample`; with `chance`, from the oldest share."""
        chance = self.chance
        old = chance > 0 and generator.random() < chance
        return self._memory.sample(batch_size, generator, **how, among=self._share if old else 1.0)

    def check(self, agent: Agent) -> None:
        """ValueError for an agent whose first network does not tell its activations."""
        critic: Any = agent.learners()[0].module
        if not hasattr(getattr(critic, "stack", None), "activations"):
            kind = type(critic).__name__
            raise ValueError(f"reviewed asks for the activations of {kind}, which has no stack: use another replay")

    def review(self, agent: Agent) -> None:
        """Measure the critics' fraction of active units on a batch of its own."""
        self._reviews += 1
        critic: Any = agent.learners()[0].module
        example: Tensor = next(critic.parameters())
        batch = self._memory.sample(
            agent.batch_size,
            np.random.Generator(np.random.PCG64(self._reviews)),
            device=example.device,
            dtype=example.dtype,
        )
        self._active = active_share(critic.stack.activations((batch.observation, batch.action)))

    def bytes_needed(self, added: int) -> int:
        """As `UniformReplay.bytes_needed`."""
        return self._memory.bytes_needed(added)

    def state_dict(self) -> dict[str, Any]:
        """That of the memory, and what was measured last."""
        return self._memory.state_dict() | {"active": self._active, "reviews": self._reviews}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._memory.load_state_dict(state)
        self._active, self._reviews = float(state["active"]), int(state["reviews"])


def dynamic(
    observation_size: int,
    action_size: int,
    *,
    capacity: int = 1_000_000,
    every: int = 10_000,
    distance: Literal["norm", "half_squared"] = "norm",
    limit: float = 0.2,
    least: int = 100_000,
    share: float = 0.1,
    batches: int = 8,
    repeat: bool = True,
) -> DynamicReplay:
    """Uniform; the oldest tenth leaves while the policy is over 0.2 away from it: RLx2 (Tan et al. 2023).

    Reviewed every `every` environment steps. The distance is the mean L2 norm between the policy's actions and those
    stored with the oldest 8 batches, actions in [-1, 1]; their released code takes half the mean square
    (`half_squared`) and drops once a review (`repeat` off). Nothing leaves at or below `least` transitions (200,000 for
    their SAC).
    """
    demand(every >= 1, "every of the dynamic replay", every, "at least 1 environment step")
    demand(limit > 0, "limit of the dynamic replay", limit, "above 0")
    demand(0 < share < 1, "share of the dynamic replay", share, "in (0, 1), for instance 0.1")
    demand(least >= 1 / share, "least of the dynamic replay", least, f"at least 1 / share = {1 / share:g} transitions")
    demand(batches >= 1, "batches of the dynamic replay", batches, "at least 1")
    memory = UniformReplay(observation_size, action_size, capacity)
    return DynamicReplay(
        memory,
        review_every=every,
        distance=distance,
        limit=limit,
        least=least,
        share=share,
        batches=batches,
        repeat=repeat,
    )


def reviewed(
    observation_size: int,
    action_size: int,
    *,
    capacity: int = 1_000_000,
    every: int = 100,
    awake: float = 0.4,
    strength: float = 0.9,
    share: float = 0.3,
) -> ReviewedReplay:
    """Uniform; while FAU < 0.4, with chance 1 - 1 / (1 + 0.9 exp(0.4 - FAU)) from the oldest 30 %: experience review.

    Neuroplastic Expansion (Liu et al. 2025, released code). FAU is the critics' fraction of active units, measured
    every `every` environment steps on a batch.
    """
    demand(every >= 1, "every of the reviewed replay", every, "at least 1 environment step")
    demand(0 <= awake <= 1, "awake of the reviewed replay", awake, "a share of units in [0, 1]")
    demand(strength >= 0, "strength of the reviewed replay", strength, "at least 0; 0 is uniform")
    demand(0 < share <= 1, "share of the reviewed replay", share, "in (0, 1]")
    memory = UniformReplay(observation_size, action_size, capacity)
    return ReviewedReplay(memory, review_every=every, awake=awake, strength=strength, share=share)


@hookimpl
def register_replay(register: Callable[[Callable[..., object]], None]) -> None:
    register(dynamic)
    register(reviewed)
