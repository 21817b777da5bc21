"""The kinds of interchangeable parts: one hook a kind, and what a part of that kind may ask for.

A plugin implements `register_<kind>(register)` and calls `register(part)` for every part it brings. A part's
parameters before `*` are inputs, fed by name from the kind's list; keyword-only ones are settings. A replay, and a
wrapper that keeps anything from one episode to the next, tells it by `state_dict` and takes it back by
`load_state_dict`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pluggy

PROJECT = "sparsity"

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's `register_<kind>` function."""
_hookspec = pluggy.HookspecMarker(PROJECT)


@dataclass(frozen=True)
class Kind:
    """A kind of part: what its functions may ask for by name, and what they give back."""

    name: str
    inputs: tuple[str, ...]
    gives: str
    traces: bool = False
    """Functions may also ask for any registered trace by its name."""
    row: str = ""
    """For kinds that are rows of data rather than functions: the class of a row, as `module:Class`."""
    facts: tuple[str, ...] = ()
    """What else `register` takes as keywords for this kind; `registry.meanings` says what each is."""


_SCORED = ("weight", "grad", "mask", "noise", "activity")

KINDS = {
    kind.name: kind
    for kind in (
        Kind("eligible", ("shapes",), "the names of the weights that may be sparse"),
        Kind("allocation", ("shapes",), "the density of every eligible weight, by name"),
        Kind(
            "initial",
            ("weight", "noise", "mask", "density", "network", "eligible", "connections"),
            "scores (the highest enter) or a mask of its own; of the whole network, masks by name",
        ),
        Kind("weights", ("weight", "mask"), "the initial values of a sparse layer"),
        Kind("prune", _SCORED, "scores: the lowest active connections leave", traces=True),
        Kind("grow", _SCORED, "scores: the highest absent connections enter", traces=True),
        Kind("born", ("stepped", "grad", "noise"), "the value of a connection that was absent", traces=True),
        Kind("spread", ("removed", "nnz", "room", "masks"), "shares of the growth, one a layer", traces=True),
        Kind(
            "schedule",
            ("step", "total", "density", "final"),
            "the fraction of active connections to swap at this step",
        ),
        Kind("budget", ("step", "total", "density"), "the density of the network from this step on"),
        Kind("target", ("target", "online", "mask"), "the mask of what a slow copy may keep"),
        Kind(
            "moments",
            ("moment", "mask", "grown", "second"),
            "the optimiser's moment, tended",
            facts=("forgets_absent",),
        ),
        Kind("trace", ("weight", "grad", "mask", "trace"), "the trace's new value", facts=("window",)),
        Kind(
            "method",
            (),
            "a row of chosen parts",
            row="sparsity.method:Method",
            facts=("source", "year", "departures", "own"),
        ),
        Kind("agent", ("observation_size", "action_size", "seed", "device", "dtype"), "an agent that learns"),
        Kind("replay", ("observation_size", "action_size"), "a memory of transitions"),
        Kind("wrapper", ("env", "seed"), "the environment, wrapped"),
        Kind("preset", (), "an agent, a method and settings as a paper used them", row="studies.preset:Preset"),
        Kind(
            "executor",
            ("jobs", "report"),
            "nothing: it runs every job and reports what happens",
            facts=("ready",),
        ),
        Kind("logger", ("folder", "run"), "an object with `write(record)` and `close()`", facts=("ready",)),
    )
}


def _spec(kind: Kind) -> Callable[[object], None]:
    def hook(register: object) -> None: ...

    hook.__name__ = hook.__qualname__ = f"register_{kind.name}"
    hook.__doc__ = f"Register {kind.name} parts. Inputs: {', '.join(kind.inputs) or 'none'}. Gives {kind.gives}."
    specified: Callable[[object], None] = _hookspec(hook)
    return specified


Hooks = type("Hooks", (), {f"register_{kind.name}": staticmethod(_spec(kind)) for kind in KINDS.values()})
"""One hook specification a kind, `register_<kind>(register)`, in the form that pluggy reads."""
