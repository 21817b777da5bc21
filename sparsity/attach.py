"""Sparse training of any torch module: `attach(module, optimizer, method="rigl", density=0.1, total=10_000)`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer

from registry import PartError, Registry, default_registry, nearest, part
from sparsity.event import Event
from sparsity.eventless import eventless_advice
from sparsity.execution.choice import Execution
from sparsity.method import Method
from sparsity.sparsifier import Sparsifier
from sparsity.trained import Handle, Tracked
from sparsity.variation import changed
from sparsity.weights import candidate_weights

_FALLING = ("cosine", "linear")
"""Schedules whose fraction falls with the run."""
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)


def attach(
    module: nn.Module,
    optimizer: Optimizer,
    method: str | Method = "set",
    *,
    density: float | None = None,
    total: int | None = None,
    seed: int | SeedSequence = 0,
    execution: Execution = "masked",
    target: nn.Module | Tracked | None = None,
    stride: int = 1,
    name: str = "module",
    on_event: Callable[[Event], None] | None = None,
    registry: Registry | None = None,
    **changes: Any,
) -> Sparsifier:
    """From now on `optimizer.step()` keeps `module` sparse, by a method's name or a `Method`.

    `density` is the share of the eligible weights that stays, in (0, 1]. `total` is the number of planned steps.
    Without it a swap that is to fall to nothing within a share of them (RigL's) keeps its first fraction, as a warning
    says, and budgets whose windows are shares are refused. `target` is a slow copy: one with a hook after its
    updates (`Tracked`), or a plain module, of whose updates `target_updated()` is to be told. `stride` says how many
    updates of the training make one step of this optimiser. `changes` are fields of the method, as a row of a study
    file words them: `grow="gradient"`, `schedule={"every": 100}`, `eligible="all"`.

    Under masked execution parameters keep their names, shapes and identity. ValueError, before anything is changed, for
    what cannot be carried out. A warning names weights that no method can make sparse, such as embeddings, unless
    `eligible` is given; `left_dense` of what is returned has them all. Another says that the method would rewire, and
    `total` is too short for it.
    """
    registry = registry or default_registry()
    module = _unwrapped(module)
    _check(module, optimizer)
    _check_clock(total, stride)
    learner = _Learner(name, module, optimizer, _slow(target), stride)
    chosen = _chosen(method, density, changes, registry)
    sparsifier = Sparsifier(
        learner,
        chosen if total is not None else _endless(chosen, registry),
        seed=seed if isinstance(seed, SeedSequence) else SeedSequence(seed),
        total=total,
        execution=execution,
        on_event=on_event,
        registry=registry,
    )
    _demand_weights(sparsifier, module)
    if "eligible" not in changes and sparsifier.method.sparse:
        _tell(sparsifier)
    if sparsifier.total and sparsifier.eventless:
        warnings.warn(eventless_advice(sparsifier.method, sparsifier.total), stacklevel=2)
    return sparsifier


@dataclass(frozen=True)
class _Learner:
    """A module as a sparsifier knows it."""

    name: str
    module: nn.Module
    optimizer: Optimizer
    target: Tracked | None
    stride: int


@dataclass(frozen=True)
class _Untold:
    """A slow copy without a hook: its owner says when it was updated, by `Sparsifier.target_updated`."""

    module: nn.Module

    def after_update(self, hook: Callable[[], None]) -> Handle:
        return self

    def remove(self) -> None:
        """There is no hook to take off."""


def _slow(target: nn.Module | Tracked | None) -> Tracked | None:
    if target is None or hasattr(target, "after_update"):
        return target  # type: ignore[return-value]
    if not isinstance(target, nn.Module):
        raise ValueError(f"target must be a module, or have `module` and `after_update`, not {target!r}")
    return _Untold(_unwrapped(target))


def _unwrapped(module: nn.Module) -> nn.Module:
    """What torch.compile, DataParallel, DistributedDataParallel or AveragedModel was given: names are those inside."""
    inner = getattr(module, "_orig_mod", None)
    if inner is None and isinstance(module, _WRAPPERS):
        inner = module.module
    return module if inner is None else _unwrapped(inner)


def _chosen(method: str | Method, density: float | None, changes: Mapping[str, Any], registry: Registry) -> Method:
    base: Method = method if isinstance(method, Method) else registry.entry("method", method).value
    known = [f.name for f in fields(Method)]
    for key in changes:
        if key not in known:
            near = nearest(key, [*known, *inspect.signature(attach).parameters])
            raise PartError(f"attach takes no {key!r}. {near}Of a method it takes {', '.join(known)}")
    if base.network == "given" and density is not None:
        changes = {**changes, "density": density}
    return changed(base, changes, registry)


def _endless(method: Method, registry: Registry) -> Method:
    """The method where nobody knows how long it goes on: a fraction that is to fall with the run does not."""
    schedule = registry.resolve("schedule", method.schedule)
    until = schedule.settings.get("until")
    if schedule.name not in _FALLING or not isinstance(until, float) or not method.sparse:
        return method
    warnings.warn(
        f"the swap of {schedule.settings['fraction']:g} is to fall to nothing over {until:g} of the steps, and stays "
        "as it is: say how many are planned by total=..., or when it ends by schedule={'until': 10_000}",
        stacklevel=3,
    )
    kept = {name: schedule.settings[name] for name in ("fraction", "every", "phase")}
    return replace(method, schedule=part("periodic", **kept))


def _check(module: nn.Module, optimizer: Optimizer) -> None:
    if not isinstance(optimizer, Optimizer):
        raise ValueError(f"optimizer must be a torch.optim.Optimizer, whose step has hooks, not {optimizer!r}")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError(
            "LBFGS computes gradients inside its step, by a closure, out of a sparsifier's sight: use another optimiser"
        )
    for name, parameter in module.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(f"{name} has no shape yet: pass a batch through the lazy module first, then attach")
        if parameter.is_meta:
            raise ValueError(f"{name} is on the meta device: give the module memory and values (to_empty), then attach")


def _check_clock(total: int | None, stride: int) -> None:
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(
            f"stride is how many updates make one step of the optimiser, an int of at least 1, not {stride!r}"
        )
    if total is not None and not total >= 1:
        raise ValueError(f"total is how many updates are planned, at least 1, or None if nobody knows, not {total!r}")


def _demand_weights(sparsifier: Sparsifier, module: nn.Module) -> None:
    """ValueError where a sparse method found nothing to make sparse; nothing has been changed then."""
    if not sparsifier.method.sparse or sparsifier.densities():
        return
    left = "; ".join(f"{name}: {left.reason}" for name, left in sparsifier.left_dense.items())
    advice = " Say eligible='all'." if candidate_weights(module) else ""
    raise ValueError(
        f"{type(module).__name__} has no weight for this method to make sparse ({left or 'none'}).{advice}"
    )


def _tell(sparsifier: Sparsifier) -> None:
    """One warning for all that no choice of a method would have made sparse."""
    left = {name: left for name, left in sparsifier.left_dense.items() if left.out_of_reach}
    if left:
        named = ", ".join(f"{name} ({kept.size:,} numbers: {kept.reason})" for name, kept in left.items())
        warnings.warn(f"left dense: {named}. Say eligible=... and there is no such warning", stacklevel=3)
