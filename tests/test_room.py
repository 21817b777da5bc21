"""Memory and disk are planned before a study starts."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from lab import FILE, REGISTRY, Lab, a_lab, no_figures, runs

from rl import uniform
from rl.asking_replays import dynamic, reviewed
from studies.room import RESULTS, agent_bytes, room
from studies.store import Store

lab, quiet = a_lab, no_figures

SIZES = {"InvertedPendulum-v5": (4, 1), "HalfCheetah-v5": (17, 6)}
Usage = namedtuple("Usage", "total used free")


def with_free(patch: pytest.MonkeyPatch, free: float) -> None:
    patch.setattr(shutil, "disk_usage", lambda place: Usage(10**12, 0, int(free)))


BIG = FILE.replace("steps = 120", "steps = 1000000").replace("eval_every = 60", "eval_every = 1000000")
"""A million transitions of 4 (2 4 + 1 + 3) bytes, a run."""


@pytest.mark.parametrize("build", [uniform, dynamic, reviewed])
def test_a_replay_tells_its_bytes(build: Any) -> None:
    memory = build(17, 6, capacity=2000)
    arrays = [memory._rows] if build is uniform else [memory._memory._rows]
    arrays += [memory._means] if build is dynamic else []
    assert memory.bytes_needed(10**9) == sum(array.nbytes for array in arrays)
    assert memory.bytes_needed(500) == memory.bytes_needed(2000) // 4


def test_what_is_needed_is_that_of_the_largest_runs_at_a_time() -> None:
    """Three of five runs: two of a full replay, one of a half full one."""
    long, short = (runs(seeds=n, steps=steps, eval_every=10**6) for n, steps in ((2, 10**6), (3, 500_000)))
    needed = room([*long, *short], SIZES, REGISTRY, 3)
    assert needed.workers == 3
    assert needed.buffers == 2 * 48_000_000 + 24_000_000
    agent = agent_bytes(long[0], SIZES)
    assert agent == 16 * 3 * (5 * 16 + 16 * 16)
    assert needed.checkpoints == needed.buffers + 3 * 2 * (agent + RESULTS)
    assert needed.results == 5 * (RESULTS + agent // 4)
    kept = room([*long, *short], SIZES, REGISTRY, 3, kept=True, there=1000)
    assert kept.checkpoints == 2 * 48_000_000 + 3 * 24_000_000 + 10 * (agent + RESULTS) - 1000
    assert room(long, SIZES, REGISTRY, 64).buffers == 2 * 48_000_000, "no more than there are runs"


def test_the_memory_of_a_dynamic_replay_has_an_action_more() -> None:
    replay = {"part": "dynamic", "capacity": 10**6}
    [run] = runs(envs=["HalfCheetah-v5"], replay=replay, steps=10**6, eval_every=10**6)
    assert room([run], SIZES, REGISTRY, 1).buffers == 172_000_000 + 24_000_000


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 5e7)
    answer = lab.study(BIG)
    assert answer.code == 2
    [said] = answer.errors
    for word in (str(lab.store), "0.1 GB free", "0.1 GB are needed", "checkpoints", "capacity", "--workers", "--store"):
        assert word in said
    assert not lab.store.exists()


def test_a_disk_that_suffices_is_told_by_a_dry_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 7e10)
    answer = lab.study(BIG.replace("seeds = 1", "seeds = 3"), "--dry-run", "--workers", "2")
    assert answer.code == 0, answer.err
    assert "70.0 GB are free" in answer.out
    assert "up to 104.1 MB for checkpoints until runs end" in answer.out
    assert "0.1 GB of it replay buffers" in answer.out
    kept = lab.study(BIG.replace("seeds = 1", "seeds = 3"), "--dry-run", "--workers", "2", "--keep-buffers")
    assert "up to 156.1 MB for checkpoints that are kept" in kept.out


def test_a_finished_study_needs_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.study(FILE).code == 0
    with_free(monkeypatch, 0)
    assert lab.study(FILE).code == 0


def test_what_a_run_has_saved_is_there_already(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study whose checkpoints fill the disk goes on when it is started again."""
    assert lab.study(FILE).code == 0
    [folder] = [each for each in lab.folders() if '"methods":{}' not in (each / "contents.json").read_text()]
    (folder / "manifest.json").unlink()
    with_free(monkeypatch, 3e6)
    assert lab.study(FILE).code == 2
    old = folder / "attempts" / "0001" / "checkpoint" / "chunks"
    old.mkdir(parents=True)
    (old / "one").write_bytes(bytes(5_000_000))
    (old / "two").hardlink_to(old / "one")
    assert lab.study(FILE).code == 0


def test_the_disk_is_that_of_the_store_s_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or Usage(1, 0, 10**12))
    assert room([], SIZES, REGISTRY, 1).short_of_disk(Store(tmp_path / "not" / "yet").root) == []
    assert asked == [tmp_path]
