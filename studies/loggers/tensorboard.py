"""Training signals for TensorBoard: one event file a run, read by `tensorboard --logdir runs/runs`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from registry import hookimpl
from studies.contents import Run
from studies.loggers import LENGTH, RETURN, Logger, absent
from studies.loggers.described import described

FILE: Final = "events.out.tfevents.sparsity"
"""TensorBoard reads files with `tfevents` in their names."""
GROUPS: Final = {RETURN: "evaluation/return", LENGTH: "evaluation/length"}


def tensorboard(folder: Path, run: Run) -> Logger:
    """Scalars of signals, episodes and evaluations, and the run's settings for the tab HPARAMS."""
    return _Events(folder / FILE, run)


class _Events:
    """Appends whole records to one file, so that a checkpoint holds it as it holds a CSV file.

    TensorBoard's own writer begins a file of another name, by the clock, whenever it is made, and writes from a thread.
    """

    def __init__(self, path: Path, run: Run) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        self._file = open(path, "ab")  # noqa: SIM115
        self._records = RecordWriter(self._file)
        if not self._file.tell():
            self._write(file_version="brain.Event:2")
            self._write(summary=hparams_pb(described(run), trial_id=run.id, start_time_secs=time.time()))

    def write(self, record: Mapping[str, Any]) -> None:
        values = [
            self._summary.Value(tag=_tag(name), simple_value=value) for name, value in record.items() if name != "step"
        ]
        self._write(step=record["step"], summary=self._summary(value=values))

    evaluated = write

    def _write(self, **event: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **event).SerializeToString())
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _tag(name: str) -> str:
    """`critic_loss` as `training/critic_loss`; TensorBoard groups charts by what is before the slash."""
    if name.startswith("episode_"):
        return f"episode/{name.removeprefix('episode_')}"
    return GROUPS.get(name, f"training/{name}")


def ready(settings: Mapping[str, Any]) -> list[str]:
    """What stands in the way."""
    return absent("tensorboard", "tensorboard")


@hookimpl
def register_logger(register: Callable[..., object]) -> None:
    register(tensorboard, ready=ready)
