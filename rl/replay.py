"""Replay memory: the newest transitions, drawn uniformly. `terminated` and `truncated` are kept apart."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from registry import hookimpl
from rl.agent import Batch
from rl.settings import demand


class Replay(Protocol):
    """What training asks of a memory of transitions.

    A memory may ask back: with `review_every`, in environment steps, `review(agent)` is called that often once updates
    have begun; with `wants_mean`, `add` also gets `mean_action`, what the policy would have done without noise; with
    `check(agent)` it may refuse, by ValueError before the first step, an agent that it cannot work with; by
    `bytes_needed(added)` it tells the memory that it takes once so many transitions were added.
    """

    def __len__(self) -> int: ...

    def add(
        self,
        observation: NDArray[Any],
        action: NDArray[Any],
        reward: float,
        terminated: bool,
        truncated: bool,
        next_observation: NDArray[Any],
    ) -> None:
        """Remember one transition."""

    def sample(
        self,
        batch_size: int,
        generator: np.random.Generator,
        *,
        device: torch.device,
        dtype: torch.dtype,
        horizon: int = 1,
        discount: float = 1.0,
    ) -> Batch:
        """`batch_size` transitions, drawn with `generator`; each over `horizon` environment steps, where it can be."""


class UniformReplay:
    """A ring of packed float32 rows: observation | action | reward, terminated, truncated | next_observation.

    Packed, a batch is one gather. The array is zeroed by the operating system, page by page as it fills: a
    capacity of a million costs memory only for what was added.
    """

    def __init__(self, observation_size: int, action_size: int, capacity: int) -> None:
        demand(observation_size >= 1, "observation_size of the replay", observation_size, "at least 1")
        demand(action_size >= 1, "action_size of the replay", action_size, "at least 1")
        demand(capacity >= 1, "capacity of the replay", capacity, "at least 1; the papers' is 1000000")
        self.observation_size, self.action_size, self.capacity = observation_size, action_size, capacity
        self.added = 0
        """Transitions added so far; the older ones of them may be overwritten."""
        self._kept_from = 0
        """The oldest transition that was not dropped, counted as `added` counts."""
        self._reward = observation_size + action_size
        self._next = self._reward + 3
        self._rows = np.zeros((capacity, self._next + observation_size), dtype=np.float32)

    def __len__(self) -> int:
        return self.added - self._first

    @property
    def _first(self) -> int:
        """The oldest transition that is there, counted as `added` counts."""
        return max(self._kept_from, self.added - self.capacity)

    def drop_oldest(self, count: int) -> None:
        """Forget the oldest `count` transitions."""
        demand(0 <= count <= len(self), "how many transitions to drop", count, f"from 0 to {len(self)}, all there are")
        self._kept_from = self._first + count

    def oldest(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Observations of the oldest `count` transitions, fewer if there are fewer, and their rows."""
        rows = self._rows_of(np.arange(min(count, len(self))))
        return self._rows[rows, : self.observation_size], rows

    def _rows_of(self, ages: NDArray[np.intp]) -> NDArray[np.intp]:
        """Rows of transitions by age, the oldest 0."""
        return (self._first + ages) % self.capacity

    def add(
        self,
        observation: NDArray[Any],
        action: NDArray[Any],
        reward: float,
        terminated: bool,
        truncated: bool,
        next_observation: NDArray[Any],
    ) -> None:
        """Remember one transition, in place of the oldest if the memory is full."""
        # NumPy would broadcast a wrong shape over the row without a word.
        self._check("observation", observation, self.observation_size)
        self._check("action", action, self.action_size)
        self._check("next_observation", next_observation, self.observation_size)
        row = self._rows[self.added % self.capacity]
        row[: self.observation_size] = observation
        row[self.observation_size : self._reward] = action
        row[self._reward : self._next] = reward, terminated, truncated
        row[self._next :] = next_observation
        self.added += 1

    def sample(
        self,
        batch_size: int,
        generator: np.random.Generator,
        *,
        device: torch.device,
        dtype: torch.dtype,
        horizon: int = 1,
        discount: float = 1.0,
        among: float = 1.0,
    ) -> Batch:
        """`batch_size` transitions, uniformly with replacement; a time limit's end is not `terminated`.

        Over a `horizon` of n steps, as many as follow until the episode ends, be it by a time limit, or the newest
        transition is reached. `among`: from the oldest such share.
        """
        if not len(self):
            raise ValueError("the replay is empty, so nothing can be sampled: add a transition first")
        ages = generator.integers(max(1, int(among * len(self))), size=batch_size)
        rows = self._rows.take(self._rows_of(ages), axis=0)
        steps = self._look_ahead(rows, ages, horizon, discount) if horizon > 1 else None
        packed = torch.from_numpy(rows).to(device=device, dtype=dtype)
        return Batch(
            observation=packed[:, : self.observation_size],
            action=packed[:, self.observation_size : self._reward],
            reward=packed[:, self._reward],
            next_observation=packed[:, self._next :],
            terminated=packed[:, self._reward + 1],
            steps=None if steps is None else torch.from_numpy(steps).to(device=device, dtype=dtype),
        )

    def _look_ahead(
        self, rows: NDArray[np.float32], ages: NDArray[np.intp], horizon: int, discount: float
    ) -> NDArray[np.intp]:
        """Make rows span up to `horizon` steps; how many each does."""
        steps, reward = np.ones_like(ages), rows[:, self._reward].astype(np.float64)
        going = ~rows[:, self._reward + 1 : self._next].any(axis=1)
        for ahead in range(1, horizon):
            going &= ages + ahead < len(self)
            which = going.nonzero()[0]
            following = self._rows.take(self._rows_of(ages[which] + ahead), axis=0)
            reward[which] += discount**ahead * following[:, self._reward]
            rows[which, self._reward + 1 :] = following[:, self._reward + 1 :]  # how it ended, and where
            steps[which] += 1
            going[which] = ~following[:, self._reward + 1 : self._next].any(axis=1)
        rows[:, self._reward] = reward
        return steps

    def bytes_needed(self, added: int) -> int:
        """Memory that it takes once so many transitions were added."""
        return bytes_needed(self.observation_size, self.action_size, min(added, self.capacity))

    def state_dict(self) -> dict[str, Any]:
        """The filled rows (a view: copy to keep), the number added, which places the ring's head, and what is left."""
        filled = min(self.added, self.capacity)
        return {"rows": torch.from_numpy(self._rows[:filled]), "added": self.added, "kept_from": self._kept_from}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave, from a replay of the same sizes and capacity."""
        rows, added = state["rows"], int(state["added"])
        expected = (min(added, self.capacity), self._rows.shape[1])
        if tuple(rows.shape) != expected or rows.dtype != torch.float32:
            raise ValueError(
                f"replay state has rows {tuple(rows.shape)} of {rows.dtype}, not {expected} of torch.float32: "
                "restore it into a replay of the same sizes and capacity"
            )
        self.added, self._kept_from = added, int(state["kept_from"])
        self._rows[: expected[0]] = rows.numpy()

    @staticmethod
    def _check(what: str, given: NDArray[Any], size: int) -> None:
        if given.shape != (size,):
            raise ValueError(f"{what} has shape {given.shape}; this replay keeps shape ({size},)")


def bytes_needed(observation_size: int, action_size: int, capacity: int) -> int:
    """4 (2 observation_size + action_size + 3) capacity: the memory of a full `UniformReplay`."""
    return 4 * (2 * observation_size + action_size + 3) * capacity


def uniform(observation_size: int, action_size: int, *, capacity: int = 1_000_000) -> UniformReplay:
    """p(transition) = 1 / size over the newest `capacity` transitions (Lin 1992; Mnih et al. 2015)."""
    return UniformReplay(observation_size, action_size, capacity)


@hookimpl
def register_replay(register: Callable[[Callable[..., object]], None]) -> None:
    register(uniform)
