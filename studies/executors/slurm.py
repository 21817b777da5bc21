"""SLURM, through submitit: a run is a job of its own, followed through files in a folder that all nodes see.

SLURM tells a job ahead of its time limit or preemption; the run then writes its checkpoint and the job is queued again.
An interrupt of the study cancels the jobs that have not started and leaves the others going: a cluster's queue
outlives a login session, and what a job has waited hours for is not thrown away. The command given again finds their
runs finished, or waits for them.

submitit hands jobs over as pickles: our own functions, in a folder that only its owner may enter. What comes back is
JSON; nothing is unpickled here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

from registry import hookimpl
from studies.executors.local import cores
from studies.executors.process import GRACE, Child, Job, Report, absent, carry_out, negative
from studies.problems import BadInput

Cluster = Literal["slurm", "local"]

POLL: Final[Mapping[str, float]] = {"slurm": 5.0, "local": 0.1}
"""Seconds between looks at the jobs' files."""
LAG: Final[Mapping[str, float]] = {"slurm": 60.0, "local": 1.0}
"""Seconds that a shared folder and SLURM's records may be behind each other."""
EVERY: Final = 2.0
"""Seconds between records of progress, at least: every one is a write over the network."""
REQUEUES: Final = 1000
"""How often a job may reach its time limit."""
LOST: Final = -9
"""What ended a run whose job is gone without a word."""
CANCELLED: Final = 1
"""How a run ends whose job somebody cancelled: it has failed, and is not tried again."""
STOPPED: Final = (128 + signal.SIGTERM, -signal.SIGTERM)
"""How a run ends that SLURM told to stop."""
OURS: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals by which SLURM tells submitit of the end of a job; it sends them to all of the job's processes."""
ALIVE: Final = ("PENDING", "RUNNING", "REQUEUED", "COMPLETING", "READY", "SUSPENDED", "CONFIGURING")


def slurm(
    jobs: Iterable[Job],
    report: Report,
    *,
    workers: int = 0,
    partition: str = "",
    account: str = "",
    constraint: str = "",
    hours: float = 24.0,
    memory_gb: float = 0.0,
    gpus: int = 0,
    cluster: Cluster = "slurm",
) -> None:
    """SLURM jobs of one CPU each, through submitit, at most `workers` in the queue; 0 is all at once.

    `hours` is the time limit of a job; a run that needs longer is queued again and goes on. What is left empty or 0 is
    as the cluster has it. `cluster` "local" tries it out in processes of this machine. An interrupt cancels jobs that
    have not started and leaves the others going.
    """
    waiting: Iterator[Job] = iter(jobs)
    out: list[_Out] = []
    refused: list[Job] = []
    desk: _Desk | None = None
    room, whole = workers or (cores() if cluster == "local" else sys.maxsize), True
    try:
        while True:
            while len(out) < room and (job := refused.pop() if refused else next(waiting, None)) is not None:
                if desk is None:
                    asked = {"partition": partition, "account": account, "constraint": constraint}
                    desk = _Desk(_folder(job), cluster, asked, hours, memory_gb, gpus)
                try:
                    out.append(desk.submit(job))
                except RuntimeError as refusal:
                    if not out:
                        raise BadInput(f"SLURM takes no job: {_last_line(refusal)}") from refusal
                    # A limit on jobs in the queue: what it refuses now it takes when one of ours has ended.
                    room = len(out)
                    refused.append(job)
            if not out:
                break
            time.sleep(POLL[cluster])
            for one in list(out):
                if one.look(report):
                    out.remove(one)
                    whole = whole and one.told["ended"] == 0
    except BaseException:
        _leave(out, cluster)
        raise
    if desk is not None:
        desk.close(clear=whole)


