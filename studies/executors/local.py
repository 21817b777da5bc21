"""Local processes: one process a run, so many at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from registry import hookimpl
from studies.executors.process import GRACE, LOOK, Child, Job, Report, carry_out


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local(jobs: Iterable[Job], report: Report, *, workers: int = 0) -> None:
    """Processes on this machine, `workers` at a time; 0 is one a core.

    An interrupt lets them write their checkpoints; a second one ends them at once.
    """
    running: dict[str, Child] = {}
    taken: set[str] = set()
    stopped, hearing, taking = threading.Event(), threading.Lock(), threading.Condition()
    waiting = iter(jobs)

    def tell(run_id: str, record: Mapping[str, Any]) -> None:
        with hearing:
            if not stopped.is_set():  # What an interrupt ended has not failed.
                report(run_id, record)

    def take() -> Job | None:
        """The next job; where there is none, wait while others are at work whose ends may bring some."""
        with taking:
            while not stopped.is_set():
                if (job := next(waiting, None)) is not None:
                    taken.add(job.id)
                    return job
                if not taken:
                    return None
                taking.wait(LOOK)
        return None

    def work() -> None:
        while (job := take()) is not None:
            try:
                carry_out(job, tell, lambda child, run_id=job.id: started(run_id, child))  # type: ignore[misc]
            finally:
                running.pop(job.id, None)
                with taking:
                    taken.discard(job.id)
                    taking.notify_all()

    def started(run_id: str, child: Child) -> None:
        running[run_id] = child
        if stopped.is_set():
            child.stop()

    with ThreadPoolExecutor(max_workers=workers or cores()) as pool:
        futures = []
        try:
            futures += [pool.submit(work) for _ in range(workers or cores())]
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        except BaseException:
            try:
                stopped.set()
                for child in list(running.values()):
                    child.stop()
                wait(futures, timeout=GRACE)
            finally:
                for child in list(running.values()):
                    child.kill()
            raise


@hookimpl
def register_executor(register: Callable[..., object]) -> None:
    register(local)
