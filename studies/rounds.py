"""What is pending of a study, carried out in rounds: what died is tried again, what others hold is waited for."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from registry import Bound
from studies.contents import Run
from studies.donors import lacking
from studies.executors.process import LEFT, Job, how
from studies.options import Options
from studies.outcome import Status
from studies.progress import Progress
from studies.store import Store

HELD: Final = 75
"""Exit code of a run that another process is working on: sysexits.h's "try again later", which no traceback gives."""
HELD_BY_ANOTHER: Final = "held by another runner"
LOOK: Final = 1.0
"""Seconds between two looks at a run that somebody else holds."""


class Jobs(Iterator[Job]):
    """Jobs as they are asked for. After there was none there may be more, once a run has ended that others wait for."""

    def __init__(self, take: Callable[[], Job | None]) -> None:
        self._take = take

    def __next__(self) -> Job:
        job = self._take()
        if job is None:
            raise StopIteration
        return job


class Rounds:
    """Gives jobs to an executor until every run is finished, has failed, or is left to whoever holds it.

    A run whose donor is among them comes once that is done, and fails with it.
    """

    def __init__(self, store: Store, runs: Iterable[Run], progress: Progress, options: Options) -> None:
        self._store, self._progress, self._options = store, progress, options
        self._runs = {run.id: run for run in runs}
        self._queue: deque[str] = deque()
        self._waiting: dict[str, list[str]] = {}
        """For the donor of that id."""
        for run_id, run in self._runs.items():
            if run.donor and run.donor.id in self._runs:
                self._waiting.setdefault(run.donor.id, []).append(run_id)
            else:
                self._queue.append(run_id)
        self._tries: Counter[str] = Counter()
        self._held: list[str] = []
        self._told: set[str] = set()
        self._failures: dict[str, str] = {}
        self._failed_before = {run_id: store.failed_at(run_id) for run_id in self._runs}
        self._bookkeeping = threading.RLock()

    def carry_out(self, executor: Bound) -> dict[str, str]:
        """Causes by run id of those that failed; those that diverged are results, not failures."""
        while self._queue:
            executor(jobs=Jobs(self._next), report=self._hear)
            self._wait()
        return self._failures

    def _next(self) -> Job | None:
        """What is to be done next, looked at when it is asked for: two runners come to a run at different times."""
        while self._queue:
            run_id = self._queue.popleft()
            if self._settled(run_id):
                continue
            if self._holder(run_id):
                self._hold(run_id)
            else:
                return Job(run_id, self._command(run_id), self._options.stall_after)
        return None

    def _settled(self, run_id: str) -> bool:
        """Whether a run needs nothing more, as somebody else has finished it or seen it fail since we began."""
        with self._bookkeeping:
            finished = self._store.is_finished(run_id)
            status, cause = self._store.status(run_id)
            # One that failed and is tried again by somebody is running: it is waited for.
            failed = status == "failed" and self._store.failed_at(run_id) > self._failed_before[run_id]
            if finished or failed:
                self._end(run_id, status, cause)
            return finished or failed

    def _holder(self, run_id: str) -> str:
        """Who is at a run, and need not be taken for dead."""
        return self._store.holder(run_id, stale_after=self._options.stall_after)

    def _hear(self, run_id: str, record: Mapping[str, Any]) -> None:
        with self._bookkeeping:
            if "step" in record:
                self._progress.advance(run_id, record)
            elif "note" in record:
                self._progress.note(run_id, record["note"])
            elif "ended" in record:
                self._ended(run_id, record["ended"], str(record["cause"]).strip())

    def _ended(self, run_id: str, code: int, words: str) -> None:
        cause = words or how(code)
        if self._store.is_finished(run_id):
            self._end(run_id, *self._store.status(run_id))
        elif code == HELD:
            self._hold(run_id)
        elif (code < 0 or code in LEFT) and self._tries[run_id] < self._options.retries:
            self._tries[run_id] += 1
            again = f"tries again ({self._tries[run_id]} of {self._options.retries})"
            self._progress.note(run_id, f"{cause.splitlines()[-1]}: {again}")
            self._queue.append(run_id)
        else:
            self._fail(run_id, cause)

    def _fail(self, run_id: str, cause: str) -> None:
        try:
            self._store.fail(run_id, cause)
        except OSError as error:  # The others go on, and this one's cause is told at the end.
            self._progress.note(run_id, f"why it failed cannot be kept: {error.filename}: {error.strerror}")
        self._end(run_id, "failed", cause)

    def _end(self, run_id: str, status: Status, cause: str) -> None:
        self._progress.end(run_id, status, cause)
        if status == "failed":
            self._failures[run_id] = cause
        waiting = self._waiting.pop(run_id, [])
        if status == "done":
            self._queue.extendleft(reversed(waiting))  # Theirs is the longest way, and other seeds follow.
        elif cause == HELD_BY_ANOTHER:
            for each in waiting:
                self._end(each, "failed", HELD_BY_ANOTHER)
        else:
            for each in waiting:
                self._fail(each, lacking(self._runs[run_id], status, cause))

    def _hold(self, run_id: str) -> None:
        with self._bookkeeping:
            if self._options.no_wait:
                self._end(run_id, "failed", HELD_BY_ANOTHER)
            else:
                if run_id not in self._told:
                    self._progress.note(run_id, f"held by {self._store.holder(run_id) or 'another process'}; waits")
                    self._told.add(run_id)
                self._held.append(run_id)

    def _wait(self) -> None:
        """Until a run is free that somebody else held, or there is none."""
        while self._held and not self._queue:
            for run_id in list(self._held):
                if self._settled(run_id):
                    self._held.remove(run_id)
                elif not self._holder(run_id):
                    self._held.remove(run_id)
                    self._queue.append(run_id)
            if self._held and not self._queue:
                time.sleep(LOOK)
        self._queue.extend(self._held)
        self._held = []

    def _command(self, run_id: str) -> tuple[str, ...]:
        options = self._options
        words = {
            "--no-plugins": options.no_plugins,
            "--allow-env-import": options.allow_env_import,
            "--diagnostics": options.diagnostics,
            "--allow-drift": options.allow_drift,
            "--keep-buffers": options.keep_buffers,
        }
        flags = [flag for flag, given in words.items() if given]
        flags += [f"--logger={name}" for name in options.loggers]
        flags += [f"--checkpoint-every={options.checkpoint_every}", f"--stall-after={options.stall_after}"]
        files = [str(path.resolve()) for path in options.plugins]
        # -P: the folder that the command is given in is no place to import from.
        store = str(self._store.root.resolve())
        return (sys.executable, "-P", "-m", "studies.run", store, run_id, *files, *flags)
