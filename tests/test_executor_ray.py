"""Runs on a Ray cluster of two nodes on this machine, one of which dies; and on a Ray that a study starts itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from afar import RUNS, STEPS, Heard, check_that_each_is_there_once_and_as_at_home, jobs, released, until
from lab import ENV

from studies.executors.process import Job
from studies.executors.ray import LOST
from studies.executors.ray import ray as execute
from studies.store import Store

pytest.importorskip("ray", reason="needs the extra ray")
psutil = pytest.importorskip("psutil")

# How soon a dead node is noticed: at once if its sockets close, else by these.
WATCH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
SMALL = {"object_store_memory": 80_000_000}

LONG = (
    *("-m", "studies", "study", "run", "--methods", "static", "--envs", ENV, "--densities", "0.5", "--seeds", "2"),
    *("--hidden", "16,16", "--execution", "masked", "--steps", "200000", "--set", "random_episodes=0"),
    *("--executor", "ray", "--set", "ray.workers=2", "--name", "long"),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that only keeps the books, and two nodes of one CPU."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": WATCH, **SMALL}
    handler = signal.getsignal(signal.SIGTERM)
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, wait=False, **SMALL)
        made.wait_for_nodes()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        signal.signal(signal.SIGTERM, handler)


def test_every_job_is_told_once_however_it_ends(cluster: Any) -> None:
    says = "import json, sys; print(json.dumps({'step': 1, 'steps': 4})); sys.exit(int(sys.argv[1]))"
    given = [Job(str(code), (sys.executable, "-c", says, str(code))) for code in range(4)]
    given.append(Job("elsewhere", ("/no/such/python", "-c", says, "0")))
    heard = Heard()
    execute(given, heard, workers=3, address=cluster.address)
    assert heard.ended == {"0": 0, "1": 1, "2": 2, "3": 3, "elsewhere": 1}
    assert heard.steps == {str(code): [1] for code in range(4)}
    assert "/no/such/python" in heard.causes["elsewhere"]


def test_the_run_of_a_node_that_dies_is_told_and_can_be_done_elsewhere(cluster: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    given = jobs(store)

    def kill_a_node(run_id: str, record: Any) -> None:
        if len(cluster.worker_nodes) == 2 and 0 < record.get("step", 0) < STEPS:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    heard = Heard(kill_a_node)
    execute(iter(given), heard, address=cluster.address)
    assert sorted(heard.ended) == sorted(job.id for job in given)
    assert sorted(heard.ended.values()) == [LOST] + [0] * (RUNS - 1)
    [lost] = [job for job in given if heard.ended[job.id] == LOST]
    assert heard.causes[lost.id].startswith("the node of this run died: ")
    assert all(heard.steps[job.id][-1] == STEPS for job in given if job is not lost)
    released(store, lost.id)
    again = Heard()
    execute([lost], again, address=cluster.address)
    assert again.ended == {lost.id: 0}
    check_that_each_is_there_once_and_as_at_home(store, tmp_path)


def test_a_ray_of_its_own_is_reached_from_this_machine_alone_and_stops_its_runs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    words = (sys.executable, *LONG, "--store", str(tmp_path))
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as study:
        try:
            until(lambda: len(trained(store)) == 2, 100)
            family = psutil.Process(study.pid).children(recursive=True)
            assert addresses([psutil.Process(study.pid), *family]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
            study.send_signal(signal.SIGTERM)
            _, told = study.communicate(timeout=60)
        finally:
            study.kill()
    assert study.returncode == 143, told
    assert "Traceback" not in told
    assert not psutil.wait_procs(family, timeout=20)[1]
    assert {store.status(cell["run"])[0] for cell in store.cells("long")} == {"missing"}


def trained(store: Store) -> list[Path]:
    return [path for path in store.root.glob("runs/*/**/evaluations.csv") if path.read_text().count("\n") >= 2]


def addresses(processes: list[Any]) -> set[str]:
    """Where these processes listen."""
    found: set[str] = set()
    for process in processes:
        try:
            found |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.NoSuchProcess:
            continue
    assert found, "Ray listens somewhere"
    return found
