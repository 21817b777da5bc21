"""The state of a run on disk: what goes in comes out, each byte once, and the newest whole generation counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.checkpoints import CHUNKS, LARGE, Checkpoints, newest
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
