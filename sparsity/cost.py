"""What a sparse network costs: parameters and floating-point operations, weight by weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from registry import Registry
from sparsity.allocation import counts
from sparsity.event import LayerDensity
from sparsity.method import Method
from sparsity.weights import candidate_weights, member_shapes


class Size(NamedTuple):
    """Numbers of a learner's network. Weights are the entries of weight matrices; parameters count biases too."""

    active_weights: int
    weights: int
    active_parameters: int
    parameters: int

    @property
    def realised_density(self) -> float:
        """Active share of all weights, the dense output layer included."""
        return self.active_weights / self.weights


def size(module: nn.Module) -> Size:
    """The size of a dense module. One that is to be truly sparse must be asked before it is."""
    weights = sum(weight.numel() for weight in candidate_weights(module).values())
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Size(weights, weights, parameters, parameters)


def thinned(full: Size, densities: Sequence[LayerDensity]) -> Size:
    """The size of a network of which some weights are sparse."""
    absent = sum(layer.size - layer.active for layer in densities)
    return Size(full.weights - absent, full.weights, full.parameters - absent, full.parameters)


def training_flops(active_weights: Mapping[str, float], strides: Mapping[str, int], batch_size: int) -> float:
    """6 B sum over learners of W / stride, an agent update: Evci et al. 2020, appendix, as Sokar et al. 2022 count it.

    Forward and backward pass are three passes of one multiplication and one addition a weight; a learner that steps on
    every second update counts half. Target networks, acting and the critic's pass in the actor's loss are left out, as
    in the paper, and so are the dense gradients that some growth criteria ask for. W may be a mean over training.
    """
    return 6.0 * batch_size * sum(weights / strides[name] for name, weights in active_weights.items())


def dense_gradient_steps(method: Method, registry: Registry) -> float:
    """Optimiser steps around each event in which the gradient of absent weights is formed as well; inf for every step.

    0 where nobody asks, 1 where growth does, as many as its window where an averaging trace does. Methods whose
    optimiser sees dense gradients count as their papers count: Sokar et al. 2022 leave these out.
    """
    if not method.sparse:
        return 0.0
    asking = [registry.entry(kind, getattr(method, kind).name) for kind in ("grow", "born", "spread")]
    kept = {
        name
        for kind in ("prune", "grow", "born", "spread")
        for name in registry.entry(kind, getattr(method, kind).name).inputs
    } & set(registry.names("trace"))
    traces = [entry for name in kept if "grad" in (entry := registry.entry("trace", name)).inputs]
    windows = [float(entry.facts.get("window", math.inf)) for entry in traces]
    return max([float(any("grad" in entry.inputs for entry in asking)), *windows])


def dense_gradient_flops(absent: float, batch_size: int) -> float:
    """2 B a: what the gradients of `absent` weights cost in one step beside those of the active ones.

    With it a step whose growth asks for them costs 2 f_S + f_D instead of 3 f_S (Evci et al. 2020, appendix), f the
    FLOPs of a forward pass: over dT steps and an event in place of one (3 f_S dT + 2 f_S + f_D) / (dT + 1).
    """
    return 2.0 * batch_size * absent


def inference_flops(active_weights: float) -> float:
    """2 W: a multiplication and an addition a connection, for one action."""
    return 2.0 * active_weights


def planned_size(module: nn.Module, method: Method, registry: Registry) -> Size:
    """The size that a module will have in the end under a method, without touching it. Drawn counts are expected."""
    shapes = member_shapes(module)
    chosen = registry.bind("eligible", method.eligible)(shapes=shapes)
    eligible = {name: shapes[name] for name in chosen}
    kept = counts(eligible, registry.bind("allocation", method.allocation)(shapes=eligible))
    copies = {name: weight.numel() // math.prod(shapes[name]) for name, weight in candidate_weights(module).items()}
    layers = [
        LayerDensity(name, shape, copies[name] * kept[name], copies[name] * math.prod(shape))
        for name, shape in eligible.items()
    ]
    return thinned(size(module), layers)
