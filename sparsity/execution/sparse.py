"""Truly sparse execution on the CPU: a learner's network holds the weights of its connections and nothing else.

The network's parameters become one flat vector, and its optimiser's moments vectors of the same length. Dense tensors
exist while a topology is chosen, one layer at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from registry import Bound
from sparsity.ask import ask
from sparsity.execution.canonical import Places, carried, read_at
from sparsity.execution.find import Layer, SparseSequential, layers_of
from sparsity.execution.masked import SECOND_MOMENTS
from sparsity.execution.pattern import Pattern, Shape
from sparsity.execution.saved import SavedStates
from sparsity.execution.slow import SlowStack
from sparsity.execution.stack import SparseStack
from sparsity.execution.undone import undo
from sparsity.rewire import Rewired
from sparsity.trained import Trained

ELEMENTWISE = (optim.Adam, optim.Adamax, optim.NAdam, optim.RAdam, optim.SGD, optim.RMSprop, optim.Adagrad,
               optim.Adadelta, optim.ASGD, optim.Rprop)  # fmt: skip
"""Optimisers, and what is made from them (AdamW), that treat every number of a parameter by itself."""


class Held(NamedTuple):
    """A layer while its topology changes: connections, weights, moments by their key."""

    places: Places
    values: Tensor
    moments: dict[str, Tensor]


class SparseWeight:
    """One layer of the stack as criteria see it: dense, made when asked for. Shapes are `(members, out, fan_in)`."""

    def __init__(self, owner: Sparse, number: int, layer: Layer) -> None:
        self._owner, self.number, self._layer = owner, number, layer
        self.name, self.full_shape = layer.weight_name, tuple(layer.weight.shape)
        self.dense_shape, self.dtype = tuple(owner.shapes[number]), layer.weight.dtype
        self.device = torch.device("cpu")
        self.numel, self.size = layer.weight.numel(), self.dense_shape[1] * self.dense_shape[2]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one member."""
        return self.dense_shape[1:]

    @property
    def value(self) -> Tensor:
        """The weight with zeros where it is absent; before the start, as it was drawn."""
        if not self._owner.started:
            return self._layer.initial_weight().view(self.dense_shape)
        places, values = self._owner.layer(self.number)
        return self._owner.dense(self.number, places, values)

    @property
    def mask(self) -> Tensor:
        if not self._owner.started:
            return torch.ones(self.dense_shape, dtype=torch.bool)
        mask = torch.zeros(self.numel, dtype=torch.bool)
        mask[torch.from_numpy(self._owner.all_places(self.number))] = True
        return mask.view(self.dense_shape)

    @property
    def nnz(self) -> Tensor:
        """Active connections of each member."""
        bounds = np.searchsorted(self._owner.all_places(self.number), np.arange(self.dense_shape[0] + 1) * self.size)
        return torch.from_numpy(np.diff(bounds).astype(np.int64))

    @property
    def active(self) -> int:
        """Connections of all members together."""
        return self._owner.count(self.number)

    @property
    def target_active(self) -> int | None:
        """Weights of the slow copy that are not zero; None without a slow copy."""
        slow = self._owner.slow
        return None if slow is None else slow.nonzero(self.number)

    @property
    def target_mask(self) -> Tensor | None:
        """Where the slow copy is not zero, `(members, out, fan_in)`; None without a slow copy."""
        slow = self._owner.slow
        return None if slow is None else self._owner.dense(self.number, *slow.layer(self.number)) != 0

    def begin_with(self, value: Tensor, mask: Tensor) -> None:
        """Take other initial values than were drawn, in the slow copy too; those of `mask` alone are kept."""
        places = mask.reshape(-1).nonzero().squeeze(1)
        values, shape = value.reshape(-1)[places].to(self.dtype), self.full_shape

        def draw() -> Tensor:
            return torch.zeros(math.prod(shape), dtype=values.dtype).index_copy_(0, places, values).view(shape)

        target = self._owner.learner.target
        modules = [self._owner.layers, layers_of(target.module) if target is not None else []]
        for layers in modules:
            if layers:
                layers[self.number].weight.draw = draw  # type: ignore[attr-defined]

    def start(self) -> None:
        """Let go of the dense weight: from now on there are the connections' alone."""
        self._layer = self._layer.emptied()

    def finite(self) -> bool:
        return bool(torch.isfinite(self._owner.layer(self.number)[1]).all())


