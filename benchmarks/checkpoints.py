"""What checkpoints cost a run: of its time, and of the disk.

    OMP_NUM_THREADS=1 python -m benchmarks.checkpoints --seconds 180

Runs of TD3 on HalfCheetah-v5 (width 256, batch 256) whose replay is filled with so many rows beforehand, one after the
other in this process, with the code that every run goes through. `save` is the median of all saves but the first, which
writes the whole replay; `resume` reads and checks every byte and builds the run. `all` is what was written while the
run trained, and a generation what would be needed to go on.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import torch

from registry import Registry
from rl.files import write_atomically
from studies.attempts import begin
from studies.checkpoints import CHUNKS, MANIFEST, generations, newest
from studies.contents import Run
from studies.keeping import Keeper
from studies.read import study_from
from studies.sealed import read_sealed
from studies.store import Store
from studies.underway import Underway

TABLES: Final[dict[str, Any]] = {
    "agents": ["td3"],
    "envs": ["HalfCheetah-v5"],
    "seeds": 1,
    "steps": 1_000_000,
    "warmup": 1000,
    "eval_every": 1_000_000,
    "episodes": 1,
    "random_episodes": 0,
    "methods": {"SET": "set"},
    "densities": [0.1],
    "settings": {"td3": {"batch_size": 256, "hidden": [256, 256]}},
}
ROW: Final = 2 * 17 + 6 + 3
"""Numbers of a transition."""
CASES: Final = ((0, 60.0), (0, 0.0), (100_000, 60.0), (100_000, 0.0), (1_000_000, 60.0), (1_000_000, 0.0))
"""Rows there beforehand, and `--checkpoint-every`."""


class Cost(NamedTuple):
    """What was measured of one run."""

    rows: int
    every: float
    seconds: float
    saves: list[float]
    generation: int
    written: int
    resume: float

    def __str__(self) -> str:
        first, later = self.saves[0], statistics.median(self.saves[1:] or self.saves)
        share = 100 * sum(self.saves) / self.seconds
        cells = (
            f"{self.rows:,}", f"{self.every:g}", f"{self.seconds:.0f}", len(self.saves), f"{first:.2f}", f"{later:.3f}",
            f"{share:.2f} %", f"{self.generation / 1e6:.1f}", f"{self.written / 1e6:.0f}", f"{self.resume:.2f}",
        )  # fmt: skip
        return f"| {' | '.join(map(str, cells))} |"


HEAD: Final = """\
| rows before | every, s | run, s | saves | first, s | save, s | of the time | generation, MB | all, MB | resume, s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def the_run() -> tuple[Run, Registry]:
    registry = Registry(installed=False)
    [cell] = study_from(TABLES, registry, name="cost").cells(registry)
    return cell.run, registry


def cost(rows: int, every: float, seconds: float) -> Cost:
    """Train for about so many seconds, saving as a run does."""
    run, registry = the_run()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.prepare(run)
        attempt = begin(store.run_folder(run.id))
        about: dict[str, Any] = {"run": run.id, "world": {}}
        with closing(Underway(run, attempt.folder, registry)) as underway, counted() as written:
            _fill(underway, rows)
            keeper, saves = Keeper(attempt, about, every=every, lender=None), []
            started = time.monotonic()
            for record in underway.records():
                if record.get("rest") and keeper.due():
                    before = time.monotonic()
                    keeper.save(underway)
                    saves.append(time.monotonic() - before)
                if record.get("rest") and time.monotonic() - started > seconds and saves:
                    break
            took = time.monotonic() - started
        before = time.monotonic()
        loaded, _ = newest([attempt.checkpoints])
        assert loaded is not None
        Underway(run, begin(attempt.run_folder).folder, registry, state=loaded.state).close()
        resume = time.monotonic() - before
        return Cost(rows, every, took, saves, size(generations(attempt.checkpoints)[-1]), sum(written), resume)


def _fill(underway: Underway, rows: int) -> None:
    """As if the run had come so far."""
    if rows:
        filled = torch.randn(rows, ROW, generator=torch.Generator().manual_seed(0))
        state = {"rows": filled, "added": rows, "kept_from": 0}
        underway._replay.load_state_dict(state)  # type: ignore[attr-defined]


@contextmanager
def counted() -> Iterator[list[int]]:
    """Lengths of everything that checkpoints write within."""
    lengths: list[int] = []

    def counting(path: Path, content: Any) -> None:
        lengths.append(len(content))
        write_atomically(path, content)

    with patch("studies.checkpoints.write_atomically", counting):
        yield lengths


def size(generation: Path) -> int:
    """Bytes of a generation, its chunks with it."""
    chunks = read_sealed(generation / MANIFEST)["chunks"]
    files = [*generation.iterdir(), *(generation.parent / CHUNKS / chunk for chunk in chunks)]
    return sum(file.stat().st_size for file in files)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=180.0, help="of each run")
    said = words.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(HEAD)
    for rows, every in CASES:
        print(cost(rows, every, said.seconds), flush=True)


if __name__ == "__main__":
    main()
