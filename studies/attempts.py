"""Attempts at a run: a folder each, which one process writes to and nobody else.

`attempts/0002/` holds the files of the second attempt while it works, its checkpoints with them, and
`attempts/0002.json` who it is and how it ended. Only the latest attempt may write a checkpoint that counts, or finish
the run: one that was given up for dead, and comes back, is refused.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rl.files import make_folder, sync
from studies.sealed import read_sealed, write_sealed

ATTEMPTS: Final = "attempts"
CHECKPOINT: Final = "checkpoint"


class Superseded(RuntimeError):
    """Another attempt at this run has begun since: this one may write nothing that counts."""


@dataclass(frozen=True)
class Attempt:
    """One process's try at a run."""

    run_folder: Path
    number: int

    @property
    def folder(self) -> Path:
        """Where it writes."""
        return self.run_folder / ATTEMPTS / f"{self.number:04d}"

    @property
    def checkpoints(self) -> Path:
        return self.folder / CHECKPOINT

    @property
    def _record(self) -> Path:
        return self.folder.with_suffix(".json")

    def record(self) -> dict[str, Any]:
        """Who it is, and how it ended if it could say so. ValueError or OSError if that cannot be read."""
        return read_sealed(self._record)

    def demand_latest(self) -> None:
        """Superseded if a later attempt has begun."""
        latest = attempts(self.run_folder)[-1:]
        if latest != [self] or not self.folder.is_dir():
            by = f"attempt {latest[0].number}" if latest and latest != [self] else "another process"
            raise Superseded(f"attempt {self.number} at {self.run_folder.name} was superseded by {by}")

    def note(self, **more: Any) -> None:
        """Add to its record."""
        write_sealed(self._record, self.record() | more)


def attempts(run_folder: Path) -> list[Attempt]:
    """All attempts at a run, from the first to the latest. OSError if it cannot be told."""
    try:
        names = os.listdir(run_folder / ATTEMPTS)
    except FileNotFoundError:
        return []
    numbers = {int(stem) for name in names if (stem := name.removesuffix(".json")).isdigit()}
    return [Attempt(run_folder, number) for number in sorted(numbers)]


def generations(folder: Path) -> list[Path]:
    """Folders of a folder's checkpoints, oldest first, whole or not. OSError if it is there and cannot be read."""
    try:
        entries = list(folder.iterdir())
    except FileNotFoundError:
        return []
    return sorted(each for each in entries if each.name.isdigit() and each.is_dir() and not each.is_symlink())


def begin(run_folder: Path, still_held: Callable[[], None] = lambda: None) -> Attempt:
    """The next attempt, with its folder. From now on no earlier one counts.

    `still_held` raises if somebody else has taken the run over.
    """
    with alone(run_folder):
        still_held()
        number = max((attempt.number for attempt in attempts(run_folder)), default=0) + 1
        attempt = Attempt(run_folder, number)
        make_folder(attempt.folder)
        who = {"host": os.uname().nodename, "process": os.getpid(), "started": time.time()}
        write_sealed(attempt._record, who)
    return attempt


@contextmanager
def alone(run_folder: Path) -> Iterator[None]:
    """Nobody else begins or finishes an attempt at this run meanwhile. Held for moments."""
    make_folder(run_folder / ATTEMPTS)
    with open(run_folder / ATTEMPTS / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def last_saved(run_folder: Path) -> Attempt | None:
    """The latest attempt that has a checkpoint: one that went on from another's may have ended before its own."""
    return next((each for each in reversed(attempts(run_folder)) if generations(each.checkpoints)), None)


def keep_last(run_folder: Path) -> None:
    """Move the checkpoints of the last attempt that has some into the run's folder. Call it `alone`."""
    saved = last_saved(run_folder)
    if saved is not None:
        place = run_folder / CHECKPOINT
        if place.is_dir():
            shutil.rmtree(place)
        os.replace(saved.checkpoints, place)


def publish(attempt: Attempt) -> None:
    """Move what an attempt has written, but for checkpoints, into the run's folder. Call it `alone`, as the latest."""
    for entry in sorted(attempt.folder.iterdir()):
        if entry.name == CHECKPOINT:
            continue
        place = attempt.run_folder / entry.name
        if entry.is_file():  # Logs are written row by row, and may not have reached the disk.
            sync(entry)
        elif place.is_dir():
            shutil.rmtree(place)
        os.replace(entry, place)
    sync(attempt.run_folder)


def clear(run_folder: Path, before: Attempt | None = None) -> None:
    """Delete the folders of attempts, or of those before one; what they say of themselves stays."""
    for attempt in attempts(run_folder):
        # A later one than `before` may have begun meanwhile, and is at work there.
        if (before is None or attempt.number < before.number) and attempt.folder.is_dir():
            shutil.rmtree(attempt.folder, ignore_errors=True)
