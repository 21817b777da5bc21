"""A slow copy of a network, with hooks after each of its updates."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rl.settings import demand


class Target:
    """target <- tau online + (1 - tau) target (Lillicrap et al. 2016), on every n-th call with `every=n`.

    `tau=1` with a large `every` is the hard update of Mnih et al. 2015. Buffers are copied, not averaged.
    """

    def __init__(self, online: nn.Module, *, tau: float = 0.005, every: int = 1) -> None:
        demand(0 < tau <= 1, "tau of a target", tau, "in (0, 1]; 1 copies the online network")
        demand(every >= 1, "every of a target", every, "at least 1; 1 updates on each call")
        self.online = online
        self.module = copy.deepcopy(online).requires_grad_(False)
        self.tau = tau
        self.every = every
        self.calls = 0
        self._hooks: OrderedDict[int, Callable[[], None]] = OrderedDict()
        self._pairs: tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]] | None = None

    @torch.no_grad()
    def update(self) -> None:
        """Count the call; on every n-th, move towards the online network and then call the hooks in order."""
        self.calls += 1
        if self.calls % self.every:
            return
        self._follow()
        for hook in tuple(self._hooks.values()):
            hook()

    def after_update(self, hook: Callable[[], None]) -> RemovableHandle:
        """Call `hook` after every update that happened, after the hooks before it; `.remove()` ends that."""
        handle = RemovableHandle(self._hooks)
        self._hooks[handle.id] = hook
        self._pairs = None  # Whoever hangs on the hooks may have rewritten the modules' parameters.
        return handle

    def _follow(self) -> None:
        if self._pairs is None:  # Walking through two modules takes longer than moving a small one.
            slow = dict(self.module.named_buffers())
            buffers = [(slow[name], buffer) for name, buffer in self.online.named_buffers() if name in slow]
            self._pairs = (*parameter_pairs(self.online, self.module), buffers)
        online, target, buffers = self._pairs
        if self.tau == 1:
            torch._foreach_copy_(target, online)
        else:
            torch._foreach_lerp_(target, online, self.tau)
        for mine, buffer in buffers:
            mine.copy_(buffer)

    def state_dict(self) -> dict[str, Any]:
        """The copy's tensors and the calls so far."""
        return {"module": self.module.state_dict(), "calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.module.load_state_dict(state["module"])
        self.calls = int(state["calls"])


def parameter_pairs(online: nn.Module, target: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Online parameters and the target's of the same names; what only the target has is left alone."""
    slow = dict(target.named_parameters())
    names, fast = zip(*online.named_parameters(), strict=True)
    return list(fast), [slow[name] for name in names]
