"""How an answer that does not conform is mended, and what of a case is shown to its author."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsity.cases import Case

_SHOWN = 6
"""Numbers of a tensor that are shown."""
_NOT_FINITE = (
    "weights and gradients that are all zero do occur: divide by `x.clamp(min=1e-9)`, take the logarithm of `x + 1e-9`"
)


def advice(kind: str, answer: Any, case: Case) -> str:
    """A line on what to do about an answer; "" where what was expected says it."""
    if answer is None:
        return "the function ends without `return`"
    if isinstance(answer, Tensor) and case.among is not None:
        return _on_tensor(answer, case.among, wants_mask=kind == "target")
    return _KINDS.get(kind, "")


def _on_tensor(answer: Tensor, among: Tensor, *, wants_mask: bool) -> str:
    if answer.shape != among.shape:
        return "keep every dimension: `x.sum((-2, -1), keepdim=True)`, then `.expand_as(...)` one of the inputs"
    if wants_mask and answer.dtype != torch.bool:
        return "compare, to give True where a connection may stay: `target.abs() > 0.1`"
    if answer.dtype == torch.float64:
        return "stay in the dtype of the inputs: `.to(...)` that of one of them"
    if not answer.is_floating_point():
        return "scores that are whole or true and false, too, are given as floats: `.to(torch.float32)`, or of an input"
    return "" if bool(torch.isfinite(answer).all()) else _NOT_FINITE


_KINDS: Mapping[str, str] = {
    "prune": "score connections, and leave choosing to the engine: the lowest active ones leave",
    "grow": "score connections, and leave choosing to the engine: the highest absent ones enter",
    "initial": "score connections, the highest enter; or give a bool mask, or for `network` a table of masks",
    "schedule": "give a plain float: `fraction if step % every == 0 else 0.0`; `min(1.0, ...)` bounds it",
    "budget": "give a plain float, and let it not fall to 0, where no connection would be left",
    "born": "give a tensor like the inputs, or one plain number for all",
    "spread": "give a share a layer, a tensor like `removed`; the engine scales shares to the growth and rounds them",
}


def seen(answer: Any, asked: Mapping[str, Any], case: Case) -> dict[str, str]:
    """What came, small; of numbers that are not finite the first, and what its inputs were."""
    if not isinstance(answer, Tensor):
        return {}
    bad = ~torch.isfinite(answer) if answer.is_floating_point() else torch.zeros_like(answer, dtype=torch.bool)
    if case.among is not None and case.among.shape == bad.shape:
        bad = bad & case.among
    if not bool(bad.any()):
        return {"came": picture(answer)}
    at = tuple(bad.nonzero()[0].tolist())
    like = {name: value for name, value in asked.items() if isinstance(value, Tensor) and value.shape == bad.shape}
    values = ", ".join(f"{name} = {_number(value[at])}" for name, value in like.items())
    return {"came": f"{_number(answer[at])} at {list(at)}{f', where {values}' if values else ''}"}


def picture(value: Any) -> str:
    """An input in a line."""
    if isinstance(value, Tensor):
        numbers = ", ".join(_number(each) for each in value.reshape(-1)[:_SHOWN])
        more = ", ..." if value.numel() > _SHOWN else ""
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}: {numbers}{more}"
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        return f"{len(value)} tensors, the first {picture(value[0])}"
    if isinstance(value, Mapping) and any(isinstance(each, Tensor) for each in value.values()):
        return ", ".join(f"{name} {tuple(each.shape)}" for name, each in value.items())
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _number(value: Tensor) -> str:
    return f"{value.item():.3g}" if value.is_floating_point() else str(value.item())