class Carried:
    """On the compute node: a job carried out, with its latest record in a file, and queued again when SLURM says so."""

    def __init__(self, job: Job, record: Path) -> None:
        self._job, self._record = job, record

    def __call__(self) -> None:
        self._children: list[Child] = []
        self._notes: list[str] = []
        self._leaving, self._queued_again, self._told, self._written = False, False, False, 0.0
        signal.signal(signal.SIGTERM, self._terminated)
        write(self._record, {})  # It has started; how an earlier time of this job ended counts no more.
        self._working = threading.Thread(target=self._work, daemon=True)
        self._working.start()
        try:
            while self._working.is_alive():
                time.sleep(0.1)  # submitit's handlers run in between, in this thread.
        finally:
            self._stop()

    def checkpoint(self) -> Any:
        """SLURM takes the node away: let the run write its checkpoint, and go on with it in a job of the same id."""
        from submitit.helpers import DelayedSubmission

        self._queued_again = True
        self._stop()
        return DelayedSubmission(Carried(self._job, self._record))

    def _work(self) -> None:
        # The run inherits what is blocked here: it is we who tell it to leave, once, by SIGTERM.
        signal.pthread_sigmask(signal.SIG_BLOCK, OURS)
        try:
            carry_out(self._job, self._tell, self._started)
        except Exception as error:  # The command is not there, say: this node has another environment.
            cause = f"could not be carried out on {os.uname().nodename}: {error}"
            self._tell(self._job.id, {"ended": 1, "cause": cause})

    def _started(self, child: Child) -> None:
        self._children.append(child)
        if self._leaving:
            child.stop()

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        """SLURM sends SIGTERM to every process of a job: the run has it already. A second one would not let it save."""
        self._told = "SLURM_JOB_ID" in os.environ

    def _tell(self, _: str, record: Mapping[str, Any]) -> None:
        self._notes += [record["note"]] if "note" in record else []
        due = "note" in record or time.monotonic() - self._written > EVERY
        if not self._queued_again if "ended" in record else due:
            self._written = time.monotonic()
            write(self._record, {**record, "notes": self._notes})

    def _stop(self) -> None:
        self._leaving = True
        for child in self._children:
            if not self._told:
                child.stop()
        until = time.monotonic() + GRACE
        # Not join(): a signal handler calls this while the same thread may be within it.
        while self._working.is_alive() and time.monotonic() < until:
            time.sleep(0.1)
        for child in self._children:
            child.kill()


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Put a record in place of the one before. Not synced: what a dying machine loses of it, SLURM knows."""
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(record))
    os.replace(beside, path)


def read(path: Path) -> dict[str, Any] | None:
    """The latest record; None before the job has started."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record


@dataclass
class _Out:
    """A job that was handed in, and what was told of it."""

    id: str
    submitted: Any
    record: Path
    cluster: Cluster
    told: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    over: float | None = None
    """Since when it seems to have ended without a result."""

    def look(self, report: Report) -> bool:
        """Report what is new; whether it has ended."""
        record = self._latest()
        notes = record.pop("notes", self.notes)
        known = len(self.notes) if notes[: len(self.notes)] == self.notes else 0  # Else it is the job queued again.
        for note in notes[known:]:
            report(self.id, {"note": note})
        self.notes = notes
        if record and "note" not in record and record != self.told:
            self.told = record
            report(self.id, record)
        return "ended" in self.told

    def _latest(self) -> dict[str, Any]:
        record = read(self.record) or {}
        stopped = record.get("ended") in STOPPED
        if "ended" in record and not stopped:
            return record
        if not (stopped or self._gone()):
            self.over = None
            return record
        self.over = self.over or time.monotonic()
        if time.monotonic() - self.over < LAG[self.cluster]:
            return {}
        state = self._state()
        if state in ALIVE:  # SLURM has queued it again.
            self.over = None
            return {}
        return self._lost(state, stopped)

    def _gone(self) -> bool:
        return bool(self.submitted.done()) or self.submitted.state.startswith("PREEMPTED")

    def _state(self) -> str:
        known = self.submitted.get_info(mode="force")
        words = str(known.get("State") or known.get("jobState") or "UNKNOWN").split()
        return words[0].rstrip("+").upper()

    def _lost(self, state: str, stopped: bool) -> dict[str, Any]:
        with contextlib.suppress(Exception):
            self.submitted.cancel(check=False)  # Whatever is left of it must not run beside another attempt.
        if state == "CANCELLED":
            return {"ended": CANCELLED, "cause": "its SLURM job was cancelled"}
        if stopped:
            return {"ended": -signal.SIGTERM, "cause": f"was told to stop; its SLURM job ended as {state}"}
        logs = self.submitted.paths.stderr
        return {"ended": LOST, "cause": f"its SLURM job {self.submitted.job_id} ended as {state}; see {logs}"}


