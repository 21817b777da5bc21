"""A user at the command line, in this process: `sparsity(...)`, cheap grids, runs without a process of their own."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import signal
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from registry import Registry, use_registry
from studies.cli import main
from studies.contents import Run
from studies.read import study_from
from studies.study import Cell, Study

REGISTRY = Registry(installed=False)

ENV = "InvertedPendulum-v5"

QUICK = (
    *("--set", "td3.batch_size=8", "--hidden", "16,16", "--set", "warmup=50", "--steps", "120"),
    *("--eval-every", "60", "--set", "episodes=1", "--set", "random_episodes=1"),
)
"""A run of 120 steps and 70 updates: a tenth of a second."""

FILE = f"""\
agents = ["td3"]
envs = ["{ENV}"]
seeds = 1
steps = 120
warmup = 50
eval_every = 60
episodes = 1
random_episodes = 1
densities = [0.5]

[all]
eligible = "hidden"
allocation = "erk"
schedule = {{ every = 20, fraction = 0.05 }}

[methods]
"SET" = {{ base = "set" }}

[settings.td3]
batch_size = 8
hidden = [16, 16]
"""
"""A study file that is good in every line."""

TABLES: dict[str, Any] = {
    "agents": ["td3"],
    "envs": [ENV],
    "seeds": 1,
    "steps": 120,
    "warmup": 50,
    "random_episodes": 0,
    "methods": {"SET": "set"},
    "settings": {"td3": {"batch_size": 8, "hidden": [16, 16]}},
}
"""The same as tables, with no more than it needs."""

EXECUTOR = '''\
"""Runs are carried out in the process of the test."""
from registry import hookimpl
from lab import here


@hookimpl
def register_executor(register):
    register(here)
'''


class Answer(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def sparsity(*words: object) -> Answer:
    """The `sparsity` command in this process."""
    out, err = io.StringIO(), io.StringIO()
    terminated = signal.getsignal(signal.SIGTERM)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as left:
            code = left.code
        finally:
            signal.signal(signal.SIGTERM, terminated)
            use_registry(None)
    assert isinstance(code, int)
    return Answer(code, out.getvalue(), err.getvalue())


def here(jobs: Sequence[Any], report: Callable[[str, Mapping[str, Any]], None], *, workers: int = 0) -> None:
    """An executor without processes: importing torch costs seconds, and one run a tenth of one."""
    for job in jobs:
        code, out, err = run_here(*job.command[job.command.index("studies.run") + 1 :])
        for line in out.splitlines():
            report(job.id, json.loads(line))
        report(job.id, {"ended": code, "cause": "\n".join(err.splitlines()[-30:]) if code else ""})


def run_here(*words: str) -> Answer:
    """`python -m studies.run` in this process, which it leaves as it was."""
    from studies import run

    folder, threads = os.getcwd(), torch.get_num_threads()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = run.main(list(words))
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except Exception:
            traceback.print_exc()
            code = 1
        finally:
            os.chdir(folder)
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
            use_registry(None)
        gc.collect()  # Files that a failed run left open: the end of its process would close them.
    return Answer(code, out.getvalue(), err.getvalue())


class Lab:
    """A store of its own and the words that keep every command within it and within this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.executor = folder / "here.py"
        self.executor.write_text(EXECUTOR)

    def __call__(self, *words: object) -> Answer:
        """Any command, in this lab's store."""
        return sparsity(*words, "--store", self.store)

    def run(self, *words: object) -> Answer:
        """`sparsity study run`, its runs carried out in this process."""
        return self("study", "run", *words, "--executor", "here", "--plugin", self.executor)

    def grid(self, methods: str, *words: object) -> Answer:
        """An ad-hoc grid of tiny runs under the name `tiny`."""
        given = ("--methods", methods, "--envs", ENV, *QUICK, "--name", "tiny", *words)
        return self.run(*given)

    def file(self, text: str | bytes, name: str = "study.toml") -> Path:
        """A file beside the store."""
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def study(self, text: str | bytes, *words: object) -> Answer:
        """Run a study file."""
        return self.run(self.file(text), *words)

    def cells(self, name: str = "tiny") -> list[dict[str, Any]]:
        cells: list[dict[str, Any]] = json.loads((self.store / "studies" / name / "cells.json").read_text())["cells"]
        return cells

    def folders(self) -> list[Path]:
        return sorted((self.store / "runs").iterdir())

    def folder_of(self, label: str, seed: int = 0, name: str = "tiny") -> Path:
        """The run folder of a row."""
        found = [c["run"] for c in self.cells(name) if c["label"] == label and c["seed"] == seed]
        assert len(found) == 1, found
        return self.store / "runs" / found[0]

    def result_of(self, label: str, seed: int = 0, name: str = "tiny") -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.folder_of(label, seed, name) / "result.json").read_text())
        return result


def draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = types.ModuleType("studies.plot")
    vars(nothing).update(plot=lambda *_, **__: [], plot_study=lambda *_, **__: [], NothingToDraw=ValueError)
    monkeypatch.setitem(sys.modules, "studies.plot", nothing)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies end without drawing: a figure costs more than all of their runs."""
    draw_nothing(monkeypatch)


@pytest.fixture
def a_lab(tmp_path: Path, no_figures: None) -> Lab:
    """A new store, and no figures. A test file takes it by `lab = a_lab`."""
    return Lab(tmp_path)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that choose no executor, too, make no processes."""

    def local(jobs: Sequence[Any], report: Callable[[str, Mapping[str, Any]], None], *, workers: int = 0) -> None:
        here(jobs, report, workers=workers)

    monkeypatch.setattr("studies.executors.local.local", local)


def study(registry: Registry = REGISTRY, **changes: Any) -> Study:
    """A small study with some tables changed; None takes a table away."""
    tables = {key: value for key, value in (TABLES | changes).items() if value is not None}
    return study_from(tables, registry, name="small")


def cells(registry: Registry = REGISTRY, **changes: Any) -> list[Cell]:
    return study(registry, **changes).cells(registry)


def runs(registry: Registry = REGISTRY, **changes: Any) -> list[Run]:
    return [cell.run for cell in cells(registry, **changes)]


def a_run(registry: Registry = REGISTRY, **changes: Any) -> Run:
    """The only run of a small study."""
    (run,) = runs(registry, **changes)
    return run
