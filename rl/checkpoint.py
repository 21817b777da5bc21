"""Weights on disk: all networks and targets of an agent in one safetensors file, no pickle anywhere."""

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, no_grad

from rl.agent import Agent
from rl.files import write_atomically


class WeightsRefused(ValueError):
    """A file of weights that does not fit the agent. The message names the first misfit."""


def save_weights(path: str | os.PathLike[str], agent: Agent) -> None:
    """Write `actor/hidden.0.weight`, `target/actor/hidden.0.weight`, ...: the whole file or nothing."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named_tensors(agent).items()}
    write_atomically(Path(path), save(tensors))


def load_weights(path: str | os.PathLike[str], agent: Agent) -> None:
    """Copy a file's tensors into the agent; names, shapes and dtypes are all checked before the first copy."""
    try:
        stored = load(Path(path).read_bytes())
    except SafetensorError as error:
        raise WeightsRefused(f"{path} is no readable safetensors file: {error}") from error
    live = named_tensors(agent)
    _check(path, stored, live)
    with no_grad():
        for name, tensor in live.items():
            tensor.copy_(stored[name])


def named_tensors(agent: Agent) -> dict[str, Tensor]:
    """Every parameter and buffer of the agent's learners and their targets, by name."""
    modules = {}
    for learner in agent.learners():
        modules[learner.name] = learner.module
        if learner.target:
            modules[f"target/{learner.name}"] = learner.target.module
    return {
        f"{prefix}/{name}": tensor for prefix, module in modules.items() for name, tensor in module.state_dict().items()
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
