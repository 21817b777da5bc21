"""Adam as torch has it, with less around it: small networks spend as long in its Python as in their arithmetic."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_whole_step = inspect.unwrap(torch.optim.Adam.step)
"""Adam's step without the hooks that torch wraps around it, which stand around ours already."""


class Adam(torch.optim.Adam):
    """torch.optim.Adam(fused=True), whose step calls torch's kernel at once where every parameter has a gradient.

    State, hooks, groups and results are those of torch.optim.Adam, which serves every other case: the first step,
    parameters without a gradient, amsgrad, a closure.
    """

    def __init__(self, parameters: Any, *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, fused=True)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every group."""
        lists = [self._ready(group) for group in self.param_groups]
        with torch.no_grad():
            if closure is not None or not all(lists):
                return _whole_step(self, closure)
            for group, (parameters, gradients, firsts, seconds, steps) in zip(self.param_groups, lists, strict=True):
                torch._foreach_add_(steps, 1)
                beta1, beta2 = group["betas"]
                torch._fused_adam_(
                    parameters, gradients, firsts, seconds, [], steps, lr=group["lr"], beta1=beta1, beta2=beta2,
                    weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=False,
                )  # fmt: skip
        return None

    def _ready(self, group: dict[str, Any]) -> tuple[list[Tensor], ...] | tuple[()]:
        """Parameters, gradients, both moments and step counts, if the short way serves them; else nothing."""
        plain = not (group["amsgrad"] or group["maximize"] or group["decoupled_weight_decay"])
        if not plain or isinstance(group["lr"], Tensor):
            return ()
        parameters = group["params"]
        gradients = [parameter.grad for parameter in parameters]
        states = [self.state.get(parameter) for parameter in parameters]
        if not all(states) or any(gradient is None for gradient in gradients):
            return ()
        return (
            parameters,
            gradients,
            [state["exp_avg"] for state in states],  # type: ignore[index]
            [state["exp_avg_sq"] for state in states],  # type: ignore[index]
            [state["step"] for state in states],  # type: ignore[index]
        )