class Sparse:
    """A learner's network in sparse form. ValueError, before anything is changed, for what cannot be held so."""

    one_by_one = True
    """Events take the layers one after the other, so that one dense layer exists at a time."""

    def __init__(self, learner: Trained, names: Sequence[str], moments: Bound, target: Bound) -> None:
        self.learner, self.optimizer = learner, learner.optimizer
        self.layers = layers_of(learner.module)
        self.shapes = tuple(Shape(*_as_population(layer.weight.shape)) for layer in self.layers)
        self.names = [layer.weight_name for layer in self.layers]
        self.started = False
        self.slow: SlowStack | None = None
        self._moments, self._rule = moments, target
        self._check(names)
        numbers = {layer.weight_name: number for number, layer in enumerate(self.layers)}
        self.weights = [SparseWeight(self, numbers[name], self.layers[numbers[name]]) for name in names]
        self.loaded: dict[tuple[int, str], Tensor] = {}
        """Dense moments by layer and key that were loaded since the last step: the masks to read them by may follow."""
        self.loaded_weights: dict[int, tuple[Places, Tensor]] = {}
        """Weights of dense tensors by layer, likewise."""
        self._planned: dict[int, Held] = {}

    # The start.

    def first(self, weight: SparseWeight, mask: Tensor) -> Held:
        """A layer's first topology, with what it had there."""
        places = mask.reshape(-1).nonzero().squeeze(1)
        index = places.numpy()
        layer = self.layers[weight.number]
        state = self.optimizer.state.get(layer.weight, {})
        moments = {key: moment.reshape(-1)[places] for key, moment in _moments(state, layer.weight, weight.name)}
        moments = self._tended(weight, index, moments, mask, torch.zeros_like(mask))
        return Held(index, weight.value.reshape(-1)[places], moments)

    def begin(self, held: Sequence[Held]) -> None:
        """Put the network into sparse form, and its slow copy, which takes the online topology."""
        chosen = {weight.number: one for weight, one in zip(self.weights, held, strict=True)}
        target = self.learner.target
        slow_layers = layers_of(target.module) if target is not None else None
        places = [self._trimmed(number, chosen[number].places if number in chosen else None)
                  for number in range(len(self.layers))]  # fmt: skip
        pattern = Pattern(self.shapes, places)
        values = torch.cat([*(
            chosen[number].values if number in chosen else layer.initial_weight().reshape(-1)
            for number, layer in enumerate(self.layers)
        ), *(layer.initial_bias().reshape(-1) for layer in self.layers)])  # fmt: skip
        moments = self._gathered(chosen)
        self._places = places
        self.saved = SavedStates(self)
        parameter = nn.Parameter(values, requires_grad=True)
        self.saved.take_over(parameter, moments)
        self.stack = SparseStack(pattern, parameter)
        _install(self.learner.module, self.layers, self.stack)
        if target is not None and slow_layers is not None:
            self.slow = SlowStack(self.stack, slow_layers, places)
            _install(target.module, slow_layers, self.slow.stack)
        self.started = True
        self.layers = [layer.emptied() for layer in self.layers]
        for weight in self.weights:
            weight.start()
        self.saved.hook()

    def _gathered(self, chosen: dict[int, Held]) -> dict[str, Tensor]:
        """The optimiser's moments as flat vectors; none before its first step."""
        states = [(layer, self.optimizer.state.get(p, {})) for layer in self.layers for p in (layer.weight, layer.bias)]
        if not any(state for _, state in states):
            return {}
        flat: dict[str, list[Tensor]] = {}
        for kind in ("weight", "bias"):
            for number, layer in enumerate(self.layers):
                parameter = getattr(layer, kind)
                found = dict(_moments(self.optimizer.state.get(parameter, {}), parameter, layer.weight_name))
                if kind == "weight" and number in chosen:
                    found = dict(chosen[number].moments)
                for key, moment in found.items():
                    flat.setdefault(key, []).append(moment.reshape(-1))
        if any(len(pieces) != 2 * len(self.layers) for pieces in flat.values()):
            raise ValueError(f"the optimiser of {self.learner.name} has moments of some layers only: attach earlier")
        return {key: torch.cat(pieces) for key, pieces in flat.items()}

    def _trimmed(self, number: int, places: Places | None) -> Places | None:
        return None if places is None or len(places) == self.shapes[number].size else places

    # What a layer has.

    def layer(self, number: int) -> tuple[Places, Tensor]:
        """Connections of a layer, and their weights."""
        pattern = self.stack.pattern
        begin, end = pattern.weights[number], pattern.weights[number + 1]
        return self.all_places(number), self.stack.values.detach()[begin:end]

    def all_places(self, number: int) -> Places:
        """Connections of a layer, also if it has them all."""
        places = self._places[number]
        return np.arange(self.shapes[number].size) if places is None else places

    def count(self, number: int) -> int:
        places = self._places[number]
        return self.shapes[number].size if places is None else len(places)

    def dense(self, number: int, places: Places, values: Tensor) -> Tensor:
        """Values in these places of a layer, 0 elsewhere."""
        whole = torch.zeros(self.shapes[number].size, dtype=values.dtype)
        whole[torch.from_numpy(places)] = values
        return whole.view(tuple(self.shapes[number]))

    # Around a step.

    def anticipate(self, event: bool, dense: bool) -> None:
        """Before gradients form: whether the next step's event asks for those of absent connections."""
        self.loaded, self.loaded_weights = {}, {}
        self.stack.keeps = event and dense

    def hold_gradients(self) -> None:
        """Passes back have kept what they are made of; if they were cleared since, it goes."""
        self.stack.confirm()

    def gradient(self, weight: SparseWeight) -> Tensor | None:
        return self.stack.dense_gradient(weight.number)

    def hide_gradients(self) -> None:
        """Absent connections have none."""

    def check_unchanged(self) -> None:
        """Precision and memory may change: the flat vector takes its moments along."""

    def check_hidden(self) -> None:
        """Absent connections have no gradient."""

    def settle(self) -> None:
        """Absent connections are absent."""

    def tend(self, rule: Bound) -> None:
        """Absent connections have no moments."""

    def skip_step(self) -> None:
        for parameter in self.learner.module.parameters():
            parameter.grad = None

    def check_moments(self) -> bool:
        """ValueError for state that is not shaped like the values; False before there is any."""
        return bool(list(_moments(self.optimizer.state.get(self._parameter, {}), self._parameter, "values")))

    @property
    def _parameter(self) -> Tensor:
        return self.stack.values

    # An event.

    def plan(self, weight: SparseWeight, change: Rewired, born: Tensor | float) -> None:
        """Note a layer's change: survivors keep value and moments to the bit, newcomers are born."""
        old, values = self.layer(weight.number)
        places = change.mask.reshape(-1).nonzero().squeeze(1)
        new = carried(old, values, places.numpy())
        grown = change.grown.reshape(-1)[places]
        value = born.reshape(-1)[places] if isinstance(born, Tensor) and born.dim() else born
        new = torch.where(grown, value, new)
        pattern = self.stack.pattern
        begin, end = pattern.weights[weight.number], pattern.weights[weight.number + 1]
        state = self.optimizer.state.get(self._parameter, {})
        moments = {
            key: carried(old, moment[begin:end], places.numpy())
            for key, moment in _moments(state, self._parameter, weight.name)
        }
        moments = self._tended(weight, places.numpy(), moments, change.mask, change.grown)
        self._planned[weight.number] = Held(places.numpy(), new.to(values.dtype), moments)

    def commit(self) -> None:
        """Put the noted changes into effect, all at once."""
        self.relay(self._planned)
        self._planned = {}

    def relay(self, changed: dict[int, Held]) -> None:
        """Lay the flat vectors anew with some layers changed."""
        places = [
            self._trimmed(number, changed[number].places) if number in changed else self._places[number]
            for number in range(len(self.layers))
        ]
        before, values = self.stack.pattern, self.stack.values.detach()
        state = self.optimizer.state.get(self._parameter, {})
        moments = dict(_moments(state, self._parameter, "values"))

        def laid(flat: Tensor, of: Any) -> Tensor:
            pieces = [
                of(changed[number]) if number in changed else flat[before.weights[number] : before.weights[number + 1]]
                for number in range(len(self.layers))
            ]
            return torch.cat([*pieces, flat[before.biases[0] :]])

        values = laid(values, lambda held: held.values)
        moments = {key: laid(flat, lambda held, key=key: held.moments[key]) for key, flat in moments.items()}
        self.exchange(places, values, moments)

    def exchange(self, places: list[Places | None], values: Tensor, moments: dict[str, Tensor]) -> None:
        """Take another topology with its weights and moments; the slow copy keeps what it has."""
        pattern, old = Pattern(self.shapes, places), list(self._places)
        self._places = places
        parameter = self.stack.values
        parameter.grad = None
        _give(parameter, values)
        for key, moment in moments.items():
            self.optimizer.state[parameter][key] = moment
        self.stack.adopt(pattern)
        if self.slow is not None:
            self.slow.topology_changed(old, places)

    def load_values(self, places: list[Places], values: Tensor) -> None:
        """Take loaded connections and weights. Moments that they have in common with the present ones are kept."""
        trimmed: list[Places | None] = [self._trimmed(number, one) for number, one in enumerate(places)]
        pattern, state = self.stack.pattern, self.optimizer.state.get(self._parameter, {})
        moments = {}
        for key, flat in _moments(state, self._parameter, "values"):
            kept = [
                carried(self.all_places(n), flat[pattern.weights[n] : pattern.weights[n + 1]], places[n])
                for n in range(len(self.layers))
            ]
            moments[key] = torch.cat([*kept, flat[pattern.biases[0] :]])
        self.exchange(trimmed, values, moments)

    def _tended(
        self, weight: SparseWeight, places: Places, moments: dict[str, Tensor], mask: Tensor, grown: Tensor
    ) -> dict[str, Tensor]:
        tended = {}
        for key, moment in moments.items():
            dense = self.dense(weight.number, places, moment)
            answer = ask(self._moments, moment=dense, mask=mask, grown=grown, second=key in SECOND_MOMENTS)
            tended[key] = answer.reshape(-1)[torch.from_numpy(places)]
        return tended

    def set_masks(self, masks: dict[str, Tensor]) -> None:
        """Take these topologies; weights and moments that they have in common with the present ones are kept."""
        changed = {}
        for weight in self.weights:
            places = masks[weight.name].reshape(-1).nonzero().squeeze(1).numpy()
            if np.array_equal(places, self.all_places(weight.number)):
                continue
            old, values = self.layer(weight.number)
            pattern = self.stack.pattern
            begin, end = pattern.weights[weight.number], pattern.weights[weight.number + 1]
            state = self.optimizer.state.get(self._parameter, {})
            moments = {
                key: read_at(loaded, places)
                if (loaded := self.loaded.get((weight.number, key))) is not None
                else carried(old, moment[begin:end], places)
                for key, moment in _moments(state, self._parameter, weight.name)
            }
            weights = carried(*self.loaded_weights.get(weight.number, (old, values)), places)
            changed[weight.number] = Held(places, weights, moments)
        if changed:
            self.relay(changed)

    # The slow copy.

    def after_target_update(self) -> None:
        if self.slow is not None:
            tau: float = self.learner.target.tau  # type: ignore[union-attr]
            self.slow.updated(self._rule, [weight.number for weight in self.weights], tau)

    def detach(self) -> None:
        """The network stays in sparse form, is saved as before, and its slow copy goes on following it."""
        if self.slow is not None and self.learner.target is not None:
            self.learner.target.after_update(self._fade)

    def densify(self) -> None:
        """Give the network, its slow copy and its optimiser dense parameters back."""
        undo(self)

    def _fade(self) -> None:
        assert self.slow is not None
        self.slow.fade(self.learner.target.tau)  # type: ignore[union-attr]

    # What cannot be.

    def _check(self, names: Sequence[str]) -> None:
        learner = self.learner
        known = {layer.weight_name for layer in self.layers}
        for name in names:
            if name not in known:
                raise ValueError(f"{name} of {learner.name} lies outside the stack of layers: choose masked execution")
        parameters = [p for layer in self.layers for p in (layer.weight, layer.bias)]
        kinds = {(p.dtype, p.device.type) for p in parameters}
        if len(kinds) > 1 or kinds.pop() not in ((torch.float32, "cpu"), (torch.float64, "cpu")):
            raise ValueError(f"sparse execution computes in float32 or float64 on the CPU; {learner.name} is elsewhere")
        if not all(parameter.requires_grad for parameter in parameters):
            raise ValueError(f"sparse execution trains all layers; some of {learner.name} are frozen")
        if not isinstance(learner.optimizer, ELEMENTWISE):
            raise ValueError(
                f"{type(learner.optimizer).__name__} looks at whole parameters, or may, and sparse execution makes one "
                f"vector of them. Use one of {', '.join(kind.__name__ for kind in ELEMENTWISE)}, or masked execution"
            )
        _group_of(learner.optimizer, parameters, learner.name)
        if learner.target is None:
            return
        if not isinstance(getattr(learner.target, "tau", None), float | int):
            raise ValueError(
                f"the target of {learner.name} has no attribute `tau`, by which what is left of dropped connections "
                "would fade: give a target that has one, or choose masked execution"
            )
        if [tuple(layer.weight.shape) for layer in layers_of(learner.target.module)] != [
            tuple(layer.weight.shape) for layer in self.layers
        ]:
            raise ValueError(f"target of {learner.name} is shaped unlike the online network")


