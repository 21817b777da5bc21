"""What --set says of executors: heard by them, checked like every setting, and no part of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from lab import ENV, QUICK, Lab, a_lab, no_figures

from studies.executors import ray, slurm
from studies.flags import of_executors

lab, quiet = a_lab, no_figures

GRID = ("study", "run", "--methods", "static", "--envs", ENV, "--densities", "0.5", *QUICK, "--name", "tiny")
EXECUTOR = """
from registry import hookimpl
from lab import here


def there(jobs, report, *, workers: int = 0, queue: str = "short"):
    print("queue", queue, "workers", workers)
    here(jobs, report)


def ready(settings):
    return ["there.workers is odd"] if settings["workers"] % 2 else []


@hookimpl
def register_executor(register):
    register(there, ready=ready)
"""


def test_an_executor_hears_its_settings_and_the_study_does_not(lab: Lab) -> None:
    words = ("--plugin", lab.file(EXECUTOR, "there.py"), "--executor", "there")
    answer = lab(*GRID, *words, "--set", "there.queue=long", "--set", "there.workers=4")
    assert answer.code == 0, answer.err
    assert "queue long workers 4" in answer.out
    assert "queue" not in (lab.store / "studies" / "tiny" / "study.toml").read_text()
    again = lab(*GRID, *words, "--workers", "2")
    assert "1 run" not in again.err or "0 to do" in again.err, "settings of executors are no part of an id"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "there.queu=long"), ("executor 'there'", "'queu'", "Did you mean 'queue'?")),
        (("--set", "there.queue=3"), ("executor 'there': queue must be text",)),
        (("--set", "there.workers=3"), ("there.workers is odd",)),
        (("--set", "slurm.partition=long"), ("slurm.partition", "the executor is there")),
    ],
)
def test_settings_of_executors_are_checked_before_anything_is_written(
    words: Sequence[str], says: Sequence[str], lab: Lab
) -> None:
    answer = lab(*GRID, "--plugin", lab.file(EXECUTOR, "there.py"), "--executor", "there", *words)
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert all(word in answer.errors[0] for word in says), answer.errors
    assert not lab.store.exists()


def test_a_single_run_is_carried_out_here(lab: Lab) -> None:
    answer = lab("train", "--env", ENV, "--set", "ray.address=auto")
    assert answer.code == 2
    assert "the executor is local" in answer.errors[0]


@pytest.mark.parametrize(("executor", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_executor_whose_extra_is_missing_says_what_to_install(
    executor: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else True)
    [problem] = {"ray": ray, "slurm": slurm}[executor].ready({})
    assert f"pip install 'sparsity-rl[{executor}]'" in problem


@pytest.mark.parametrize(
    ("part", "settings", "says"),
    [
        (ray, {"workers": -1}, "ray.workers must be at least 0, not -1"),
        (ray, {"address": "ray://head:10001"}, "give the command on a node of the cluster"),
        (slurm, {"hours": 0.0}, "slurm.hours must be at least a minute, not 0"),
        (slurm, {"memory_gb": -0.5}, "slurm.memory_gb must be at least 0, not -0.5"),
        (slurm, {"cluster": "slurm"}, "there is no SLURM here"),
    ],
)
def test_what_an_executor_cannot_do_is_said(
    part: Any, settings: Mapping[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    monkeypatch.setattr("shutil.which", lambda name: None)
    usual = {"workers": 0, "memory_gb": 0.0, "gpus": 0, "address": "", "hours": 1.0, "cluster": "local"}
    [problem] = part.ready(usual | settings)
    assert says in problem


def test_agents_keep_their_settings() -> None:
    class Command:
        set = ("td3.batch_size=8", "slurm.hours=4", "warmup=50", "slurm", "slurm.account=me")

    told, others = of_executors(Command, {"slurm"})  # type: ignore[arg-type]
    assert told == {"slurm": {"hours": 4, "account": "me"}}
    assert others == ("td3.batch_size=8", "warmup=50", "slurm")
