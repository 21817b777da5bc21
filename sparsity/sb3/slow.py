"""Slow copies that somebody else moves, at times that nobody tells: treated before anybody reads them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from sparsity.trained import Handle

BELL = "bell"


class Bell:
    """Tells whether a module's slow copy was moved, by a number in both that moves along: 1 online, 0 in the copy.

    Stable-Baselines3 moves targets within `train`, or between two steps of the environment, without a word. So
    whoever is about to read the copy calls `settle`. As long as the online network rests between an update and the
    next reading, and each update is settled before the next one, the outcome is that of a hook after each update, to
    the bit. Values alone would not tell: those of an actor that has saturated stay where they are. States are saved and
    loaded without the number.
    """

    def __init__(self, online: nn.Module, slow: nn.Module) -> None:
        self._modules = online, slow
        self._hooks: OrderedDict[int, Callable[[], None]] = OrderedDict()
        for module, number in zip(self._modules, (1.0, 0.0), strict=True):
            like = next(module.parameters())
            parameter = nn.Parameter(torch.tensor(number, dtype=like.dtype, device=like.device), requires_grad=False)
            module.register_parameter(BELL, parameter)
        self._handles: list[Handle] = [hook for module in self._modules for hook in (
            module.register_state_dict_post_hook(partial(_leave_out)),
            module.register_load_state_dict_pre_hook(partial(_put_in)),
        )]  # fmt: skip
        # A copy of the module, such as of the best policy so far, takes no function along with all that it knows.
        self._handles.append(slow.register_forward_pre_hook(lambda *_: self.settle()))

    def after_update(self, hook: Callable[[], None]) -> RemovableHandle:
        """Call `hook` once for every update, by the next time that the copy is read."""
        handle = RemovableHandle(self._hooks)
        self._hooks[handle.id] = hook
        return handle

    def settle(self) -> None:
        """Treat the copy if it has moved."""
        number = self._modules[1]._parameters.get(BELL)
        if number is not None and bool(number):
            number.data.zero_()
            for hook in tuple(self._hooks.values()):
                hook()

    def detach(self) -> None:
        """Both modules are as they were."""
        for handle in self._handles:
            handle.remove()
        for module in self._modules:
            module._parameters.pop(BELL, None)


class Slow:
    """A network's slow copy as a sparsifier wants it."""

    def __init__(self, module: nn.Module, tau: float, bell: Bell) -> None:
        self.module, self.tau, self.after_update = module, tau, bell.after_update


def _leave_out(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    state.pop(f"{prefix}{BELL}", None)


def _put_in(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    state[f"{prefix}{BELL}"] = module._parameters[BELL]
