"""Small networks, learners and odd parts for the tests of `sparsity`. As a module it is a plugin of the registry."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from registry import Registry, hookimpl, part
from registry.tables import DEFAULT_PLUGINS
from sparsity import DS, DS_RELEASED, RIGL, SET, STATIC, Event, Method, Sparsifier

SEEN: list[Tensor] = []
"""What the recording criteria of this module were fed."""


def toy_recorded(grad: Tensor) -> Tensor:
    """|g|, remembered."""
    SEEN.append(grad.clone())
    return grad.abs()


def toy_average(averaged_gradient: Tensor) -> Tensor:
    """|sum of the last gradients|, remembered."""
    SEEN.append(averaged_gradient.clone())
    return averaged_gradient.abs()


def toy_age(age: Tensor) -> Tensor:
    """Age, remembered."""
    SEEN.append(age.clone())
    return age


def toy_mutating(weight: Tensor) -> Tensor:
    """Changes its input."""
    return weight.abs_()


def toy_mask_mutating(mask: Tensor, noise: Tensor) -> Tensor:
    """Changes the mask."""
    mask.fill_(True)
    return noise


def toy_nan(weight: Tensor) -> Tensor:
    """NaN everywhere."""
    return weight * torch.nan


def toy_nan_where_active(mask: Tensor, noise: Tensor) -> Tensor:
    """NaN for active connections alone."""
    return torch.where(mask, torch.nan, noise)


def toy_flat(weight: Tensor) -> Tensor:
    """The right number of scores in the wrong shape."""
    return weight.flatten()


def toy_int(weight: Tensor) -> Tensor:
    """Whole numbers."""
    return weight.abs().long()


def toy_float(weight: Tensor) -> float:
    """No tensor at all."""
    return 0.0


def toy_nan_late(weight: Tensor) -> Tensor:
    """NaN in layers of seven units, so not in the first layer of the toy network."""
    return torch.where(torch.tensor(weight.shape[-2] == 7), torch.nan, weight)


def toy_empty(mask: Tensor) -> Tensor:
    """An initial mask without a connection."""
    return torch.zeros_like(mask)


def toy_number(density: float) -> float:
    """A schedule or budget out of range."""
    return 2.0


@hookimpl
def register_prune(register: Callable[..., object]) -> None:
    for criterion in (toy_mutating, toy_mask_mutating, toy_nan, toy_flat, toy_int, toy_float, toy_age):
        register(criterion)


@hookimpl
def register_grow(register: Callable[..., object]) -> None:
    for criterion in (toy_mutating, toy_nan, toy_nan_where_active, toy_flat, toy_int, toy_recorded, toy_average):
        register(criterion)


@hookimpl
def register_initial(register: Callable[..., object]) -> None:
    for criterion in (toy_nan, toy_nan_late, toy_flat, toy_int, toy_empty):
        register(criterion)


@hookimpl
def register_budget(register: Callable[..., object]) -> None:
    register(toy_number)


REGISTRY = Registry([p for p in DEFAULT_PLUGINS if p.startswith("sparsity")] + [__name__], installed=False)


SWAP = part("periodic", fraction=0.3, every=3)
ERK = part("erk", density=0.4)
CUBIC = {"begin": 3, "end": 19, "every": 4}
LAMBDAS = part("lambdas", first=2.0, rest=2.0)

METHODS = {
    "static": replace(STATIC, allocation=ERK),
    "set": replace(SET, allocation=ERK, schedule=SWAP),
    "set_away": replace(SET, allocation=ERK, schedule=SWAP, readmit=False),
    "rigl": replace(RIGL, allocation=ERK, schedule=part("cosine", fraction=0.6, every=3, until=40)),
    "rigl_after": replace(RIGL, allocation=ERK, schedule=SWAP, event="after_step", moments=part("mask")),
    "ds": replace(DS, allocation=LAMBDAS, schedule=part("periodic", fraction=0.2, every=3)),
    "ds_released": replace(
        DS_RELEASED,
        allocation=LAMBDAS,
        schedule=part("periodic", fraction=0.2, every=4, phase=2, until=10),
        budget=part("final_cut", fraction=0.2, after=10, every=4, phase=2),
    ),
    "warm": replace(SET, allocation=ERK, schedule=SWAP, moments=part("warm"), grow=part("gradient")),
    "dense_gradient": replace(
        SET, allocation=ERK, schedule=SWAP, optimizer_sees="dense", target=part("drift"), moments=part("reset_grown")
    ),
    "gmp": Method(allocation=ERK, budget=part("cubic", **CUBIC), target=part("keep_largest", count="nonzero")),
    "gmp_network": Method(allocation=ERK, budget=part("cubic", **CUBIC), scope="network"),
    "granet": Method(
        allocation=ERK,
        budget=part("cubic", start=0.7, **CUBIC),
        schedule=SWAP,
        grow=part("gradient"),
        scope="network",
        swap_scope="network",
    ),
    "traded": replace(SET, allocation=ERK, schedule=SWAP, spread=part("by_survivors"), prune=part("saliency")),
}
"""Small and fast variants of the published methods, with moving budgets, and with every scope and moments rule."""


class Population(nn.Module):
    """Several linear layers of one shape in one parameter `(members, out, in)`, as twin critics are."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, outputs, inputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.mT + self.bias


