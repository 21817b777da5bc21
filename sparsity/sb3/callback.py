"""The callback: attaches when `learn` begins, detaches when it ends, and tells the logger of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from registry import Registry, default_registry
from sparsity.event import Event
from sparsity.execution.choice import Execution
from sparsity.method import Method
from sparsity.sb3.attached import Attached, Settings
from sparsity.sb3.kept import ATTRIBUTE, Live, State
from sparsity.sb3.networks import Network
from sparsity.sb3.planned import planned_updates
from sparsity.sb3.words import Choice, Density


class SparseCallback(BaseCallback):  # type: ignore[misc]
    """Keeps a model of Stable-Baselines3 sparse while it learns: `model.learn(..., callback=SparseCallback("set"))`.

    `method` is a name or a `Method`, `density` the share of the sparse weights that stays, one for all learners or one
    a learner: `{"actor": 0.5, "critic": 0.2}`. Learners are `actor` and `critic` (TD3, DDPG, SAC, PPO, A2C), or `q_net`
    (DQN); each may have a method of its own, as a name (`"dense"` among them) or a table of changes:
    `actor="static", critic={"base": "rigl", "density": 0.1}`. Other keywords are fields of the method, as a row of a
    study has them: `schedule={"every": 500}, grow="gradient"`.

    `seed` decides the topologies; without it the model's own does, or 0. `total` is the number of planned updates, if
    what `planned_updates` makes of the timesteps is not meant. `on_event` hears the network's name and what changed.
    """

    def __init__(
        self,
        method: str | Method = "set",
        *,
        density: Density = None,
        seed: int | None = None,
        total: int | None = None,
        execution: Execution = "auto",
        on_event: Callable[[str, Event], None] | None = None,
        registry: Registry | None = None,
        verbose: int = 0,
        **changes: Any,
    ) -> None:
        super().__init__(verbose)
        if execution not in ("auto", "masked", "sparse"):
            raise ValueError(f"execution must be 'auto', 'masked' or 'sparse', not {execution!r}")
        if total is not None and not total >= 1:
            raise ValueError(f"total is how many updates are planned, at least 1, not {total!r}")
        self._registry = registry or default_registry()
        self._choice = Choice(method, density, changes, self._registry)
        self._seed, self._total, self._execution, self._heard = seed, total, execution, on_event
        self._attached: Attached | None = None
        self._began: int | None = None
        self._given: State | None = None
        self._state: State = {}
        self._masks: dict[str, Tensor] = {}
        self._densities: dict[str, float] = {}
        self._executions: dict[str, str] = {}
        self._events: Counter[str] = Counter()
        self._grown: Counter[str] = Counter()

    # What it tells.

    def masks(self) -> dict[str, Tensor]:
        """Of every sparse weight, by its name in `model.policy.state_dict()`; True where active."""
        return self._attached.masks() if self._attached is not None else dict(self._masks)

    def densities(self) -> dict[str, float]:
        """Active share of the sparse weights of every learner that has any."""
        return dict(self._densities)

    def executions(self) -> dict[str, str]:
        """`masked` or `sparse`, by network: `critic.qf0` is one of the critics. After `learn`, as it was."""
        return dict(self._executions)

    def state_dict(self) -> State:
        """Topologies, steps, traces, generators. Weights are the model's; its zip has this state, too."""
        return self._attached.state_dict() if self._attached is not None else dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What the next `learn` goes on from, in place of what its model has kept itself; ValueError if it cannot."""
        self._given = dict(state)

    def detach(self) -> None:
        """Let go of the model, which keeps the state: `learn` does so at its end, unless it was interrupted."""
        if self._attached is None:
            return
        model, attached = self.model, self._attached
        self._state, self._masks, self._attached = attached.state_dict(), attached.masks(), None
        attached.detach()
        setattr(model, ATTRIBUTE, self._state)

    # When Stable-Baselines3 calls.

    def _init_callback(self) -> None:
        self.detach()
        kept = getattr(self.model, ATTRIBUTE, {})
        if isinstance(kept, Live):
            kept = self._taken_over(kept.owner)
        if not (self._given or kept):  # Of a new model, though the callback may have served another.
            self._events.clear()
            self._grown.clear()
        planned = planned_updates(self.model, self.model._total_timesteps, self.model.num_timesteps)
        seed = self._seed if self._seed is not None else self.model.seed or 0
        by_hand = self._given is not None
        settings = Settings(self._choice, seed, planned, self._total, self._execution, self._registry, by_hand)
        self._attached = Attached(self.model, settings, kept if self._given is None else self._given, self._changed)
        self._executions = {name: each.execution for name, each in self._attached.sparsifiers.items()}
        self._given, self._densities = None, {}
        self._look([network.learner for network in self._attached.networks])
        self._began = self.model.start_time
        setattr(self.model, ATTRIBUTE, Live(self))

    def _taken_over(self, other: SparseCallback) -> State:
        """The state that a callback leaves whose `learn` was interrupted. ValueError for one of the same `learn`."""
        other.detach()
        if other._began == self.model.start_time:
            raise ValueError(
                "a model learns with one SparseCallback, and two were given: what learners have of their own goes into "
                "one, as in SparseCallback('set', density={'actor': 0.5, 'critic': 0.2}, actor='static')"
            )
        return other.state_dict()

    def _on_rollout_start(self) -> None:
        if self._attached is not None:
            self._attached.settle()
        self._record()

    def _on_step(self) -> bool:
        # DQN moves its target after each call of this, and nobody may have read it since.
        if self._attached is not None and isinstance(self.model, DQN):
            self._attached.settle()
        return True

    def _on_training_end(self) -> None:
        self.detach()

    def _changed(self, network: Network, event: Event) -> None:
        self._events[network.name] += 1
        self._grown[network.learner] += sum(layer.grown for layer in event.layers)
        self._look([network.learner])
        if self._heard is not None:
            self._heard(network.name, event)

    def _look(self, learners: list[str]) -> None:
        """Counting takes longer than logging, and counts change at events only."""
        assert self._attached is not None
        for learner in dict.fromkeys(learners):
            active, size = self._attached.connections(learner)
            if size:
                self._densities[learner] = active / size

    def _record(self) -> None:
        for learner, density in self._densities.items():
            events = max((n for name, n in self._events.items() if name.partition(".")[0] == learner), default=0)
            self.logger.record(f"sparsity/density_{learner}", density)
            self.logger.record(f"sparsity/events_{learner}", events)
            self.logger.record(f"sparsity/grown_{learner}", self._grown[learner])
