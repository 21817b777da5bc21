"""Runs that crash, diverge or are held, plugins that fail late, and the byte promise."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab import ENV, FILE, QUICK, Lab, a_lab, no_figures

from studies.rounds import HELD
from studies.store import Store

lab, quiet = a_lab, no_figures

FRAGILE = """\
from pathlib import Path

from registry import hookimpl

calls = 0


def mine(noise):
    global calls
    calls += 1
    if calls == 10 and Path({flag!r}).exists():
        {fault}
    return noise


@hookimpl
def register_grow(register):
    register(mine)
"""

POISON = """\
import gymnasium

from registry import hookimpl


class Poisoned(gymnasium.Wrapper):
    steps = 0

    def step(self, action):
        self.steps += 1
        observation, reward, *rest = self.env.step(action)
        return observation, (float("nan") if self.steps == 70 else reward), *rest


def mine(env):
    return Poisoned(env)


@hookimpl
def register_wrapper(register):
    register(mine)
"""

ROWS = 'SET = "set"\nMine = { base = "set", grow = "mine" }'


def rows(text: str) -> str:
    """The good file with other rows, and events at every fifth update."""
    return FILE.replace('"SET" = { base = "set" }', text).replace("every = 20", "every = 5")


def fragile(lab: Lab, fault: str) -> tuple[Path, Path]:
    """A plugin that fails at its tenth call while a file is there: the file, and the plugin."""
    flag = lab.file("", "broken")
    return flag, lab.file(FRAGILE.format(flag=str(flag), fault=fault), "mine.py")


def records(lab: Lab, name: str = "study") -> dict[str, dict[str, str]]:
    answer = lab("study", "table", name, "--format", "csv")
    assert answer.code == 0, answer.err
    return {row["method"]: row for row in csv.DictReader(answer.out.splitlines())}


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ('raise RuntimeError("kaputt")', "kaputt"),
        ("raise SystemExit(3)", ""),
        ("raise SystemExit(0)", ""),
        ("raise SystemExit(7)", "7"),
        ("return noise[:1]", "mine"),
        ("return noise * float('nan')", "finite"),
        ("return None", "mine"),
        ("raise RecursionError", "Recursion"),
        ("raise MemoryError", "MemoryError"),
    ],
)
def test_a_run_that_crashes_is_a_failed_row_and_the_others_finish(lab: Lab, fault: str, cause: str) -> None:
    _, plugin = fragile(lab, fault)
    answer = lab.study(rows(ROWS), "--plugin", plugin, "--name", "tiny")
    assert answer.code == 1, answer.err
    assert cause in answer.err
    assert "Traceback" not in answer.err
    row = records(lab, "tiny")
    assert (row["Mine"]["failed"], row["Mine"]["done"], row["Mine"]["return"]) == ("1", "0", "")
    assert row["SET"]["done"] == "1"
    status = lab("study", "status", "tiny").out
    assert "1 failed" in status
    assert "Mine" in status
    assert cause in status
    assert lab("study", "verify", "tiny").code == 0, "a failed run has nothing to verify"


def test_a_failed_run_is_tried_again(lab: Lab) -> None:
    flag, plugin = fragile(lab, 'raise RuntimeError("kaputt")')
    words = ("--plugin", plugin, "--name", "tiny")
    assert lab.study(rows(ROWS), *words).code == 1
    again = lab.study(rows(ROWS), *words)
    assert again.code == 1
    assert "3 runs, 1 to do" in again.err
    flag.unlink()
    mended = lab.study(rows(ROWS), *words)
    assert mended.code == 0, mended.err
    assert "3 runs, 1 to do" in mended.err
    assert records(lab, "tiny")["Mine"]["done"] == "1"
    assert not (lab.folder_of("Mine") / "failure.json").exists()
    assert "failed" not in lab("study", "status", "tiny").out


def test_a_failed_try_leaves_nothing_in_the_next(lab: Lab) -> None:
    """The files of a run that failed first are those of a run that never did."""
    flag, plugin = fragile(lab, 'raise RuntimeError("kaputt")')
    lab.study(rows(ROWS), "--plugin", plugin, "--name", "tiny")
    flag.unlink()
    lab.study(rows(ROWS), "--plugin", plugin, "--name", "tiny")
    other = Lab(made(lab.folder / "other"))
    other.study(rows(ROWS), "--plugin", plugin, "--name", "tiny")
    assert bytes_of(lab.folder_of("Mine")) == bytes_of(other.folder_of("Mine"))


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_run_that_diverges_is_no_score(lab: Lab) -> None:
    plugin = lab.file(POISON, "mine.py")
    text = 'wrappers = ["mine"]\n' + rows('SET = "set"\nStatic = "static"')
    answer = lab.study(text, "--plugin", plugin, "--name", "tiny")
    assert answer.code == 0, "to diverge is a result"
    assert "1 diverged" in answer.out
    row = records(lab, "tiny")["SET"]
    assert (row["diverged"], row["done"], row["planned"], row["return"]) == ("1", "0", "1", "")
    result = lab.result_of("SET")
    assert result["status"] == "diverged"
    assert re.search(r"reward is not finite at environment step 70", result["cause"])
    assert lab("study", "verify", "tiny").code == 0
    assert "4 runs" not in answer.err
    assert "0 to do" in lab.study(text, "--plugin", plugin, "--name", "tiny").err


def test_a_run_that_diverges_is_told_as_such_while_it_runs(lab: Lab) -> None:

    plugin = lab.file(POISON, "mine.py")
    text = 'wrappers = ["mine"]\n' + rows('SET = "set"')
    answer = lab.study(text, "--plugin", plugin, "--name", "tiny")
    assert "diverged" in answer.err
    assert "diverged" in lab("study", "status", "tiny").out


@pytest.mark.parametrize("method", ["dense", "static", "set", "rigl", "ds"])
def test_a_huge_learning_rate_diverges_under_every_method(lab: Lab, method: str) -> None:

    text = rows(f'Row = "{method}"').replace("every = 5", "every = 2")
    if method in ("dense", "static"):
        text = text.replace("schedule = { every = 2, fraction = 0.05 }\n", "")
    answer = lab.study(text.replace("batch_size = 8", "batch_size = 8\nlearning_rate = 1e30"), "--name", "tiny")
    assert answer.code == 0, answer.err
    assert records(lab, "tiny")["Row"]["diverged"] == "1"


def test_a_study_is_named_by_its_file(lab: Lab) -> None:

    assert lab.study(rows('SET = "set"'), "--dry-run").code == 0
    folder = made(lab.folder / "my experiments")
    (folder / "study.toml").write_text(FILE)
    answer = lab.run(folder / "study.toml")
    assert answer.code == 0, answer.err
    assert "study study: 2 runs" in answer.err


# Holding


def test_a_run_that_another_holds_is_said_and_waits(lab: Lab) -> None:
    assert lab.grid("set,static", "--densities", "0.5").code == 0
    folder = lab.folder_of("set")
    (folder / "manifest.json").unlink()
    with open(folder / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "1 running" in lab("study", "status", "tiny").out
        answer = lab.grid("set,static", "--densities", "0.5", "--no-wait")
        assert answer.code == 3
        assert "held" in answer.err
        assert not (folder / "failure.json").exists()
    assert lab.grid("set,static", "--densities", "0.5").code == 0


def test_a_second_process_on_a_run_is_told_who_holds_it(lab: Lab) -> None:
    assert lab.grid("set", "--densities", "0.5").code == 0
    folder = lab.folder_of("set")
    (folder / "manifest.json").unlink()
    with Store(lab.store).claim(folder.name):
        done = subprocess.run(
            [sys.executable, "-m", "studies.run", str(lab.store), folder.name],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            timeout=100,
        )
    assert done.returncode == HELD, done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "manifest.json").exists()


def test_a_run_that_another_finished_meanwhile_is_left_alone(lab: Lab) -> None:
    """Two runners plan the same run; the second one comes to it when the first has finished it."""
    assert lab.grid("set", "--densities", "0.5").code == 0
    store, folder = Store(lab.store), lab.folder_of("set")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    store.prepare(store.load_run(folder.name))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_contents_of_another_run_are_not_run(lab: Lab) -> None:
    """A folder whose contents were edited by hand does not become a result of its id."""
    assert lab.grid("set", "--densities", "0.5").code == 0
    folder = lab.folder_of("set")
    (folder / "manifest.json").unlink()
    contents = json.loads((folder / "contents.json").read_text())
    (folder / "contents.json").write_text(json.dumps(contents | {"seed": 5}))
    child = subprocess.run(
        [sys.executable, "-m", "studies.run", str(lab.store), folder.name], capture_output=True, text=True
    )
    assert child.returncode == 1
    assert f"not {folder.name}" in child.stderr
    assert not (folder / "manifest.json").exists()
    assert lab.grid("set", "--densities", "0.5").code == 0  # The runner writes the contents anew.
    assert json.loads((folder / "contents.json").read_text()) == contents


# The byte promise

PROMISED = ("result.json", "evaluations.csv", "topology.csv", "weights.safetensors")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in PROMISED}


def test_the_same_study_gives_the_same_bytes(lab: Lab) -> None:
    text = rows('SET = "set"\nRigL = "rigl"\nDS = "ds"')
    turned = rows('DS = "ds"\nRigL = "rigl"\nSET = "set"')
    other = Lab(made(lab.folder / "other"))
    assert lab.study(text, "--name", "tiny").code == 0
    assert other.study(turned, "--name", "tiny").code == 0
    for label in ("SET", "RigL", "DS", "Random policy"):
        one, two = lab.folder_of(label), other.folder_of(label)
        assert one.name == two.name
        assert bytes_of(one) == bytes_of(two), label
        assert label == "Random policy" or bytes_of(one)["topology.csv"].count(b"\n") > 10


def test_alone_or_with_two_workers_the_bytes_are_the_same(lab: Lab) -> None:
    """In processes of their own, two at a time, as in this one, one after the other."""
    text = rows('RigL = "rigl"\nDS = "ds"').replace("random_episodes = 1", "random_episodes = 0")
    assert lab.study(text, "--name", "tiny").code == 0
    other = Lab(made(lab.folder / "other"))
    answer = other("study", "run", other.file(text), "--name", "tiny", "--workers", "2")
    assert answer.code == 0, answer.err
    for label in ("RigL", "DS"):
        assert bytes_of(lab.folder_of(label)) == bytes_of(other.folder_of(label)), label
    tables = [each("study", "table", "tiny", "--format", "csv").out for each in (lab, other)]
    without = [re.sub(r",[\d.]+,wall clock,,$", "", text, flags=re.MULTILINE) for text in tables]
    assert without[0] == without[1], "all but wall-clock seconds"


def test_the_topology_file_and_the_result_agree(lab: Lab) -> None:
    assert lab.study(rows('SET = "set"\nRigL = "rigl"\nDS = "ds"'), "--name", "tiny").code == 0
    for label in ("SET", "RigL", "DS"):
        with open(lab.folder_of(label) / "topology.csv", newline="") as file:
            events = list(csv.DictReader(file))
        result = lab.result_of(label)
        last: dict[tuple[str, str], int] = {}
        for event in events:
            assert event["dropped"] == event["grown"], "the budget does not move"
            assert last.setdefault((event["learner"], event["layer"]), int(event["active"])) == int(event["active"])
        layers = {(learner, n): x["active"] for learner, of in result["layers"].items() for n, x in of.items()}
        assert last == layers
        assert result["events"] == len({(event["update"], event["learner"]) for event in events})


def test_seeds_and_methods_differ_in_their_bytes(lab: Lab) -> None:
    """The promise is not kept by writing the same for everybody."""
    assert lab.grid("set,dense", "--densities", "0.5", "--seeds", "2").code == 0
    files = [bytes_of(lab.folder_of(label, seed)) for label in ("set", "dense") for seed in (0, 1)]
    assert len({each["weights.safetensors"] for each in files}) == 4


def test_the_environment_and_settings_of_quick_runs_are_those_asked_for(lab: Lab) -> None:
    assert lab.grid("set", "--densities", "0.5").code == 0
    contents = json.loads((lab.folder_of("set") / "contents.json").read_text())
    assert (contents["env"], contents["steps"], contents["warmup"], contents["eval_every"]) == (ENV, 120, 50, 60)
    assert contents["agent"]["actor_hidden"] == [16, 16]
    assert "--eval-every" in QUICK
