"""Stores that others have written: nothing in them leads out, and checkpoints of unfinished runs are verified."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import FILE, Lab, a_lab, a_run, no_figures

from studies.attempts import begin
from studies.checkpoints import Checkpoints, generations, read
from studies.sealed import read_sealed, write_sealed
from studies.store import CELLS, MANIFEST, Damaged, Store

lab, quiet = a_lab, no_figures


def reseal(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """As somebody would who knows the format."""
    value = read_sealed(path)
    change(value)
    write_sealed(path, value)


@pytest.fixture
def finished(lab: Lab) -> tuple[Store, Path]:
    assert lab.study(FILE, "--name", "tiny").code == 0
    return Store(lab.store), lab.folder_of("SET")


@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname", "secret", "attempts/0001.json"])
@pytest.mark.parametrize("key", ["files", "bytes"])
def test_a_manifest_that_names_what_is_no_file_of_a_run_is_damaged(
    finished: tuple[Store, Path], name: str, key: str
) -> None:
    store, folder = finished
    reseal(folder / MANIFEST, lambda manifest: manifest[key].update({name: "0" * 64}))
    assert store.verify(folder.name) == [str(folder / MANIFEST)]
    status, cause = store.status(folder.name)
    assert status == "failed"
    assert name in cause
    with pytest.raises(Damaged):
        store.read(folder.name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("result.json", "{}"),
        ("result.json", "[]"),
        ("evaluations.csv", "step,returns\n"),
        ("evaluations.csv", "a\n1\n"),
    ],
)
def test_a_run_that_is_whole_and_says_nothing_is_damaged(finished: tuple[Store, Path], name: str, text: str) -> None:
    store, folder = finished
    (folder / name).write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    reseal(folder / MANIFEST, lambda m: (m["files"].update({name: digest}), m["bytes"].update({name: len(text)})))
    assert store.verify(folder.name) == []
    with pytest.raises(Damaged, match="does not hold what a finished run does"):
        store.read(folder.name)


def test_no_file_of_a_run_is_read_through_a_link(finished: tuple[Store, Path], tmp_path: Path) -> None:
    store, folder = finished
    for name in ("evaluations.csv", "result.json"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    assert store.verify(folder.name) == [str(folder / name) for name in ("evaluations.csv", "result.json")]
    (folder / MANIFEST).rename(tmp_path / MANIFEST)
    (folder / MANIFEST).symlink_to(tmp_path / MANIFEST)
    assert store.verify(folder.name) == [str(folder / MANIFEST)]
    assert "link" in store.status(folder.name)[1]


@pytest.mark.parametrize("place", ["runs", "RUN"])
def test_no_run_is_read_out_of_the_store(finished: tuple[Store, Path], tmp_path: Path, place: str) -> None:
    store, folder = finished
    inside = store.root / place.replace("RUN", f"runs/{folder.name}")
    inside.rename(tmp_path / "outside")
    inside.symlink_to(tmp_path / "outside")
    assert store.verify(folder.name) == [str(folder / MANIFEST)]
    assert "link out of the store" in store.status(folder.name)[1]
    with pytest.raises(Damaged, match="link out of the store"):
        store.load_run(folder.name)


def test_no_study_is_read_out_of_the_store(lab: Lab, finished: tuple[Store, Path], tmp_path: Path) -> None:
    store, _ = finished
    folder = store.study_folder("tiny")
    (folder / "study.toml").rename(tmp_path / "study.toml")
    (folder / "study.toml").symlink_to(tmp_path / "study.toml")
    assert store.verify_study("tiny")[1] == [str(folder / "study.toml")]
    folder.rename(tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    for command in ("status", "table", "verify"):
        answer = lab("study", command, "tiny")
        assert (answer.code, answer.out) == (4, "")
        assert "link out of the store" in answer.err


def test_a_store_that_is_a_link_itself_is_read(finished: tuple[Store, Path], tmp_path: Path) -> None:
    store, folder = finished
    (tmp_path / "there").symlink_to(store.root)
    assert Store(tmp_path / "there").verify(folder.name) == []
    assert Store(tmp_path / "there").verify_study("tiny")[1] == []


@pytest.mark.parametrize("run_id", ["../../x", "a" * 15, "A" * 16, "0" * 16 + "\n", 7, None])
def test_a_list_of_runs_names_ids_and_nothing_else(lab: Lab, finished: tuple[Store, Path], run_id: Any) -> None:
    store, _ = finished
    reseal(store.study_folder("tiny") / CELLS, lambda listed: listed["cells"][0].update({"run": run_id}))
    for command in ("status", "table", "verify"):
        answer = lab("study", command, "tiny")
        assert (answer.code, answer.out) == (4, "")
        assert "no run's id" in answer.err


@pytest.mark.parametrize("name", ["", ".", "..", "../studies/tiny"])
def test_a_study_s_name_leads_nowhere_else(finished: tuple[Store, Path], name: str) -> None:
    store, _ = finished
    (store.root / CELLS).write_bytes((store.study_folder("tiny") / CELLS).read_bytes())
    with pytest.raises(ValueError, match="has no study"):
        store.cells(name)


def test_a_new_store_is_nobody_else_s(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "store")
    store.prepare(a_run())
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.root.parent.stat().st_mode) != 0o700
    store.root.chmod(0o750)
    store.prepare(a_run(seeds=[1]))
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o750, "as it was, once it is there"


# Checkpoints of runs that are not finished.


def state(rows: int) -> dict[str, Any]:
    return {"rows": torch.arange(500_000 + rows, dtype=torch.float32), "log": b"x" * rows}


@pytest.fixture
def unfinished(tmp_path: Path) -> tuple[Store, Path]:
    """A run with two generations of its second attempt, and one of its first."""
    store, run = Store(tmp_path), a_run()
    folder = store.prepare(run)
    first = begin(folder)
    Checkpoints(first.checkpoints).save(state(1), {}, 1)
    second = begin(folder)
    checkpoints = Checkpoints(second.checkpoints, [first.checkpoints])
    for step in (2, 3):
        checkpoints.save(state(step), {}, step)
    return store, folder


def files_of(folder: Path, attempt: int) -> list[Path]:
    checkpoint = folder / "attempts" / f"{attempt:04d}" / "checkpoint"
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def test_every_file_of_a_checkpoint_is_verified(unfinished: tuple[Store, Path]) -> None:
    store, folder = unfinished
    assert store.verify(folder.name) == []
    files = files_of(folder, 2)
    assert len(files) == 2 * 3 + 2
    for path in files:
        whole = path.read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            assert store.verify(folder.name) == [str(path)]
        if path.name != MANIFEST:
            path.unlink()
            assert store.verify(folder.name) == [str(path)]
        path.write_bytes(whole)
    assert store.verify(folder.name) == []


def test_study_verify_names_what_is_damaged_of_a_checkpoint(lab: Lab, finished: tuple[Store, Path]) -> None:
    store, folder = finished
    (folder / MANIFEST).unlink()
    attempt = begin(folder)
    generation = Checkpoints(attempt.checkpoints).save(state(5), {}, 5)
    assert lab("study", "verify", "tiny").code == 0
    (generation / "state.json").write_text("{}")
    answer = lab("study", "verify", "tiny")
    assert answer.code == 4
    assert f"not as written: {generation / 'state.json'}" in answer.out
    with store.claim(folder.name):
        assert lab("study", "verify", "tiny").code == 0, "somebody is working on it"


def test_what_a_deletion_left_is_not_damaged(unfinished: tuple[Store, Path]) -> None:
    """Of a generation before the newest the manifest goes first."""
    store, folder = unfinished
    older, newer = generations(folder / "attempts" / "0002" / "checkpoint")
    for name in (MANIFEST, "state.json"):
        (older / name).unlink()
        assert store.verify(folder.name) == []
    (newer / MANIFEST).unlink()
    assert store.verify(folder.name) == [str(newer / MANIFEST)]


def test_what_is_left_of_an_attempt_before_one_that_saved_twice_is_not_damaged(unfinished: tuple[Store, Path]) -> None:
    store, folder = unfinished
    for path in files_of(folder, 1):
        path.unlink()
        assert store.verify(folder.name) == []


def test_an_attempt_before_one_that_saved_once_counts(unfinished: tuple[Store, Path]) -> None:
    store, folder = unfinished
    third = begin(folder)
    Checkpoints(third.checkpoints).save(state(4), {}, 4)
    rotten = files_of(folder, 2)[-1]
    rotten.write_bytes(b"")
    assert store.verify(folder.name) == [str(rotten)]


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"state.json": "0" * 64, "../../../../../contents.json": "0" * 64}},
        {"files": {}},
        {"chunks": ["../../../../../contents.json"]},
        {"chunks": [7]},
        {"format": 2},
        {"about": {"step": 4}},
    ],
    ids=json.dumps,
)
def test_a_manifest_of_a_checkpoint_names_its_own_files(unfinished: tuple[Store, Path], change: dict[str, Any]) -> None:
    store, folder = unfinished
    newest = generations(folder / "attempts" / "0002" / "checkpoint")[-1]
    reseal(newest / MANIFEST, lambda manifest: manifest.update(change))
    assert store.verify(folder.name) == [str(newest / MANIFEST)]
    with pytest.raises(ValueError):
        read(newest)


def test_no_chunk_is_read_through_a_link(unfinished: tuple[Store, Path], tmp_path: Path) -> None:
    store, folder = unfinished
    chunk = next(path for path in files_of(folder, 2) if path.parent.name == "chunks")
    os.replace(chunk, tmp_path / "chunk")
    chunk.symlink_to(tmp_path / "chunk")
    assert store.verify(folder.name) == [str(chunk)]


def test_a_tensor_as_large_as_its_words_say_is_not_made_before_its_chunks_are_seen(unfinished: Any) -> None:
    """What others sealed may say anything: an exabyte is not asked of the system."""
    _, folder = unfinished
    newest = generations(folder / "attempts" / "0002" / "checkpoint")[-1]
    words = json.loads((newest / "state.json").read_text())
    next(iter(words["large"].values()))["shape"] = [10**18]
    (newest / "state.json").write_text(json.dumps(words))
    digest = hashlib.sha256((newest / "state.json").read_bytes()).hexdigest()
    reseal(newest / MANIFEST, lambda manifest: manifest["files"].update({"state.json": digest}))
    with pytest.raises(ValueError, match="not as long as the tensor"):
        read(newest)
