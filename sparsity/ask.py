"""Asking a part: what it needs, what it may not do to its inputs, and what its answer must look like."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from registry import Bound, PartError


def ask(chosen: Bound, **inputs: Any) -> Any:
    """The part's answer. PartError, naming the part and its plugin, if it raises or changes one of its inputs."""
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and chosen.asks(name)}
    versions = {name: tensor._version for name, tensor in tensors.items()}
    try:
        answer = chosen(**inputs)
    except Exception as error:
        raise PartError(f"{who(chosen)} raised {type(error).__name__}: {error}") from error
    for name, tensor in tensors.items():
        if tensor._version != versions[name]:
            raise PartError(
                f"{who(chosen)} changed its input {name!r} in place: parts are pure, give back a new tensor"
            )
    return answer


def who(chosen: Bound) -> str:
    """The part and where it comes from."""
    return f"{chosen.entry.kind.name} {chosen.entry.name!r} of {chosen.entry.origin}"


def demand_gradient(asker: Bound, grad: Tensor | None, layer: str) -> Tensor:
    """ValueError where a part asks for the gradient of a weight that has none."""
    if grad is None:
        raise ValueError(
            f"{asker.entry.kind.name} {asker.entry.name!r} asks for a gradient and {layer} has none: "
            "no loss reached it before this step"
        )
    return grad


def check_gradient(grad: Tensor, where: str) -> None:
    """FloatingPointError where it is not finite: a training that has diverged is not a part's fault."""
    if not bool(torch.isfinite(grad).all()):
        raise FloatingPointError(f"gradient {where}")


def check_mask(what: str, mask: Any, like: Tensor) -> None:
    """ValueError unless `mask` is a bool tensor shaped like the weight."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != like.shape:
        raise ValueError(f"{what} must give a bool mask shaped {tuple(like.shape)}, not {_shown(mask)}")


def check_scores(what: str, scores: Any, mask: Tensor, among: Tensor) -> None:
    """ValueError unless `scores` is a float tensor shaped like the mask, finite among the candidates."""
    if not isinstance(scores, Tensor) or scores.shape != mask.shape or not scores.is_floating_point():
        raise ValueError(f"{what} must give a float tensor shaped {tuple(mask.shape)}, not {_shown(scores)}")
    if scores.device != mask.device:
        raise ValueError(f"{what} gave scores on {scores.device}; the weights are on {mask.device}")
    bad = int((~torch.isfinite(scores) & among).sum())
    if bad:
        raise ValueError(f"{what} gave {bad} scores that are not finite")


def _shown(answer: Any) -> str:
    return f"{answer.dtype} {tuple(answer.shape)}" if isinstance(answer, Tensor) else repr(answer)
