"""Actors and critics: ReLU layers called `hidden`, an output layer called `head`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rl.deferred import deferred, is_deferring
from rl.settings import demand
from rl.stack import Passes, Stack

Drawn = Literal["uniform", "xavier", "orthogonal"]
"""How initial weights are drawn; see `fill`."""


class PopulationLinear(nn.Module):
    """y_c = x_c W_c^T + b_c for all copies c at once: weights (copies, out, in), biases (copies, out)."""

    def __init__(
        self,
        copies: int,
        in_features: int,
        out_features: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.copies = copies
        self.in_features = in_features
        self.weight = nn.Parameter(torch.empty(copies, out_features, in_features, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.empty(copies, out_features, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """(copies, batch, in) -> (copies, batch, out); fewer copies in x mean the first ones here."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if len(x) < self.copies:  # not always, as the backward pass of a slice zeroes and copies a whole gradient
            weight, bias = weight[: len(x)], bias[: len(x)]
        # W x^T rather than x W^T: the gradient then has the weight's own layout, which saves a copy (5 % an update).
        return torch.baddbmm(bias.unsqueeze(2), weight, x.transpose(1, 2)).transpose(1, 2)


class Actor(nn.Module):
    """pi(s) = tanh(head(hidden(s))): observations (batch, size) to actions in [-1, 1]."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden: tuple[int, ...],
        *,
        generator: torch.Generator,
        drawn: Drawn = "uniform",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.hidden, self.head, self.stack = _layers(observation_size, hidden, action_size, dtype)
        fill([*self.hidden, self.head], generator, device, drawn)

    def forward(self, observation: Tensor) -> Tensor:
        return torch.tanh(self.stack((observation,))[0])

    def act(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The action (action_size,) for one observation (observation_size,), without a batch around it."""
        action: NDArray[Any] = np.tanh(self.stack.single(observation))
        return action


class GaussianActor(nn.Module):
    """Mean and logarithm of the standard deviation of a Gaussian: observations (batch, size) to (batch, 2 action_size).

    One head gives both, the means first.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden: tuple[int, ...],
        *,
        generator: torch.Generator,
        drawn: Drawn = "uniform",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.action_size = action_size
        self.hidden, self.head, self.stack = _layers(observation_size, hidden, 2 * action_size, dtype)
        fill([*self.hidden, self.head], generator, device, drawn)

    def forward(self, observation: Tensor) -> Tensor:
        return self.stack((observation,))[0]

    def single(self, observation: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Mean and log standard deviation (action_size,) for one observation (observation_size,)."""
        out = self.stack.single(observation)
        return out[: self.action_size], out[self.action_size :]


class Critics(nn.Module):
    """Q_c(s, a), c = 1..copies: twin critics as one module, so that they cost one call a layer."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden: tuple[int, ...],
        *,
        generator: torch.Generator,
        copies: int = 2,
        drawn: Drawn = "uniform",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.copies = copies
        ins, outs = (observation_size + action_size, *hidden), (*hidden, 1)
        layers = [PopulationLinear(copies, i, o, dtype=dtype, device="meta") for i, o in zip(ins, outs, strict=True)]
        self.hidden = nn.ModuleList(layers[:-1])
        self.head = layers[-1]
        self.stack: Passes = Stack(layers)
        fill(layers, generator, device, drawn)

    def forward(self, observation: Tensor, action: Tensor, *, copies: int | None = None) -> Tensor:
        """Values (copies, batch), of the first `copies` critics only if given: TD3's actor needs Q1 alone."""
        return self.stack((observation, action), copies).squeeze(-1)


def fill(
    layers: Iterable[nn.Linear | PopulationLinear],
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    drawn: Drawn = "uniform",
) -> None:
    """Initial weights and biases, each drawn by a generator of its own, seeded by `generator`.

    `uniform`: weight, bias ~ U(-1/sqrt(in), 1/sqrt(in)), torch's default. `xavier`: weight ~ U(-b, b),
    b = sqrt(6 / (in + out)), bias 0 (Glorot & Bengio 2010). `orthogonal`: orthonormal rows or columns, bias 0 (Saxe
    et al. 2014).

    A layer can be drawn when its turn comes (`deferring`), and in float64 on the CPU whatever the network's own kind,
    so that a seed means the same initial network on every device and, but for rounding, in every dtype.
    """
    demand(drawn in get_args(Drawn), "how weights are drawn", drawn, f"one of {', '.join(get_args(Drawn))}")
    for layer in layers:
        for name in ("weight", "bias"):
            seed = int(torch.randint(2**62, (), generator=generator))
            like: Tensor = getattr(layer, name)
            how = _zeros if name == "bias" and drawn != "uniform" else _DRAWN[drawn]
            values = partial(how, tuple(like.shape), layer.in_features)
            draw = partial(_drawn, values, seed, like.dtype, torch.device(device))
            parameter = deferred(draw, tuple(like.shape), like.dtype) if is_deferring() else nn.Parameter(draw())
            setattr(layer, name, parameter)


def _drawn(values: Callable[[torch.Generator], Tensor], seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return values(torch.Generator().manual_seed(seed)).to(device=device, dtype=dtype)


def _uniform(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    return _within(fan_in**-0.5, shape, generator)


def _xavier(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    return _within((6 / (shape[-2] + fan_in)) ** 0.5, shape, generator)


def _orthogonal(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    values = torch.empty(shape, dtype=torch.float64)
    for member in values.view(-1, *shape[-2:]):
        nn.init.orthogonal_(member, generator=generator)
    return values


def _zeros(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def _within(bound: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).uniform_(-bound, bound, generator=generator)


_DRAWN = {"uniform": _uniform, "xavier": _xavier, "orthogonal": _orthogonal}


def _layers(
    ins: int, hidden: tuple[int, ...], outs: int, dtype: torch.dtype
) -> tuple[nn.ModuleList, nn.Linear, Passes]:
    """Hidden layers, the head, and the stack of all. Their parameters are on the meta device: `fill` them."""
    # On the meta device, as nn.Linear would fill itself from the global generator.
    sizes = zip((ins, *hidden), (*hidden, outs), strict=True)
    layers = [nn.Linear(i, o, dtype=dtype, device="meta") for i, o in sizes]
    return nn.ModuleList(layers[:-1]), layers[-1], Stack(layers)
