"""What became of every sparse layer of a run: its connections from event to event, of `topology.csv`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.store import CONTENTS, RESULT, TOPOLOGY, Store

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class History:
    """A sparse weight over time, all members together; every array `(1 + events,)`, the start first."""

    learner: str
    layer: str
    size: int
    """Connections that it could have."""
    steps: Counts
    """Environment steps: 0, and of every event the warm-up and the updates until then."""
    active: Counts
    """Connections from that step on."""
    dropped: Counts
    """Active before the event and not after it; 0 at the start. Those that were readmitted are none."""
    grown: Counts

    @property
    def density(self) -> NDArray[np.float64]:
        return self.active / self.size


def histories(store: Store, run_id: str) -> list[History]:
    """Of every sparse layer of a finished run, learner by learner; none of a dense one.

    Before its first event a layer had the connections after it, less what grew, with what was dropped; without
    events it has those of `result.json` from beginning to end.
    """
    import pandas as pd

    folder = store.run_folder(run_id)
    warmup = int(json.loads((folder / CONTENTS).read_text())["warmup"])
    layers = json.loads((folder / RESULT).read_text())["layers"]
    frame = pd.read_csv(folder / TOPOLOGY, dtype={"learner": str, "layer": str}, keep_default_na=False)
    events = dict(iter(frame.groupby(["learner", "layer"], sort=False)))
    return [
        _history(learner, layer, counts, events.get((learner, layer)), warmup)
        for learner, of in layers.items()
        for layer, counts in sorted(of.items(), key=lambda one: in_order(one[0]))
    ]


def in_order(name: str) -> list[tuple[int, str]]:
    """What to sort the names of layers by, so that `hidden.2` comes before `hidden.10`."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", name)]


def _history(learner: str, layer: str, ended: dict[str, int], events: object, warmup: int) -> History:
    table = np.zeros((0, 4), dtype=np.int64)
    if events is not None:
        table = events[["update", "active", "dropped", "grown"]].to_numpy(np.int64)  # type: ignore[index]
    update, active, dropped, grown = table.T
    first = active[0] - grown[0] + dropped[0] if len(table) else ended["active"]
    return History(
        learner,
        layer,
        size=ended["size"],
        steps=np.append(0, warmup + update),
        active=np.append(first, active),
        dropped=np.append(0, dropped),
        grown=np.append(0, grown),
    )
