"""Donors: runs whose final policy acts in the warm-up of others, the initial samples of Sokar et al. 2022 (Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import Registry
from rl.agent import Agent
from rl.checkpoint import load_weights
from rl.streams import env_seed, stream
from studies.build import attach, build_agent
from studies.contents import Run
from studies.outcome import Status
from studies.store import WEIGHTS, Damaged, Record, Store


class NoDonor(RuntimeError):
    """A run's donor has left no policy to act with."""


class Donor:
    """A trained agent that acts as in its own training, exploration noise included, and learns nothing."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def act(self, observation: NDArray[Any], *, explore: bool) -> NDArray[np.float32]:
        return self._agent.act(observation, explore=explore)

    def state_dict(self) -> dict[str, Any]:
        """The agent's but for its learners, which stay as they were loaded."""
        return {key: value for key, value in self._agent.state_dict().items() if key != "learners"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._agent.load_state_dict({**self._agent.state_dict(), **state})


def donor_policy(run: Run, weights: Path, sizes: tuple[int, int], registry: Registry) -> Donor:
    """The policy of a run's donor, from the weights that it ended with.

    Its noise is of a stream of its own: what the donor drew in its training, the run draws in its own.
    """
    assert run.donor is not None
    like = replace(run.donor, seed=env_seed(stream(run.seed, "warmup", 1)))
    agent, _ = build_agent(like, sizes, registry)
    attach(agent, like, registry)  # Sparse execution takes sparse weights; what is drawn here they replace.
    load_weights(weights, agent)
    return Donor(agent)


def trained(donor: Run, store: Store) -> tuple[Path, Record]:
    """The weights of a finished donor and its record, every byte of it checked. NoDonor if there are none."""
    status, cause = store.status(donor.id)
    if status != "done":
        raise NoDonor(lacking(donor, status, cause))
    weights = store.run_folder(donor.id) / WEIGHTS
    try:
        record = store.read(donor.id)
    except (Damaged, OSError) as damage:
        raise NoDonor(lacking(donor, "failed", f"damaged: {damage}")) from damage
    if not weights.is_file():
        raise NoDonor(
            f"its donor, run {donor.id}, was copied here without its weights: delete {weights.parent} to train it"
        )
    return weights, record


def lacking(donor: Run, status: Status, cause: str) -> str:
    """Why a run cannot be carried out whose donor stands so."""
    who = f"its donor, run {donor.id} of {donor.steps:,} steps,"
    if status in ("failed", "diverged"):
        return f"{who} {'has ' * (status == 'failed')}{status}: {(cause.strip().splitlines() or ['no message'])[-1]}"
    return f"{who} is {status}, not done: run the study, which carries donors out first"
