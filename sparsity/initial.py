"""The first topology: a grow criterion applied to the empty mask, or a mask drawn at once.

A part that asks for `network` sees the initial values of all weight matrices by name, `(members, out, fan_in)`, in the
order of the layers, and is asked once for the masks of the `eligible` ones, with `connections` a member in all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from registry import hookimpl


def random(noise: Tensor) -> Tensor:
    """u: exactly the allocated number of connections, uniformly at random."""
    return noise


def bernoulli(noise: Tensor, density: float) -> Tensor:
    """u < p: every connection by a coin of its own (Sokar et al. 2022, Eq. 1). The number drawn becomes the budget."""
    return noise < density


def magnitude(weight: Tensor) -> Tensor:
    """|w|: the largest initial weights, as in RLx2's released code (Tan et al. 2023)."""
    return weight.abs()


def synflow(
    network: Mapping[str, Tensor], eligible: Sequence[str], connections: int, *, rounds: int = 100
) -> dict[str, Tensor]:
    """Keep the largest |dR/dw w|, R = 1^T prod_l |W_l| 1, over the whole network: SynFlow (Tanaka et al. 2020, Alg. 1).

    In `rounds` rounds, the k-th of which leaves a share density^(k / rounds) and scores anew, so that no layer is cut
    through. R is that of the linear chain: for |w| and inputs of one, ReLU changes nothing, and the output's squashing
    and scale are left out. Members are networks of their own. Data-free; in float64; ties to the lower index.
    """
    if rounds < 1:
        raise ValueError(f"synflow: rounds must be at least 1, not {rounds}")
    _check_chain({name: weight.shape for name, weight in network.items()})
    size = sum(network[name][0].numel() for name in eligible)
    sizes = {name: weight.abs().double() for name, weight in network.items()}
    masks = {name: torch.ones_like(network[name], dtype=torch.bool) for name in eligible}
    for number in range(1, rounds + 1):
        kept = round(size * (connections / size) ** (number / rounds)) if number < rounds else connections
        flow = dict(_flows({name: size * masks[name] if name in masks else size for name, size in sizes.items()}))
        scores = torch.cat([flow[name].masked_fill(~masks[name], -1).flatten(1) for name in eligible], dim=1)
        chosen = torch.zeros_like(scores, dtype=torch.bool)
        chosen.scatter_(1, scores.sort(dim=1, descending=True, stable=True).indices[:, :kept], True)
        pieces = chosen.split([network[name][0].numel() for name in eligible], dim=1)
        masks = {name: piece.view_as(network[name]) for name, piece in zip(eligible, pieces, strict=True)}
    return masks


def _flows(chain: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """dR/dw w of every layer of a chain of non-negative matrices: what flows through each connection."""
    matrices = list(chain.values())
    entering = [torch.ones_like(matrices[0][:, :1, :]).mT]
    for matrix in matrices[:-1]:
        entering.append(matrix @ entering[-1])
    leaving = torch.ones_like(matrices[-1][:, :, :1])
    for (name, matrix), flow in zip(reversed(list(chain.items())), reversed(entering), strict=True):
        yield name, leaving * matrix * flow.mT
        leaving = matrix.mT @ leaving


def _check_chain(shapes: Mapping[str, Sequence[int]]) -> None:
    """ValueError unless each layer reads what the one before it puts out."""
    for before, after in itertools.pairwise(shapes):
        if shapes[before][1] != shapes[after][2] or shapes[before][0] != shapes[after][0]:
            raise ValueError(
                f"synflow reads a chain of linear layers: {after} reads {shapes[after][2]} numbers and {before} puts "
                f"out {shapes[before][1]}. Choose another initial topology for such a network"
            )


@hookimpl
def register_initial(register: Callable[..., object]) -> None:
    for criterion in (random, bernoulli, magnitude, synflow):
        register(criterion)
