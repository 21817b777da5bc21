"""The value with which an absent connection enters. One dropped and regrown in the same event keeps its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from registry import hookimpl


def zero() -> float:
    """0: SET, RigL, and the text of Sokar et al. 2022 (Alg. 2)."""
    return 0.0


def as_stepped(stepped: Tensor) -> Tensor:
    """The value that the optimiser's dense step gave the absent weight: the released code of Sokar et al. 2022.

    About one Adam step from zero. It needs `optimizer_sees = "dense"`: a masked gradient moves no absent weight.
    """
    return stepped


@hookimpl
def register_born(register: Callable[..., object]) -> None:
    register(zero)
    register(as_stepped)
