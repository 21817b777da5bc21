"""Kills of runners: the process that carries a study out dies by SIGKILL, again and again, until the study is done.

What must hold: every run is finished once and never again; it goes on from the last checkpoint that stood when the
runner died, or a later one; and in the end every run has the bytes, and the table the rows, of a study that nobody
disturbed.
"""

from __future__ import annotations

import csv
import importlib
import io
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Final
from unittest.mock import patch

from benchmarks.reliability.forks import Child
from benchmarks.reliability.ledger import Outcome
from benchmarks.reliability.runs import ENDS, PATIENT, hurried
from benchmarks.reliability.zygote import zygote
from rl.environment import make
from studies.attempts import attempts, generations
from studies.cli import main
from studies.store import Store

STUDY: Final = """\
agents = ["td3"]
envs = ["InvertedPendulum-v5"]
seeds = 2
steps = 500
warmup = 100
eval_every = 125
episodes = 1
random_episodes = 3
densities = [0.3]

[all]
eligible = "hidden"
allocation = "erk"
schedule = { every = 50, fraction = 0.3 }

[methods]
SET = { base = "set" }
RigL = { base = "rigl" }

[settings.td3]
batch_size = 8
hidden = [16, 16]
"""
RUNS: Final = 5
"""Four of a second each, and the random policy."""
LASTS: Final = 4.0
"""Seconds within which a runner is killed."""
ENOUGH: Final = 20
"""Things that went wrong, after which a slice ends."""


@contextmanager
def ready() -> Iterator[None]:
    """Runners and runs that are forked meanwhile find everything imported, and checkpoints often."""
    make("InvertedPendulum-v5").close()
    for name in ("studies.commands", "studies.plot", "studies.table", "studies.show"):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="runners-") as folder, hurried(), zygote(Path(folder)):
        yield


def kills(count: int, seed: int) -> Outcome:
    """`count` kills; studies one after the other, each killed until it is done. One that went wrong is a failure."""
    notes, done, number, failures = [], 0, 0, 0
    with ready():
        while done < count and failures < ENOUGH:
            wrong, killed = chain(seed + number)
            notes += [f"{each}: replay by --count 1 --seed {seed + number}" for each in wrong]
            done, number, failures = done + killed, number + 1, failures + bool(wrong)
    return Outcome(failures, [*notes, f"{done} kills over {number} studies of {RUNS} runs"])


def chain(seed: int, *, most: int = 60) -> tuple[list[str], int]:
    """One study, its runner killed until it is done; what was wrong, and how many kills it took."""
    draw, root = random.Random(seed), Path(tempfile.mkdtemp(prefix="study-"))
    workers, killed, wrong = draw.choice((1, 2, 3)), 0, []
    stood: dict[str, dict[int, int]] = {}
    finished: dict[str, int] = {}
    try:
        while killed < most:
            with Child(lambda say: carry_out(root, workers)) as child:
                with suppress(TimeoutError):
                    child.patience = draw.random() * LASTS * (1 + killed / PATIENT)
                    child.end()
                if child.code is None:
                    child.kill()
                    killed += 1
            wrong += looked_at(Store(root), stood, finished)
            if child.code >= 0:
                wrong += [f"the runner ended with {child.code}: {child.lines[-1:]}"] if child.code else []
                break
        wrong = wrong or ended_wrong(Store(root))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return wrong, killed


def carry_out(root: Path, workers: int) -> None:
    """In the child: the command, as a user gives it."""
    (root / "kills.toml").write_text(STUDY)
    words = ["study", "run", str(root / "kills.toml"), "--store", str(root / "store"), "--workers", str(workers)]
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), patch("studies.plot.plot_study", lambda *_, **__: []):
        try:
            main([*words, "--no-plugins", "--checkpoint-every", "0.1"])
        except SystemExit as left:
            if left.code:
                raise RuntimeError(f"exit code {left.code}: {out.getvalue()[-2000:]}") from None


def looked_at(store: Store, stood: dict[str, dict[int, int]], finished: dict[str, int]) -> list[str]:
    """What has gone wrong since the last look, and note down what stands now."""
    store, wrong = Store(store.root / "store"), []
    for folder in sorted(store.root.glob("runs/*")):
        run_id, manifest = folder.name, folder / "manifest.json"
        if run_id in finished and manifest.stat().st_mtime_ns != finished[run_id]:
            wrong.append(f"{run_id} was finished twice")
        with suppress(FileNotFoundError):
            finished[run_id] = manifest.stat().st_mtime_ns
        for attempt in attempts(folder):
            resumed, before = None, stood.get(run_id, {})
            with suppress(OSError):
                resumed = attempt.record().get("resumed")
            latest = max((step for number, step in before.items() if number < attempt.number), default=0)
            if attempt.number not in before and resumed is not None and resumed < latest:
                wrong.append(f"attempt {attempt.number} at {run_id} went on from step {resumed}, and {latest} stood")
            steps = [int(each.name) for each in generations(attempt.checkpoints)]
            stood.setdefault(run_id, {})[attempt.number] = max([before.get(attempt.number, 0), *steps])
    return wrong


def ended_wrong(store: Store) -> list[str]:
    """What of a study's end is not as it should be."""
    store = Store(store.root / "store")
    done, damaged = store.verify_study("kills")
    wrong = [f"not as written: {file}" for file in damaged] + ([] if done == RUNS else [f"{done} runs are finished"])
    ends, rows = undisturbed()
    if done == RUNS:
        other = [f"{name} of {run_id}" for (run_id, name), was in ends.items() if bytes_of(store, run_id, name) != was]
        wrong += [f"{each} has other bytes" for each in other]
        wrong += [] if table(store) == rows else ["the table has other rows"]
    left = [each.folder for folder in store.root.glob("runs/*") for each in attempts(folder) if each.folder.exists()]
    return wrong + [f"left behind: {folder}" for folder in left]


@cache
def undisturbed() -> tuple[dict[tuple[str, str], bytes], list[dict[str, str]]]:
    """Bytes of all runs, and the table's rows. Call it when `ready`."""
    root = Path(tempfile.mkdtemp(prefix="undisturbed-"))
    with Child(lambda say: carry_out(root, 2)) as child:
        assert child.end() == 0, child.lines[-1:]
    store = Store(root / "store")
    ids = [folder.name for folder in sorted(store.root.glob("runs/*"))]
    ends = {(run_id, name): bytes_of(store, run_id, name) for run_id in ids for name in ENDS}
    rows = table(store)
    shutil.rmtree(root)
    return ends, rows


def bytes_of(store: Store, run_id: str, name: str) -> bytes:
    path = store.run_folder(run_id) / name
    return path.read_bytes() if path.is_file() else b""


def table(store: Store) -> list[dict[str, str]]:
    """Rows of the study's table but for wall time."""
    rows = list(csv.DictReader(io.StringIO((store.study_folder("kills") / "table.csv").read_text())))
    return [{key: value for key, value in row.items() if key != "seconds_median"} for row in rows]
