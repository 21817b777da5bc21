"""Calling a part on trial: what it raises, what it changes outside itself, and whether it repeats itself."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from registry.place import raised_at
from registry.report import Problem

Answer = TypeVar("Answer")


def _python_state() -> tuple[int, Any, float | None]:
    # As an array, because 625 integers are compared at every trial.
    version, state, gauss = random.getstate()
    return version, np.array(state), gauss


def _set_python_state(state: tuple[int, Any, float | None]) -> None:
    random.setstate((state[0], tuple(state[1].tolist()), state[2]))


_GLOBALS: tuple[tuple[str, Callable[[], Any], Callable[[Any], object]], ...] = (
    ("torch's global random state", torch.get_rng_state, torch.set_rng_state),
    ("NumPy's global random state", np.random.get_state, np.random.set_state),
    ("Python's global random state", _python_state, _set_python_state),
    ("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    ("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("torch's deterministic flag", torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    ("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
)


def on_trial(call: Callable[[], Any], inputs: Mapping[str, Any], file: str = "") -> tuple[Any, list[Problem]]:
    """The answer of a call made twice, and all that a pure function would not have done. Globals are put back.

    `file` is the one that the part stands in: what raises is placed there.
    """
    before = [get() for _, get, _ in _GLOBALS]
    kept = {name: (_version(value), copy.deepcopy(value)) for name, value in inputs.items()}
    try:
        answer = copy.deepcopy(quietly(call))
        findings = _changed_globals(before)
        again = quietly(call)
    except (Exception, SystemExit) as error:
        return None, [raised(error, file), *_changed_globals(before)]
    changed_again = _changed_globals(before)  # It also puts them back.
    findings = findings or changed_again
    for name, (version, value) in kept.items():
        if _version(inputs[name]) != version or not same(inputs[name], value):
            advice = "inputs are shared with the training, so give back something new"
            findings.append(Problem("inputs", f"changed its input {name!r} in place", advice=f"{advice}{_INSTEAD}"))
    if not findings and not same(answer, again):
        advice = "a part keeps no state and draws no random numbers of its own; ask for `noise` instead"
        findings.append(Problem("repeat", "gave two different answers to the same inputs", advice=advice))
    return answer, findings


def quietly(call: Callable[[], Answer]) -> Answer:
    """The answer, without warnings: that a part warns is no reason to refuse it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def raised(error: BaseException, file: str = "") -> Problem:
    """That something was raised, and at which line of a part's file."""
    return Problem("raises", f"raised {type(error).__name__}: {error}", where=raised_at(error, file))


def same(one: Any, other: Any) -> bool:
    """Equal down to the last bit, through lists, tables, arrays and tensors; NaN equals NaN."""
    if isinstance(one, Tensor | np.ndarray) or isinstance(other, Tensor | np.ndarray):
        return type(one) is type(other) and _same_array(torch.as_tensor(one), torch.as_tensor(other))
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and list(one) == list(other) and same([*one.values()], [*other.values()])
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))


def _same_array(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


_INSTEAD = ": `x.abs()` for `x.abs_()`, `torch.where` for `x[...] = `"


def _version(value: Any) -> int:
    # Writing an equal value is a change as well; torch counts every write.
    return value._version if isinstance(value, Tensor) else 0


def _changed_globals(before: list[Any]) -> list[Problem]:
    findings = []
    for (name, get, restore), value in zip(_GLOBALS, before, strict=True):
        if not same(get(), value):
            restore(value)
            advice = "it belongs to the whole process; randomness comes in as `noise`, dtypes with the inputs"
            findings.append(Problem("globals", f"changed {name}", advice=advice))
    return findings
