"""A prune criterion: the lowest active scores leave."""

from torch import Tensor

from registry import hookimpl


def warm(weight: Tensor, noise: Tensor, *, heat: float = 0.1) -> Tensor:
    """|w| + heat u: magnitude pruning that sometimes spares the small."""
    return weight.abs() + heat * noise


@hookimpl
def register_prune(register):
    register(warm)
