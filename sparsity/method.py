"""A method is a row of chosen parts, its fields the phases of Sokar et al. 2022. `published` has those of papers."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from registry import Part, PartError, Registry, part


@dataclass(frozen=True)
class Method:
    """Which connections there are, when they change, how, and what slow copies and optimisers make of it.

    A variation is one `dataclasses.replace(SET, grow=part("gradient"))`.
    """

    eligible: Part = part("hidden")
    """Which weights may be sparse."""
    allocation: Part = part("erk", density=0.5)
    """The density of each of them."""
    initial: Part = part("random")
    """The first topology: a grow criterion on the empty mask, or a mask drawn at once."""
    weights: Part = part("ordinary")
    """The initial values of sparse layers."""
    prune: Part = part("magnitude")
    grow: Part = part("random")
    born: Part = part("zero")
    """The value of a connection that was absent."""
    spread: Part = part("in_place")
    """How growth is spread over layers."""
    schedule: Part = part("never")
    budget: Part = part("constant")
    target: Part = part("follow")
    moments: Part = part("mask")
    traces: tuple[Part, ...] = ()
    """Settings of the traces that criteria ask for, where they differ from the defaults."""
    readmit: bool = False
    """May a connection that was dropped in an event grow back in it? It then keeps its value and moments."""
    scope: Literal["layer", "network"] = "layer"
    """Where a cut to the budget chooses: within each layer, or over the whole network at once."""
    swap_scope: Literal["layer", "network"] = "layer"
    """Where the swap chooses."""
    optimizer_sees: Literal["masked", "dense"] = "masked"
    """With `dense`, absent connections gather moments, as in the released code of Sokar et al. 2022."""
    event: Literal["after_step", "instead_of_step"] = "after_step"
    """RigL's update replaces the gradient step of the whole learner."""
    clock: Literal["agent", "optimizer"] = "agent"
    """What the schedule counts: agent updates, or this learner's own optimiser steps (RLx2)."""
    network: Literal["given", "shrunk"] = "given"
    """`shrunk`: no mask; layers so narrow that the dense network has as many parameters as the sparse one."""

    @property
    def sparse(self) -> bool:
        """Whether any weight is ever absent."""
        return self.eligible.name != "none" and self.network == "given"

    def parts(self) -> dict[str, Part]:
        """The chosen parts by field, which is also their kind. Traces are not among them."""
        return {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Part)}

    def resolved(self, registry: Registry) -> Method:
        """The same method with the defaults of all parts written out; PartError for what does not fit."""
        chosen: dict[str, Any] = {kind: registry.resolve(kind, choice) for kind, choice in self.parts().items()}
        traces = tuple(registry.resolve("trace", choice) for choice in self.traces)
        method = replace(self, **chosen, traces=traces)
        method.check(registry)
        return method

    def check(self, registry: Registry) -> None:
        """Raise PartError for choices that contradict each other."""
        for f in fields(self):
            allowed = _CHOICES.get(f.name)
            if allowed and getattr(self, f.name) not in allowed:
                raise PartError(f"{f.name} must be one of {', '.join(allowed)}, not {getattr(self, f.name)!r}")
        if not isinstance(self.readmit, bool):
            raise PartError(f"readmit must be true or false, not {self.readmit!r}")
        born = registry.entry("born", self.born.name)
        if "stepped" in born.inputs and self.optimizer_sees != "dense":
            raise PartError(
                f"born = {born.name!r} takes the value of the optimiser's dense step, but the optimiser sees masked "
                "gradients: set optimizer_sees = 'dense', or another born"
            )
        if "stepped" in born.inputs and self.event == "instead_of_step":
            raise PartError(f"born = {born.name!r} needs a step, and event = 'instead_of_step' skips it")
        if self.prune.name in _SIGNED and "network" in (self.scope, self.swap_scope):
            raise PartError(
                f"prune = {self.prune.name!r} ranks within a layer's signs, which cannot be compared between layers: "
                "scope and swap_scope must be 'layer'"
            )


_CHOICES = {
    "scope": ("layer", "network"),
    "swap_scope": ("layer", "network"),
    "optimizer_sees": ("masked", "dense"),
    "event": ("after_step", "instead_of_step"),
    "clock": ("agent", "optimizer"),
    "network": ("given", "shrunk"),
}
_SIGNED = ("half_per_sign", "share_per_sign")
