"""CSV files of a run that grow row by row, and go on where a checkpoint left them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class Rows:
    """Appends to a CSV file; a new or empty one gets its header first. Every call leaves whole rows on disk."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file = open(path, "a", newline="")  # noqa: SIM115
        self._rows = csv.writer(self._file, lineterminator="\n")
        if not self._file.tell():
            self.write([columns])

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        self._rows.writerows(rows)
        self._file.flush()

    def close(self) -> None:
        self._file.close()
