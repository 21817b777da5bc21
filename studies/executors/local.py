"""Local processes: one process a run, so many at a time."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from registry import hookimpl

Report = Callable[[str, Mapping[str, Any]], None]
"""Called with a run's id and `{"step": ...}` as it goes, and `{"ended": exit code, "cause": text}` when it ends."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
"""Processes that share cores slow each other down many times over if each brings its own threads."""


@dataclass(frozen=True)
class Job:
    """A run to carry out, as a command."""

    id: str
    command: tuple[str, ...]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local(jobs: Sequence[Job], report: Report, *, workers: int = 0) -> None:
    """Processes on this machine, `workers` at a time; 0 is one a core. An interrupt ends them all."""
    running: dict[str, subprocess.Popen[str]] = {}
    stopped, one_at_a_time = threading.Event(), threading.Lock()

    def tell(run_id: str, record: Mapping[str, Any]) -> None:
        with one_at_a_time:
            if not stopped.is_set():  # What an interrupt ended has not failed.
                report(run_id, record)

    def started(job: Job, process: subprocess.Popen[str]) -> None:
        running[job.id] = process
        if stopped.is_set():
            process.terminate()

    def work(job: Job) -> None:
        if not stopped.is_set():
            _carry_out(job, tell, started)
        running.pop(job.id, None)

    with ThreadPoolExecutor(max_workers=workers or cores()) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stopped.set()
            for process in list(running.values()):
                process.terminate()
            raise


def _carry_out(job: Job, report: Report, started: Callable[[Job, subprocess.Popen[str]], None]) -> None:
    # Standard error goes to a file: a full pipe that nobody reads would hang the run.
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        with subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | ONE_THREAD,
        ) as process:
            started(job, process)
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    report(job.id, json.loads(line))
        errors.seek(0)
        tail = "".join(deque(errors, maxlen=30)).strip()
        report(job.id, {"ended": process.returncode, "cause": tail if process.returncode else ""})


@hookimpl
def register_executor(register: Callable[..., object]) -> None:
    register(local)
