"""What trials of agents, replays and wrappers share: the sizes, exact comparison, and global randomness."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

SIZES = (3, 2)
"""Observation and action sizes that parts are tried with."""


def global_randomness() -> tuple[Any, Any, Any]:
    """The global random states of torch, NumPy and Python."""
    return torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002


def restore_global_randomness(state: tuple[Any, Any, Any]) -> None:
    """Put back what `global_randomness` gave."""
    torch.set_rng_state(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    random.setstate(state[2])


def same(one: Any, other: Any) -> bool:
    """Equal down to the last bit, through tables, lists, arrays and tensors."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def shown(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"a {value.dtype} {type(value).__name__} shaped {tuple(value.shape)}"
    return f"{type(value).__name__} {value!r:.60}"
