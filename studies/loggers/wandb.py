"""Training signals for Weights & Biases: a run of theirs in the run's folder, sent by nobody but `wandb sync`.

Their folder is a tree that no checkpoint holds. What is told goes into a file of lines, which goes on with the run as
its other files do; when the run ends it is told to wandb from its beginning. With WANDB_MODE=online it is told at once
as well, under the run's own id: what a run that was killed tells again, wandb has already, and it is passed over.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

from registry import hookimpl
from studies.contents import Run
from studies.loggers import Logger, absent
from studies.loggers.described import described, named

Answer = TypeVar("Answer")

FILE: Final = "wandb.jsonl"
FOLDER: Final = "wandb"
MODE: Final = "WANDB_MODE"
MODES: Final = ("offline", "online", "disabled")
OFFLINE: Final = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
"""Beside the mode: a crash of theirs would be reported over the network."""


def wandb(folder: Path, run: Run) -> Logger:
    """An offline run in `wandb/`, for `wandb sync`; nothing goes over the network unless WANDB_MODE=online."""
    return _Lines(folder, run)


class _Lines:
    """What was told, a line of JSON a record. Whatever becomes of wandb, the run goes on.

    Theirs is written elsewhere, and an offline run is copied when it is whole: among its files are links to where they
    are and to the user's home, and nothing is written into a store that a link leads out of.
    """

    def __init__(self, folder: Path, run: Run) -> None:
        self._folder, self._run = folder, run
        self._file = open(folder / FILE, "a")  # noqa: SIM115
        self._live = self._tried(self._opened) if mode() == "online" else None

    def write(self, record: Mapping[str, Any]) -> None:
        print(json.dumps(record), file=self._file, flush=True)
        if self._live is not None:
            self._tried(partial(self._live.tell, record))

    evaluated = write

    def close(self) -> None:
        self._file.close()
        if mode() != "disabled":
            self._tried(self._end)
            shutil.rmtree(self._place, ignore_errors=True)

    @cached_property
    def _place(self) -> Path:
        """Made when it is needed: a run that is killed before leaves none."""
        return Path(tempfile.mkdtemp(prefix="sparsity-wandb-"))

    def _opened(self) -> _Theirs:
        return _Theirs(self._place, self._run)

    def _end(self) -> None:
        theirs = self._live or self._opened()
        if self._live is None:
            for record in read(self._folder / FILE):
                theirs.tell(record)
        theirs.close()
        if mode() == "offline":
            shutil.copytree(self._place / FOLDER, self._folder / FOLDER, ignore=_links, dirs_exist_ok=True)

    def _tried(self, deed: Callable[[], Answer]) -> Answer | None:
        try:
            return deed()
        except Exception as error:
            self._live = None
            said = f"wandb: {type(error).__name__}: {error}; what it is told is in {FILE}"
            warnings.warn(said, stacklevel=2)
            return None


class _Theirs:
    """A run of wandb's, by the id of ours."""

    def __init__(self, folder: Path, run: Run) -> None:
        for name, value in OFFLINE.items():
            os.environ.setdefault(name, value)
        import wandb as library

        online = mode() == "online"
        self._library = library
        self._theirs = library.init(
            mode="online" if online else "offline",
            dir=str(folder),
            project=os.environ.get("WANDB_PROJECT", "sparsity"),
            id=run.id,
            name=named(run),
            resume="allow" if online else None,
            config=described(run),
            settings=library.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        self._from = self._theirs.starting_step

    def tell(self, record: Mapping[str, Any]) -> None:
        step = record["step"]
        if step >= self._from:  # Below, it was told by the process that this one goes on for.
            self._theirs.log({name: value for name, value in record.items() if name != "step"}, step=step)

    def close(self) -> None:
        self._theirs.finish()
        self._library.teardown()  # It has a process of its own, which would outlive this call.


def _links(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_symlink()]


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records in a file of lines."""
    with open(path) as lines:
        yield from map(json.loads, lines)


def mode() -> str:
    """offline, unless WANDB_MODE says otherwise. `dryrun` and `run` are their old words."""
    said = os.environ.get(MODE) or "offline"
    return {"dryrun": "offline", "run": "online"}.get(said, said)


def ready(settings: Mapping[str, Any]) -> list[str]:
    """What stands in the way."""
    problems = absent("wandb", "wandb")
    if mode() not in MODES:
        problems.append(f"{MODE} is {os.environ[MODE]!r}; it must be one of {', '.join(MODES)}")
    return problems


@hookimpl
def register_logger(register: Callable[..., object]) -> None:
    register(wandb, ready=ready)
