"""Exactly one contestant runs at a time, in turns: what the machine does meanwhile, it does to all of them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import IO, Any, Final

from studies.bench.peers import missing
from studies.bench.plan import Contestant, Group, Plan, Setting
from studies.bench.results import GroupResult, Measured
from studies.problems import clean
from studies.words import shorten

PATIENCE: Final = 600.0
"""Seconds until a contestant that does not answer is given up."""
LEAST_UPDATES: Final = 2
"""A block is an even number of updates: the actor moves in every second one."""
REST_OF_STEP: Final = 5e-4
"""Seconds of a step that are no update, about: only the size of a block comes of it."""

Say = Callable[[str], None]


class Lost(Exception):
    """A contestant that is out of the race; the message says why, in one line."""


class Worker:
    """A contestant's process, which sleeps unless asked."""

    def __init__(self, contestant: Contestant, setting: Setting, cores: Sequence[int]) -> None:
        task = {"kind": contestant.kind, "density": contestant.density, "setting": asdict(setting), "cores": cores}
        self._errors: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "studies.bench.worker", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(setting.threads),
        )

    def ask(self, **order: Any) -> Mapping[str, Any]:
        """Let it run one block; its answer. Lost if it fails or does not answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # If it is gone, what it said last is read below.
            print(json.dumps(order), file=self._process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Mapping[str, Any]:
        """The next line that it says."""
        assert self._process.stdout is not None
        watch = threading.Timer(PATIENCE, self._process.kill)
        watch.start()
        try:
            line = self._process.stdout.readline()
        finally:  # Also at an interrupt: a timer that is left would hold the program.
            watch.cancel()
        if not line:
            raise Lost(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Lost(shorten(clean(answer["error"]), 160))
        return answer

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with contextlib.suppress(OSError):  # What was written to a process that is gone.
                stream.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().split("\n")
        said = [line for line in lines if line.strip()]
        return shorten(clean(said[-1]), 160) if said else f"its process ended with code {code}"


def measure(group: Group, plan: Plan, say: Say) -> GroupResult:
    """Start all contestants of a group, warm each up, and let them run their blocks in turns."""
    measured = [Measured(one, problem=missing(one.kind)) for one in group.contestants]
    workers: list[tuple[Measured, Worker]] = []
    cores = plan.cores[: group.setting.threads]
    try:
        for one in measured:
            if not one.problem:
                workers.append((one, Worker(one.contestant, group.setting, cores)))
        for one, worker in workers:
            with _out_if_lost(one):
                one.cores = list(worker.answer()["cores"])
        say("  warming up")  # Only now, as they start all at once and would be in each other's way.
        for one, worker in workers:
            with _out_if_lost(one):
                _warm(one, worker, plan)
        for repeat in range(plan.repeats + 1):
            say(f"  repeat {repeat} of {plan.repeats}" if repeat else "  first blocks, which are not counted")
            # There and back again, so that a drift of the machine's speed favours nobody.
            for one, worker in workers if repeat % 2 else workers[::-1]:
                with _out_if_lost(one):
                    _turn(one, worker, counted=repeat > 0)
    finally:
        for _, worker in workers:
            worker.close()
    return GroupResult(group.setting, measured)


@contextlib.contextmanager
def _out_if_lost(one: Measured) -> Iterator[None]:
    try:
        yield
    except Lost as lost:
        one.problem = str(lost)


def _warm(one: Measured, worker: Worker, plan: Plan) -> None:
    """Let it compile and fill caches, and choose the sizes of its blocks."""
    if one.problem:
        return
    warm = worker.ask(work="warm")
    one.facts = dict(warm["facts"])
    one.sizes = {work: _even(plan.block_seconds / seconds) for work, seconds in warm["seconds"].items()}
    if "update" in one.sizes and plan.steps:
        one.sizes["step"] = _even(plan.block_seconds / (warm["seconds"]["update"] + REST_OF_STEP))
    one.seconds = {work: [] for work in one.sizes}


def _turn(one: Measured, worker: Worker, *, counted: bool) -> None:
    """A block of each kind of work, unless it is out."""
    if one.problem:
        return
    for work, n in one.sizes.items():
        seconds = float(worker.ask(work=work, n=n)["seconds"])
        if counted:
            one.seconds[work].append(seconds / n)


def _even(n: float) -> int:
    return max(LEAST_UPDATES, 2 * round(n / 2))


def _environment(threads: int) -> dict[str, str]:
    """Our own, with the number of threads for all who ask the environment, and no accelerator."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    quiet = {"PYTHONWARNINGS": "ignore", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **dict.fromkeys(names, str(threads)), **quiet}
