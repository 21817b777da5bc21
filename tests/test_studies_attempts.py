"""Claims, attempts and rounds when two processes come to one run: at every point there is one that counts."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lab import Answer, Lab, a_lab, no_figures, run_here

from studies.attempts import Superseded, attempts, begin, clear
from studies.checkpoints import Checkpoints
from studies.keeping import Keeper
from studies.rounds import HELD
from studies.store import Held, Store
from studies.underway import Underway

lab, quiet = a_lab, no_figures


@contextmanager
def held(folder: Path, ago: float = 0.0) -> Iterator[None]:
    """The lock of a run, held by somebody who last showed a sign of work so many seconds ago."""
    with open(folder / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(lock.fileno(), (time.time() - ago,) * 2)
        yield


def unfinished(lab: Lab) -> Path:
    """The folder of a run that has its result to come."""
    assert lab.grid("set", "--densities", "0.5").code == 0
    folder = lab.folder_of("set")
    (folder / "manifest.json").unlink()
    return folder


def a_place(tmp_path: Path) -> tuple[Store, Path]:
    store = Store(tmp_path)
    folder = store.run_folder("a")
    folder.mkdir(parents=True)
    return store, folder


# Who holds a run


def test_a_runner_takes_over_from_a_holder_that_shows_no_sign_of_work(lab: Lab) -> None:
    folder = unfinished(lab)
    with held(folder, ago=100):
        assert lab.grid("set", "--densities", "0.5", "--no-wait").code == 3, "by default half an hour"
        taken = lab.grid("set", "--densities", "0.5", "--no-wait", "--stall-after", "50")
    assert taken.code == 0, taken.err


def test_who_is_taken_over_from_is_told_at_its_next_sign_of_work(tmp_path: Path) -> None:
    store, folder = a_place(tmp_path)
    with store.claim("a") as beat:
        beat()
        os.utime(folder / "lock", (0, 0))
        with store.claim("a", stale_after=50) as other:
            with pytest.raises(Held, match="taken over"):
                beat()
            other()


def test_a_lock_of_long_ago_that_was_just_taken_is_not_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the lock and the first sign of work another may look at its age."""
    store, folder = a_place(tmp_path)
    (folder / "lock").touch()
    os.utime(folder / "lock", (0, 0))
    ages: list[float] = []

    def locked(*_: object) -> None:
        monkeypatch.undo()
        ages.append(time.time() - (folder / "lock").stat().st_mtime)

    monkeypatch.setattr("studies.store.os.path.samestat", lambda *_: [locked(), True][1])
    with store.claim("a"):
        assert ages[0] < 50


