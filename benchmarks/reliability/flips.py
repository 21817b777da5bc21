"""Flipped bits: one bit of one file of a checkpoint folder, of a finished run or of a study is turned.

What must hold: a checkpoint that the file belongs to is passed over and the file is named, and what is loaded instead
is exactly the state of its step; `verify` names the file. A turned bit that nobody notices is a failure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability.ledger import Outcome
from benchmarks.reliability.saves import equal, small_chunks, state
from studies.attempts import begin
from studies.checkpoints import CHUNKS, MANIFEST, Checkpoints, newest
from studies.contents import canonical
from studies.files import sha256
from studies.sealed import read_sealed, write_sealed
from studies.store import CELLS, CONTENTS, EVALUATIONS, FAILURE, RESULT, STUDY, TOPOLOGY, WEIGHTS, WORLD, Damaged, Store

Look = Callable[[Path], str]
"""What is wrong with how a turned bit of a file was taken; nothing if all is right."""


def flips(count: int, seed: int, place: Path | None = None) -> Outcome:
    """So many flips of one bit, each turned back; files are drawn first, so that small ones get their share."""
    draw, notes = np.random.default_rng(seed), []
    with tempfile.TemporaryDirectory(dir=place) as folder, small_chunks():
        targets = [*checkpoint_files(Path(folder) / "checkpoint"), *store_files(Path(folder) / "store")]
        for _ in range(count):
            path, look = targets[int(draw.integers(len(targets)))]
            bit = int(draw.integers(8 * path.stat().st_size))
            with flipped(path, bit):
                wrong = look(path)
            if wrong:
                replay = f"python -m benchmarks.reliability flips --count {count} --seed {seed} --no-ledger"
                notes.append(f"bit {bit} of {path.relative_to(folder)}: {wrong}\n    replay: {replay}")
    return Outcome(len(notes), notes)


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """A file with one bit turned, as it was afterwards."""
    before = path.read_bytes()
    turned = bytearray(before)
    turned[bit // 8] ^= 1 << bit % 8
    path.write_bytes(turned)
    try:
        yield
    finally:
        path.write_bytes(before)


def checkpoint_files(folder: Path) -> Iterator[tuple[Path, Look]]:
    """Every file of two generations that share chunks."""
    checkpoints = Checkpoints(folder)
    for step in (1, 2, 3):
        last = checkpoints.save(state(step), {}, step)
    own = {last / name for name in read_sealed(last / MANIFEST)["files"]} | {last / MANIFEST}
    own |= {folder / CHUNKS / digest for digest in read_sealed(last / MANIFEST)["chunks"]}

    def look(path: Path) -> str:
        loaded, complaints = newest([folder])
        if loaded is not None and not equal(loaded.state, state(loaded.about["step"])):
            return f"another state was loaded from {loaded.folder}"
        if path not in own:
            return "" if loaded is not None and loaded.folder == last else f"passed over: {complaints}"
        if loaded is not None and loaded.folder == last:
            return "accepted in silence"
        return "" if str(path) in complaints[0] else f"not named in {complaints}"

    yield from ((path, look) for path in sorted(folder.rglob("*")) if path.is_file())


def store_files(root: Path) -> Iterator[tuple[Path, Look]]:
    """Every file of a finished run, of one that failed, and of the study that they are in."""
    store = Store(root)
    finished, failed = a_finished_run(store, "00" * 8), "11" * 8
    store.run_folder(failed).mkdir()
    store.fail(failed, "kaputt")
    lay_out_study(store, [finished.name, failed])

    def look(path: Path) -> str:
        try:
            _, named = store.verify_study("small")
        except Damaged as damaged:
            named = [str(damaged)]
        named += store.verify(finished.name) if path.parent == finished else []
        return "" if any(str(path) in each for each in named) else f"not named in {named}"

    parts = [
        *(each for each in finished.iterdir() if each.is_file()),
        store.run_folder(failed) / FAILURE,
        *store.study_folder("small").iterdir(),
    ]
    yield from ((path, look) for path in sorted(parts))


def a_finished_run(store: Store, run_id: str) -> Path:
    """Its folder, with files of the names and sizes of a short run."""
    folder = store.run_folder(run_id)
    attempt = begin(folder)
    store.finish(attempt, run_files(attempt.folder))
    return folder


def run_files(folder: Path, write: Callable[[Path, bytes], Any] = Path.write_bytes) -> list[str]:
    """Write what a run writes before it is finished; the names that `finish` is told."""
    sizes = {CONTENTS: 300, EVALUATIONS: 400, TOPOLOGY: 500, WEIGHTS: 2000, WORLD: 100}
    draw = np.random.default_rng(0)
    for name, size in sizes.items():
        write(folder / name, draw.bytes(size))
    write(folder / RESULT, canonical({"status": "done", "cause": ""}).encode())
    return [*list(sizes)[1:], RESULT]


def lay_out_study(store: Store, runs: list[str]) -> None:
    """A study named `small` of these runs."""
    folder = store.study_folder("small")
    folder.mkdir(parents=True)
    (folder / STUDY).write_text("name = 'small'\n")
    write_sealed(folder / CELLS, {"cells": [{"run": run} for run in runs], "study": sha256(folder / STUDY)})
