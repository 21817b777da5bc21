"""Kills of runs: a process at work on a run dies by SIGKILL at a random moment, again and again, until the run is done.

What must hold: the run ends in the bytes of one that nobody disturbed, its logs included; every attempt but the first
goes on from the last checkpoint that had returned, or a later one; and nothing of an attempt is left.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from benchmarks.reliability.forks import Child
from benchmarks.reliability.ledger import Outcome
from registry import Registry
from rl.environment import make
from rl.train import Training
from studies.attempts import attempts
from studies.contents import Run
from studies.keeping import Keeper
from studies.read import study_from
from studies.run import main
from studies.store import Store

ENDS: Final = ("evaluations.csv", "topology.csv", "training.csv", "result.json", "weights.safetensors")
"""What is compared. Of the rest, contents are the same by the run's id, and the world has wall time in it."""
PLAN: Final[dict[str, Any]] = {
    "seeds": [7],
    "steps": 600,
    "warmup": 100,
    "eval_every": 100,
    "episodes": 1,
    "random_episodes": 0,
    "densities": [0.3],
}
EVENTS: Final = {"schedule": {"every": 40, "fraction": 0.3}}
TINY: Final = {"batch_size": 8, "hidden": [16, 16]}
KINDS: Final[tuple[dict[str, Any], ...]] = (
    {"methods": {"a": {"base": "set", **EVENTS}}, "replay": {"part": "uniform", "capacity": 300}},
    {"methods": {"a": {"base": "rigl", **EVENTS}}, "execution": "sparse", "envs": ["Hopper-v5"]},
    {"methods": {"a": {"base": "ds", **EVENTS}}, "agents": ["sac"]},
    {"methods": {"a": {"base": "snfs", **EVENTS}}, "wrappers": ["noise_features"]},
    {"methods": {"a": {"base": "dense"}}, "replay": {"part": "dynamic", "capacity": 300, "every": 50, "least": 50}},
)
"""Runs of a second; buffers of 300 wrap before the end."""


def a_run(kind: int) -> Run:
    tables: dict[str, Any] = {"agents": ["td3"], "envs": ["InvertedPendulum-v5"], **PLAN, **KINDS[kind]}
    tables["settings"] = {tables["agents"][0]: TINY}
    [cell] = study_from(tables, registry(), name="kills").cells(registry())
    return cell.run


@cache
def registry() -> Registry:
    return Registry(installed=False)


def kills(count: int, seed: int) -> Outcome:
    """`count` kills; runs one after the other, each killed until it is done. A run that went wrong is a failure."""
    notes, where, done, number = [], Counter[str](), 0, 0
    make("InvertedPendulum-v5").close()  # Its simulator is imported here, not by every process anew.
    with hurried():
        while done < count and len(notes) < ENOUGH:
            wrong, killed = chain(seed + number, where)
            notes += [f"{each}: replay by --count 1 --seed {seed + number}" for each in wrong]
            done, number = done + killed, number + 1
    told = ", ".join(f"{times} in {phase}" for phase, times in sorted(where.items()))
    failures = len({note.rpartition(" ")[2] for note in notes})
    return Outcome(failures, [*notes, f"{done} kills over {number} runs: {told}"])


def chain(seed: int, where: Counter[str], *, most: int = 40) -> tuple[list[str], int]:
    """One run, killed at random until it is done; what was wrong, and how many kills it took. `where` counts them."""
    draw, root = random.Random(seed), Path(tempfile.mkdtemp(prefix="kills-"))
    kind = draw.randrange(len(KINDS))
    run = a_run(kind)
    store = Store(root)
    store.prepare(run)
    wrong: list[str] = []
    killed = saved = known = 0
    try:
        while killed < most:
            with Child(partial(work, store, run, draw.choice(OFTEN))) as child:
                early = draw.random() < EARLY
                if early or child.hear(1):
                    # Longer and longer, or a run whose episodes take longer than that would never come to its end.
                    child.kill(draw.random() * LASTS * (1 + killed / PATIENT))
                else:
                    child.end()
            if child.code == 0:
                break
            if child.code and child.code > 0:
                return [f"ended by itself: {child.code} {child.lines[-1:]}"], killed
            killed += 1
            where[phase(child.lines)] += 1
            number, resumed = resumed_at(store, run)
            if number > known and resumed is not None and resumed < saved:
                wrong.append(f"went on from step {resumed}, and step {saved} had been saved")
            known = number
            saved = max([saved, *(int(line.partition(" ")[2]) for line in child.lines if line.startswith("saved"))])
        store.sweep(run.id)  # As the next command would: a kill may have come between the end and the deletions.
        wrong += ended_wrong(store, run, undisturbed(kind))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return wrong, killed


