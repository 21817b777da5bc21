"""Runs as jobs of submitit, which here are processes of this machine; and what SLURM's words come to."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from afar import Heard, check_that_each_is_there_once_and_as_at_home, jobs, released
from lab import a_lab, no_figures

from studies.executors.slurm import LOST
from studies.executors.slurm import slurm as execute
from studies.store import Store

pytest.importorskip("submitit", reason="needs the extra slurm")
psutil = pytest.importorskip("psutil")

lab, quiet = a_lab, no_figures


def tree_of(word: str) -> list[Any]:
    """submitit's controller of the run with this id, its job, and the run itself."""
    for controller in psutil.Process().children():
        tree = [controller, *controller.children(recursive=True)]
        if any(word in " ".join(process.cmdline()) for process in tree):
            return tree
    raise AssertionError(f"no process carries {word} out")


def test_a_job_that_is_killed_is_told_and_one_that_is_preempted_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    given = jobs(store)
    killed, preempted = given[0].id, given[1].id
    done: list[str] = []

    def harm(run_id: str, record: Mapping[str, Any]) -> None:
        if "ended" in record or run_id in done or run_id not in (killed, preempted):
            return
        done.append(run_id)
        tree = tree_of(run_id)
        if run_id == killed:
            for process in tree:
                process.kill()
        else:
            tree[1].send_signal(signal.SIGUSR2)

    heard = Heard(harm)
    execute(given, heard, workers=2, cluster="local")
    assert sorted(done) == sorted([killed, preempted])
    assert heard.ended == {job.id: LOST if job.id == killed else 0 for job in given}
    assert "ended as INTERRUPTED" in heard.causes[killed]
    [folder] = (store.root / "slurm").iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    released(store, killed)
    again = Heard()
    execute(iter(given[:1]), again, workers=2, cluster="local")
    assert again.ended == {killed: 0}
    assert list((store.root / "slurm").iterdir()) == [folder], "nothing is left of jobs that went well"
    check_that_each_is_there_once_and_as_at_home(store, tmp_path)
