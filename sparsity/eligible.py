"""Which weights of a module may be sparse. Shapes are those of one member: `(out, in, *kernel)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from registry import hookimpl, nearest

Shapes = Mapping[str, tuple[int, ...]]


def hidden(shapes: Shapes) -> tuple[str, ...]:
    """All but the output layer: the paper's choice (Sokar et al. 2022, section 4).

    Output layers are those called `head`; where there is none, the last layer of the module.
    """
    heads = {name for name in shapes if "head" in name.split(".")} or set(list(shapes)[-1:])
    return tuple(name for name in shapes if name not in heads)


def every(shapes: Shapes) -> tuple[str, ...]:
    """Every weight matrix, output layers included: RigL (Evci et al. 2020), RLx2 (Tan et al. 2023)."""
    return tuple(shapes)


def first(shapes: Shapes) -> tuple[str, ...]:
    """The input layer alone: ANF (Grooten et al. 2023)."""
    return tuple(shapes)[:1]


def named(shapes: Shapes, *, layers: tuple[str, ...] = ("*",), without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Weights whose names match one of `layers` and none of `without`, which are patterns: `encoder.*`."""
    for pattern in (*layers, *without):
        if not any(fnmatchcase(name, pattern) for name in shapes) and pattern != "*":
            raise ValueError(f"no weight is called {pattern!r}. {nearest(pattern, shapes)}Weights: {', '.join(shapes)}")
    chosen = (name for name in shapes if any(fnmatchcase(name, pattern) for pattern in layers))
    return tuple(name for name in chosen if not any(fnmatchcase(name, pattern) for pattern in without))


def none(shapes: Shapes) -> tuple[str, ...]:
    """No weight at all: a dense network."""
    return ()


@hookimpl
def register_eligible(register: Callable[..., object]) -> None:
    register(hidden)
    register(every, name="all")
    register(first, name="input")
    register(named)
    register(none)
