"""A prune criterion of one's own: magnitude pruning with some heat."""

from torch import Tensor

from registry import hookimpl


def warm(weight: Tensor, noise: Tensor, *, heat: float = 0.1) -> Tensor:
    """|w| + heat u: magnitude pruning that sometimes spares the small."""
    return weight.abs() + heat * noise


@hookimpl
def register_prune(register):
    register(warm)
