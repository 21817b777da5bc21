"""What a part of every kind is asked on trial, and which answers it may give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from registry import Bound, Registry, nearest
from registry.sample import sample_settings

Shapes = Mapping[str, tuple[int, ...]]

MLP: Shapes = {"hidden.0.weight": (256, 17), "hidden.1.weight": (256, 256), "head.weight": (6, 256)}
"""An actor's shapes. The first case of every kind is the one that a rehearsal asks."""
NETWORKS: dict[str, Shapes] = {
    "an MLP": MLP,
    "a small MLP": {"hidden.0.weight": (8, 6), "hidden.1.weight": (8, 8), "head.weight": (2, 8)},
    "a convolutional network": {"conv.weight": (32, 9, 3, 3), "hidden.0.weight": (64, 288), "head.weight": (6, 64)},
    "one layer": {"weight": (4, 5)},
}
SHAPES = ((2, 4, 5), (6, 5), (3, 1, 1))
VALUES: dict[str, Callable[[tuple[int, ...], torch.Generator], Tensor]] = {
    "ordinary": lambda shape, generator: torch.randn(shape, generator=generator),
    "all zero": lambda shape, generator: torch.zeros(shape),
    "all equal": lambda shape, generator: torch.full(shape, 0.25),
}
Sweeps = Sequence[tuple[int, Sequence[int]]]
"""For parts that are asked at every step: how many updates are planned, and the steps."""


@dataclass(frozen=True)
class Case:
    """One question to a part: its inputs by name, and what is wrong with an answer ("" if nothing)."""

    what: str
    given: Mapping[str, Any]
    wrong: Callable[[Any], str]
    """What came, and behind a semicolon what should have come."""
    among: Tensor | None = None
    """The connections whose values count, where an answer has one value a connection."""
    steps: Sequence[int] = ()
    """Asked at each of these steps, for a list of answers."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def ask(self, part: Bound, given: Mapping[str, Any] | None = None) -> Any:
        """The part's answer, to other inputs if given."""
        chosen = Bound(part.entry, {**part.settings, **self.settings})
        inputs = self.given if given is None else given
        return [chosen(step=step, **inputs) for step in self.steps] if self.steps else chosen(**inputs)


def cases(part: Bound, registry: Registry, sweeps: Sweeps) -> Iterator[Case]:
    """All cases of the part's kind; none for kinds that are not sparsity's own."""
    kind = part.entry.kind.name
    if kind == "initial" and part.asks("network"):
        return _initial_of_network(part)
    if kind == "spread":
        return _spread(part, registry)
    if kind in _TENSORS:
        return _on_states(_TENSORS[kind], part, registry)
    if kind in _STEPPED:
        return (case for total, steps in sweeps for case in _STEPPED[kind](total, steps))
    return _PLAIN[kind](part) if kind in _PLAIN else iter(())


# Kinds on tensors `(*, out, fan_in)`: one state of a layer, one case.

State = dict[str, Any]


def _on_states(case: Callable[[str, State], Case], part: Bound, registry: Registry) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    traces = [name for name in part.entry.inputs if part.entry.kind.traces and name in registry.names("trace")]
    for shape in SHAPES:
        for values in VALUES:
            for filling, share in (("sparse", 0.5), ("full", 1.0)):
                state = _state(shape, values, share, generator)
                state |= {name: _traced(name, state, registry) for name in traces}
                yield case(f"{shape}, {values}, {filling} mask", state)


def _state(shape: tuple[int, ...], values: str, share: float, generator: torch.Generator) -> State:
    mask = torch.rand(shape, generator=generator) < share
    return {
        "mask": mask,
        "grown": mask & (torch.rand(shape, generator=generator) < 0.3),
        "dense": VALUES[values](shape, generator),
        "grad": VALUES[values](shape, generator),
        "noise": torch.rand(shape, generator=generator),
        "activity": 2 * torch.rand((*shape[:-1], 1), generator=generator),
        "other": torch.randn(shape, generator=generator),
    }


def _traced(name: str, state: State, registry: Registry) -> Tensor:
    """A trace after three steps."""
    entry = registry.entry("trace", name)
    kept = torch.zeros_like(state["grad"])
    for _ in range(3):
        kept = Bound(entry, sample_settings(entry))(trace=kept, weight=state["dense"] * state["mask"], **state)
    return kept


def _criterion(prune: bool) -> Callable[[str, State], Case]:
    def case(what: str, state: State) -> Case:
        among = state["mask"] if prune else ~state["mask"]
        given = {**state, "weight": state["dense"] * state["mask"]}
        return Case(what, given, lambda answer: _misscored(answer, among), among)

    return case


def _initial(what: str, state: State) -> Case:
    empty = torch.zeros_like(state["mask"])
    given = {"weight": state["dense"], "noise": state["noise"], "mask": empty, "density": 0.5}

    def wrong(answer: Any) -> str:
        drawn = isinstance(answer, Tensor) and answer.dtype == torch.bool
        return _unlike(answer, empty) if drawn else _misscored(answer, ~empty)

    return Case(what, given, wrong, ~empty)


