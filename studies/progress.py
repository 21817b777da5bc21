"""How far a study is: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from studies.problems import clean

PLAIN_EVERY = 30.0
"""Seconds between two plain lines of one run."""


class Progress:
    """Takes the executor's reports. Goes to standard error, so that tables can be piped."""

    def __init__(self, labels: Mapping[str, str], run_ids: Sequence[str]) -> None:
        self._labels, self._planned, self._done = labels, len(run_ids), 0
        self._console = Console(file=sys.stderr)
        self._live = self._console.is_terminal
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, float] = {}

    def __enter__(self) -> Progress:
        self._bars.start()
        self._all = self._bars.add_task("all runs", total=self._planned, state="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def advance(self, run_id: str, record: Mapping[str, Any]) -> None:
        """A run tells how far it is: `step`, `steps`, and `return` after an evaluation."""
        if self._live:
            self._draw(run_id, record)
        elif record["steps"] and time.monotonic() - self._last.get(run_id, 0.0) > PLAIN_EVERY:
            self._last[run_id] = time.monotonic()
            self._say(f"{self._labels[run_id]}: step {record['step']:,} of {record['steps']:,}{_return(record)}")

    def end(self, run_id: str, status: str, cause: str) -> None:
        """A run has ended: done, diverged or failed, and why."""
        self._done += 1
        if run_id in self._tasks:
            self._bars.remove_task(self._tasks.pop(run_id))
        self._bars.update(self._all, completed=self._done, state=f"{self._done} of {self._planned}")
        why = (
            "" if status == "done" else f": {clean(cause.strip().splitlines()[-1]) if cause.strip() else 'no message'}"
        )
        self._say(f"[{self._done}/{self._planned}] {self._labels[run_id]}: {status}{why}")

    def note(self, run_id: str, text: str) -> None:
        """Something about a run that is worth a line."""
        self._say(f"{self._labels[run_id]}: {clean(text)}")

    def _draw(self, run_id: str, record: Mapping[str, Any]) -> None:
        if run_id not in self._tasks:
            self._tasks[run_id] = self._bars.add_task(self._labels[run_id], total=max(1, record["steps"]), state="")
        state: dict[str, Any] = {"state": _return(record).strip(", ")} if "return" in record else {}
        self._bars.update(self._tasks[run_id], completed=record["step"], **state)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _return(record: Mapping[str, Any]) -> str:
    return f", return {record['return']:,.0f}" if "return" in record else ""
