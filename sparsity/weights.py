"""The weights of a module that may be sparse, and their shape as criteria see it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
SCALES = (nn.LayerNorm, nn.RMSNorm)
"""Modules whose `weight` scales numbers one by one, and connects nothing."""
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Their weights are `(in, out / groups, *kernel)`: rows are inputs, not units."""
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WHOLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED, nn.Bilinear)
"""In their weights every dimension is one of the layer's own; elsewhere all but the last two are members."""
_SEVERAL = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)
"""Modules with several weight matrices: `in_proj_weight`, `weight_ih_l0`, ..."""


def candidate_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """Every weight of two or more dimensions, by its first name, in the module's order.

    Those are `weight` of any layer, and the matrices of recurrent and attention layers. Embeddings are left out, under
    whatever name, and so are scales of normalisations.
    """
    embeddings = embedding_weights(module)
    found: dict[str, nn.Parameter] = {}
    for path, child in module.named_modules():
        for name, weight in _weights_of(child):
            taken = id(weight) in embeddings or any(weight is other for other in found.values())
            if weight.dim() >= 2 and weight.dtype in DTYPES and not taken:
                found[f"{path}.{name}" if path else name] = weight
    return found


def embedding_weights(module: nn.Module) -> set[int]:
    """Identities of all embeddings' weights, which other layers may share."""
    return {id(child._parameters.get("weight")) for child in module.modules() if isinstance(child, EMBEDDINGS)}


def layer_of(module: nn.Module, name: str) -> nn.Module:
    """The layer that has the weight of that name."""
    return module.get_submodule(name.rpartition(".")[0])


def member_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of one member of each candidate weight: `(out, in, *kernel)`. Leading dimensions are a population.

    Of grouped convolutions `in` is that of a group, so that the fan-in is right; of transposed ones the first two are
    the other way round.
    """
    shapes = {}
    for name, weight in candidate_weights(module).items():
        whole = isinstance(layer_of(module, name), _WHOLE)
        shapes[name] = tuple(weight.shape) if whole else tuple(weight.shape[-2:])
    return shapes


def as_matrices(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A view `(members, out, fan_in)` of a weight, or of anything shaped like it; kernels are flattened.

    `shape` is the shape of one member.
    """
    fan_in = math.prod(shape[1:])
    return tensor.view(tensor.numel() // (shape[0] * fan_in), shape[0], fan_in)


def _weights_of(layer: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Its own parameters that are weights. What is computed from others (weight_norm) is none."""
    if isinstance(layer, (*EMBEDDINGS, *SCALES)):
        return
    several = isinstance(layer, _SEVERAL)
    for name, parameter in layer._parameters.items():
        if parameter is not None and (name == "weight" or (several and "weight" in name)):
            yield name, parameter
