"""Calling a part on tensors: what it may not do to its inputs, and what its answer must look like."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from registry import Bound


def score(criterion: Bound, **inputs: Any) -> Any:
    """The part's answer. ValueError if it changed one of its inputs."""
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and criterion.asks(name)}
    versions = {name: tensor._version for name, tensor in tensors.items()}
    answer = criterion(**inputs)
    for name, tensor in tensors.items():
        if tensor._version != versions[name]:
            entry = criterion.entry
            raise ValueError(
                f"{entry.kind.name} {entry.name!r} of {entry.origin} changed its input {name!r} in place: "
                "parts are pure, give back a new tensor"
            )
    return answer


def check_scores(what: str, scores: Any, mask: Tensor, among: Tensor) -> None:
    """ValueError unless `scores` is a float tensor shaped like the mask, finite among the candidates."""
    if not isinstance(scores, Tensor) or scores.shape != mask.shape or not scores.is_floating_point():
        got = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else repr(scores)
        raise ValueError(f"{what} must give a float tensor shaped {tuple(mask.shape)}, not {got}")
    if scores.device != mask.device:
        raise ValueError(f"{what} gave scores on {scores.device}; the weights are on {mask.device}")
    bad = int((~torch.isfinite(scores) & among).sum())
    if bad:
        raise ValueError(f"{what} gave {bad} scores that are not finite")
