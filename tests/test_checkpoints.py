"""The state of a run on disk: what goes in comes out, each byte once, and the newest whole generation counts."""

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.files import write_atomically
from studies.checkpoints import CHUNKS, LARGE, Checkpoints, newest
from studies.sealed import write_sealed
from studies.tree import pack, unpack

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=9)
    | st.integers(0, 4).map(lambda n: torch.arange(n, dtype=torch.float64))
    | st.integers(0, 4).map(lambda n: np.ones((n, 2), dtype=np.float32))
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.just("@tuple"), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.to_dense(), other.to_dense())
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@settings(deadline=None)
@given(TREES)
def test_a_tree_comes_back_as_it_was(tree: Any) -> None:
    assert same(unpack(*pack(tree)), tree)


def test_what_a_state_may_not_hold_is_named_with_its_place() -> None:
    with pytest.raises(TypeError, match=r"state\.agent\[1\] is object"):
        pack({"agent": [0, object()]})
    with pytest.raises(TypeError, match=r"state is ndarray"):
        pack(np.array(["a"]))


def state(rows: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    sparse = torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse_coo()
    return {
        "rows": torch.arange(rows * LARGE // 4, dtype=torch.float32),
        "generator": generator.bit_generator.state,
        "sparse": sparse,
        "mask": sparse.to_dense() != 0,
        "half": torch.ones(3, dtype=torch.bfloat16),
        "log": b"step,return\n",
    }


def test_the_newest_generation_comes_back_and_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20, 30):
        checkpoints.save(state(step), {"run": "r"}, step)
    loaded, complaints = newest([tmp_path])
    assert loaded is not None
    assert complaints == []
    assert loaded.about == {"run": "r", "step": 30}
    assert same(loaded.state, state(30))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{20:012d}", f"{30:012d}", CHUNKS]


def test_what_only_grows_is_written_once(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(8), {}, 1)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / CHUNKS).iterdir()}
    checkpoints.save(state(12), {}, 2)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / CHUNKS).iterdir()}
    assert len(before) == 2
    assert before.items() <= after.items()
    assert len(after) == 3


def test_a_later_attempt_borrows_chunks_and_leaves_the_lender_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    Checkpoints(first).save(state(8), {}, 1)
    Checkpoints(second, [first]).save(state(8), {}, 2)
    shared = [path for path in (second / CHUNKS).iterdir() if path.samefile(first / CHUNKS / path.name)]
    assert len(shared) == 2
    loaded, _ = newest([second, first])
    assert loaded is not None
    assert loaded.folder.parent == second


def test_a_borrowed_chunk_is_checked(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    Checkpoints(first).save(state(8), {}, 1)
    rotten = next((first / CHUNKS).iterdir())
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"?")
    Checkpoints(second, [first]).save(state(8), {}, 2)
    loaded, complaints = newest([second])
    assert loaded is not None
    assert complaints == []


def test_a_damaged_generation_is_passed_over_and_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    first = checkpoints.save(state(1), {}, 1)
    second = checkpoints.save(state(2), {}, 2)
    (second / "state.json").write_text("{}")
    loaded, complaints = newest([tmp_path])
    assert loaded is not None
    assert loaded.folder == first
    assert str(second / "state.json") in complaints[0]
    (first / "manifest.json").unlink()
    nothing, complaints = newest([tmp_path])
    assert nothing is None
    assert len(complaints) == 2


def test_what_cannot_be_written_names_its_file_and_leaves_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "file", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "file"))) as raised:
        write_atomically(tmp_path / "file", b"new")
    assert raised.value.errno == errno.ENOSPC
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "2").write_text("no folder")
    Checkpoints(tmp_path / "1").save(state(1), {}, 1)
    loaded, complaints = newest([tmp_path / "3", tmp_path / "2", tmp_path / "1"])
    assert loaded is not None
    assert len(complaints) == 1
    assert str(tmp_path / "2") in complaints[0]


def test_links_in_a_folder_of_checkpoints_lead_nowhere(tmp_path: Path) -> None:
    """Neither for the reader nor for the sweep, and a lender's do not become ours."""
    lender, outside, own = (tmp_path / name for name in ("lender", "outside", "own"))
    Checkpoints(outside).save(state(8), {}, 9)
    (lender / CHUNKS).mkdir(parents=True)
    for chunk in (outside / CHUNKS).iterdir():
        (lender / CHUNKS / chunk.name).symlink_to(chunk)
    own.mkdir()
    (own / f"{9:012d}").symlink_to(outside / f"{9:012d}")
    (own / CHUNKS).symlink_to(outside / CHUNKS)
    assert newest([own]) == (None, [])
    Checkpoints(own, [lender]).save(state(8), {}, 1)
    assert [path for path in own.rglob("*") if path.is_symlink()] == []
    loaded, _ = newest([outside])
    assert loaded is not None


def test_a_generation_under_the_name_of_another_is_passed_over(tmp_path: Path) -> None:
    first = Checkpoints(tmp_path).save(state(1), {}, 1)
    shutil.copytree(first, tmp_path / f"{2:012d}")
    (tmp_path / f"{3:012d}").mkdir()
    write_sealed(tmp_path / f"{3:012d}" / "manifest.json", {"status": "done"})
    loaded, complaints = newest([tmp_path])
    assert loaded is not None
    assert loaded.folder == first
    assert len(complaints) == 2


def test_a_folder_where_a_file_should_be_goes(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(8), {}, 1)
    for name in ("chunks/folder", f"{2:012d}.tmp/manifest.json"):
        (tmp_path / name / "file").mkdir(parents=True)
    checkpoints.save(state(8), {}, 2)
    assert len([path for path in tmp_path.rglob("*") if path.is_dir()]) == 3
