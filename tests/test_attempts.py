"""Attempts at a run: one writer a folder, the latest alone finishes, and nothing is left of them in the end."""

from pathlib import Path

import pytest

from benchmarks.reliability.flips import run_files
from studies.attempts import Superseded, attempts, begin
from studies.checkpoints import generations
from studies.store import Store

RUN = "ab" * 8


def test_attempts_are_counted_and_say_who_they_are(tmp_path: Path) -> None:
    first, second = begin(tmp_path), begin(tmp_path)
    assert attempts(tmp_path) == [first, second]
    assert (first.number, second.number) == (1, 2)
    second.note(resumed=30)
    assert second.record()["resumed"] == 30
    assert {"host", "process", "started"} <= first.record().keys()


def test_an_earlier_attempt_may_not_finish_a_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    zombie = begin(store.run_folder(RUN))
    files = run_files(zombie.folder)
    begin(store.run_folder(RUN))
    with pytest.raises(Superseded, match=r"attempt 1 at abab.* was superseded by attempt 2"):
        store.finish(zombie, files)
    assert not store.is_finished(RUN)
    assert (zombie.folder / files[0]).is_file()


def test_an_attempt_whose_folder_is_gone_may_not_finish_a_run(tmp_path: Path) -> None:
    """Its run was finished by another, which deleted what was left."""
    store = Store(tmp_path)
    zombie, latest = begin(store.run_folder(RUN)), begin(store.run_folder(RUN))
    store.finish(latest, run_files(latest.folder))
    for attempt in (zombie, latest):
        with pytest.raises(Superseded):
            attempt.demand_latest()


@pytest.mark.parametrize("keep", [False, True])
def test_a_finished_run_has_the_files_of_its_attempt_and_checkpoints_if_they_are_kept(
    tmp_path: Path, keep: bool
) -> None:
    store, folder = Store(tmp_path), Store(tmp_path).run_folder(RUN)
    earlier, attempt = begin(folder), begin(folder)
    for each in (earlier, attempt):
        (each.checkpoints / f"{each.number:012d}").mkdir(parents=True)
    (attempt.folder / "MUJOCO_LOG.TXT").write_text("WARNING")
    store.finish(attempt, run_files(attempt.folder), keep_checkpoints=keep)
    assert store.status(RUN) == ("done", "")
    assert store.verify(RUN) == []
    assert (folder / "MUJOCO_LOG.TXT").is_file()
    assert [each.folder.exists() for each in attempts(folder)] == [False, False]
    assert [path.name for path in generations(folder / "checkpoint")] == (["000000000002"] if keep else [])


def test_what_a_killed_process_left_of_a_finished_run_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    attempt = begin(store.run_folder(RUN))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "sweep", lambda *_: None)  # Killed in the moment before.
        store.finish(attempt, run_files(attempt.folder))
    attempt.checkpoints.mkdir(parents=True)
    store.sweep(RUN)
    assert not attempt.folder.exists()


def test_the_attempts_of_an_unfinished_run_are_not_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    attempt = begin(store.run_folder(RUN))
    store.sweep(RUN)
    assert attempt.folder.exists()
