"""What happened inside a run, beside its returns: `diagnostics.csv`, written at every evaluation when asked for, and
the topologies themselves (`studies.topologies`).

It changes no result: it draws from a stream of its own, and what it measures it only reads. The cost is a look at each
topology at its events, and at an evaluation a pass of a batch through each network and a singular value decomposition.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rl import activity
from rl.agent import Agent, Batch, Learner
from rl.replay import Replay
from rl.streams import numpy_generator, stream
from sparsity import Event
from sparsity.diagnostics import Watch
from studies.account import Account
from studies.contents import Run
from studies.rows import Rows
from studies.store import DIAGNOSTICS
from studies.topologies import Topologies

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("step", "update", "learner", "layer", "measure", "value")
BATCH: Final = 256
"""Transitions whose activations are looked at."""
ACTIVITY: Final[Mapping[str, Callable[[activity.Activations], float]]] = {
    "active_units": activity.active_share,
    "dormant_units": activity.dormant_share,
    "dead_units": activity.dead_share,
    "effective_rank": activity.effective_rank,
}
COSTS: Final = ("parameters", "realised_density", "training_flops", "training_flops_ratio", "action_flops")


class Diagnostics:
    """Follows the topologies of a run and measures its networks when told to."""

    def __init__(self, folder: Path, agent: Agent, account: Account, replay: Replay, run: Run) -> None:
        self._agent, self._account, self._replay, self._seed = agent, account, replay, run.seed
        self._rows = Rows(folder / DIAGNOSTICS, COLUMNS)
        self._watches = {learner: Watch(sparsifier) for learner, sparsifier in account.sparsifiers.items()}
        plan = {"steps": run.steps, "eval_every": run.eval_every}
        self._record = Topologies(folder, account.sparsifiers, **plan)
        account.watchers.append(self._hear)

    def _hear(self, learner: str, event: Event) -> None:
        self._watches[learner].heard(event)

    def measure(self, step: int, updates: int, costs: Mapping[str, Any]) -> None:
        """Write what there is to say after `step` environment steps; `costs` is the account's result so far."""
        rows = [*_costs(costs), *self._topologies(), *self._networks(step)]
        self._rows.write([step, updates, *row[:3], repr(float(row[3]))] for row in rows)
        self._record.look(step)

    def close(self) -> None:
        self._rows.close()

    def state_dict(self) -> dict[str, Any]:
        """What was seen of every topology."""
        return {learner: watch.state_dict() for learner, watch in self._watches.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        for learner, watch in self._watches.items():
            watch.load_state_dict(state[learner])

    def _topologies(self) -> Iterator[tuple[str, str, str, float]]:
        for learner, watch in self._watches.items():
            for layer, measures in watch.look().items():
                yield from ((learner, layer, name, value) for name, value in measures.items())

    def _networks(self, step: int) -> Iterator[tuple[str, str, str, float]]:
        """On a batch that nobody else draws; nothing before there is one."""
        if not len(self._replay):
            return
        for learner in self._agent.learners():
            if hasattr(getattr(learner.module, "stack", None), "activations"):
                seen = learner.module.stack.activations(self._inputs(learner, step))  # type: ignore[union-attr,operator]
                yield from ((learner.name, "", name, measure(seen)) for name, measure in ACTIVITY.items())

    def _inputs(self, learner: Learner, step: int) -> tuple[Any, ...]:
        """What its network is called with, by the names of a batch's columns."""
        example = next(learner.module.parameters())
        generator = numpy_generator(stream(self._seed, "diagnostics", step))
        batch = self._replay.sample(BATCH, generator, device=example.device, dtype=example.dtype)
        asked = inspect.signature(learner.module.forward).parameters
        return tuple(getattr(batch, name) for name in Batch._fields if name in asked)


def _costs(costs: Mapping[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    yield from (("", "", name, costs[name]) for name in COSTS if costs.get(name) is not None)
    yield from (("", "", f"bytes_{what}", held) for what, held in costs.get("bytes", {}).items())


def read(folder: Path) -> pd.DataFrame:
    """A run's diagnostics as a frame with the columns `COLUMNS`. FileNotFoundError for a run without."""
    import pandas as pd

    path = folder / DIAGNOSTICS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {DIAGNOSTICS}: run it with --diagnostics")
    frame = pd.read_csv(path, dtype={"learner": str, "layer": str}, keep_default_na=False)
    return frame.astype({"value": float})