def _initial_of_network(part: Bound) -> Iterator[Case]:
    """For those that see the whole network, a chain of layers of twins."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden.0.weight": (2, 8, 6), "hidden.1.weight": (2, 8, 8), "head.weight": (2, 1, 8)}
    network = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for eligible in (tuple(shapes), ("hidden.1.weight",)):
        size = sum(network[name][0].numel() for name in eligible)
        for connections in (size, size // 2):
            given = {"network": network, "eligible": eligible, "connections": connections, "density": 0.5}
            wrong = partial(_misdrawn, network=network, eligible=eligible)
            yield Case(f"{connections} connections in {', '.join(eligible)}", given, wrong)


def _misdrawn(answer: Any, *, network: Mapping[str, Tensor], eligible: Sequence[str]) -> str:
    if not isinstance(answer, Mapping) or set(answer) != set(eligible):
        return f"gave {shown(answer)}; it must give a table with a mask for each of {', '.join(eligible)}"
    like = {name: torch.zeros(network[name].shape, dtype=torch.bool) for name in eligible}
    return next((wrong for name in eligible if (wrong := _unlike(answer[name], like[name]))), "")


def _weights(what: str, state: State) -> Case:
    given = {"weight": state["dense"], "mask": state["mask"]}
    return Case(what, given, lambda answer: _unlike(answer, state["dense"]), torch.ones_like(state["mask"]))


def _born(what: str, state: State) -> Case:
    def wrong(answer: Any) -> str:
        if isinstance(answer, Tensor):
            return _unlike(answer, state["dense"])
        return "" if _finite(answer) else f"gave {shown(answer)}; it must give a finite number or a tensor"

    return Case(what, {**state, "stepped": state["dense"]}, wrong, torch.ones_like(state["mask"]))


def _target(what: str, state: State) -> Case:
    given = {"target": state["other"], "online": state["dense"] * state["mask"], "mask": state["mask"]}
    return Case(what, given, lambda answer: _unlike(answer, state["mask"]), torch.ones_like(state["mask"]))


def _moments(what: str, state: State) -> Case:
    second = what.startswith(str(SHAPES[0]))
    moment = state["dense"].square() if second else state["dense"]
    given = {"moment": moment, "mask": state["mask"], "grown": state["grown"], "second": second}

    def wrong(answer: Any) -> str:
        if _unlike(answer, moment) or not second or not bool((answer < 0).any()):
            return _unlike(answer, moment)
        return "gave negative values for a second moment: an optimiser takes its square root"

    return Case(f"{what}, {'second' if second else 'first'} moment", given, wrong, torch.ones_like(state["mask"]))


def _trace(what: str, state: State) -> Case:
    given = {**state, "weight": state["dense"] * state["mask"], "trace": state["other"].abs()}
    return Case(what, given, lambda answer: _unlike(answer, state["grad"]), torch.ones_like(state["mask"]))


_TENSORS = {
    "initial": _initial,
    "weights": _weights,
    "prune": _criterion(prune=True),
    "grow": _criterion(prune=False),
    "born": _born,
    "target": _target,
    "moments": _moments,
    "trace": _trace,
}


# Kinds asked at every step.


def _schedule(total: int, steps: Sequence[int]) -> Iterator[Case]:
    def wrong(answers: Any) -> str:
        for step, fraction in zip(steps, answers, strict=True):
            if not _finite(fraction) or not 0 <= fraction <= 1:
                return f"gave {shown(fraction)} at step {step}; a fraction to swap is a number in [0, 1], 0 for not now"
        return ""

    for density in (0.5, 0.2):
        given = {"total": total, "density": density, "final": 0.5}
        yield Case(f"{total} updates planned, density {density} of 0.5", given, wrong, steps=steps)


def _budget(total: int, steps: Sequence[int]) -> Iterator[Case]:
    steps = (0, *steps)

    def wrong(answers: Any) -> str:
        for step, density in zip(steps, answers, strict=True):
            if not _finite(density) or not 0 < density <= 1:
                return f"gave {shown(density)} at step {step}; a density is a number in (0, 1], 0 excluded"
        return ""

    for density in (0.5, 0.1, 1.0):
        given = {"total": total, "density": density}
        yield Case(f"density {density}, {total} updates planned", given, wrong, steps=steps)


_STEPPED = {"schedule": _schedule, "budget": _budget}


# The other kinds.


def _eligible(part: Bound) -> Iterator[Case]:
    for what, shapes in NETWORKS.items():
        yield Case(what, {"shapes": dict(shapes)}, partial(_mischosen, shapes=shapes))


def _mischosen(answer: Any, *, shapes: Shapes) -> str:
    if not isinstance(answer, list | tuple):
        return f"gave {shown(answer)}; it must give a list or tuple of names, as the order of layers matters"
    for name in answer:
        if name not in shapes:
            known = f"{nearest(str(name), shapes)}Known: {', '.join(shapes)}"
            return f"gave {name!r}, which is no weight of the network. {known}"
    return "" if len(set(answer)) == len(answer) else f"gave a name twice in {answer!r}: name each weight once"


def _allocation(part: Bound) -> Iterator[Case]:
    asked = [d for d in (0.9, 0.5, 0.1) if "density" in {setting.name for setting in part.entry.settings}]
    for what, shapes in NETWORKS.items():
        given = {"shapes": dict(shapes)}
        yield Case(what, given, partial(_misallocated, shapes=shapes))
        for density in asked:
            wrong = partial(_misallocated, shapes=shapes, density=density)
            yield Case(f"{what}, density {density}", given, wrong, settings={"density": density})


def _misallocated(answer: Any, *, shapes: Shapes, density: float | None = None) -> str:
    if not isinstance(answer, Mapping):
        return f"gave {shown(answer)}; it must give a table from name to density"
    if set(answer) != set(shapes):
        named = ", ".join(map(str, answer)) or "nothing"
        return f"gave densities for {named}; it must give one for each of {', '.join(shapes)}, and no other"
    for name, value in answer.items():
        if not _finite(value) or not 0 < value <= 1:
            return f"gave {shown(value)} for {name}; a density is a number in (0, 1]"
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    met = math.fsum(answer[name] * size for name, size in sizes.items()) / sum(sizes.values())
    if density is None or math.isclose(met, density, rel_tol=1e-6):
        return ""
    return f"gave {met:.6g} in all where its setting `density` was {density}: meet it, or call the setting otherwise"


def _spread(part: Bound, registry: Registry) -> Iterator[Case]:
    state = _state((1, 8, 8), "ordinary", 0.5, torch.Generator().manual_seed(0))
    traces = [name for name in part.entry.inputs if name in registry.names("trace")]
    seen: State = {"masks": state["mask"], **{name: _traced(name, state, registry) for name in traces}}
    removed, nnz, room = torch.tensor([2, 3, 1]), torch.tensor([10, 20, 5]), torch.tensor([30, 5, 1])
    nothing = torch.zeros_like(removed)
    for what, given in {
        "three layers": {"removed": removed, "nnz": nnz, "room": room},
        "nothing removed": {"removed": nothing, "nnz": nnz, "room": room},
        "everything removed": {"removed": nnz, "nnz": nnz, "room": room},
        "no room": {"removed": nothing, "nnz": nnz, "room": nothing},
        "one layer": {"removed": removed[:1], "nnz": nnz[:1], "room": room[:1]},
    }.items():
        lists: State = {name: [each] * len(given["removed"]) for name, each in seen.items()}
        yield Case(what, {**given, **lists}, partial(_misshared, like=given["removed"]))


def _misshared(answer: Any, *, like: Tensor) -> str:
    number = isinstance(answer, Tensor) and answer.dtype != torch.bool and not answer.is_complex()
    if not number or answer.shape != like.shape or answer.device != like.device:
        return f"gave {shown(answer)}; it must give one share a layer, a tensor of numbers shaped {tuple(like.shape)}"
    if not bool((torch.isfinite(answer) & (answer >= 0)).all()):
        return f"gave {answer.tolist()}; shares of the growth must be finite and not negative"
    return ""


_PLAIN = {"eligible": _eligible, "allocation": _allocation}

PART_KINDS = ("eligible", "allocation", *_TENSORS, "spread", *_STEPPED)
"""The kinds that there are cases for."""


# Answers.


def shown(answer: Any) -> str:
    """An answer in a few words."""
    if isinstance(answer, Tensor) and answer.dim():
        return f"a {answer.dtype} tensor shaped {tuple(answer.shape)}"
    text = repr(answer)
    return f"{type(answer).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _misscored(answer: Any, among: Tensor) -> str:
    wanted = f"it must give a float tensor shaped {tuple(among.shape)}, a score for every connection"
    if not isinstance(answer, Tensor) or answer.shape != among.shape or not answer.is_floating_point():
        return f"gave {shown(answer)}; {wanted}"
    if answer.device != among.device:
        return f"gave scores on {answer.device}; its inputs are on {among.device}"
    bad = int((~torch.isfinite(answer) & among).sum())
    return f"gave {bad} scores that are not finite" if bad else ""


def _unlike(answer: Any, like: Tensor) -> str:
    if not isinstance(answer, Tensor) or answer.shape != like.shape or answer.dtype != like.dtype:
        return f"gave {shown(answer)}; it must give {shown(like)}"
    if answer.device != like.device:
        return f"gave a tensor on {answer.device}; its inputs are on {like.device}"
    bad = int((~torch.isfinite(answer)).sum())
    return f"gave {bad} values that are not finite" if bad else ""


def _finite(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
