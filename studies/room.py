"""What a study needs of memory and disk, reckoned before anything is written."""

from __future__ import annotations

import heapq
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from registry import Registry
from studies.attempts import ATTEMPTS
from studies.build import build_replay
from studies.contents import Run
from studies.problems import clean
from studies.store import Store

RESULTS: Final = 2_000_000
"""Bytes of a run's files but its weights, roughly; a state holds the logs among them too."""
Sizes = Mapping[str, tuple[int, int]]


class Room(NamedTuple):
    """Bytes: in memory while so many runs are at work, and on disk."""

    workers: int
    buffers: int
    """Of the replays."""
    networks: int
    """At least: the weights between hidden layers, their gradients and two moments, of masked networks on the CPU."""
    checkpoints: int
    """Beyond what is there already."""
    results: int

    def short_of_memory(self) -> list[str]:
        """What the memory cannot hold."""
        free, problems = free_memory(), []
        for needed, key, what, lower in (
            (self.buffers, "replay", "buffers", "capacity"),
            (self.networks, "hidden", "networks", "widths"),
        ):
            if free and needed > free:
                problems.append(
                    f"{key}: {self.workers} workers need {needed / 1e9:,.1f} GB for their {what} and {free / 1e9:.1f} "
                    f"GB are free: lower the {lower}, or --workers"
                )
        return problems

    def short_of_disk(self, root: Path) -> list[str]:
        """What the place of a store cannot hold."""
        free, needed = free_disk(root), self.checkpoints + self.results
        if needed <= free:
            return []
        return [
            f"store: {clean(str(root))} has {free / 1e9:,.1f} GB free, and {needed / 1e9:,.1f} GB are needed: "
            f"{self.checkpoints / 1e9:,.1f} GB for checkpoints, replay buffers with them, of {self.workers} runs at a "
            f"time, {self.results / 1e9:,.1f} GB for results. Lower the replay's capacity or --workers, or choose "
            "another --store"
        ]


def room(
    runs: Iterable[Run], sizes: Sizes, registry: Registry, workers: int, *, kept: bool = False, there: int = 0
) -> Room:
    """What runs need, so many `workers` at a time. `kept`: checkpoints stay. So many bytes of them are `there` now."""
    learning = [run for run in runs if run.methods]
    workers = min(workers, max(1, len(learning)))
    filled = _filled(sizes, registry)
    buffers = [filled(run) for run in learning]
    agents = [agent_bytes(run, sizes) for run in learning]
    # Two generations share the chunks of the replay, which only grows, or changes at one place at a time.
    saved = [buffer + 2 * (agent + RESULTS) for buffer, agent in zip(buffers, agents, strict=True)]
    masked = [_hidden_bytes(run) for run in learning if run.execution == "masked" and run.device == "cpu"]

    def at_once(bytes_: list[int]) -> int:
        return sum(heapq.nlargest(workers, bytes_))

    return Room(
        workers=workers,
        buffers=at_once(buffers),
        networks=at_once(masked),
        checkpoints=max(0, (sum(saved) if kept else at_once(saved)) - there),
        results=sum(RESULTS + agent // 4 for agent in agents),
    )


def _filled(sizes: Sizes, registry: Registry) -> Callable[[Run], int]:
    """Bytes of a run's replay at its end, as it says itself, or as a uniform one of its capacity would take."""
    from rl.replay import bytes_needed

    known: dict[tuple[str, str, int], int] = {}

    def filled(run: Run) -> int:
        key = str(run.replay), run.env, run.steps
        if key not in known:
            capacity = run.replay.settings.get("capacity")
            rows = min(capacity, run.steps) if isinstance(capacity, int) else 0
            known[key] = bytes_needed(*sizes[run.env], rows)
            try:
                replay = build_replay(run, sizes[run.env], registry)
            except ValueError:  # The rehearsal will say so.
                return known[key]
            if hasattr(replay, "bytes_needed"):
                known[key] = int(replay.bytes_needed(run.steps))
        return known[key]

    return filled


def agent_bytes(run: Run, sizes: Sizes) -> int:
    """Weights, targets and two moments as float32, roughly: of twin critics, and as if nothing were absent."""
    ins = sum(sizes[run.env])
    return 16 * sum((1 + ("critic" in name)) * _weights((ins, *widths)) for name, widths in _hidden(run))


def _hidden_bytes(run: Run) -> int:
    return 16 * sum(_weights(widths) for _, widths in _hidden(run))


def _hidden(run: Run) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(widths)) for name, widths in run.agent.settings.items() if name.endswith("_hidden")]


def _weights(widths: tuple[int, ...]) -> int:
    return sum(a * b for a, b in itertools.pairwise(widths))


def checkpoint_bytes(store: Store, runs: Iterable[Run]) -> int:
    """What runs that have begun already hold in the store."""
    found: dict[int, int] = {}
    for folder in (store.run_folder(run.id) / ATTEMPTS for run in runs):
        for here, _, files in os.walk(folder):
            for file in files:
                try:
                    status = os.lstat(os.path.join(here, file))
                except OSError:  # Another runner works here, and has just swept.
                    continue
                found[status.st_ino] = status.st_size  # Generations of two attempts share files.
    return sum(found.values())


def free_memory() -> int:
    """Bytes that are available; 0 where nobody tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)


def free_disk(root: Path) -> int:
    """Bytes that are free where a store is, or will be."""
    place = root.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
