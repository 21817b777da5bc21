"""State dicts of a sparse network, its optimiser and its slow copy: by the names and shapes that the dense ones have.

So a state written by either execution loads into the other, and whoever saves `module.state_dict()` need not know which
one it is. Absent connections are left out (`canonical`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sparsity.execution.canonical import Places, densified, parts_of, read_at, sparse_tensor

if TYPE_CHECKING:
    from sparsity.execution.sparse import Sparse


class SavedStates:
    """The hooks by which a sparse network is saved and loaded, and its place in the optimiser."""

    def __init__(self, owner: Sparse) -> None:
        self._owner = owner
        named = {id(p): (number, kind) for number, layer in enumerate(owner.layers)
                 for kind, p in (("weight", layer.weight), ("bias", layer.bias))}  # fmt: skip
        groups = owner.optimizer.param_groups
        self._order: list[list[tuple[int, str] | Tensor]] = [
            [named.get(id(p), p) for p in group["params"]] for group in groups
        ]
        """What each group held: parameters of others, or (layer, kind) of ours."""
        self._names = [group.get("param_names") for group in groups]

    def take_over(self, parameter: nn.Parameter, moments: dict[str, Tensor]) -> None:
        """Put the flat parameter where its layers' own were in the optimiser, with their state."""
        optimizer, layers = self._owner.optimizer, self._owner.layers
        old = [p for layer in layers for p in (layer.weight, layer.bias)]
        states = [optimizer.state.pop(p, {}) for p in old]
        plain = {key: value for key, value in states[0].items() if key not in moments}
        if plain or moments:
            optimizer.state[parameter] = plain | moments
        for group, order, names in zip(optimizer.param_groups, self._order, self._names, strict=True):
            ours = [place for place, held in enumerate(order) if isinstance(held, tuple)]
            if not ours:
                continue
            others = [held for held in order[ours[0] :] if isinstance(held, Tensor)]
            group["params"][:] = [*order[: ours[0]], parameter, *others]
            if names is not None:
                kept = [name for held, name in zip(order[ours[0] :], names[ours[0] :], strict=True)
                        if isinstance(held, Tensor)]  # fmt: skip
                group["param_names"] = [*names[: ours[0]], "values", *kept]

    def hook(self) -> None:
        """From now on states are saved and loaded in the form that both executions read."""
        owner = self._owner  # Torch marks the hooks that it is given, which a bound method does not take.
        owner.learner.module.register_state_dict_post_hook(partial(self._save_online))
        owner.learner.module.register_load_state_dict_pre_hook(partial(self._load_online))
        owner.optimizer.register_state_dict_post_hook(partial(self._save_optimizer))
        owner.optimizer.register_load_state_dict_pre_hook(partial(self._load_optimizer))
        if owner.learner.target is not None:
            owner.learner.target.module.register_state_dict_post_hook(partial(self._save_slow))
            owner.learner.target.module.register_load_state_dict_pre_hook(partial(self._load_slow))

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

    def _load_online(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        read = self._read(state, prefix)
        if read is None:
            return
        owner, eligible = self._owner, {weight.number for weight in self._owner.weights}
        layers, biases = read
        for number, shape in enumerate(owner.shapes):
            if number not in eligible and len(layers[number][0]) < shape.size:
                layers[number] = (owner.all_places(number), owner.dense(number, *layers[number]).reshape(-1))
        values = torch.cat([*(numbers for _, numbers in layers), biases])
        owner.load_values([places for places, _ in layers], values)
        state[f"{prefix}values"] = values

    def _load_slow(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        read, slow = self._read(state, prefix), self._owner.slow
        if read is None or slow is None:
            return
        slow.load(*read)
        state[f"{prefix}values"] = slow.stack.values.detach().clone()

    def _read(self, state: dict[str, Any], prefix: str) -> tuple[list[tuple[Places, Tensor]], Tensor] | None:
        """Weights and biases by layer, and their entries gone from the state; None if it lacks some."""
        layers = self._owner.layers
        names = [prefix + name for layer in layers for name in (layer.weight_name, layer.bias_name)]
        if any(name not in state for name in names):
            return None
        dtype = self._owner.stack.values.dtype
        weights, biases = [], []
        for layer in layers:
            for name, parameter in ((layer.weight_name, layer.weight), (layer.bias_name, layer.bias)):
                if tuple(state[prefix + name].shape) != tuple(parameter.shape):
                    raise RuntimeError(
                        f"size mismatch for {name}: it is {tuple(state[prefix + name].shape)} in the state, "
                        f"{tuple(parameter.shape)} in the network"
                    )
            places, numbers = parts_of(state.pop(prefix + layer.weight_name))
            weights.append((places, numbers.to(dtype)))
            biases.append(state.pop(prefix + layer.bias_name).reshape(-1).to(dtype))
        return weights, torch.cat(biases)

    # The optimiser.

    def _numbered(self) -> Iterator[list[tuple[int, tuple[int, str] | Tensor]]]:
        """What each group held, with the numbers that a state dict gives it."""
        number = 0
        for order in self._order:
            yield list(enumerate(order, number))
            number += len(order)

    def _save_optimizer(self, optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
        live = [p for group in optimizer.param_groups for p in group["params"]]
        by_id = {id(p): state["state"].get(number) for number, p in enumerate(live)}
        saved: dict[int, Any] = {}
        groups = []
        for group, names, numbered in zip(state["param_groups"], self._names, self._numbered(), strict=True):
            more = {"param_names": names} if names is not None else {}
            groups.append({**group, "params": [number for number, _ in numbered], **more})
            for number, held in numbered:
                of = by_id.get(id(held if isinstance(held, Tensor) else self._owner.stack.values))
                if of is not None:
                    saved[number] = of if isinstance(held, Tensor) else self._piece(of, *held)
        return {**state, "state": saved, "param_groups": groups}

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
        saved = state["state"]
        if [len(group["params"]) for group in state["param_groups"]] != [len(order) for order in self._order]:
            return None  # Not ours: torch says what does not fit.
        loaded: dict[int, Any] = {}
        groups, next_number = [], 0
        for group, live, numbered in zip(state["param_groups"], optimizer.param_groups, self._numbered(), strict=True):
            numbers = {id(p): next_number + i for i, p in enumerate(live["params"])}
            groups.append({**group, "params": list(numbers.values())})
            if "param_names" in live:
                groups[-1]["param_names"] = live["param_names"]
            next_number += len(numbers)
            ours = {held: saved[number] for number, held in numbered if isinstance(held, tuple) and number in saved}
            if ours:
                loaded[numbers[id(self._owner.stack.values)]] = self._joined(ours)
            loaded |= {numbers[id(held)]: densified(saved[number]) for number, held in numbered
                       if isinstance(held, Tensor) and number in saved}  # fmt: skip
        return {**state, "state": loaded, "param_groups": groups}

    def _joined(self, pieces: dict[Any, dict[str, Any]]) -> dict[str, Any]:
        owner = self._owner
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
                    places = owner.all_places(number) if kind == "weight" else None
                    flat.append(read_at(saved, places))
            joined[key] = torch.cat(flat)
        return joined
