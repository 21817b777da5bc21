"""What activations tell of a network: pure functions of what its hidden layers put out after ReLU.

Activations are a list of tensors (copies, batch, width), one a hidden layer; copies are networks of their own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Activations = Sequence[Tensor]


def unit_scores(layer: Tensor) -> Tensor:
    """s_i = E|h_i| / mean_k E|h_k| over a batch, (copies, width): ReDo (Sokar et al. 2023, Eq. 1). 0 where all is 0."""
    size = layer.abs().mean(dim=-2)
    mean = size.mean(dim=-1, keepdim=True)
    return torch.where(mean > 0, size / mean, torch.zeros_like(size))


def dormant_share(activations: Activations, tau: float = 0.1) -> float:
    """Share of hidden units with s_i <= tau: dormant neurons (Sokar et al. 2023, Definition 3.1)."""
    return _share([unit_scores(layer) <= tau for layer in activations])


def dead_share(activations: Activations) -> float:
    """Share of hidden units that are 0 on the whole batch."""
    return _share([(layer == 0).all(dim=-2) for layer in activations])


def active_share(activations: Activations) -> float:
    """Mean share of hidden units above 0 a sample: the fraction of active units, FAU (Ma et al. 2024)."""
    return _share([layer > 0 for layer in activations])


def effective_rank(activations: Activations, delta: float = 0.01) -> float:
    """Least k with sum of the k largest singular values >= (1 - delta) of all: srank (Kumar et al. 2021, Definition 1).

    Of the last hidden layer's outputs (batch, width), the mean over copies.
    """
    values = torch.linalg.svdvals(activations[-1].double())
    reached = values.cumsum(dim=-1) >= (1 - delta) * values.sum(dim=-1, keepdim=True)
    return float((values.shape[-1] - reached.sum(dim=-1) + 1).double().mean())


def _share(units: Sequence[Tensor]) -> float:
    """Of all layers' units together."""
    return float(sum(int(layer.sum()) for layer in units) / sum(layer.numel() for layer in units))
