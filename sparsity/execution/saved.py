"""State dicts of a sparse network, its optimiser and its slow copy: by the names and shapes that the dense ones have.

So a state written by either execution loads into the other, and whoever saves `module.state_dict()` need not know which
one it is. Absent connections are left out (`canonical`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsity.execution.canonical import Places, carried, parts_of, read_at, sparse_tensor
from sparsity.trained import Handle

if TYPE_CHECKING:
    from sparsity.execution.sparse import Sparse


class SavedStates:
    """The hooks by which a sparse network is saved and loaded, and its place in the optimiser."""

    def __init__(self, owner: Sparse) -> None:
        self._owner = owner
        self._names = [name for layer in owner.layers for name in (layer.weight_name, layer.bias_name)]
        named = {id(p): (number, kind) for number, layer in enumerate(owner.layers)
                 for kind, p in (("weight", layer.weight), ("bias", layer.bias))}  # fmt: skip
        groups = owner.optimizer.param_groups
        self._group = next(n for n, group in enumerate(groups) if any(id(p) in named for p in group["params"]))
        mine = groups[self._group]
        self._order: list[tuple[int, str] | None] = [named.get(id(p)) for p in mine["params"]]
        """What the group held: None for a parameter of others, else which of ours."""
        self._first = next(place for place, held in enumerate(self._order) if held is not None)
        self._labels = mine.get("param_names")

    def take_over(self, parameter: nn.Parameter, moments: dict[str, Tensor]) -> None:
        """Put the flat parameter where its layers' own were in the optimiser, with their state."""
        optimizer, layers = self._owner.optimizer, self._owner.layers
        states = [optimizer.state.pop(p, {}) for layer in layers for p in (layer.weight, layer.bias)]
        plain = {key: value for key, value in states[0].items() if key not in moments}
        if plain or moments:
            optimizer.state[parameter] = plain | moments
        group = optimizer.param_groups[self._group]
        group["params"][:] = self._shortened(group["params"], parameter)
        if self._labels is not None:
            group["param_names"] = self._shortened(self._labels, "values")

    def _shortened(self, whole: list[Any], flat: Any) -> list[Any]:
        """A list that goes with what the group held, with one entry for all of ours."""
        others = [item for item, held in zip(whole, self._order, strict=True) if held is None]
        return [*others[: self._first], flat, *others[self._first :]]

    def hook(self) -> None:
        """From now on states are saved and loaded in the form that both executions read."""
        owner = self._owner  # Torch marks the hooks that it is given, which a bound method does not take.
        module, optimizer = owner.learner.module, owner.optimizer
        self._handles: list[Handle] = [
            module.register_state_dict_post_hook(partial(self._save_online)),
            module.register_load_state_dict_pre_hook(partial(self._load_online)),
            # Whoever took a place in the optimiser last sees its state first: it knows the others as they are now.
            optimizer.register_state_dict_post_hook(partial(self._save_optimizer), prepend=True),
            optimizer.register_load_state_dict_pre_hook(partial(self._load_optimizer)),
        ]
        if owner.learner.target is not None:
            slow = owner.learner.target.module
            self._handles.append(slow.register_state_dict_post_hook(partial(self._save_slow)))
            self._handles.append(slow.register_load_state_dict_pre_hook(partial(self._load_slow)))

    def unhook(self) -> None:
        """States are saved and loaded as they are again."""
        for handle in self._handles:
            handle.remove()

    def give_up(self, parameter: nn.Parameter, layers: dict[tuple[int, str], nn.Parameter]) -> None:
        """Put its layers' parameters back where the flat one has been in the optimiser, without their state."""
        optimizer = self._owner.optimizer
        optimizer.state.pop(parameter, None)
        group = optimizer.param_groups[self._group]
        held = self._lengthened(group["params"])
        group["params"][:] = [layers[one] if isinstance(one, tuple) else one for one in held]
        if self._labels is not None:
            group["param_names"] = self._labels

    # The network.

    def _save_online(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        values = state.pop(f"{prefix}values")
        self._write(state, prefix, lambda number: self._owner.layer(number), values)

    def _save_slow(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        slow = self._owner.slow
        assert slow is not None
        self._write(state, prefix, slow.layer, state.pop(f"{prefix}values"))

    def _write(
        self, state: dict[str, Any], prefix: str, of: Callable[[int], tuple[Places, Tensor]], values: Tensor
    ) -> None:
        pattern = self._owner.stack.pattern
        for number, layer in enumerate(self._owner.layers):
            places, numbers = of(number)
            shape = tuple(layer.weight.shape)
            whole = len(places) == self._owner.shapes[number].size
            state[prefix + layer.weight_name] = (
                numbers.clone().view(shape) if whole else sparse_tensor(places, numbers, shape)
            )
            bias = values[pattern.biases[number] : pattern.biases[number + 1]]
            state[prefix + layer.bias_name] = bias.detach().clone().view(layer.bias.shape)

    def _load_online(self, module: nn.Module, state: dict[str, Any], prefix: str, *more: Any) -> None:
        owner, eligible = self._owner, {weight.number for weight in self._owner.weights}
        read = self._read(state, prefix, owner.layer, owner.stack.values.detach(), more[2])
        if read is None:
            return
        layers, biases = read
        for number, shape in enumerate(owner.shapes):
            places, numbers = layers[number]
            if number not in eligible and len(places) < shape.size:
                layers[number] = (owner.all_places(number), owner.dense(number, places, numbers).reshape(-1))
            elif number in eligible and self._was_dense[number]:
                layers[number] = self._of_dense(number, places, numbers)
        values = torch.cat([*(numbers for _, numbers in layers), biases])
        owner.load_values([places for places, _ in layers], values)
        state[f"{prefix}values"] = values

    def _of_dense(self, number: int, places: Places, numbers: Tensor) -> tuple[Places, Tensor]:
        """A layer of a dense tensor that is not zero in `places`: its connections, if they are no more than there are.

        Zeros are connections too where they are some already. Of more, those stay that are there, unless masks follow
        that want others.
        """
        owner, mine = self._owner, self._owner.all_places(number)
        if len(places) > len(mine):
            owner.loaded_weights[number] = places, numbers
        elif not bool(np.isin(places, mine, assume_unique=True).all()):
            return places, numbers
        return mine, carried(places, numbers, mine)

    def _load_slow(self, module: nn.Module, state: dict[str, Any], prefix: str, *more: Any) -> None:
        slow = self._owner.slow
        assert slow is not None
        read = self._read(state, prefix, slow.layer, slow.stack.values.detach(), more[2])
        if read is None:
            return
        slow.load(*read)
        state[f"{prefix}values"] = slow.stack.values.detach().clone()

    def _read(
        self,
        state: dict[str, Any],
        prefix: str,
        of: Callable[[int], tuple[Places, Tensor]],
        values: Tensor,
        missing: list[str],
    ) -> tuple[list[tuple[Places, Tensor]], Tensor] | None:
        """Weights and biases by layer, and their entries gone from the state; what it lacks stays, and is told.

        None if it has nothing of ours.
        """
        owner = self._owner
        pattern, here = owner.stack.pattern, [name for name in self._names if prefix + name in state]
        if not here:
            return None
        missing += [prefix + name for name in self._names if name not in here]
        weights, biases, self._was_dense = [], [], []
        for number, layer in enumerate(owner.layers):
            weight, bias = (self._taken(state, prefix, *named) for named in (
                (layer.weight_name, layer.weight), (layer.bias_name, layer.bias)))  # fmt: skip
            self._was_dense.append(weight is not None and weight.layout == torch.strided)
            places, numbers = of(number) if weight is None else parts_of(weight)
            weights.append((places, numbers.to(values.dtype)))
            own = values[pattern.biases[number] : pattern.biases[number + 1]]
            biases.append(own if bias is None else bias.reshape(-1).to(values.dtype))
        return weights, torch.cat(biases)

    @staticmethod
    def _taken(state: dict[str, Any], prefix: str, name: str, parameter: Tensor) -> Tensor | None:
        if prefix + name not in state:
            return None
        saved: Tensor = state.pop(prefix + name)
        if saved.shape != parameter.shape:
            raise RuntimeError(
                f"size mismatch for {name}: it is {tuple(saved.shape)} in the state, {tuple(parameter.shape)} in the "
                "network"
            )
        return saved

    # The optimiser.

    def _save_optimizer(self, optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
        saved: dict[int, Any] = {}
        groups, count = [], 0
        for place, group in enumerate(state["param_groups"]):
            numbers = group["params"]
            held: list[Any] = self._lengthened(numbers) if place == self._group else numbers
            groups.append({**group, "params": list(range(count, count + len(held)))})
            if place == self._group and self._labels is not None:
                groups[-1]["param_names"] = self._labels
            for new, old in enumerate(held, count):
                of = state["state"].get(numbers[self._first] if isinstance(old, tuple) else old)
                if of is not None:
                    saved[new] = self._piece(of, *old) if isinstance(old, tuple) else of
            count += len(held)
        return {**state, "state": saved, "param_groups": groups}

    def _lengthened(self, short: list[Any]) -> list[Any]:
        """A list that goes with what the group holds, with ours again in the places that they had."""
        others = iter([*short[: self._first], *short[self._first + 1 :]])
        return [next(others) if held is None else held for held in self._order] + list(others)

    def _piece(self, state: dict[str, Any], number: int, kind: str) -> dict[str, Any]:
        """Of the flat parameter's state, what belongs to one layer's weight or bias."""
        owner, pattern = self._owner, self._owner.stack.pattern
        bounds = pattern.weights if kind == "weight" else pattern.biases
        parameter = getattr(owner.layers[number], kind)
        piece: dict[str, Any] = {}
        for key, value in state.items():
            if not isinstance(value, Tensor) or not value.dim():
                piece[key] = value.clone() if isinstance(value, Tensor) else value
                continue
            part = value[bounds[number] : bounds[number + 1]]
            whole = kind == "bias" or owner.count(number) == owner.shapes[number].size
            shape = tuple(parameter.shape)
            piece[key] = part.clone().view(shape) if whole else sparse_tensor(owner.all_places(number), part, shape)
        return piece

    def _load_optimizer(self, optimizer: Any, state: dict[str, Any]) -> dict[str, Any] | None:
        group = state["param_groups"][self._group] if self._group < len(state["param_groups"]) else {"params": []}
        if len(group["params"]) < len(self._order):
            return None  # Not of this network: torch says what does not fit.
        loaded: dict[int, Any] = {}
        groups, count = [], 0
        for place, group in enumerate(state["param_groups"]):
            numbers = group["params"]
            if place == self._group:
                size = len(self._order)
                ours = {held: state["state"].get(number) for held, number in zip(self._order, numbers, strict=False)
                        if held is not None}  # fmt: skip
                held_: list[Any] = self._shortened(numbers[:size], None) + numbers[size:]
            else:
                ours, held_ = {}, numbers
            groups.append({**group, "params": list(range(count, count + len(held_)))})
            if place == self._group and self._labels is not None:
                groups[-1]["param_names"] = self._shortened(self._labels, "values")
            for new, old in enumerate(held_, count):
                of = self._joined(ours) if old is None else state["state"].get(old)
                if of:
                    loaded[new] = of
            count += len(held_)
        return {**state, "state": loaded, "param_groups": groups}

    def _joined(self, pieces: dict[Any, Any]) -> dict[str, Any]:
        """The flat parameter's state, of those of its layers' weights and biases."""
        owner = self._owner
        owner.loaded = {}
        if not all(pieces.values()):
            return {}
        joined: dict[str, Any] = {}
        for key, value in pieces[(0, "weight")].items():
            if not isinstance(value, Tensor) or not value.dim():
                joined[key] = value
                continue
            flat = []
            for kind in ("weight", "bias"):
                for number, layer in enumerate(owner.layers):
                    saved, shape = pieces[(number, kind)][key], tuple(getattr(layer, kind).shape)
                    if tuple(saved.shape) != shape:
                        raise ValueError(f"{key!r} of {layer.weight_name} has shape {tuple(saved.shape)}, not {shape}")
                    if kind == "weight" and saved.layout == torch.strided:
                        owner.loaded[(number, key)] = saved
                    flat.append(read_at(saved, owner.all_places(number) if kind == "weight" else None))
            joined[key] = torch.cat(flat)
        return joined
