"""What others may ask of an agent: to act, to learn from a batch, and to list what it trains."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from rl.tracking import Target


class Batch(NamedTuple):
    """Transitions, one a row: (batch, size) for observations and actions, (batch,) for the rest.

    `terminated` is 1.0 where the task itself ended: only that ends a bootstrap, a time limit does not.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor
    steps: Tensor | None = None
    """Environment steps from `observation` to `next_observation`, (batch,); None is one for all.

    Over n steps `reward` is sum_k discount^k r_k, k < n, and `terminated` tells whether the last one ended the task.
    """


class Learner(NamedTuple):
    """A network that an agent trains."""

    name: str
    module: nn.Module
    optimizer: Optimizer
    target: Target | None
    stride: int
    """Agent updates per optimiser step."""


class Policy(Protocol):
    """Acts in [-1, 1]: an agent, or no more of one than it takes to act."""

    def act(self, observation: NDArray[Any], *, explore: bool) -> NDArray[np.float32]:
        """An action of shape (action_size,), in [-1, 1], for one observation of shape (observation_size,)."""

    def state_dict(self) -> dict[str, Any]:
        """All that later actions depend on. Tensors are references, as in torch: copy to keep."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; from there on it repeats itself bit for bit."""


class Agent(Protocol):
    """Acts in [-1, 1] and learns. It knows its networks, and nothing of what hangs on their optimisers.

    One whose targets look several steps ahead also has `multi_step`, the most of them, `horizon`, those that its next
    update wants, and `discount`. One whose policy a memory may ask for has `mean_actions(observation)`: actions without
    noise, (batch, action_size), for observations (batch, size).
    """

    batch_size: int

    def act(self, observation: NDArray[Any], *, explore: bool) -> NDArray[np.float32]:
        """An action of shape (action_size,), in [-1, 1], for one observation of shape (observation_size,)."""

    def update(self, batch: Batch) -> Mapping[str, float]:
        """Learn once from a batch; the losses and values worth a curve, by name."""

    def learners(self) -> tuple[Learner, ...]:
        """The networks in training, in the order of their optimiser steps."""

    def state_dict(self) -> dict[str, Any]:
        """All that later updates and actions depend on. Tensors are references, as in torch: copy to keep."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; from there on the agent repeats itself bit for bit."""


def bootstrapped(batch: Batch, value: Tensor, discount: float) -> Tensor:
    """y = r + discount^steps (1 - terminated) value: the target of a value, (batch,)."""
    going_on = 1 - batch.terminated
    if batch.steps is None:
        return torch.addcmul(batch.reward, going_on, value, value=discount)
    return torch.addcmul(batch.reward, going_on * discount**batch.steps, value)


def learner_state(learner: Learner) -> dict[str, Any]:
    """Network, optimiser and target of a learner."""
    return {
        "module": learner.module.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "target": learner.target.state_dict() if learner.target else None,
    }


def load_learner_state(learner: Learner, state: Mapping[str, Any]) -> None:
    """Restore what `learner_state` gave; refuse moments of a wrong shape, which torch takes silently."""
    _check_moments(learner, state["optimizer"])
    learner.module.load_state_dict(state["module"])
    learner.optimizer.load_state_dict(state["optimizer"])
    if learner.target:
        learner.target.load_state_dict(state["target"])


def _check_moments(learner: Learner, state: Mapping[str, Any]) -> None:
    parameters = [p for group in learner.optimizer.param_groups for p in group["params"]]
    saved, own = (_held(groups) for groups in (state["param_groups"], learner.optimizer.state_dict()["param_groups"]))
    if saved != own:
        raise ValueError(
            f"the state of {learner.name}'s optimiser is of {saved} parameters, the network has {own}: "
            "the state is of another network. Build the agent as it was then"
        )
    if own != len(parameters):
        return  # What took the parameters' place reads such a state itself, and checks it.
    for index, moments in state["state"].items():
        shape = tuple(parameters[index].shape)
        for name, moment in moments.items():
            if isinstance(moment, Tensor) and moment.ndim and tuple(moment.shape) != shape:
                raise ValueError(
                    f"{name} number {index} of {learner.name}'s optimiser has shape {tuple(moment.shape)}, "
                    f"its parameter {shape}: the state is of another network. Build the agent as it was then"
                )


def _held(groups: list[dict[str, Any]]) -> int:
    return sum(len(group["params"]) for group in groups)


def clear_gradients(optimizer: Optimizer) -> None:
    """Drop the gradients of all that an optimiser trains: its `zero_grad`, without the profiling around it."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