def test_a_run_that_failed_and_is_tried_again_by_another_is_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = unfinished(lab), Store(lab.store)
    looked: list[float] = []

    def another(seconds: float) -> None:
        looked.append(seconds)
        store.fail(folder.name, "kaputt")
        if len(looked) == 3:
            (folder / "failure.json").unlink()
            fcntl.flock(lock, fcntl.LOCK_UN)

    monkeypatch.setattr("studies.rounds.time.sleep", another)
    with open(folder / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = lab.grid("set", "--densities", "0.5")
    assert answer.code == 0, answer.err
    assert len(looked) >= 3
    assert store.is_finished(folder.name)


def test_a_failure_that_cannot_be_written_down_stops_no_other_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(store: Store, run_id: str, cause: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(store.run_folder(run_id) / "failure.json"))

    monkeypatch.setattr(Store, "fail", full)
    result, calls = Underway.result, iter([1])
    monkeypatch.setattr(Underway, "result", lambda *given: 1 // 0 if next(calls, 0) else result(*given))
    answer = lab.grid("set,static", "--densities", "0.5")
    assert answer.code == 1
    assert "failure.json: No space left on device" in answer.err
    assert answer.err.splitlines()[-1].endswith("ZeroDivisionError: integer division or modulo by zero")
    assert "1 done" in lab("study", "status", "tiny").out or "2 done" in lab("study", "status", "tiny").out


# What counts of two attempts


def again(folder: Path) -> Answer:
    return run_here(str(folder.parent.parent), folder.name, "--no-plugins")


def taken_over(folder: Path) -> None:
    """Somebody else takes the run for given up, and begins."""
    os.utime(folder / "lock", (0, 0))
    with Store(folder.parent.parent).claim(folder.name, stale_after=50):
        clear(folder, before=begin(folder))


def test_who_was_taken_over_from_begins_no_attempt(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the one that came back from the dead would supersede the one that is at work."""
    folder, load = unfinished(lab), Store.load_run
    monkeypatch.setattr(Store, "load_run", lambda store, run_id: (load(store, run_id), taken_over(folder))[0])
    answer = again(folder)
    assert answer.code == HELD, answer.err
    assert "taken over" in answer.err
    assert len(attempts(folder)) == 2, "its first one, and that of who took over"


def test_a_run_that_was_finished_a_moment_ago_is_not_done_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an attempt that was taken for dead, before the next could refuse it."""
    folder = unfinished(lab)

    def finished(*given: Any) -> Any:
        (folder / "manifest.json").write_text("finished")
        return begin(*given)

    monkeypatch.setattr("studies.run.begin", finished)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "lock"}
    assert again(folder).code == 0
    after = {path: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "lock"}
    assert after == before | {folder / "manifest.json": b"finished"}
    assert not [each for each in attempts(folder) if each.folder.exists()]


def test_an_attempt_whose_folder_goes_under_it_is_no_failure(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, result = unfinished(lab), Underway.result
    monkeypatch.setattr(Underway, "result", lambda *given: (taken_over(folder), result(*given))[1])
    answer = again(folder)
    assert answer.code == HELD, answer.err
    assert "superseded" in answer.err


def test_a_late_attempt_leaves_the_folder_of_the_next_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saves, the next one begins meanwhile, and then it sweeps up."""
    _, folder = a_place(tmp_path)
    first, work = begin(folder), iter([lambda: None, lambda: begin(folder)])
    monkeypatch.setattr(Checkpoints, "save", lambda *_: next(work)())
    keeper = Keeper(begin(folder), {}, every=0.0, lender=None)
    underway: Any = SimpleNamespace(state_dict=dict, step=1)
    keeper.save(underway)
    keeper.save(underway)
    assert not first.folder.exists()
    assert attempts(folder)[-1].folder.is_dir()
    with pytest.raises(Superseded):
        keeper.save(underway)


# What is told of attempts


def test_status_says_what_took_several_attempts_and_from_where_runs_can_go_on(lab: Lab) -> None:
    assert lab.grid("set,static", "--densities", "0.5").code == 0
    assert "attempt" not in lab("study", "status", "tiny").out
    (lab.folder_of("set") / "manifest.json").unlink()
    assert again(lab.folder_of("set")).code == 0
    assert "  1 took more than one attempt\n" in lab("study", "status", "tiny").out
    folder = lab.folder_of("static")
    (folder / "manifest.json").unlink()
    Checkpoints(begin(folder).checkpoints).save({}, {}, 1234)
    told = f"static seed 0 ({folder.name}): can go on from step 1,234"
    assert f"  missing: {told}\n" in lab("study", "status", "tiny").out
    with held(folder):
        assert f"  running: {told}\n" in lab("study", "status", "tiny").out
    Store(lab.store).fail(folder.name, "kaputt")
    assert "): kaputt; can go on from step 1,234\n" in lab("study", "status", "tiny").out


def test_a_finished_runs_checkpoints_go_though_it_died_before_it_could_delete_them(lab: Lab) -> None:
    assert lab.grid("set,static", "--densities", "0.5").code == 0
    left = Checkpoints(begin(lab.folder_of("set")).checkpoints).save({}, {}, 60)
    assert lab.grid("set,static", "--densities", "0.5").code == 0
    assert not left.exists()


def test_checkpoints_that_are_to_be_kept_are(lab: Lab) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.keeping.PAUSE", 0.0)
        words = ("set", "--densities", "0.5", "--keep-buffers", "--checkpoint-every", "0")
        assert lab.grid(*words).code == 0
    kept = sorted(lab.folder_of("set").glob("checkpoint/*/manifest.json"))
    assert lab.grid("set", "--densities", "0.5").code == 0
    assert kept
    assert all(each.is_file() for each in kept)
