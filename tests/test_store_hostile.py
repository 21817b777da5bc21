"""Stores that others have written: nothing in them leads out."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import FILE, Lab, a_lab, a_run, no_figures

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