def network(sizes: Sequence[int] = (6, 8, 7, 3), *, seed: int = 0, members: int = 0) -> nn.Sequential:
    """Linear layers with tanh between them, named `0.weight`, `2.weight`, ... The global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers.append(Population(members, inputs, outputs) if members else nn.Linear(inputs, outputs))
            layers.append(nn.Tanh())
        return nn.Sequential(*layers[:-1])


class _Handle:
    def __init__(self, hooks: list[Callable[[], None]], hook: Callable[[], None]) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        self._hooks.remove(self._hook)


class Copy:
    """A slow copy: target <- tau online + (1 - tau) target, then the hooks."""

    def __init__(self, online: nn.Module, tau: float = 0.3) -> None:
        self.online, self.tau = online, tau
        self.module = copy.deepcopy(online).requires_grad_(False)
        self.hooks: list[Callable[[], None]] = []
        self.before: dict[str, Tensor] = {}
        """Parameters after the averaging and before the hooks of the last update."""

    def after_update(self, hook: Callable[[], None]) -> _Handle:
        self.hooks.append(hook)
        return _Handle(self.hooks, hook)

    def update(self) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.module.parameters(), self.online.parameters(), strict=True):
                slow.lerp_(fast, self.tau)
        self.before = {name: p.clone() for name, p in self.module.named_parameters()}
        for hook in self.hooks:
            hook()


@dataclass
class Learner:
    """What a sparsifier asks of an agent."""

    name: str
    module: nn.Module
    optimizer: Optimizer
    target: Copy | None = None
    stride: int = 1


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "adam": lambda p: Adam(p, lr=1e-2),
    "adam_decay_large": lambda p: Adam(p, lr=0.5, weight_decay=0.1),
    "adamw": lambda p: AdamW(p, lr=1e-2, weight_decay=0.1),
    "amsgrad": lambda p: Adam(p, lr=1e-2, amsgrad=True, weight_decay=1e-2),
    "sgd_momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "sgd_nesterov": lambda p: SGD(p, lr=0.5, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: RMSprop(p, lr=1e-2, momentum=0.5, centered=True, weight_decay=1e-2),
}


class World:
    """A network that learns random targets from random inputs, a slow copy of it, and its sparsifier."""

    def __init__(
        self,
        method: Method | None,
        *,
        optimizer: str = "adam",
        stride: int = 1,
        total: int | None = None,
        seed: int = 0,
        members: int = 0,
        sizes: Sequence[int] = (6, 8, 7, 3),
        tau: float = 0.3,
    ) -> None:
        self.module = network(sizes, seed=seed, members=members)
        self.optimizer_name = optimizer
        self.optimizer = OPTIMIZERS[optimizer](self.module.parameters())
        self.target = Copy(self.module, tau)
        self.learner = Learner("critic", self.module, self.optimizer, self.target, stride)
        self.data = torch.Generator().manual_seed(seed + 1)
        self.inputs, self.events = sizes[0], list[Event]()
        self.sparsifier = None if method is None else self.attach(method, total, seed)

    def attach(self, method: Method, total: int | None, seed: int) -> Sparsifier:
        return Sparsifier(
            self.learner,
            method,
            seed=SeedSequence(seed),
            total=total,
            on_event=self.events.append,
            registry=REGISTRY,
        )

    def loss(self, module: nn.Module | None = None, batch: Tensor | None = None) -> Tensor:
        x = self.batch() if batch is None else batch
        return ((module or self.module)(x) - x.sum(-1, keepdim=True)).square().mean()

    def batch(self) -> Tensor:
        return torch.randn(16, self.inputs, generator=self.data)

    def gradients(self) -> None:
        self.optimizer.zero_grad()
        self.loss().backward()

    def step(self) -> None:
        self.gradients()
        self.optimizer.step()

    def tick(self) -> None:
        """An optimiser step on zero gradients: cheap, for tests of time alone."""
        for parameter in self.module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()

    def weight(self, name: str) -> Tensor:
        return dict(self.module.named_parameters())[name].detach()

    def slow(self, name: str) -> Tensor:
        return dict(self.target.module.named_parameters())[name].detach()

    def moments(self, name: str) -> dict[str, Tensor]:
        """The optimiser's tensors shaped like a weight, found by shape."""
        parameter = dict(self.module.named_parameters())[name]
        state = self.optimizer.state.get(parameter, {})
        return {k: v for k, v in state.items() if isinstance(v, Tensor) and v.shape == parameter.shape}

    def state(self) -> dict[str, Any]:
        """All of it but the sparsifier, copied."""
        return copy.deepcopy(
            {
                "module": self.module.state_dict(),
                "target": self.target.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "data": self.data.get_state(),
            }
        )

    def load(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.target.module.load_state_dict(state["target"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.data.set_state(state["data"])

    def shadow(self) -> tuple[nn.Module, Optimizer]:
        """The network, its gradients and its optimiser, copied, with no hook on them."""
        module = copy.deepcopy(self.module)
        for mine, copied in zip(self.module.parameters(), module.parameters(), strict=True):
            copied.grad = None if mine.grad is None else mine.grad.clone()
        optimizer = OPTIMIZERS[self.optimizer_name](module.parameters())
        optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        return module, optimizer


def per_member(tensor: Tensor, members: int) -> Tensor:
    """Flat, one row a member."""
    return tensor.reshape(max(1, members), -1)
