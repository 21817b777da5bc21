"""A run as a process of its own: started, heard, and ended, however it behaves.

The process leads a session of its own, so that what a terminal interrupts is the runner alone, and it holds a pipe
whose end tells it that the runner is gone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from studies.leaving import WATCHED

Report = Callable[[str, Mapping[str, Any]], None]
"""Called with a run's id and `{"step": ...}` as it goes, `{"note": text}` when there is something to say, and in the
end, once, `{"ended": exit code, "cause": text}`.

A code below 0 is the number of the signal that ended it; such a run may be tried again.
"""

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Processes that share cores slow each other down many times over if each brings its own threads."""
GRACE: Final = 20.0
"""Seconds that a run has to write its checkpoint and leave, once it is told to."""
TAIL: Final = 30
"""Lines of a run's standard error that tell why it ended."""
LEFT: Final = (128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGUSR1)
"""Exit codes of a run that was told to leave, and has saved its state."""
LOOK: Final = 1.0
"""Seconds between two looks at how a process stands."""


@dataclass(frozen=True)
class Job:
    """A run to carry out, as a command."""

    id: str
    command: tuple[str, ...]
    stall_after: float = 0.0
    """Seconds without a new step after which the run counts as hung and is killed; 0 is never."""


class Child:
    """One job's process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        # Standard error goes to a file: a full pipe that nobody reads would hang the run.
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            job.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | ONE_THREAD | {WATCHED: "stdin"},
            start_new_session=True,
        )
        self._step, self._since, self._stalled = -1, time.monotonic(), ""

    def follow(self, report: Report) -> None:
        """Report what the process says, to its end, and then how it ended."""
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(over,), daemon=True)
        watch.start()
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self._hear(line, report)
            code = self._process.wait()
        finally:
            over.set()
            watch.join()
        self._errors.seek(0)
        tail = "".join(deque(self._errors, maxlen=TAIL)).strip()
        # What else it said, a warning say, is not why it was killed.
        cause = self._stalled or "\n".join(filter(None, (tail, "" if tail and code == 1 else how(code))))
        for file in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                file.close()  # type: ignore[union-attr]
        report(self._job.id, {"ended": code, "cause": cause if code else ""})

    def _hear(self, line: str, report: Report) -> None:
        record = _record(line)
        if record.get("step", -1) > self._step:
            self._step, self._since = record["step"], time.monotonic()
        if record:
            report(self._job.id, record)

    def _watch(self, over: threading.Event) -> None:
        limit = self._job.stall_after
        while not over.wait(min(LOOK, limit / 4) if limit else LOOK):
            if self._process.poll() is not None:
                # Something that it started lives on, and holds the other end of its output.
                if not over.wait(LOOK):
                    self._end_group()
                return
            if limit and time.monotonic() - self._since > limit:
                self._stalled = f"stalled: no new step in {limit:g} s after step {max(0, self._step)}"
                self.kill()

    def stop(self) -> None:
        """Ask it to write its checkpoint and leave."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it and whatever it has started."""
        if self._process.poll() is None:
            self._end_group()

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _record(line: str) -> dict[str, Any]:
    """What a run says in a line of its output; nothing if those are the words of something else in there."""
    try:
        record = json.loads(line) if line.startswith("{") else {}
    except ValueError:  # Cut short by the end of the process, say.
        return {}
    progress = record.keys() <= {"step", "steps", "return"} and {"step", "steps"} <= record.keys()
    numbers = progress and all(isinstance(value, int | float) for value in record.values())
    note = record.keys() == {"note"} and isinstance(record["note"], str)
    return record if numbers or note else {}


def how(code: int) -> str:
    """How a process ended that left no result, by its exit code."""
    if code == -signal.SIGKILL:
        return "was killed by signal 9 (SIGKILL), as happens when memory runs out"
    if code < 0:
        try:
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"was killed by signal {-code}"
    if code in LEFT:
        return f"was told to leave by signal {code - 128}"
    return f"ended with exit code {code} and left no result"


def absent(executor: str, package: str) -> list[str]:
    """What to do where the package is missing that an executor's extra brings."""
    if importlib.util.find_spec(package.lower()) is not None:
        return []
    return [f"executor {executor!r} needs {package}, which is not installed: pip install 'sparsity-rl[{executor}]'"]


def negative(executor: str, settings: Mapping[str, Any], *names: str) -> list[str]:
    """Settings of an executor that are below 0."""
    bad = [name for name in names if settings[name] < 0]
    return [f"{executor}.{name} must be at least 0, not {settings[name]:g}" for name in bad]


def carry_out(job: Job, report: Report, started: Callable[[Child], None] = lambda child: None) -> None:
    """A job from its start to its end. `started` gets the process, to stop it by."""
    child = Child(job)
    started(child)
    child.follow(report)
