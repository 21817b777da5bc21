"""Weights in saved states, equal in both executions: what is absent is left out, by torch's sparse tensors.

A state written by one execution so loads into the other: a dense tensor has its connections where it is not zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Places = NDArray[np.int64]


def sparse_tensor(places: Places, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A COO tensor with these values in these places of its flattened form, zeros among them kept."""
    indices = np.stack(np.unravel_index(places, shape)) if len(places) else np.zeros((len(shape), 0), np.int64)
    return torch.sparse_coo_tensor(
        torch.from_numpy(indices), values.clone(), shape, is_coalesced=True, check_invariants=False
    )


def parts_of(tensor: Tensor) -> tuple[Places, Tensor]:
    """Sorted places in the flattened form and the values there: of a COO tensor, or where a dense one is not zero."""
    if tensor.layout == torch.strided:
        flat = tensor.detach().reshape(-1)
        places = flat.nonzero().squeeze(1)
        return places.numpy(), flat[places]
    indices = tensor._indices().numpy()  # Those of tensors that say they are coalesced, whether or not they are.
    if (indices < 0).any() or any((row >= n).any() for row, n in zip(indices, tensor.shape, strict=True)):
        raise ValueError(f"a saved weight of shape {tuple(tensor.shape)} has connections outside it: it is damaged")
    places = np.ravel_multi_index(tuple(indices), tuple(tensor.shape)).astype(np.int64)
    if (np.diff(places) <= 0).any():
        raise ValueError(f"a saved weight of shape {tuple(tensor.shape)} has connections out of order: it is damaged")
    return places, tensor._values()


def read_at(tensor: Tensor, places: Places | None) -> Tensor:
    """The numbers of a saved tensor in these places (all, if None), 0 where it has none."""
    if tensor.layout == torch.strided:
        flat = tensor.detach().reshape(-1)
        return flat if places is None else flat[torch.from_numpy(places)]
    if places is None:
        return tensor.to_dense().reshape(-1)
    there, values = parts_of(tensor)
    return carried(there, values, places)


def carried(old: Places, values: Tensor, new: Places) -> Tensor:
    """Values in sorted places, taken over to other sorted places; 0 in those that are new."""
    if not len(old):
        return torch.zeros(len(new), dtype=values.dtype)
    at = np.minimum(np.searchsorted(old, new), len(old) - 1)
    found = torch.from_numpy(old[at] == new)
    return torch.where(found, values[torch.from_numpy(at)], torch.zeros((), dtype=values.dtype))


def densified(state: Any) -> Any:
    """The same state with every sparse tensor made dense, for masked execution."""
    if isinstance(state, Tensor):
        return state.to_dense() if state.layout != torch.strided else state
    if isinstance(state, dict):
        return {key: densified(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(densified(value) for value in state)
    return state
