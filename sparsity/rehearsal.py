"""A method on a very small network with a slow copy: forced events, and whether the engine's promises hold."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from numpy.random import SeedSequence
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from registry import Registry, part
from sparsity.event import Event, LayerDensity
from sparsity.method import Method
from sparsity.purity import quietly
from sparsity.sparsifier import Sparsifier

DENSITY = 0.5
"""Of the small network, whatever the method's allocation: no layer of it can be left without a connection."""


class SmallNet(nn.Module):
    """6 -> 8 -> 8 -> 2, its layers named as agents name theirs."""

    def __init__(self) -> None:
        super().__init__()
        # By way of the meta device, as nn.Linear would fill itself from the global generator.
        self.hidden = nn.ModuleList(nn.Linear(size, 8, device="meta") for size in (6, 8))
        self.head = nn.Linear(8, 2, device="meta")
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)
        self.stack = SmallStack([*self.hidden, self.head])

    def forward(self, x: Tensor) -> Tensor:
        self.stack.remembered = (x.detach(),)
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        out: Tensor = self.head(x)
        return out


class SmallStack:
    """What the small network tells of its activity."""

    def __init__(self, layers: list[nn.Module]) -> None:
        self.layers, self.remembers = layers, False
        self.remembered: tuple[Tensor, ...] | None = None

    def activations(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        told, x = [], inputs[0]
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x)).detach()
            told.append(x.unsqueeze(0))
        return told


class SlowCopy:
    """target <- (target + online) / 2, with hooks."""

    def __init__(self, online: nn.Module) -> None:
        self.module = copy.deepcopy(online).requires_grad_(False)
        self._hooks: OrderedDict[int, Callable[[], None]] = OrderedDict()  # A handle needs a weak reference to it.

    def after_update(self, hook: Callable[[], None]) -> RemovableHandle:
        handle = RemovableHandle(self._hooks)
        self._hooks[handle.id] = hook
        return handle

    @torch.no_grad()
    def update(self, online: nn.Module) -> None:
        for slow, fast in zip(self.module.parameters(), online.parameters(), strict=True):
            slow.lerp_(fast, 0.5)
        for hook in tuple(self._hooks.values()):
            hook()


class Pupil(NamedTuple):
    """The learner that a method is rehearsed on."""

    name: str
    module: nn.Module
    optimizer: Optimizer
    target: SlowCopy
    stride: int = 1

    def learn(self) -> None:
        """One step on fixed inputs."""
        x = torch.linspace(-1, 1, 24).reshape(4, 6)
        self.optimizer.zero_grad()
        self.module(x).square().sum().backward()
        self.optimizer.step()
        self.target.update(self.module)


def adam(module: nn.Module) -> Optimizer:
    return torch.optim.Adam(module.parameters(), lr=0.01)


def sgd(module: nn.Module) -> Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)


def pupil(optimizer: Callable[[nn.Module], Optimizer]) -> Pupil:
    """A small network of fixed weights, with an optimiser and a slow copy."""
    module = SmallNet()
    return Pupil("small network", module, optimizer(module), SlowCopy(module))


def forced(method: Method) -> Method:
    """The method with an event at every step."""
    return replace(method, schedule=part("periodic", fraction=0.3, every=1))


def rehearsed(
    method: Method,
    registry: Registry,
    optimizer: Callable[[nn.Module], Optimizer],
    *,
    total: int,
    steps: Sequence[int],
) -> list[str]:
    """Take some of `total` planned steps under a method; all that went wrong, in sentences."""
    small = replace(method, allocation=part("uniform", density=DENSITY))
    try:
        return quietly(lambda: list(_taken(small, registry, pupil(optimizer), total, steps)))
    except (Exception, SystemExit) as error:
        return [f"cannot be carried out on a small network: {type(error).__name__}: {error}"]


def _taken(method: Method, registry: Registry, learner: Pupil, total: int, steps: Sequence[int]) -> Iterator[str]:
    heard: list[Event] = []
    sparsifier = Sparsifier(
        learner,
        method,
        seed=SeedSequence(0),
        total=total,
        execution="masked",
        on_event=heard.append,
        registry=registry,
    )
    budget = registry.bind("budget", method.budget)
    density = budget(step=0, total=total, density=DENSITY)
    try:
        for step in steps:
            sparsifier.steps = step - 1
            before, earlier, known = sparsifier.densities(), density, len(heard)
            learner.learn()
            density = budget(step=step, total=total, density=DENSITY)
            yield from _not_zero(sparsifier, learner)
            yield from _miscounted(before, sparsifier.densities(), heard[known:], conserved=density == earlier)
    finally:
        sparsifier.detach()


def _not_zero(sparsifier: Sparsifier, learner: Pupil) -> Iterator[str]:
    parameters: dict[str, Any] = dict(learner.module.named_parameters())
    for name, mask in sparsifier.masks.items():
        stray = int(parameters[name][~mask].count_nonzero())
        if stray:
            yield f"left {stray} absent weights of {name} that are not zero after a step"


def _miscounted(
    before: Sequence[LayerDensity], after: Sequence[LayerDensity], events: Sequence[Event], *, conserved: bool
) -> Iterator[str]:
    changes = {change.name: change for event in events for change in event.layers}
    for old, new in zip(before, after, strict=True):
        change = changes.get(new.name)
        due = old.active + (change.grown - change.dropped if change else 0)
        if new.active != due:
            yield f"left {new.active} connections in {new.name} where its event comes to {due}"
    totals = [sum(layer.active for layer in layers) for layers in (before, after)]
    if conserved and totals[0] != totals[1]:
        yield f"went from {totals[0]} to {totals[1]} connections while its budget stood still"
