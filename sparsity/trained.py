"""What a sparsifier needs of whatever it hangs on. Any class with these attributes fits; nothing is inherited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import nn
from torch.optim import Optimizer


class Handle(Protocol):
    """What a hook gives back: `remove()` takes it off."""

    def remove(self) -> None: ...


class Tracked(Protocol):
    """A slow copy of a module, with a hook after each of its updates.

    For sparse execution it also has `tau`: the share by which an update moves it towards the online module.
    """

    @property
    def module(self) -> nn.Module: ...
    def after_update(self, hook: Callable[[], None]) -> Handle: ...


class Trained(Protocol):
    """A module, the optimiser that trains it, its slow copy, and how many agent updates make one optimiser step.

    A parameter of the module may put off its initial values and have a method `draw` that gives them: sparse execution
    then asks for one layer after the other, and a network that is to be sparse is never whole.
    """

    @property
    def name(self) -> str: ...
    @property
    def module(self) -> nn.Module: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def target(self) -> Tracked | None: ...
    @property
    def stride(self) -> int: ...
