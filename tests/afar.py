"""A few runs for executors that carry them out elsewhere, and what must be true of them in the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lab

from studies.executors.process import Job
from studies.store import EVALUATIONS, MANIFEST, Store

RUNS, STEPS = 3, 800


def jobs(store: Store, seeds: int = RUNS, steps: int = STEPS) -> list[Job]:
    """Prepared runs, seconds long each. Masked, for the kernels of sparse ones take seconds to load."""
    small = {"steps": steps, "eval_every": steps // 5, "episodes": 1, "execution": "masked"}
    made = lab.runs(seeds=seeds, **small)
    for run in made:
        store.prepare(run)
    command = (sys.executable, "-P", "-m", "studies.run", str(store.root))
    return [Job(run.id, (*command, run.id, "--no-plugins")) for run in made]


class Heard:
    """What an executor reports: progress, and how every run ended. `then` is called with each record."""

    def __init__(self, then: Callable[[str, Mapping[str, Any]], None] = lambda run_id, record: None) -> None:
        self.steps: dict[str, list[int]] = {}
        self.ended: dict[str, int] = {}
        self.causes: dict[str, str] = {}
        self._then = then

    def __call__(self, run_id: str, record: Mapping[str, Any]) -> None:
        assert run_id not in self.ended, "a run ends once, and says nothing after it"
        if "ended" in record:
            self.ended[run_id], self.causes[run_id] = record["ended"], record["cause"]
        else:
            self.steps.setdefault(run_id, []).append(record["step"])
        self._then(run_id, record)


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def released(store: Store, run_id: str) -> None:
    """Wait until nobody holds a run: what was left of it by a node that died notices that nobody listens."""
    until(lambda: store.status(run_id)[0] != "running", 20)


def check_that_each_is_there_once_and_as_at_home(store: Store, folder: Path) -> None:
    """One manifest a run, and the evaluations of runs that were carried out here."""
    home = Store(folder / "home")
    here = jobs(home)
    lab.here(here, lambda *_: None)
    assert sorted(path.name for path in (store.root / "runs").iterdir()) == sorted(job.id for job in here)
    for job in here:
        assert len(list(store.run_folder(job.id).glob(MANIFEST))) == 1
        assert store.verify(job.id) == []
        mine, theirs = (place.run_folder(job.id) / EVALUATIONS for place in (home, store))
        assert mine.read_bytes() == theirs.read_bytes()
