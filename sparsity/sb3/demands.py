"""What a choice of methods demands of a model: its networks, and weights in them that can be sparse."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from registry import nearest
from sparsity.eventless import eventless_advice
from sparsity.sb3.networks import Network, networks_of, unknown_weights
from sparsity.sb3.words import Choice
from sparsity.sparsifier import Sparsifier


def with_method(model: Any, choice: Choice) -> tuple[Network, ...]:
    """The networks that are to be sparse. ValueError for learners that the model lacks, and for what is no mask."""
    networks = networks_of(model)
    learners = tuple(dict.fromkeys(network.learner for network in networks))
    for name in choice.named:
        if name not in learners:
            raise ValueError(
                f"{type(model).__name__} has no {name!r}. {nearest(name, learners)}Learners: {', '.join(learners)}"
            )
    methods = {name: choice.of(name) for name in learners}
    for name, method in methods.items():
        if method.network == "shrunk":
            raise ValueError(
                f"a shrunk {name} is built narrow, not masked: give the model fewer units by "
                "policy_kwargs={'net_arch': [...]}, or choose a method with network = 'given'"
            )
    return tuple(network for network in networks if methods[network.learner].sparse)


def demand_weights(sizes: Mapping[str, int], choice: Choice) -> None:
    """ValueError where nothing became sparse, or nothing of a learner that was named; `sizes` counts sparse weights."""
    dense = [name for name, size in sizes.items() if not size]
    for name in dense:
        if len(dense) == len(sizes) or name in choice.named:
            raise ValueError(
                f"the {name} of this model has no weight for its method to make sparse, with output layers left "
                f"dense: give it hidden layers by policy_kwargs={{'net_arch': [...]}}, or say eligible='all', or "
                f"{name}='dense'"
            )


def tell_of_unknown(model: Any) -> None:
    """A warning for weights of a custom policy that stay dense."""
    left = unknown_weights(model)
    if left:
        warnings.warn(
            f"left dense: {', '.join(left)}, which no network has where Stable-Baselines3 has its layers. To make them "
            "sparse, use sparsity.attach on the modules that they are in",
            stacklevel=2,
        )


def tell_of_eventless(sparsifiers: Mapping[str, Sparsifier]) -> None:
    """A warning, one a method, for networks whose topology is to change, in a plan that is too short for it."""
    still: dict[tuple[str, int], list[str]] = {}
    for name, sparsifier in sparsifiers.items():
        if sparsifier.total and sparsifier.eventless:
            still.setdefault((repr(sparsifier.method), sparsifier.total), []).append(name)
    for (_, total), names in still.items():
        method, whose = sparsifiers[names[0]].method, f"the topology of {', '.join(names)}"
        warnings.warn(eventless_advice(method, total, whose), stacklevel=2)
