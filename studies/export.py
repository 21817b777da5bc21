"""`sparsity export`: the policy of a finished run as files that need neither this project nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from torch import nn

from registry import Registry
from rl.agent import Agent
from rl.checkpoint import WeightsRefused, read_weights
from rl.environment import EnvironmentRefused, action_space, sizes
from rl.networks import Actor, GaussianActor
from sparsity.export import Exported, Network, Unexportable, export, network_of
from sparsity.export.folder import Occupied
from studies.build import build_environment
from studies.contents import Run, part_words
from studies.formats import Sheet, text
from studies.policies import find_run, policy_of
from studies.problems import BadInput
from studies.store import WEIGHTS, Damaged, Store

TOLERANCE: Final = 1e-5
"""Between an action of the agent and one of the file, both in [-1, 1] and in float32."""
ROUNDING: Final = 10
"""Or so many times what rounding to float32 does to an action: large weights that cancel lose more than TOLERANCE."""
TRIED: Final = 32
"""Observations on which the two are compared before anything is written."""


class Bounds(NamedTuple):
    """Of the environment's own actions; without them it is said why."""

    known: Mapping[str, Any]
    why_not: str = ""


def export_run(
    given: str,
    store: Store,
    to: str,
    registry: Registry,
    *,
    out: Path | None = None,
    compacted: bool = True,
    allow_import: bool = False,
) -> tuple[Exported, str]:
    """Export a run's policy; what was written, and why it has no bounds if the environment cannot be made.

    The network of the files has given the agent's own actions before the first file is written.
    """
    run, where = find_run(given, store)
    folder = Path("exports", run.id, to) if out is None else out
    try:
        agent = policy_of(run, where, _sizes(run, where, registry, allow_import), registry)
        network = actor_network(agent)
        _compare(agent, network)
        bounds = _bounds(run, allow_import)
        exported = export(network, folder, to, compacted=compacted, about=_words(run, where), **bounds.known)
    except Occupied as error:
        raise BadInput(f"{error} (--out)") from error
    except (Unexportable, EnvironmentRefused) as error:
        raise BadInput(str(error)) from error
    except WeightsRefused as error:
        raise Damaged(str(error)) from error
    return exported, bounds.why_not


def actor_network(agent: Agent) -> Network:
    """What an agent does when it does not explore: tanh of its actor's output, of a Gaussian actor's mean."""
    actor = next((learner.module for learner in agent.learners() if learner.name == "actor"), None)
    if isinstance(actor, Actor | GaussianActor):
        between = [module for layer in actor.hidden for module in (layer, nn.ReLU())]
        network = network_of(*between, actor.head, nn.Tanh())
        return _means(network, actor.action_size) if isinstance(actor, GaussianActor) else network
    if isinstance(actor, nn.Sequential):
        return network_of(actor)
    raise Unexportable(
        f"the actor of this agent is {'missing' if actor is None else type(actor).__name__}: exports know rl.Actor, "
        "rl.GaussianActor and an nn.Sequential. From Python, sparsity.export.export takes the layers of any module"
    )


def _means(network: Network, action_size: int) -> Network:
    """Without the half of the head that gives standard deviations."""
    *hidden, head = network.layers
    half = head._replace(weight=head.weight[:action_size], bias=head.bias[:action_size])
    return Network((*hidden, half))


def _compare(agent: Agent, network: Network) -> None:
    """Unexportable unless the network acts as the agent does: an agent of somebody else may do more than its actor."""
    seen = np.random.default_rng(0).normal(size=(TRIED, network.observation_size)).astype(np.float32)
    theirs = np.array([agent.act(observation, explore=False) for observation in seen])
    ours = network(seen)
    rounding = np.abs(network.double_precision()(seen) - ours).max()
    near = max(TOLERANCE, ROUNDING * float(rounding))
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=near):
        raise Unexportable(
            f"this agent ({type(agent).__name__}) acts otherwise than the layers of its actor do: nothing was written"
        )


def _sizes(run: Run, store: Store, registry: Registry, allow_import: bool) -> tuple[int, int]:
    """Of observation and action, by the weights; the environment is made only if they do not tell."""
    shapes = {name: tensor.shape for name, tensor in read_weights(store.run_folder(run.id) / WEIGHTS).items()}
    actor, critic = shapes.get("actor/hidden.0.weight"), shapes.get("critic/hidden.0.weight")
    if actor and critic and critic[-1] > actor[-1]:
        return actor[-1], critic[-1] - actor[-1]
    environment = build_environment(run, 0, registry, allow_import=allow_import)
    environment.close()
    return sizes(environment)


def _bounds(run: Run, allow_import: bool) -> Bounds:
    try:
        space = action_space(run.env, allow_import=allow_import)
    except EnvironmentRefused as error:
        return Bounds({}, str(error))
    return Bounds({"low": space.low.tolist(), "high": space.high.tolist(), "dtype": str(space.dtype)})


def _words(run: Run, store: Store) -> dict[str, Any]:
    """What the files say of the run."""
    method = run.methods.get("actor")
    density = method.allocation.settings.get("density") if method and method.eligible.name != "none" else None
    return {
        "run": run.id,
        "env": run.env,
        "wrappers": [part_words(wrapper) for wrapper in run.wrappers],
        "agent": run.agent.name,
        "method": _label(run.id, store),
        "density": density,
        "seed": run.seed,
        "steps": run.steps,
    }


def _label(run_id: str, store: Store) -> str | None:
    """What a study of the store calls the run's method; None if there is no study of it."""
    for study in store.studies():
        for cell in store.cells(study):
            if cell["run"] == run_id:
                return str(cell["label"])
    return None


def shown(exported: Exported) -> str:
    """A table of the files, and what is in them."""
    before, network, about = exported.before, exported.network, exported.about
    (first, size), *others = exported.sizes.items()
    dense = exported.dense_bytes
    lines = [
        (first, f"{size:,}", f"{dense:,}", f"{size / dense:.2f}"),
        *((name, f"{n:,}", "", "") for name, n in others),
    ]
    parameters, whole = network.connections + network.biases, before.weights + before.biases
    units = " and ".join(f"{now} of {then}" for now, then in zip(_padded(network, before), before.units, strict=True))
    unread = about["unread_inputs"]
    notes = [
        f"Parameters: {parameters:,} of {whole:,} ({parameters / whole:.1%}). Hidden units: {units}.",
        *(
            [f"Inputs that nothing reads: {', '.join(map(str, unread))} of {network.observation_size}."]
            if unread
            else []
        ),
    ]
    head = ("file", "bytes", "dense policy", "share")
    return text(Sheet(f"{exported.folder}", head, [("", lines)], notes, left=("file",)))


def _padded(network: Network, before: Network) -> tuple[int, ...]:
    """Widths of the hidden layers; 0 where nothing was left of any."""
    return network.units or (0,) * len(before.units)
