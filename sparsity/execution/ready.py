"""The kernels' machine code: whether it is there, and making it before anybody takes the time."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sparsity.execution import kernels
from sparsity.execution.pattern import Pattern, Shape
from sparsity.execution.selection import keep_largest
from sparsity.execution.stack import SparseStack


def are_compiled() -> bool:
    """Whether a process before this one has left its machine code on disk, as far as can be told by looking."""
    function = kernels.backward  # The largest.
    return any(Path(function.stats.cache_path or "").glob(f"kernels.{function.__name__}-*.nbi"))


@cache
def compile_kernels() -> None:
    """Make every kernel in float32, or load it from disk: one pass of each kind through a stack of three weights.

    Without it the first pass of a process does so, which on a new machine takes as long as some thousand updates.
    """
    pattern = Pattern([Shape(1, 2, 2), Shape(1, 1, 2)], [np.array([0]), None])
    stack = SparseStack(pattern, nn.Parameter(torch.zeros(pattern.size)))
    x = torch.zeros(1, 2)
    stack.single(x[0].numpy())
    with torch.no_grad():
        stack((x,))
    stack((x,)).sum().backward()
    keep_largest(np.zeros(2, np.float32), np.array([[0, 2]]), [np.array([0, 1])], 1)
