"""From stored runs to the outcomes that statistics, tables and figures read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from studies.outcome import Outcome
from studies.store import Record, Store
from studies.study import RANDOM_POLICY

WORLD_KEYS = (
    *("python", "torch", "numpy", "gymnasium", "mujoco", "numba"),
    *("threads", "cpu_capability", "device", "platform"),
)
"""What must be equal for two runs to be pooled."""


def collect(store: Store, name: str) -> tuple[list[Outcome], dict[str, np.ndarray]]:
    """Every outcome of a study, and by environment the returns of the random policy's episodes.

    Runs made in different worlds (versions, threads, device) are kept apart by an axis `world` that names what differs;
    runs that left no record count with the world of most. One that went from world to world on its way has an axis
    `drift` that says which.
    """
    outcomes: list[Outcome] = []
    baseline: dict[str, np.ndarray] = {}
    worlds: dict[int, Mapping[str, Any]] = {}
    for cell in store.cells(name):
        outcome, record = _outcome(store, cell)
        if cell["label"] == RANDOM_POLICY:
            if record is not None and outcome.status == "done":
                baseline[cell["env"]] = np.array(record.episodes[0])
            continue
        if record is not None:
            worlds[len(outcomes)] = {key: record.world.get(key) for key in WORLD_KEYS}
        outcomes.append(outcome)
    return _apart(outcomes, worlds), baseline


def _outcome(store: Store, cell: Mapping[str, Any]) -> tuple[Outcome, Record | None]:
    place: dict[str, Any] = {key: cell[key] for key in ("label", "agent", "env", "density", "seed", "axes", "run")}
    status, note = store.status(cell["run"])
    if not store.is_finished(cell["run"]) or status == "failed":
        return Outcome(**place, status=status, note=note), None
    try:
        record = store.read(cell["run"])
    except (OSError, ValueError, KeyError) as error:
        return Outcome(**place, status="failed", note=f"damaged: {error}"), None
    result = record.result
    if drift := record.world.get("drift"):
        place["axes"] = {**place["axes"], "drift": drift}
    outcome = Outcome(
        **place,
        status=result["status"],
        steps=record.steps,
        returns=record.returns,
        realised=result["realised_density"],
        parameters=result["parameters"],
        flops=result["flops_ratio"],
        seconds=record.world["seconds"],
        cpu_seconds=record.world.get("cpu_seconds"),
        training_seconds=np.array(record.world.get("training_seconds", ()), dtype=np.float64),
        training_cpu_seconds=np.array(record.world.get("training_cpu_seconds", ()), dtype=np.float64),
        note=result.get("cause", ""),
    )
    return outcome, record


def _apart(outcomes: list[Outcome], worlds: Mapping[int, Mapping[str, Any]]) -> list[Outcome]:
    differing = [key for key in WORLD_KEYS if len({str(world[key]) for world in worlds.values()}) > 1]
    if not differing:
        return outcomes
    texts = {index: ", ".join(f"{key} {world[key]}" for key in differing) for index, world in worlds.items()}
    most = Counter(texts.values()).most_common(1)[0][0]
    return [
        replace(outcome, axes={**outcome.axes, "world": texts.get(index, most)})
        for index, outcome in enumerate(outcomes)
    ]
