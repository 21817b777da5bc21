"""Which weights of a learner a method makes sparse, and who carries it out. Pure: ValueError for what cannot be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from registry import Bound, Registry
from sparsity.execution import Masked, MaskedWeight
from sparsity.execution.choice import Execution, chosen_execution
from sparsity.method import Method
from sparsity.trained import Trained
from sparsity.weights import TRANSPOSED, candidate_weights, layer_of, member_shapes

if TYPE_CHECKING:  # imported where it is chosen: compiled kernels take a while to load
    from sparsity.execution.sparse import Sparse

Parts = Mapping[str, Bound]
"""What a method chose, by field."""


def made_sparse(learner: Trained, method: Method, parts: Parts, *, taken: Collection[int]) -> tuple[str, ...]:
    """The names of the weights that are to be sparse; `taken` are the ids of those that others keep sparse."""
    _demand_whole(learner, method)
    shapes, parameters = member_shapes(learner.module), candidate_weights(learner.module)
    chosen: tuple[str, ...] = parts["eligible"](shapes=shapes)
    for name in chosen:
        if name not in parameters:
            raise ValueError(f"{method.eligible} chose {name!r}; {learner.name} has {', '.join(parameters)}")
    names = tuple(name for name in chosen if parameters[name].requires_grad)  # What is frozen stays as it is.
    _demand_free(learner, names, taken)
    _demand_units(learner, method, parts, names)
    return names


def carried_out(
    learner: Trained, names: Sequence[str], method: Method, parts: Parts, execution: Execution, registry: Registry
) -> Masked | Sparse:
    """The execution that was asked for, or under `auto` the one that serves the learner better."""
    shapes = member_shapes(learner.module)
    eligible = {name: shapes[name] for name in names}
    if chosen_execution(execution, learner.module, eligible, method, registry) == "sparse":
        from sparsity.execution.sparse import Sparse

        try:
            return Sparse(learner, names, parts["moments"], parts["target"])
        except ValueError:  # Not a learner that can be held so.
            if execution == "sparse":
                raise
    return _masked(learner, eligible, parts)


def _masked(learner: Trained, eligible: Mapping[str, tuple[int, ...]], parts: Parts) -> Masked:
    parameters = candidate_weights(learner.module)
    targets = candidate_weights(learner.target.module) if learner.target is not None else {}
    for name in eligible:
        if targets and (name not in targets or targets[name].shape != parameters[name].shape):
            raise ValueError(f"target of {learner.name}: {name} is shaped unlike the online one")
    weights = [MaskedWeight(name, parameters[name], shape, targets.get(name)) for name, shape in eligible.items()]
    return Masked(learner, weights, parts["moments"], parts["target"])


def _demand_whole(learner: Trained, method: Method) -> None:
    """ValueError for a module that no mask is laid over: one to be built narrow, or held in sparse form already."""
    if method.network == "shrunk":
        raise ValueError(
            "a shrunk network is built narrow, not masked: build the agent, or the module, with fewer units, or "
            "choose a method with network = 'given'"
        )
    if hasattr(learner.module, "stack") and not hasattr(learner.module.stack, "layers"):
        raise ValueError(f"{learner.name} is kept sparse already, in sparse form: build it anew for another sparsifier")


def _demand_free(learner: Trained, names: Sequence[str], taken: Collection[int]) -> None:
    """ValueError for weights that the optimiser does not train, and for those of another sparsifier."""
    parameters = candidate_weights(learner.module)
    trained = {id(p) for group in learner.optimizer.param_groups for p in group["params"]}
    for name in names:
        if id(parameters[name]) not in trained:
            raise ValueError(
                f"the optimiser of {learner.name} does not train {name}: it cannot be kept sparse. Give the part "
                "of the module that it trains, or freeze the rest by requires_grad_(False)"
            )
        if id(parameters[name]) in taken:
            raise ValueError(f"{name} of {learner.name} is kept sparse already: detach the other sparsifier first")


def _demand_units(learner: Trained, method: Method, parts: Parts, names: Sequence[str]) -> None:
    """ValueError for parts that look at units where the rows of a weight are none."""
    looking = [method.weights] if parts["weights"].asks("mask") else []
    looking += [method.initial] if parts["initial"].asks("network") else []
    for name in names if looking else ():
        if isinstance(layer_of(learner.module, name), TRANSPOSED):
            raise ValueError(
                f"{name} is of a transposed convolution, whose rows are inputs, and {looking[0]} looks at units: "
                f"choose another part, or leave the layer out: eligible={{'part': 'named', 'without': ['{name}']}}"
            )
