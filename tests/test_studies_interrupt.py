"""An interrupted study, and a plugin that changes under a study, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lab import ENV, QUICK, Lab, a_lab, no_figures

from studies.rounds import HELD
from studies.store import Store

lab, quiet = a_lab, no_figures

COMMAND = (sys.executable, "-m", "studies", "study", "run", "--methods", "static,set", "--envs", ENV)
LONG = ("--densities", "0.5", "--name", "long", "--workers", "2", "--hidden", "16,16", "--steps", "200000")

PLUGIN = """
from registry import hookimpl


def mine(noise):
    return noise


@hookimpl
def register_grow(register):
    register(mine)
"""


@pytest.mark.parametrize(("signalled", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_is_no_failure_and_ends_the_runs(tmp_path: Path, signalled: signal.Signals, code: int) -> None:
    words = (*COMMAND, *LONG, "--store", str(tmp_path), "--set", "random_episodes=0")
    store = Store(tmp_path)
    heard: dict[str, Any] = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    # A shell lets what it starts in the background ignore interrupts, tests included, and children take that over.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, **heard) as study:
        try:
            wait_for(lambda: started(store) == 2, 100)
            study.send_signal(signalled)
            _, told = study.communicate(timeout=60)
        finally:
            study.kill()
    assert study.returncode == code, told
    assert "Traceback" not in told
    runs = [cell["run"] for cell in store.cells("long")]
    wait_for(lambda: all(store.status(run)[0] == "missing" for run in runs), 20)
    assert not list(tmp_path.glob("runs/*/failure.json"))


def started(store: Store) -> int:
    """Runs whose training has begun."""
    return len(
        [path for path in store.root.glob("runs/*/attempts/*/evaluations.csv") if path.read_text().count("\n") >= 2]
    )


def wait_for(condition: object, seconds: float) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)


def test_a_plugin_that_changed_since_the_start_is_not_run_under_the_old_id(lab: Lab) -> None:
    plugin = lab.file(PLUGIN, "mine.py")
    text = (
        'agents = ["td3"]\nenvs = ["%s"]\nseeds = 1\nsteps = 120\n'
        '[methods]\nMine = { base = "set", grow = "mine", schedule = { every = 20 } }\n'
    )
    assert lab.run(lab.file(text % ENV, "mine.toml"), "--plugin", plugin, *QUICK[2:]).code == 0
    run = next(cell["run"] for cell in Store(lab.store).cells("mine") if cell["label"] == "Mine")
    (lab.store / "runs" / run / "manifest.json").unlink()
    plugin.write_text(PLUGIN.replace("return noise", "return 1 - noise"))
    child = subprocess.run(
        [sys.executable, "-m", "studies.run", str(lab.store), run, str(plugin)], capture_output=True, text=True
    )
    assert child.returncode not in (0, HELD)
    assert "changed since the study was started" in child.stderr
    # A study with the new source is another one, unless it is said to take the place of the old.
    refused = lab.run(lab.folder / "mine.toml", "--plugin", plugin, *QUICK[2:])
    assert refused.code == 2
    assert "--replace" in refused.err
    assert lab.run(lab.folder / "mine.toml", "--plugin", plugin, *QUICK[2:], "--replace").code == 0
    assert run not in [cell["run"] for cell in Store(lab.store).cells("mine")]