ENOUGH: Final = 20
"""Things that went wrong, after which a slice ends."""
OFTEN: Final = (0.0, 0.02, 0.1)
"""Seconds between checkpoints of an attempt: the one that is drawn."""
EARLY: Final = 0.1
"""Chance of a kill that may come before anything is trained."""
PATIENT: Final = 5
"""Kills after which the next may come twice as late."""
LASTS: Final = 0.5
"""Seconds within which a process is killed once its training has begun."""


def resumed_at(store: Store, run: Run) -> tuple[int, int | None]:
    """The last attempt's number, and the step that it went on from, if it came so far."""
    for attempt in attempts(store.run_folder(run.id))[-1:]:
        with suppress(OSError):
            return attempt.number, attempt.record().get("resumed")
    return 0, None


def work(store: Store, run: Run, often: float, say: Callable[[str], None]) -> None:
    """In the child: carry the run out, and tell what it is at."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    save, evaluation = Keeper.save, Training._evaluation

    def telling(keeper: Keeper, underway: Any) -> None:
        say(f"saving {underway.step}")
        save(keeper, underway)
        say(f"saved {underway.step}")

    def evaluating(training: Training) -> Any:
        say("evaluating")
        result = evaluation(training)
        say("training")
        return result

    with patch.object(Keeper, "save", telling), patch.object(Training, "_evaluation", evaluating):
        code = main([str(store.root), run.id, "--no-plugins", f"--checkpoint-every={often}"])
    if code:
        say(f"exit code {code}")
        os._exit(code)


def phase(lines: list[str]) -> str:
    """What a process was at when it died."""
    last = next((line for line in reversed(lines) if line), "starting")
    return "training" if last.startswith("saved") else last.partition(" ")[0]


@contextmanager
def hurried() -> Iterator[None]:
    """A checkpoint at every rest, instead of a twentieth of the time for all of them."""
    with patch("studies.keeping.PAUSE", 0.0):
        yield


@cache
def undisturbed(kind: int) -> dict[str, bytes]:
    """The bytes that a run ends in."""
    run = a_run(kind)
    root = Path(tempfile.mkdtemp(prefix="undisturbed-"))
    store = Store(root)
    store.prepare(run)
    with Child(partial(work, store, run, 0.0)) as child:
        assert child.end() == 0, child.lines[-1:]
    ends = ends_of(store, run)
    shutil.rmtree(root)
    return ends


def ends_of(store: Store, run: Run) -> dict[str, bytes]:
    return {name: (store.run_folder(run.id) / name).read_bytes() for name in ENDS}


def ended_wrong(store: Store, run: Run, ends: dict[str, bytes]) -> list[str]:
    """What of a run's end is not as it should be."""
    if not store.is_finished(run.id):
        return ["it never ended"]
    found = ends_of(store, run)
    wrong = [f"{name} has other bytes" for name in ENDS if found[name] != ends[name]]
    wrong += [f"not as written: {file}" for file in store.verify(run.id)]
    left = [each.folder for each in attempts(store.run_folder(run.id)) if each.folder.exists()]
    return wrong + [f"left behind: {folder}" for folder in left]


if __name__ == "__main__":  # How long a run takes, to set LASTS by.
    for kind in range(len(KINDS)):
        started = time.perf_counter()
        with hurried():
            undisturbed(kind)
        print(kind, f"{time.perf_counter() - started:.2f} s")
