"""Mask churn: how many of its connections a method has replaced, as training goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from studies.figures.networks import Network, network_lines
from studies.figures.page import NothingToDraw, looks_of
from studies.figures.rows import counts, drawable
from studies.figures.stairs import SPREAD, Stairs
from studies.history import History, histories
from studies.outcome import Outcome
from studies.statistics import summary
from studies.store import Store
from studies.words import named

MEANING = (
    "Replaced at an event: connections that left while others came, as a share of those before it, all layers of a "
    "network together; added up over the events: 100 % are as many as there are. Readmitted ones were kept."
)


def mask_churn(store: Store, outcomes: Iterable[Outcome], path_stem: Path, *, title: str = "") -> list[Path]:
    """Connections replaced so far, in percent of those that a network has, against environment steps.

    At each event min(dropped, grown) / active before, counts of all layers of a network together, summed over the
    events. What is only cut or only grown, as a budget moves, replaces nothing. Methods that never replace a
    connection are named below. Returns the files written; a second page has "-2" after `path_stem`.
    """
    rows = drawable(summary(outcomes))
    seen: dict[Network, Stairs] = {}
    for run in dict.fromkeys(run.run for row in rows for run in row.finished):
        for learner, layers in by_learner(histories(store, run)).items():
            seen[run, learner] = replaced(layers)
    changing = {run for (run, _), line in seen.items() if line.heights[-1] > 0}
    still = [row for row in rows if row.done and not any(run.run in changing for run in row.finished)]
    drawn = [row for row in rows if any(run.run in changing for run in row.finished)]
    if not drawn:
        raise NothingToDraw("no method replaces connections")
    said = [SPREAD, MEANING, *named("No connection is replaced in", still), *counts(rows)]
    return network_lines(drawn, seen, looks_of(rows), path_stem, title=title, height="replaced so far (%)", notes=said)


def by_learner(layers: Iterable[History]) -> dict[str, list[History]]:
    """The layers of each network."""
    found: dict[str, list[History]] = {}
    for layer in layers:
        found.setdefault(layer.learner, []).append(layer)
    return found


def replaced(layers: Sequence[History]) -> Stairs:
    """100 * the sum over events until then of min(dropped, grown) / active before, layers of a network together."""
    steps = np.unique(np.concatenate([layer.steps for layer in layers]))
    dropped, grown = (np.zeros(len(steps), dtype=np.int64) for _ in range(2))
    for layer in layers:
        places = np.searchsorted(steps, layer.steps)
        np.add.at(dropped, places, layer.dropped)
        np.add.at(grown, places, layer.grown)
    active = sum(int(layer.active[0]) for layer in layers) + np.cumsum(grown - dropped)
    before = np.append(active[0], active[:-1])
    return Stairs(steps, 100 * np.cumsum(np.minimum(dropped, grown) / np.maximum(before, 1)))
