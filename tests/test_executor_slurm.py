"""Runs as jobs of submitit, which here are processes of this machine; and what SLURM's words come to."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from afar import Heard, check_that_each_is_there_once_and_as_at_home, jobs, released

from studies.executors import slurm as module
from studies.executors.process import Job
from studies.executors.slurm import LOST, write
from studies.executors.slurm import slurm as execute
from studies.problems import BadInput
from studies.store import Store

pytest.importorskip("submitit", reason="needs the extra slurm")
psutil = pytest.importorskip("psutil")

FAKES = {
    "srun": "",
    "sbatch": 'id=$(ls *.sh 2>/dev/null | wc -l); [ $id = "$MOST" ] && { echo "too many jobs" >&2; exit 1; }\n'
    'cp "$1" $id.sh; echo "Submitted batch job $id"',
    "sacct": 'echo "JobID|State|NodeList"; for id in $(ls *.sh | cut -d. -f1); do echo "$id|$STATE|node"; done',
    "scancel": 'echo "$@" >> cancelled',
}
"""SLURM's commands: jobs are taken, and all of them are in the same state."""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM that does what a test says; the folder with the scripts that it was given."""
    from submitit.slurm.slurm import SlurmInfoWatcher

    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, lines in FAKES.items():
        (folder / name).write_text(f"#!/bin/sh\ncd {folder}\n{lines}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("submitit.slurm.slurm.SlurmJob.watcher", SlurmInfoWatcher())  # It remembers jobs by number.
    monkeypatch.setattr(module, "POLL", {"slurm": 0.05})
    monkeypatch.setattr(module, "LAG", {"slurm": 0.1})
    return folder


def some(tmp_path: Path, count: int) -> list[Job]:
    """Jobs that nothing here will carry out."""
    return [Job(f"run{i}", (sys.executable, "-m", "studies.run", str(tmp_path), f"run{i}")) for i in range(count)]


def records(tmp_path: Path) -> Path:
    [folder] = (tmp_path / "slurm").iterdir()
    return folder


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


@pytest.mark.parametrize(
    ("state", "code"),
    [("NODE_FAIL", LOST), ("OUT_OF_MEMORY", LOST), ("TIMEOUT", LOST), ("PREEMPTED", LOST), ("CANCELLED by 1000", 143)],
)
def test_a_job_that_is_gone_is_told_in_slurms_words(
    state: str, code: int, cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", state)
    heard = Heard()
    execute(some(tmp_path, 1), heard, partition="long", hours=1.5, memory_gb=2)
    assert heard.ended == {"run0": code}
    assert state.split()[0].lower() in heard.causes["run0"].lower()
    script = (cluster / "0.sh").read_text()
    for line in ("--partition=long", "--time=90", "--mem=2GB", "--job-name=sparsity-run0", "--signal=USR2@90"):
        assert f"#SBATCH {line}\n" in script
    assert "--account" not in script


def test_an_interrupt_takes_back_what_has_not_started(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE", "PENDING")

    def interrupt(seconds: float) -> None:
        if seconds == module.POLL["slurm"]:  # submitit sleeps, too.
            write(records(tmp_path) / "run0.json", {})
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        execute(some(tmp_path, 3), Heard())
    assert (cluster / "cancelled").read_text().split() == ["1", "2"]
    assert capsys.readouterr().err.startswith("1 jobs go on in SLURM")


def test_what_the_queue_has_no_room_for_is_handed_in_later(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE", "RUNNING")
    monkeypatch.setenv("MOST", "2")
    waited: list[float] = []

    def wait(seconds: float) -> None:
        """The first job ends, the queue takes more, and then all of them end."""
        waited.append(seconds)
        monkeypatch.setenv("MOST", "")
        for one in range(1 if len(waited) == 1 else 3):
            write(records(tmp_path) / f"run{one}.json", {"ended": 0, "cause": ""})

    monkeypatch.setattr(module.time, "sleep", wait)
    heard = Heard()
    execute(some(tmp_path, 3), heard)
    assert heard.ended == {"run0": 0, "run1": 0, "run2": 0}


def test_a_queue_that_takes_nothing_is_an_error(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOST", "0")
    with pytest.raises(BadInput, match="too many jobs"):
        execute(some(tmp_path, 1), Heard())


def test_a_run_that_slurm_stopped_ends_as_slurm_says(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: float) -> None:
        write(records(tmp_path) / "run0.json", {"ended": 143, "cause": ""})

    monkeypatch.setenv("STATE", "COMPLETED")
    monkeypatch.setattr(module.time, "sleep", stop)
    heard = Heard()
    execute(some(tmp_path, 1), heard)
    assert heard.ended == {"run0": -15}, "may be tried again"
