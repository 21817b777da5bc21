"""Ray: a run is a task somewhere on a cluster, `workers` at a time.

All nodes see the store under the same path and have the same Python environment; nothing is uploaded. A Ray that is
started here listens on this machine alone, and lets in who knows a token that was drawn for it: whoever reaches a Ray
runs code in your name.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final

from registry import hookimpl
from studies.executors.local import cores
from studies.executors.process import GRACE, Child, Job, Report, absent, carry_out, negative
from studies.problems import BadInput

LOST: Final = -9
"""What ended a run whose node or worker is gone: nobody can tell, and SIGKILL is the nearest."""
RECORDS: Final = 100_000_000
"""Bytes of a local Ray's object store: nothing but records goes through it."""


def ray(
    jobs: Iterable[Job],
    report: Report,
    *,
    workers: int = 0,
    address: str = "",
    memory_gb: float = 0.0,
    gpus: float = 0.0,
) -> None:
    """Tasks of one CPU each on a Ray cluster, `workers` at a time; 0 is one a CPU of the cluster.

    `address` is "auto" or host:port of a cluster; without one a Ray is started on this machine. `memory_gb` and `gpus`
    are what Ray sets aside for a run. A run whose node dies ends with a code below 0, and the others go on. An
    interrupt lets them write their checkpoints; a second one ends them at once.
    """
    terminations = _Terminations()
    with _connected(address, workers) as engine, terminations:
        task = engine.remote(carried).options(
            num_cpus=1,
            num_gpus=gpus or None,
            memory=int(memory_gb * 2**30) or None,
            max_retries=0,
            num_returns="streaming",
        )
        waiting, out, ended = iter(jobs), dict[Any, str](), set[str]()
        try:
            while True:
                terminations.heed()
                room = (workers or _cpus(engine)) - len(set(out.values()) - ended)
                out |= {task.remote(job): job.id for job in islice(waiting, max(0, room))}
                if not set(out.values()) - ended:
                    break
                for stream in _ready(list(out), engine):
                    record = _next(stream, engine)
                    run_id = out[stream] if record else out.pop(stream)
                    if run_id not in ended:
                        record = record or {"ended": LOST, "cause": "the node of this run died: its records end"}
                        ended |= {run_id} if "ended" in record else set()
                        report(run_id, record)
            _end(list(out), engine, 5.0)
        except BaseException:
            _stop(list(out), engine)
            raise


def carried(job: Job) -> Iterator[Mapping[str, Any]]:
    """On the node: a job's records as they come, the last says how it ended. Left early, it stops the run."""
    heard: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
    children: list[Child] = []
    left = threading.Event()

    def started(child: Child) -> None:
        children.append(child)
        if left.is_set():
            child.stop()

    def work() -> None:
        try:
            carry_out(job, lambda _, record: heard.put(record), started)
        except Exception as error:  # The command is not there, say: this node has another environment.
            heard.put({"ended": 1, "cause": f"could not be carried out on {os.uname().nodename}: {error}"})

    working = threading.Thread(target=work, daemon=True)
    working.start()
    try:
        record: Mapping[str, Any] = {}
        while "ended" not in record:
            with contextlib.suppress(Empty):  # Awake now and then, for Ray cancels by an exception in this thread.
                record = heard.get(timeout=0.2)
                yield record
    finally:
        left.set()
        for child in children:
            child.stop()
        working.join(GRACE)
        for child in children:
            child.kill()


def _ready(streams: list[Any], engine: Any) -> list[Any]:
    """All streams that have something to say, waiting a moment for the first."""
    some, _ = engine.wait(streams, timeout=1.0)
    speaking: list[Any] = engine.wait(streams, num_returns=len(streams), timeout=0)[0] if some else []
    return speaking


def _next(stream: Any, engine: Any) -> Mapping[str, Any] | None:
    """The next record of a run, None after its last. What Ray knows of a lost run is a record, too."""
    try:
        record: Mapping[str, Any] = engine.get(next(stream))
        return record
    except StopIteration:
        return None
    except engine.exceptions.RayTaskError as error:
        return {"ended": 1, "cause": str(error)}
    except engine.exceptions.OutOfMemoryError as error:
        return {"ended": LOST, "cause": f"the node of this run ran out of memory: {_words(error)}"}
    except engine.exceptions.RayError as error:
        return {"ended": LOST, "cause": f"the node of this run died: {_words(error)}"}


def _words(error: Exception) -> str:
    """What happened, without Ray's advice."""
    return " ".join(str(error).split()).partition(" This can happen")[0].rstrip(".")[:500]


def _stop(streams: Sequence[Any], engine: Any) -> None:
    """Let runs write their checkpoints, and end those that take too long over it, or if there is another interrupt."""
    for force, seconds in ((False, GRACE + 5), (True, 5.0)):
        with contextlib.suppress(KeyboardInterrupt):
            for stream in streams:
                engine.cancel(stream, force=force)
            _end(streams, engine, seconds)


def _end(streams: Sequence[Any], engine: Any, seconds: float) -> None:
    """Wait for the ends of streams: when one is dropped before its end, Ray 2.60 aborts this process."""
    if streams:
        engine.wait([stream.completed() for stream in streams], num_returns=len(streams), timeout=seconds)


def _cpus(engine: Any) -> int:
    """CPUs of the nodes that are alive; one at least, for a cluster that is still growing."""
    return max(1, int(engine.cluster_resources().get("CPU", 0)))


@contextlib.contextmanager
def _connected(address: str, workers: int) -> Iterator[Any]:
    """Ray, connected to a cluster or started here, and left again at the end."""
    if not address:
        os.environ.update(_alone())  # Ray reads them when it is imported.
    import ray as engine

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    here = {"num_cpus": workers or cores(), "object_store_memory": RECORDS, "include_dashboard": False}
    if engine.is_initialized():
        yield engine
        return
    try:
        engine.init(address=address or "local", **quiet, **({} if address else here))
    except ConnectionError as error:
        raise BadInput(
            f"no Ray cluster at {address!r}: start one with `ray start --head`, or leave ray.address out to start one "
            f"on this machine ({_words(error)})"
        ) from error
    try:
        yield engine
    finally:
        engine.shutdown()


def _alone() -> dict[str, str]:
    """Variables that keep a Ray of our own to this machine and this user."""
    return {
        # What Ray does on macOS anyway: 127.0.0.1 is the address of the node. Else all ports are open to the network.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


class _Terminations:
    """SIGTERM while Ray is in charge, which has a handler of its own and turns what another raises into exit code 1.

    The signal is noted, and what stood for it before is called by `heed`, outside of Ray; a second one at once.
    """

    def __init__(self) -> None:
        self._before = signal.getsignal(signal.SIGTERM)
        self._heard = 0

    def __enter__(self) -> _Terminations:
        self._set(self._note if callable(self._before) else self._before)
        return self

    def __exit__(self, *_: object) -> None:
        self._set(self._before)

    def heed(self) -> None:
        if self._heard and callable(self._before):
            self._before(signal.SIGTERM, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._heard += 1
        if self._heard > 1:
            self.heed()

    @staticmethod
    def _set(handler: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def ready(settings: Mapping[str, Any]) -> list[str]:
    """What stands in the way of these settings."""
    if problems := absent("ray", "Ray"):
        return problems
    problems = negative("ray", settings, "workers", "memory_gb", "gpus")
    if settings["address"].startswith("ray://"):
        problems.append("ray.address: Ray's client streams no records: give the command on a node of the cluster, auto")
    return problems


@hookimpl
def register_executor(register: Callable[..., object]) -> None:
    register(ray, ready=ready)
