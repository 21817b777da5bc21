"""Where training signals go beside the store's own files: loggers by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from registry import Bound, hookimpl
from studies.rows import Rows

TRAINING = "training.csv"
RETURN: Final = "evaluation_return"
LENGTH: Final = "evaluation_length"
"""What loggers beside the CSV file call the means of an evaluation."""


class Logger(Protocol):
    """Takes one record at a time: `{"step": 3000, "critic_loss": 0.7, ...}`. Steps never fall.

    A run that goes on from a checkpoint makes a new logger, and tells it again what came after that checkpoint. A file
    in its folder is then as it was at the checkpoint: a logger that appends, and flushes, loses and doubles nothing.
    Folders in there are not kept: they begin anew.

    One that has a method `evaluated` hears of evaluations too, by `{"step": 3000, "evaluation_return": ..., ...}`.
    """

    def write(self, record: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


def tell_evaluation(logger: Logger, record: Mapping[str, Any]) -> None:
    """Give a logger an evaluation, if it wants to hear of them."""
    evaluated: Callable[[Mapping[str, Any]], None] | None = getattr(logger, "evaluated", None)
    if evaluated is not None:
        evaluated(record)


def hindrances(logger: Bound) -> list[str]:
    """What stands in the way of a logger, as it says itself."""
    ready: Callable[[Mapping[str, Any]], list[str]] | None = logger.entry.facts.get("ready")
    return ready(logger.settings) if ready is not None else []


def absent(logger: str, package: str) -> list[str]:
    """What to do where the package is missing that a logger's extra brings."""
    if importlib.util.find_spec(package) is not None:
        return []
    return [f"logger {logger!r} needs {package}, which is not installed: pip install 'sparsity-rl[{logger}]'"]


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
