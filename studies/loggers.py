"""Where training signals go beside the store's own files: loggers by name."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from registry import hookimpl

TRAINING = "training.csv"


class Logger(Protocol):
    """Takes one record at a time: `{"step": 3000, "critic_loss": 0.7, ...}`."""

    def write(self, record: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


def csv_file(folder: Path) -> Logger:
    """One row a figure in `training.csv`: step, signal, value."""
    return _CsvLogger(folder / TRAINING)


class _CsvLogger:
    """Long form, so that signals may come and go from record to record."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = open(path, "w", newline="")  # noqa: SIM115
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(["step", "signal", "value"])

    def write(self, record: Mapping[str, Any]) -> None:
        step = record["step"]
        self._rows.writerows([step, name, repr(value)] for name, value in record.items() if name != "step")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


@hookimpl
def register_logger(register: Callable[..., object]) -> None:
    register(csv_file, name="csv")