class _Desk:
    """Where jobs are handed in: a folder of their own, and what each of them asks for."""

    def __init__(
        self, folder: Path, cluster: Cluster, asked: Mapping[str, str], hours: float, memory_gb: float, gpus: int
    ) -> None:
        import submitit

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=folder))  # Only ours to enter.
        self._cluster: Cluster = cluster
        python = f"{shlex.quote(sys.executable)} -P"  # The working folder is no place to import from.
        limits: dict[str, Any] = {f"{name}_max_num_timeout": REQUEUES for name in ("slurm", "local")}
        self._executor = submitit.AutoExecutor(
            self._folder, cluster=cluster, slurm_python=python, local_python=python, **limits
        )
        self._executor.update_parameters(
            timeout_min=max(1, round(hours * 60)),
            mem_gb=memory_gb or None,
            cpus_per_task=1,
            gpus_per_node=gpus or None,
            slurm_signal_delay_s=90,
            **{f"slurm_{key}": value or None for key, value in asked.items()},
        )
        self._handed_in: list[Any] = []

    def submit(self, job: Job) -> _Out:
        record = self._folder / f"{job.id}.json"
        self._executor.update_parameters(name=f"sparsity-{job.id[:8]}")
        submitted = self._executor.submit(Carried(job, record))
        self._handed_in.append(submitted)
        return _Out(job.id, submitted, record, self._cluster)

    def close(self, clear: bool) -> None:
        """Wait until submitit has written its last. A job leaves six files, which nobody asks for if all went well."""
        until = time.monotonic() + LAG[self._cluster]
        while not all(submitted.done() for submitted in self._handed_in) and time.monotonic() < until:
            time.sleep(POLL[self._cluster])
        if clear:
            shutil.rmtree(self._folder, ignore_errors=True)


def _leave(out: Iterable[_Out], cluster: Cluster) -> None:
    """Take back what has not started. On this machine all of it: there is no queue that would look after it."""
    going = 0
    for one in out:
        if cluster == "slurm" and read(one.record) is not None:
            going += 1
            continue
        with contextlib.suppress(Exception):
            one.submitted.cancel(check=False)
    if going:
        print(f"{going} jobs go on in SLURM (squeue --me); the command given again waits for them", file=sys.stderr)


def _folder(job: Job) -> Path:
    """Where submitit keeps its files: in the store, which all nodes see."""
    return Path(job.command[job.command.index("studies.run") + 1]) / "slurm"


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def ready(settings: Mapping[str, Any]) -> list[str]:
    """What stands in the way of these settings."""
    if problems := absent("slurm", "submitit"):
        return problems
    problems = negative("slurm", settings, "workers", "memory_gb", "gpus")
    if settings["hours"] < 1 / 60:
        problems.append(f"slurm.hours must be at least a minute, not {settings['hours']:g}")
    if settings["cluster"] == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        problems.append("there is no SLURM here: sbatch and srun are not found; give the command on a login node")
    return problems


@hookimpl
def register_executor(register: Callable[..., object]) -> None:
    register(slurm, ready=ready)
