"""Bytes that an agent keeps: parameters, moments, targets, and the whole numbers that say where connections are.

A truly sparse network has one parameter, its values, and an index in the pattern of its stack; the stack of its slow
copy has the same pattern or, with a tail, its own, and the tail lies behind the values in one memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from rl.agent import Learner


def stored(learners: Iterable[Learner], sparsifiers: Sequence[Any]) -> dict[str, int]:
    """`parameters`, `moments`, `targets`, `index` and `scratch`, in bytes; buffers of floats count with their module.

    `index` is every tensor or array of whole numbers or truth values that modules and sparsifiers hold. `scratch` is
    what nearly full sparse layers are filled up in. Gradients and activations are not kept, and not counted.
    """
    learners = list(learners)
    modules = [learner.module for learner in learners]
    targets = [learner.target.module for learner in learners if learner.target is not None]
    moments = [
        tensor for learner in learners for state in learner.optimizer.state.values() for tensor in state.values()
    ]
    reached = [*_tensors([*modules, *targets]), *_reached([*modules, *targets, *sparsifiers])]
    return {
        "parameters": _bytes(t for t in _tensors(modules) if t.is_floating_point()),
        "moments": _bytes(moment for moment in moments if isinstance(moment, Tensor)),
        "targets": _bytes(
            t for t in [*_tensors(targets), *(s.memory for s in _stacks(targets))] if t.is_floating_point()
        ),
        "index": _bytes(each for each in reached if _whole(each)),
        "scratch": sum(s.pattern.scratch_size * s.memory.element_size() for s in _stacks([*modules, *targets])),
    }


def _stacks(modules: Iterable[nn.Module]) -> list[Any]:
    """Truly sparse ones, known by their index: to import their class would load the kernels."""
    stacks = (getattr(module, "stack", None) for module in modules)
    return [stack for stack in stacks if hasattr(stack, "pattern")]


def _tensors(modules: Iterable[nn.Module]) -> list[Tensor]:
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]


def _reached(roots: Sequence[Any]) -> Iterator[Tensor | np.ndarray[Any, Any]]:
    """Tensors and arrays that these objects hold, at any depth. Only containers and our own objects are looked into."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Tensor | np.ndarray):
            yield one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
        elif type(one).__module__.split(".")[0] in ("sparsity", "rl"):
            waiting += getattr(one, "__dict__", {}).values()
            waiting += [getattr(one, name) for name in getattr(type(one), "__slots__", ()) if hasattr(one, name)]


def _whole(one: Tensor | np.ndarray[Any, Any]) -> bool:
    if isinstance(one, Tensor):
        return not one.is_floating_point() and not one.is_complex()
    return one.dtype.kind in "iub"


def _bytes(held: Iterable[Tensor | np.ndarray[Any, Any]]) -> int:
    """Bytes of the memory that they use; views of one memory count once, by the largest."""
    memories: dict[int, int] = {}
    for one in held:
        start = one.data_ptr() if isinstance(one, Tensor) else one.ctypes.data
        memories[start] = max(memories.get(start, 0), one.nbytes)
    return sum(memories.values())
