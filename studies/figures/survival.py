"""How many of the connections that a network began with are still there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from studies.figures.networks import Network, network_lines
from studies.figures.page import NothingToDraw, looks_of
from studies.figures.rows import counts, drawable
from studies.figures.stairs import Stairs
from studies.outcome import Outcome
from studies.statistics import summary
from studies.store import Store
from studies.topologies import Record, records
from studies.words import named

MEANING = (
    "Share of the first topology's connections that are active, all layers of a network together, at the evaluations "
    "that were kept; one that left and came back counts. Lines: mean over seeds; bands: from the lowest to the highest."
)
NO_RECORD = "no finished run has kept its topologies: run the study with --diagnostics"


def survival(store: Store, outcomes: Iterable[Outcome], path_stem: Path, *, title: str = "") -> list[Path]:
    """|M_0 and M_t| / |M_0| in percent, M the mask of a network, against environment steps.

    Runs without diagnostics count as unfinished. Returns the files written; a second page has "-2" after `path_stem`.
    """
    runs = list(outcomes)
    found = records(store, runs)
    if not found:
        raise NothingToDraw(NO_RECORD)
    rows = drawable(summary(run if run.run in found else replace(run, status="missing") for run in runs))
    seen: dict[Network, Stairs] = {}
    for run, record in found.items():
        for learner in dict.fromkeys(learner for learner, _ in record.shapes):
            seen[run, learner] = surviving(record, learner)
    sparse = [row for row in rows if any(found[run.run].shapes for run in row.finished)]
    if not sparse:
        raise NothingToDraw("no method has sparse layers")
    dense = named("Without sparse layers", [row for row in rows if row.done and row not in sparse])
    said = [MEANING, *dense, *counts(rows)]
    height = "first connections left (%)"
    looks = looks_of(rows)
    return network_lines(sparse, seen, looks, path_stem, title=title, height=height, notes=said, stairs=False)


def surviving(record: Record, learner: str) -> Stairs:
    """100 |M_0 and M_t| / |M_0| at every look."""
    left, first = np.zeros(len(record.steps)), 0
    for layer in (each for each in record.shapes if each[0] == learner):
        masks = record.masks(layer).reshape(len(record.steps), -1)
        left += (masks & masks[0]).sum(axis=1)
        first += int(masks[0].sum())
    return Stairs(np.array(record.steps), 100 * left / max(1, first))
