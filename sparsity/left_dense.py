"""What of a module stays dense under a method, and why."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from torch import nn

from sparsity.weights import DTYPES, SCALES, candidate_weights, embedding_weights, layer_of


class LeftDense(NamedTuple):
    """A parameter of two or more dimensions without a mask."""

    size: int
    reason: str
    out_of_reach: bool
    """Whether no method could have made it sparse: an embedding, a computed weight, one under a name of its own."""


def left_dense(module: nn.Module, sparse: Collection[str], eligible: str) -> dict[str, LeftDense]:
    """By name, everything that is no bias and not among `sparse`. `eligible` is the part that chose those.

    Biases have one dimension, or in a population, whose members lead, are called `bias`.
    """
    candidates, embeddings = candidate_weights(module), embedding_weights(module)
    told = {}
    for name, parameter in module.named_parameters():
        is_bias = parameter.dim() < 2 or name.rpartition(".")[2] == "bias"
        if name in sparse or is_bias or isinstance(layer_of(module, name), SCALES):
            continue
        if not parameter.requires_grad:
            told[name] = LeftDense(parameter.numel(), "frozen", False)
        elif name in candidates:
            told[name] = LeftDense(parameter.numel(), f"eligible = {eligible!r} leaves it out", False)
        else:
            reason = "an embedding" if id(parameter) in embeddings else _reason(module, name, parameter)
            told[name] = LeftDense(parameter.numel(), reason, True)
    return told


def _reason(module: nn.Module, name: str, parameter: nn.Parameter) -> str:
    own = name.rpartition(".")[2]
    if ".parametrizations." in f".{name}":
        return "parametrised: the weight is computed from it"
    if own.endswith(("_v", "_orig")) and hasattr(layer_of(module, name), own.rpartition("_")[0]):
        return "weight_norm, spectral_norm or prune: the weight is computed from it"
    if parameter.dtype not in DTYPES:
        return f"{parameter.dtype}"
    return "a parameter of a module's own: only those called `weight` are layers' matrices"
