"""Actors and critics: ReLU layers called `hidden`, an output layer called `head`."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rl.deferred import deferred, is_deferring
from rl.stack import Passes, Stack


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
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        ins, outs = (observation_size, *hidden), (*hidden, action_size)
        layers = [_linear(i, o, dtype) for i, o in zip(ins, outs, strict=True)]
        self.hidden = nn.ModuleList(layers[:-1])
        self.head = layers[-1]
        self.stack: Passes = Stack(layers)
        fill(layers, generator, device)

    def forward(self, observation: Tensor) -> Tensor:
        return torch.tanh(self.stack((observation,))[0])

    def act(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The action (action_size,) for one observation (observation_size,), without a batch around it."""
        action: NDArray[Any] = np.tanh(self.stack.single(observation))
        return action


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
        fill(layers, generator, device)

    def forward(self, observation: Tensor, action: Tensor, *, copies: int | None = None) -> Tensor:
        """Values (copies, batch), of the first `copies` critics only if given: TD3's actor needs Q1 alone."""
        return self.stack((observation, action), copies).squeeze(-1)


def fill(
    layers: Iterable[nn.Linear | PopulationLinear], generator: torch.Generator, device: torch.device | str = "cpu"
) -> None:
    """weight, bias ~ U(-1/sqrt(in), 1/sqrt(in)): torch's default for linear layers.

    Each is drawn by a generator of its own, seeded by `generator`, so that a layer can be drawn when its turn comes
    (`deferring`); in float64 on the CPU whatever the network's own kind, so that a seed means the same initial network
    on every device and, but for rounding, in every dtype.
    """
    for layer in layers:
        bound = layer.in_features**-0.5
        for name in ("weight", "bias"):
            seed = int(torch.randint(2**62, (), generator=generator))
            like: Tensor = getattr(layer, name)
            draw = partial(_drawn, tuple(like.shape), bound, seed, like.dtype, torch.device(device))
            parameter = deferred(draw, tuple(like.shape), like.dtype) if is_deferring() else nn.Parameter(draw())
            setattr(layer, name, parameter)


def _drawn(shape: tuple[int, ...], bound: float, seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(shape, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
    return drawn.to(device=device, dtype=dtype)


def _linear(in_features: int, out_features: int, dtype: torch.dtype) -> nn.Linear:
    # On the meta device, as nn.Linear would fill itself from the global generator.
    return nn.Linear(in_features, out_features, dtype=dtype, device="meta")
