"""Parameters whose initial values are drawn when they are asked for, so that a wide network need never exist whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

_deferring: ContextVar[bool] = ContextVar("deferring", default=False)


class Deferred(nn.Parameter):
    """A parameter with a shape and no memory. `draw()` gives its initial values, the same at every call."""

    draw: Callable[[], Tensor]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Deferred":
        if id(self) not in memo:
            memo[id(self)] = deferred(self.draw, tuple(self.shape), self.dtype, self.requires_grad)
        copy: Deferred = memo[id(self)]
        return copy


def deferred(draw: Callable[[], Tensor], shape: tuple[int, ...], dtype: torch.dtype, learns: bool = True) -> Deferred:
    """A parameter of that shape whose values nobody has drawn yet."""
    placeholder = Deferred(torch.zeros((), dtype=dtype).expand(shape), requires_grad=learns)
    placeholder.draw = draw
    return placeholder


@contextmanager
def deferring() -> Iterator[None]:
    """Networks made in here put off drawing their weights; `materialise` does it, or whoever shrinks them first."""
    token = _deferring.set(True)
    try:
        yield
    finally:
        _deferring.reset(token)


def is_deferring() -> bool:
    """Whether networks are to put off their weights."""
    return _deferring.get()


def materialise(module: nn.Module) -> None:
    """Draw every parameter of a module that is still to be drawn."""
    for parameter in module.parameters():
        if isinstance(parameter, Deferred):
            parameter.data = parameter.draw()
            parameter.__class__ = nn.Parameter  # type: ignore[assignment]
