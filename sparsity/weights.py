"""The weights of a module that may be sparse, and their shape as criteria see it."""

from __future__ import annotations

import math

from torch import Tensor, nn

_LEFT_OUT = (nn.Embedding, nn.EmbeddingBag)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def candidate_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """Every `weight` of two or more dimensions, by its first name, in the module's order. Embeddings are left out."""
    found: dict[str, nn.Parameter] = {}
    for path, child in module.named_modules():
        weight = getattr(child, "weight", None)
        tied = any(weight is other for other in found.values())
        if isinstance(weight, nn.Parameter) and weight.dim() >= 2 and not isinstance(child, _LEFT_OUT) and not tied:
            found[f"{path}.weight" if path else "weight"] = weight
    return found


def member_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of one member of each candidate weight: `(out, in, *kernel)`. Leading dimensions are a population."""
    children = dict(module.named_modules())
    shapes = {}
    for name, weight in candidate_weights(module).items():
        convolution = isinstance(children[name.rpartition(".")[0]], _CONVOLUTIONS)
        shapes[name] = tuple(weight.shape) if convolution else tuple(weight.shape[-2:])
    return shapes


def as_matrices(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A view `(members, out, fan_in)` of a weight, or of anything shaped like it; kernels are flattened.

    `shape` is the shape of one member.
    """
    fan_in = math.prod(shape[1:])
    return tensor.view(tensor.numel() // (shape[0] * fan_in), shape[0], fan_in)
