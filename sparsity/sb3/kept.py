"""The state of topologies between two calls of `learn`: kept in the model, and so in the zip that it is saved to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

ATTRIBUTE = "sparsity_state"
"""Of a model. In a zip it is a dict of tensors and numbers, which torch alone can read."""
SHARE_OF_ZEROS = 0.01
"""A network with more exact zeros than this has been sparse before: training a dense one makes none."""

State = dict[str, Any]


class Live:
    """Stands for the state while it changes. Whoever pickles or copies it gets the state as it is then, as a dict."""

    __slots__ = ("owner",)

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.owner.state_dict(),)


def packed(state: Mapping[str, Any]) -> State:
    """A sparsifier's state on the CPU, its masks in bits."""
    masks = {name: (tuple(mask.shape), _bits(mask)) for name, mask in state["masks"].items()}
    return {**_on_cpu(state), "masks": masks}


def unpacked(state: Mapping[str, Any]) -> State:
    """What `packed` was given."""
    masks = {}
    for name, (shape, bits) in state["masks"].items():
        flat = np.unpackbits(bits.numpy(), count=int(np.prod(shape))).astype(bool)
        masks[name] = torch.from_numpy(flat).view(tuple(shape))
    return {**state, "masks": masks}


def going_on(kept: State | None, method: str, weights: Mapping[str, Tensor]) -> tuple[State | None, str]:
    """The state that a network's training goes on from; where none serves, what there is instead."""
    if kept is None:
        return None, "none"
    if kept["method"] != method:
        return None, "one of another method or density"
    state = unpacked(kept)
    return (state, "") if _fits(state, weights) else (None, "one of other weights")  # Trained densely since.


def _fits(state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> bool:
    """Whether a state's masks are those of these weights: all there, shaped alike, and zero where absent."""
    masks: dict[str, Tensor] = state["masks"]
    if not all(name in weights and weights[name].shape == mask.shape for name, mask in masks.items()):
        return False
    return not any(bool(weights[name].detach().cpu()[~mask].any()) for name, mask in masks.items())


def was_sparse(weights: Mapping[str, Tensor]) -> bool:
    """Whether a network comes with the zeros of an earlier sparse training."""
    zeros = sum(w.numel() - int(w.count_nonzero()) for w in weights.values())
    return zeros > SHARE_OF_ZEROS * sum(w.numel() for w in weights.values())


def _bits(mask: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1)))


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    return {key: _on_cpu(item) for key, item in value.items()} if isinstance(value, Mapping) else value
