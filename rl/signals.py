"""What training tells beside returns: means of figures, norms of gradients and weights, the first bad number."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rl.agent import Agent, Learner


class Diverged(RuntimeError):
    """A number that is not finite: `what` it was, and the environment step at which it was seen."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__(f"{what} is not finite at environment step {step}: the run has diverged")
        self.what = what
        self.step = step

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.step)


class Means:
    """Means of named figures since they were last taken."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Count each figure once; Diverged if one is not finite."""
        for name, value in figures.items():
            if not math.isfinite(value):
                raise Diverged(name, step)
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def taken(self) -> dict[str, float]:
        """The means, and start anew."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """What was added since the means were last taken."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])


def norms(learners: tuple[Learner, ...]) -> dict[str, float]:
    """`grad_norm/<learner>`, `weight_norm/<learner>`: L2 over its parameters; no gradient, no norm."""
    values = {}
    for learner in learners:
        parameters = list(learner.module.parameters())
        gradients = [p.grad for p in parameters if p.grad is not None]
        if gradients:
            values[f"grad_norm/{learner.name}"] = _norm(gradients)
        values[f"weight_norm/{learner.name}"] = _norm([p.detach() for p in parameters])
    return values


def check_weights(agent: Agent, step: int) -> None:
    """Diverged if a weight of a network or of its target is not finite."""
    for learner in agent.learners():
        modules = {learner.name: learner.module}
        if learner.target:
            modules[f"target/{learner.name}"] = learner.target.module
        for prefix, module in modules.items():
            for name, parameter in module.named_parameters():
                if not torch.isfinite(parameter).all():
                    raise Diverged(f"weight {prefix}/{name}", step)


def _norm(tensors: list[Tensor]) -> float:
    if not tensors:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors))))
