"""What a run's topology was and cost: every event as rows, weights summed over updates, FLOPs and bytes at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from registry import Registry
from rl.agent import Agent
from sparsity import Event, Sparsifier
from sparsity.cost import (
    Size,
    dense_gradient_flops,
    dense_gradient_steps,
    inference_flops,
    size,
    training_flops,
)
from studies.build import attach, present
from studies.contents import Run
from studies.rows import Rows
from studies.store import TOPOLOGY
from studies.stored import stored

COLUMNS: Final = ("update", "learner", "layer", "active", "dropped", "grown", "readmitted", "zeros")


class Account:
    """Attaches a run's sparsifiers and keeps count of them."""

    def __init__(self, agent: Agent, run: Run, registry: Registry, folder: Path) -> None:
        self._agent, self._run = agent, run
        self._rows = Rows(folder / TOPOLOGY, COLUMNS)
        self.sparsifiers: dict[str, Sparsifier] = {}
        self._whole = {learner.name: size(learner.module) for learner in agent.learners()}
        self._dense_steps = {name: dense_gradient_steps(method, registry) for name, method in run.methods.items()}
        self.watchers: list[Callable[[str, Event], None]] = []
        """Told the learner's name and each of its events."""
        self.sparsifiers = attach(agent, run, registry, self._hear)
        self._active = self._present()
        self._summed = dict.fromkeys(self._active, 0.0)
        self._absent = dict.fromkeys(self._active, 0.0)
        self._since = dict.fromkeys(self._active, 0)
        self._events = 0

    def _hear(self, learner: str, event: Event) -> None:
        # An optimiser's own clock runs slower than the agent's by the learner's stride.
        method, stride = self._run.methods[learner], self._strides()[learner]
        update = event.step * (stride if method.clock == "optimizer" else 1)
        self._rows.write([update, learner, *change] for change in event.layers)
        self._events += 1
        if math.isfinite(self._dense_steps[learner]):
            self._absent[learner] += self._dense_steps[learner] * self._missing(learner)
        self._spend(learner, update)
        for watcher in self.watchers:
            watcher(learner, event)

    def _missing(self, learner: str) -> float:
        """Weights that were absent until now."""
        return self._whole[learner].weights - self._active[learner]

    def _spend(self, learner: str, update: int) -> None:
        updates = update - self._since[learner]
        self._summed[learner] += self._active[learner] * updates
        if math.isinf(self._dense_steps[learner]):
            self._absent[learner] += self._missing(learner) * updates / self._strides()[learner]
        self._since[learner] = update
        self._active[learner] = self._present()[learner]

    def _present(self) -> dict[str, int]:
        return {name: each.active_weights for name, each in present(self._whole, self.sparsifiers).items()}

    def _strides(self) -> dict[str, int]:
        return {learner.name: learner.stride for learner in self._agent.learners()}

    def close(self) -> None:
        self._rows.close()

    def state_dict(self) -> dict[str, Any]:
        """The sparsifiers' states, and what was counted so far. Tensors are copies."""
        return {
            "sparsifiers": {name: sparsifier.state_dict() for name, sparsifier in self.sparsifiers.items()},
            "active": dict(self._active),
            "summed": dict(self._summed),
            "absent": dict(self._absent),
            "since": dict(self._since),
            "events": self._events,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. Weights, moments and targets are the agent's own: load them before this call."""
        for name, sparsifier in self.sparsifiers.items():
            sparsifier.load_state_dict(state["sparsifiers"][name])
        self._active, self._summed = dict(state["active"]), dict(state["summed"])
        self._absent, self._since = dict(state["absent"]), dict(state["since"])
        self._events = int(state["events"])

    def result(self, full: Mapping[str, Size], updates: int) -> dict[str, Any]:
        """Layers as they ended, FLOPs of the updates so far, and bytes held.

        `flops_ratio` is a share of the dense agent's as Sokar et al. 2022 count, `training_flops` all of them with the
        dense gradients that the method asks for, `training_flops_ratio` that as a share of the dense agent's;
        `action_flops` are those of one action, `bytes` of parameters, moments, targets and index as they are held.
        """
        if not full:
            nothing = ("realised_density", "parameters", "flops_ratio")
            return {**dict.fromkeys(nothing), "layers": {}, "events": 0}
        for learner in self._active:
            self._spend(learner, max(1, updates))
        ends = present(self._whole, self.sparsifiers)
        mean = {name: total / max(1, updates) for name, total in self._summed.items()}
        dense = {name: float(each.weights) for name, each in full.items()}
        spent, whole = (training_flops(weights, self._strides(), 1) for weights in (mean, dense))
        batch = max(1, self._agent.batch_size)
        beside = sum(dense_gradient_flops(absent, batch) for absent in self._absent.values())
        own = spent * batch * updates + beside
        held = stored(self._agent.learners(), list(self.sparsifiers.values()))
        return {
            "realised_density": sum(s.active_weights for s in ends.values()) / sum(dense.values()),
            "parameters": sum(s.active_parameters for s in ends.values()),
            "flops_ratio": spent / whole,
            "training_flops": own,
            "training_flops_ratio": own / (whole * batch * updates) if updates else None,
            "action_flops": inference_flops(ends["actor"].active_weights) if "actor" in ends else None,
            "bytes": {what: held[what] for what in ("parameters", "moments", "targets", "index")},
            "layers": {name: self._layers(name) for name in self.sparsifiers},
            "events": self._events,
        }

    def _layers(self, learner: str) -> dict[str, dict[str, int]]:
        sparsifier = self.sparsifiers[learner]
        targets = {layer.name: layer.active for layer in sparsifier.target_densities()}
        return {
            layer.name: {"active": layer.active, "size": layer.size, "target": targets.get(layer.name, 0)}
            for layer in sparsifier.densities()
        }
