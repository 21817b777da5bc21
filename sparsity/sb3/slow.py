"""Slow copies that somebody else moves, at times that nobody tells: treated before anybody reads them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Slow:
    """A slow copy as a sparsifier wants it, with a hook after each update that is called late, but never too late.

    Stable-Baselines3 moves targets within `train`, or between two steps of the environment, without a word. So whoever
    is about to read them calls `settle`, which sees by their values whether they have moved. As long as the online
    network rests between an update and the next reading, and each update is read or settled before the next one,
    the outcome is that of a hook after each update, to the bit.
    """

    def __init__(self, module: nn.Module, tau: float) -> None:
        self.module, self.tau = module, tau
        self._hooks: OrderedDict[int, Callable[[], None]] = OrderedDict()
        self._seen: list[Tensor] = []

    def after_update(self, hook: Callable[[], None]) -> RemovableHandle:
        """Call `hook` once for every update, by the next time that the copy is read."""
        handle = RemovableHandle(self._hooks)
        self._hooks[handle.id] = hook
        return handle

    def remember(self) -> None:
        """Take the values as they are for treated."""
        self._seen = [parameter.detach().clone() for parameter in self.module.parameters()]

    def settle(self, *_: Any) -> None:
        """Treat the copy if it has moved. Takes any arguments, as it hangs on hooks of modules."""
        if not self._moved():
            return
        for hook in tuple(self._hooks.values()):
            hook()
        self.remember()

    def _moved(self) -> bool:
        # Versions do not tell: it is `.data` that is moved. Comparing takes some 20 us a layer of 256 x 256.
        return not all(map(torch.equal, self.module.parameters(), self._seen))
