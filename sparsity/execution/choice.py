"""Which execution serves a learner: decided by what is known before a run, never by a clock."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import nn

from registry import Registry
from sparsity.execution.crossover import EXPAND_FROM, PAYS_BELOW
from sparsity.execution.find import is_stack, layers_of
from sparsity.method import Method
from sparsity.trained import Trained

Execution = Literal["auto", "masked", "sparse"]
Resolved = Literal["masked", "sparse"]
Shapes = Mapping[str, tuple[int, ...]]

TARGET_RULES = ("follow", "keep_largest", "drift")
"""The target rules that sparse execution knows."""
NOMINAL_BATCH = 256
"""The batch size that is reckoned with where nobody says it."""


def chosen_execution(
    execution: Execution, module: nn.Module, shapes: Shapes, method: Method, registry: Registry
) -> Resolved:
    """For a module whose sparse weights are `shapes`, of one member. ValueError if it cannot be as it was asked."""
    if execution == "masked" or not shapes:
        return "masked"
    reason = needs_dense(method, registry)
    if execution == "sparse":
        if reason:
            raise ValueError(f"sparse execution cannot serve this method: {reason}. Choose masked execution")
        return "sparse"
    on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
    if reason or not on_cpu or not is_stack(module):
        return "masked"
    densities = registry.bind("allocation", method.allocation)(shapes=shapes)
    return "sparse" if pays(shapes, densities, NOMINAL_BATCH) else "masked"


def planned_execution(widths: Sequence[int], batch: int, device: str, method: Method, registry: Registry) -> Resolved:
    """What `auto` means for a network with these hidden widths: `masked` or `sparse`.

    Input and output sizes count for little and are taken as a hidden width and 1, so that a plan needs no environment.
    """
    if device != "cpu" or needs_dense(method, registry) or not widths:
        return "masked"
    shapes: dict[str, tuple[int, ...]] = {
        f"hidden.{number}.weight": (width, widths[max(0, number - 1)]) for number, width in enumerate(widths)
    }
    shapes["head.weight"] = (1, widths[-1])
    names = registry.bind("eligible", method.eligible)(shapes=shapes)
    eligible = {name: shapes[name] for name in names if name in shapes}
    if not eligible:
        return "masked"
    with warnings.catch_warnings():  # What it says of these shapes is no news of the network's own.
        warnings.simplefilter("ignore")
        densities = registry.bind("allocation", method.allocation)(shapes=eligible)
    return "sparse" if pays(eligible, densities, batch) else "masked"


def pays(shapes: Shapes, densities: Mapping[str, float], batch: int) -> bool:
    """Whether a sparse update is faster than a masked one, by the table that was measured."""
    size = sum(math.prod(shape) for shape in shapes.values())
    density = math.fsum(densities[name] * math.prod(shape) for name, shape in shapes.items()) / size
    width = max(max(shape[:2]) for shape in shapes.values())
    nearest = min(PAYS_BELOW, key=lambda at: abs(math.log(at[0] / width)) + abs(math.log(at[1] / batch)))
    return density < PAYS_BELOW[nearest]


def expands(out: int, fan_in: int, density: float) -> bool:
    """Whether a layer of that density is faster as a dense product."""
    width = math.sqrt(out * fan_in)
    return density >= EXPAND_FROM[min(EXPAND_FROM, key=lambda at: abs(math.log(at / width)))]


def can_be_held(learner: Trained) -> bool:
    """Whether a learner's network is a stack that says so itself, as those that `auto` makes sparse are."""
    try:
        return is_stack(learner.module) and bool(layers_of(learner.module))
    except ValueError:
        return False


def needs_dense(method: Method, registry: Registry) -> str:
    """Why a method cannot do without dense tensors between events; else nothing."""
    moments = registry.entry("moments", method.moments.name)
    criteria = [registry.entry(kind, getattr(method, kind).name) for kind in ("prune", "grow", "born", "spread")]
    traces = {name for entry in criteria for name in entry.inputs} & set(registry.names("trace"))
    rule = registry.entry("target", method.target.name)
    if method.optimizer_sees == "dense":
        return "its optimiser sees dense gradients, so that absent connections gather moments"
    if not moments.facts.get("forgets_absent"):
        return f"moments = {moments.name!r} remembers moments of absent connections"
    if traces:
        return f"it keeps the trace {sorted(traces)[0]!r}, a dense tensor a weight"
    if not rule.origin.in_tree or rule.name not in TARGET_RULES:
        return f"target = {rule.name!r} is not one that it knows ({', '.join(TARGET_RULES)})"
    return ""
