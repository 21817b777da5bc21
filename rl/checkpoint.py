"""Weights on disk: all networks and targets of an agent in one safetensors file, no pickle anywhere."""

import os
from math import prod
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, as_tensor, nn, sparse_coo_tensor, stack, strided

from rl.agent import Agent
from rl.files import write_atomically


class WeightsRefused(ValueError):
    """A file of weights that does not fit the agent. The message names the first misfit."""


def save_weights(path: str | os.PathLike[str], agent: Agent) -> None:
    """Write `actor/hidden.0.weight`, `target/actor/hidden.0.weight`, ...: the whole file or nothing.

    A sparse tensor becomes three: `<name>@shape`, `<name>@places` in its flattened form, and `<name>@values`.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in named_tensors(agent).items():
        parts = {name: tensor} if tensor.layout == strided else _apart(name, tensor)
        tensors |= {key: part.detach().cpu().contiguous() for key, part in parts.items()}
    write_atomically(Path(path), save(tensors))


def load_weights(path: str | os.PathLike[str], agent: Agent) -> None:
    """Take a file's tensors into the agent; names, shapes and dtypes are all checked before the first is taken."""
    stored = read_weights(path)
    live = named_tensors(agent)
    _check(path, stored, live)
    # What is sparse in the agent reads both forms.
    stored = {name: tensor.to_dense() if live[name].layout == strided else tensor for name, tensor in stored.items()}
    for prefix, module in _modules(agent).items():
        module.load_state_dict(
            {name.removeprefix(f"{prefix}/"): tensor for name, tensor in stored.items() if _belongs(name, prefix)}
        )


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """A file's tensors by name, sparse ones as sparse tensors. WeightsRefused if it is damaged."""
    try:
        return _joined(load(Path(path).read_bytes()))
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise WeightsRefused(f"{path} is no readable safetensors file: {error}") from error


def _belongs(name: str, prefix: str) -> bool:
    return name.startswith(f"{prefix}/")


def _apart(name: str, tensor: Tensor) -> dict[str, Tensor]:
    tensor = tensor.coalesce()
    strides = as_tensor([prod(tensor.shape[i + 1 :]) for i in range(tensor.dim())])
    places = (tensor.indices() * strides.unsqueeze(1)).sum(0)
    return {f"{name}@shape": as_tensor(tensor.shape), f"{name}@places": places, f"{name}@values": tensor.values()}


def _joined(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = {name: tensor for name, tensor in stored.items() if "@" not in name}
    for key in stored:
        name, _, what = key.partition("@")
        if what != "shape":
            continue
        shape, places = tuple(stored[key].tolist()), stored[f"{name}@places"]
        rest, indices = places, []
        for size in reversed(shape):
            indices.append(rest % size)
            rest = rest // size
        if bool((rest != 0).any()) or bool((places[1:] <= places[:-1]).any()):
            raise KeyError(f"places of {name} lie outside {shape} or are out of order")
        values = stored[f"{name}@values"]
        tensors[name] = sparse_coo_tensor(stack(indices[::-1]), values, shape, is_coalesced=True, check_invariants=True)
    return tensors


def _modules(agent: Agent) -> dict[str, nn.Module]:
    modules = {}
    for learner in agent.learners():
        modules[learner.name] = learner.module
        if learner.target:
            modules[f"target/{learner.name}"] = learner.target.module
    return modules


def named_tensors(agent: Agent) -> dict[str, Tensor]:
    """Every parameter and buffer of the agent's learners and their targets, by name."""
    return {
        f"{prefix}/{name}": tensor
        for prefix, module in _modules(agent).items()
        for name, tensor in module.state_dict().items()
    }


def _check(path: str | os.PathLike[str], stored: dict[str, Tensor], live: dict[str, Tensor]) -> None:
    advice = "build the agent with the settings that the file was saved with"
    for name, tensor in live.items():
        if name not in stored:
            raise WeightsRefused(f"{path} has no tensor {name!r}: {advice}")
        there, here = _kind(stored[name]), _kind(tensor)
        if there != here:
            raise WeightsRefused(f"{name} is {there} in {path} and {here} in the agent: {advice}")
    for name in sorted(stored):
        if name not in live:
            raise WeightsRefused(f"{path} has a tensor {name!r} that the agent lacks: {advice}")


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
