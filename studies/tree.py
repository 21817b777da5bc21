"""A run's state as JSON words and tensors: nested dicts, lists and tuples of numbers, strings, bytes and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

# A dict with one of these as its only key stands for something that JSON has no word for.
TENSOR, SPARSE, ARRAY, BYTES, TUPLE, PAIRS = "@tensor", "@sparse", "@array", "@bytes", "@tuple", "@pairs"
MARKS = (TENSOR, SPARSE, ARRAY, BYTES, TUPLE, PAIRS)


def pack(tree: Any) -> tuple[Any, list[Tensor]]:
    """Words that JSON can hold, and the tensors that they number. TypeError, with its place, for anything else."""
    tensors: list[Tensor] = []
    return _packed(tree, tensors, "state"), tensors


def unpack(words: Any, tensors: Sequence[Tensor]) -> Any:
    """What `pack` was given: equal values of equal types."""
    if isinstance(words, list):
        return [unpack(word, tensors) for word in words]
    if not isinstance(words, dict):
        return words
    mark = next(iter(words)) if len(words) == 1 else ""
    if mark not in MARKS:
        return {key: unpack(value, tensors) for key, value in words.items()}
    value = words[mark]
    if mark == TENSOR:
        return tensors[value]
    if mark == SPARSE:
        indices, values = (tensors[number] for number in value["tensors"])
        whole, coalesced = tuple(value["shape"]), value["coalesced"]
        return torch.sparse_coo_tensor(indices, values, whole, is_coalesced=coalesced, check_invariants=True)
    if mark == ARRAY:
        return tensors[value].numpy()
    if mark == BYTES:
        return tensors[value].numpy().tobytes()
    items = [unpack(word, tensors) for word in value]
    return tuple(items) if mark == TUPLE else dict(items)


def _packed(tree: Any, tensors: list[Tensor], place: str) -> Any:
    def numbered(tensor: Tensor) -> int:
        tensors.append(tensor.detach().cpu().contiguous())
        return len(tensors) - 1

    match tree:
        case None | bool() | int() | float() | str() if type(tree) in (type(None), bool, int, float, str):
            return tree
        case Tensor() if tree.layout == torch.sparse_coo:
            parts = [numbered(tree._indices()), numbered(tree._values())]
            return {SPARSE: {"tensors": parts, "shape": list(tree.shape), "coalesced": tree.is_coalesced()}}
        case Tensor() if tree.layout == torch.strided:
            return {TENSOR: numbered(tree)}
        case np.ndarray() if tree.dtype.kind in "biuf":
            return {ARRAY: numbered(torch.from_numpy(np.ascontiguousarray(tree).reshape(tree.shape)))}
        case bytes():
            return {BYTES: numbered(torch.frombuffer(bytearray(tree), dtype=torch.uint8) if tree else torch.empty(0))}
        case list():
            return [_packed(value, tensors, f"{place}[{i}]") for i, value in enumerate(tree)]
        case tuple():
            return {TUPLE: [_packed(value, tensors, f"{place}[{i}]") for i, value in enumerate(tree)]}
        case Mapping() if all(type(key) is str for key in tree) and not (len(tree) == 1 and next(iter(tree)) in MARKS):
            return {key: _packed(value, tensors, f"{place}.{key}") for key, value in tree.items()}
        case Mapping():
            return {PAIRS: [_packed(pair, tensors, f"{place}[{pair[0]!r}]") for pair in tree.items()]}
    raise TypeError(f"{place} is {type(tree).__name__} {tree!r:.80}: a state holds numbers, strings, bytes and arrays")