def _give(parameter: Tensor, values: Tensor) -> None:
    """Other values, of which there may be more or fewer than before.

    As long as an earlier loss is kept, torch goes on to accumulate in a node of the earlier length. It makes a new one
    where the type has changed.
    """
    parameter.data = torch.empty(0, dtype=torch.float16)
    parameter.data = values


def _as_population(shape: Sequence[int]) -> tuple[int, int, int]:
    return (1, *shape) if len(shape) == 2 else tuple(shape)  # type: ignore[return-value]


def _moments(state: dict[str, Any], parameter: Tensor, name: str) -> list[tuple[str, Tensor]]:
    """The tensors of an optimiser's state that are shaped like the parameter. ValueError for others."""
    found = [(key, value) for key, value in state.items() if isinstance(value, Tensor) and value.dim()]
    for key, value in found:
        if value.shape != parameter.shape:
            raise ValueError(
                f"the optimiser keeps {key!r} of shape {tuple(value.shape)} for {name} of shape "
                f"{tuple(parameter.shape)}: it cannot be kept sparse. Use Adam, AdamW, SGD or RMSprop"
            )
    return found


def _group_of(optimizer: Optimizer, parameters: Sequence[Tensor], name: str) -> dict[str, Any]:
    """The parameter group that has them all."""
    wanted = {id(p) for p in parameters}
    for group in optimizer.param_groups:
        here = {id(p) for p in group["params"]} & wanted
        if here == wanted:
            return group
        if here:
            raise ValueError(
                f"the layers of {name} are spread over several parameter groups; sparse execution makes one vector of "
                "them: put them into one group, or choose masked execution"
            )
    raise ValueError(f"the optimiser of {name} does not train its layers: they cannot be kept sparse")


def _install(module: nn.Module, layers: Sequence[Layer], stack: SparseStack) -> None:
    """The stack in the place of its layers, whose own parameters go."""
    for layer in layers:
        for kind in ("weight", "bias"):
            layer.module._parameters[kind] = None  # Not deleted: nn.Linear looks for its bias when it is printed.
    if isinstance(module, nn.Sequential):
        module.__class__ = SparseSequential
    module.stack = stack  # type: ignore[assignment]
    module.register_parameter("values", stack.values)
