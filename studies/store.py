"""Where runs and studies are kept: `runs/<id>/` shared by all studies, `studies/<name>/` for a study's own files.

A run is finished when its `manifest.json` is there: it is written last, and holds the SHA-256 and the length of every
other file, how the run ended, and the hash of itself. How a study stands is read from manifests and lengths alone;
`verify` reads every byte.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from registry import nearest
from rl.files import make_folder, write_atomically
from studies.attempts import Attempt, alone, attempts, clear, generations, keep_last, publish
from studies.contents import Run, canonical
from studies.files import hashes, sha256
from studies.loggers import TRAINING
from studies.outcome import Status
from studies.premises import leads_out
from studies.problems import BadInput
from studies.sealed import read_sealed, write_sealed
from studies.study import Cell, Study

MANIFEST = "manifest.json"
CELLS = "cells.json"
CONTENTS = "contents.json"
RESULT = "result.json"
WORLD = "world.json"
FAILURE = "failure.json"
EVALUATIONS = "evaluations.csv"
TOPOLOGY = "topology.csv"
DIAGNOSTICS = "diagnostics.csv"
TOPOLOGIES = "topologies.safetensors"
WEIGHTS = "weights.safetensors"
LOCK = "lock"
STUDY = "study.toml"
FILES = frozenset({CONTENTS, RESULT, WORLD, EVALUATIONS, TOPOLOGY, TRAINING, DIAGNOSTICS, TOPOLOGIES, WEIGHTS})
"""What the manifest of a run may name."""


_RUN_ID = re.compile("[0-9a-f]{16}")


class Held(RuntimeError):
    """Another process is working on this run."""


class Damaged(ValueError):
    """A file of a finished run is missing, or is not what was written."""


class Standing(NamedTuple):
    """How a run stands."""

    status: Status
    cause: str
    """Why, if it failed or diverged."""
    attempts: int
    saved: int
    """The step that an unfinished one can go on from; 0 if it would begin anew."""


@dataclass(frozen=True)
class Record:
    """A finished run as it was stored."""

    result: Mapping[str, Any]
    world: Mapping[str, Any]
    steps: np.ndarray
    returns: np.ndarray
    """Mean return of each evaluation."""
    episodes: list[list[float]]
    """Returns of the episodes of each evaluation."""


class Store:
    """A folder of runs and studies. It is made when something is first written."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root or os.environ.get("SPARSITY_STORE") or "runs")

    def run_folder(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def study_folder(self, name: str) -> Path:
        return self.root / "studies" / name

    def _make(self, folder: Path) -> None:
        """A folder in the store, which nobody else may enter when it is new."""
        make_folder(self.root, mode=0o700)
        make_folder(folder)

    def _leads_out(self, path: Path) -> bool:
        """Whether a link, of that name or of the folder that it is in, leads out of the store."""
        return any(leads_out(each, self.root) for each in (path, path.parent) if each != self.root)

    # Runs.

    def prepare(self, run: Run) -> Path:
        """The folder of a run that is about to start, with its contents written."""
        folder = self.run_folder(run.id)
        self._make(folder)
        if self.is_finished(run.id) and self.verify(run.id):
            (folder / MANIFEST).unlink()  # It would declare a damaged run finished.
        write_atomically(folder / CONTENTS, (canonical(run.contents()) + "\n").encode())
        return folder

    def load_run(self, run_id: str) -> Run:
        """The run of an id, checked against it."""
        folder = self.run_folder(run_id)
        if self._leads_out(folder) or (folder / CONTENTS).is_symlink():
            raise Damaged(f"{folder / CONTENTS} is reached by a link out of the store")
        run = Run.from_contents(json.loads((folder / CONTENTS).read_text()))
        if run.id != run_id:
            raise Damaged(f"{folder / CONTENTS} describes run {run.id}, not {run_id}")
        return run

    def finish(self, attempt: Attempt, files: list[str], *, keep_checkpoints: bool = False) -> None:
        """Move an attempt's files into the run's folder and declare it finished: nothing of it changes from now on.

        Superseded, and nothing is moved, if a later attempt has begun. Checkpoints are deleted unless they are kept.
        """
        folder = attempt.run_folder
        with alone(folder):
            attempt.demand_latest()
            publish(attempt)
            if keep_checkpoints:
                keep_last(folder)
            self._declare(folder, [CONTENTS, *files], attempts=attempt.number)
        self.sweep(attempt.run_folder.name)

    def _declare(self, folder: Path, names: list[str], **beside: Any) -> None:
        result = _json(folder / RESULT)
        manifest = {
            **beside,
            "status": result["status"],
            "cause": result["cause"],
            "files": hashes(folder, names),
            "bytes": {name: (folder / name).stat().st_size for name in names},
        }
        write_sealed(folder / MANIFEST, manifest)
        (folder / FAILURE).unlink(missing_ok=True)

    def sweep(self, run_id: str) -> None:
        """Delete what is left of the attempts at a finished run, if it was stopped between its end and that."""
        left = [attempt for attempt in attempts(self.run_folder(run_id)) if attempt.folder.is_dir()]
        if left and self.is_finished(run_id):
            clear(self.run_folder(run_id))

    def fail(self, run_id: str, cause: str) -> None:
        """Remember why a run failed. It is tried again when its study is run again."""
        write_sealed(self.run_folder(run_id) / FAILURE, {"cause": cause[-4000:]})

    def failed_at(self, run_id: str) -> float:
        """When a run was last seen to fail, in seconds since 1970; 0 if never."""
        try:
            return (self.run_folder(run_id) / FAILURE).stat().st_mtime
        except OSError:
            return 0.0

    def is_finished(self, run_id: str) -> bool:
        return (self.run_folder(run_id) / MANIFEST).is_file()

    def files(self, run_id: str) -> set[str]:
        """Files that a finished run answers for; others may lie beside them. None of one whose manifest is damaged."""
        try:
            return set(self._manifest(run_id)["files"])
        except Damaged:
            return set()

    def status(self, run_id: str) -> tuple[Status, str]:
        """How a run stands, and why if it failed or diverged. Of a finished one's files only lengths are looked at."""
        return self._look(run_id)[:2]

    def standing(self, run_id: str) -> Standing:
        """How a run stands, and how it came there: of a finished one, no more is read than for its status."""
        status, cause, manifest = self._look(run_id)
        if manifest is not None:
            return Standing(status, cause, manifest.get("attempts", 1), 0)
        tried = attempts(self.run_folder(run_id))
        saved = (int(each.name) for attempt in tried[::-1] for each in generations(attempt.checkpoints)[::-1])
        return Standing(status, cause, len(tried), next(saved, 0))

    def _look(self, run_id: str) -> tuple[Status, str, dict[str, Any] | None]:
        folder = self.run_folder(run_id)
        if self.is_finished(run_id):
            try:
                manifest = self._manifest(run_id)
            except Damaged as damage:
                return "failed", f"damaged: {damage}", {}
            lengths = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
            wrong = [str(folder / name) for name, size in manifest["bytes"].items() if lengths.get(name) != size]
            if wrong:
                return "failed", f"damaged: not as written: {', '.join(wrong)}", manifest
            return manifest["status"], manifest["cause"], manifest
        if (folder / LOCK).exists() and self._is_held(folder):
            return "running", "", None
        if (folder / FAILURE).is_file():
            return "failed", self._failure(folder / FAILURE), None
        return "missing", "", None

    def verify(self, run_id: str) -> list[str]:
        """Files of a run that are not as written: of a finished one all, else checkpoints and why it failed."""
        folder = self.run_folder(run_id)
        if not self.is_finished(run_id):
            failure = [] if _intact(folder / FAILURE) else [str(folder / FAILURE)]
            return failure + self._damaged_checkpoints(folder)
        try:
            expected = self._manifest(run_id)["files"]
        except Damaged:
            return [str(folder / MANIFEST)]
        return [str(folder / name) for name, digest in expected.items() if not _holds(folder / name, digest)]

    def _damaged_checkpoints(self, folder: Path) -> list[str]:
        """Files of checkpoints from which an unfinished run could go on. One that is held is left alone: it changes."""
        tries = [each for each in attempts(folder) if each.checkpoints.is_dir()]
        if not tries or self._leads_out(folder) or self._is_held(folder):
            return []
        from studies.checkpoints import damaged_files  # Torch with it.

        files = damaged_files([each.checkpoints for each in reversed(tries)])
        # Whoever took the run up meanwhile has begun an attempt, and deletes old ones.
        return [] if self._is_held(folder) or attempts(folder)[-1:] != tries[-1:] else [str(file) for file in files]

    def _manifest(self, run_id: str) -> dict[str, Any]:
        path = self.run_folder(run_id) / MANIFEST
        try:
            if self._leads_out(path.parent) or path.is_symlink():
                raise Damaged(f"{path} is reached by a link out of the store")
            manifest = read_sealed(path)
            if foreign := {*manifest["files"], *manifest["bytes"]} - FILES:
                raise Damaged(f"{path} names {min(foreign)!r}, which is no file of a run")
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise Damaged(str(error)) from error
        return manifest

    @staticmethod
    def _failure(path: Path) -> str:
        try:
            return str(read_sealed(path)["cause"])
        except (ValueError, OSError) as error:
            return f"for a reason that cannot be read: {error}"

    def read(self, run_id: str) -> Record:
        """A finished run. Damaged if any of its files is not what was written."""
        damaged = self.verify(run_id)
        if damaged:
            raise Damaged(f"not as written: {', '.join(damaged)}")
        try:
            return _record(self.run_folder(run_id))
        except (KeyError, TypeError, ValueError) as error:  # Sealed as it is, it is not ours.
            raise Damaged(f"{self.run_folder(run_id)} does not hold what a finished run does: {error!r}") from error

    @contextmanager
    def claim(self, run_id: str, *, stale_after: float = 0.0) -> Iterator[Callable[[], None]]:
        """Hold a run while working on it; what it gives is to be called as the work goes on. Held if another does.

        The lock goes with the process. One that was held for `stale_after` seconds without a sign of work is taken over
        (0: never): its holder hangs, or its end was not noticed. It is told so, by Held, at its next sign of work.
        """
        path = self.run_folder(run_id) / LOCK
        with _held(path, stale_after) as lock:
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {os.uname().nodename} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            lock.flush()

            def beat() -> None:
                os.utime(lock.fileno())
                if not _is_named(lock, path):
                    raise Held(f"run {run_id} was taken over: this process had shown no sign of work for too long")

            yield beat

    def holder(self, run_id: str, *, stale_after: float = 0.0) -> str:
        """Who is working on a run, as it said itself; nothing if nobody is, or if a claim would take it over."""
        folder = self.run_folder(run_id)
        if not (folder / LOCK).exists() or not self._is_held(folder):
            return ""
        try:
            if stale_after and _is_stale(folder / LOCK, stale_after):
                return ""
            return (folder / LOCK).read_text() or "another process"
        except OSError:
            return "another process"

    def _is_held(self, folder: Path) -> bool:
        try:
            with open(folder / LOCK) as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # Not ours to read, or no locks here: nobody can tell.
            return False
        return False

    # Studies.

    def check_study(self, name: str, cells: list[Cell]) -> None:
        """A stored study may grow. BadInput if another one has that name: if runs of it are not in this one."""
        if not (self.study_folder(name) / CELLS).is_file():
            return
        old, new = {cell["run"] for cell in self.cells(name)}, {cell.run.id for cell in cells}
        if old - new:
            raise BadInput(
                f"the store has another study named {name!r}: {len(old - new)} of its {len(old)} runs are changed or "
                f"removed here (a setting, the scale, or the source of a plugin), {len(new - old)} are new. Put this "
                "one in its place (--replace; finished runs are kept), or give it another name (--name)"
            )

    def save_study(self, study: Study, cells: list[Cell], text: str) -> None:
        """Keep a study's file, and its list of runs, so that tables need no registry that expands it."""
        folder = self.study_folder(study.name)
        self._make(folder)
        write_atomically(folder / STUDY, text.encode())
        listed = {"cells": [_cell_words(cell) for cell in cells], "study": sha256(folder / STUDY)}
        write_sealed(folder / CELLS, listed)

    def verify_study(self, name: str) -> tuple[int, list[str]]:
        """How many finished runs a study has, and files of it that are not as they were written."""
        runs = sorted(run_ids(self.cells(name)))
        files = [file for run_id in runs for file in self.verify(run_id)]
        return sum(map(self.is_finished, runs)), self.verify_file(name) + files

    def verify_file(self, name: str) -> list[str]:
        """The file of a study, if it is missing, a link, or not as it was written."""
        path = self.study_folder(name) / STUDY
        try:
            return [] if _holds(path, self._listed(name)["study"]) else [str(path)]
        except OSError:
            return [str(path)]

    def cells(self, name: str) -> list[dict[str, Any]]:
        """The runs of a study with their places in it. BadInput if the store has no such study."""
        if "/" in name or name in ("", ".", "..") or not (self.study_folder(name) / CELLS).is_file():
            known = self.studies()
            here = "" if self.root.is_dir() else f", for there is no folder {self.root}: --store says where it is"
            listed = ", ".join(known) or f"none{here}"
            raise BadInput(f"the store {self.root} has no study {name!r}. {nearest(name, known)}Known: {listed}")
        cells: list[dict[str, Any]] = self._listed(name)["cells"]
        given = (cell[key] for cell in cells for key in ("run", "donor") if key in cell)
        foreign = [run_id for run_id in given if not _RUN_ID.fullmatch(str(run_id))]
        if foreign:
            raise Damaged(f"{self.study_folder(name) / CELLS} lists {foreign[0]!r}, which is no run's id")
        return cells

    def _listed(self, name: str) -> dict[str, Any]:
        path = self.study_folder(name) / CELLS
        if self._leads_out(path.parent) or path.is_symlink():
            raise Damaged(f"{path} is reached by a link out of the store")
        try:
            return read_sealed(path)
        except ValueError as error:
            raise Damaged(str(error)) from error

    def studies(self) -> list[str]:
        return sorted(p.parent.name for p in self.root.glob("studies/*/cells.json"))


def _record(folder: Path) -> Record:
    with open(folder / EVALUATIONS, newline="") as file:
        rows = list(csv.DictReader(file))
    episodes = [[float(r) for r in row["returns"].split()] for row in rows]
    result = _json(folder / RESULT)
    if result["status"] == "done" and not rows:
        raise ValueError(f"{EVALUATIONS} has no evaluation")
    return Record(
        result=result,
        world=_json(folder / WORLD),
        steps=np.array([int(row["step"]) for row in rows], dtype=np.int64),
        returns=np.array([float(np.mean(e)) for e in episodes]),
        episodes=episodes,
    )


@contextmanager
def _held(path: Path, stale_after: float) -> Iterator[TextIO]:
    """An exclusive lock on the file of that name. Held if somebody else has it."""
    while True:
        with open(path, "a+") as lock:
            if not _locked(lock):
                if stale_after and _broken(path, stale_after):
                    continue
                lock.seek(0)
                raise Held(f"run {path.parent.name} is held by {lock.read().strip() or 'another process'}")
            os.utime(lock.fileno())  # First, so that nobody takes this one for a stale one of long ago.
            if not _is_named(lock, path):
                continue
            yield lock
            return


def _is_named(lock: TextIO, path: Path) -> bool:
    """Whether a lock counts still: whoever takes over a stale one does so by a new file of its name."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _broken(path: Path, stale_after: float) -> bool:
    """Take the name away from a lock whose holder shows no sign of work; False if it does."""
    with alone(path.parent):
        try:
            if not _is_stale(path, stale_after):
                return False
            path.unlink()
        except FileNotFoundError:
            pass
    return True


def _is_stale(path: Path, stale_after: float) -> bool:
    """Whether a lock's holder has shown no sign of work for so many seconds."""
    return time.time() - path.stat().st_mtime > stale_after


def _locked(lock: TextIO) -> bool:
    """Take the lock, waiting a moment for one that only looks; False if somebody holds it."""
    for attempt in range(5):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.1 * (attempt < 4))
        except OSError as error:
            raise RuntimeError(f"no file locks at {lock.name} ({error.strerror}): put the store elsewhere") from error
    return False


def _cell_words(cell: Cell) -> dict[str, Any]:
    donor = {} if cell.run.donor is None else {"donor": cell.run.donor.id}
    return donor | {
        "run": cell.run.id,
        "label": cell.label,
        "agent": cell.run.agent.name,
        "env": cell.run.env,
        "density": cell.density,
        "seed": cell.run.seed,
        "axes": dict(cell.axes),
    }


def run_ids(cells: Iterable[Mapping[str, Any]]) -> set[str]:
    """The runs of a study's cells, and their donors."""
    return {cell[key] for cell in cells for key in ("run", "donor") if key in cell}


def _holds(path: Path, digest: str) -> bool:
    """Whether a file is there, not as a link, with the bytes of that hash."""
    try:
        plain = stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
    return plain and sha256(path) == digest


def _intact(path: Path) -> bool:
    """Whether a sealed file is as it was written, or not there."""
    if path.is_symlink():
        return False
    try:
        return not path.exists() or bool(read_sealed(path))
    except ValueError:
        return False


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value
