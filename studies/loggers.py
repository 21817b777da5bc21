"""Where training signals go beside the store's own files: loggers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from registry import hookimpl
from studies.rows import Rows

TRAINING = "training.csv"


class Logger(Protocol):
    """Takes one record at a time: `{"step": 3000, "critic_loss": 0.7, ...}`.

    A run that goes on from a checkpoint makes a new logger, and tells it again what came after that checkpoint. A file
    in its folder is then as it was at the checkpoint: a logger that appends, and flushes, loses and doubles nothing.
    """

    def write(self, record: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


def csv_file(folder: Path) -> Logger:
    """One row a figure in `training.csv`: step, signal, value."""
    return _CsvLogger(folder / TRAINING)


class _CsvLogger:
    """Long form, so that signals may come and go from record to record."""

    def __init__(self, path: Path) -> None:
        self._rows = Rows(path, ("step", "signal", "value"))

    def write(self, record: Mapping[str, Any]) -> None:
        step = record["step"]
        self._rows.write([step, name, repr(value)] for name, value in record.items() if name != "step")

    def close(self) -> None:
        self._rows.close()


@hookimpl
def register_logger(register: Callable[..., object]) -> None:
    register(csv_file, name="csv")
