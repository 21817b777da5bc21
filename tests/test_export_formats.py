"""What each format's files are, read as somebody would who has not heard of us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import SEEN, session_of, sparse_network
from torch import nn

from benchmarks.export import policy_in
from sparsity.export import FORMATS, Occupied, export, network_of, to_onnx, to_scipy

# scipy


BLOCKED = """
import json, sys
import numpy

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "scipy", "sparsity", "rl", "studies", "registry"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
sys.path[:] = [sys.argv[1], *(path for path in sys.path if path)]
import run_policy
policy = run_policy.Policy()
seen = numpy.load(sys.argv[2])
print(json.dumps([[policy.act(one).tolist() for one in seen], policy.act(seen).tolist(), policy.scaled(1).tolist()]))
"""


def test_the_runner_needs_numpy_alone(tmp_path: Path) -> None:
    network = sparse_network()
    export(network, tmp_path / "out", "scipy", low=[-2, -1, 0], high=[2, 1, 5])
    np.save(tmp_path / "seen.npy", SEEN)
    words = [sys.executable, "-I", "-c", BLOCKED, str(tmp_path / "out"), str(tmp_path / "seen.npy")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    one_by_one, at_once, highest = json.loads(done.stdout)
    np.testing.assert_allclose(one_by_one, network(SEEN), atol=1e-6)
    np.testing.assert_allclose(at_once, network(SEEN), atol=1e-6)
    assert highest == [2, 1, 5]


def test_the_runner_is_thirty_lines_at_most() -> None:
    lines = to_scipy.runner().decode().splitlines()
    assert len([line for line in lines if line]) <= 30
    assert "mypy" not in to_scipy.runner().decode()


@pytest.mark.parametrize("density", [0.02, 0.0])
@pytest.mark.parametrize("compacted", [False, True])
def test_the_runner_multiplies_large_sparse_layers_by_their_connections(
    tmp_path: Path, density: float, compacted: bool
) -> None:
    """Rows without connections among them, the first, the last and neighbours, and layers without any."""
    network = sparse_network(width=700, density=density)
    export(network, tmp_path / "out", "scipy", compacted=compacted)
    policy = policy_in(tmp_path / "out")
    product = policy.layers[min(1, len(policy.layers) - 1)][0]
    assert ("data" in product.__code__.co_freevars) == (not compacted or density > 0)
    np.testing.assert_allclose(policy.act(SEEN), network(SEEN), atol=2e-6)
    np.testing.assert_allclose([policy.act(one) for one in SEEN[:10]], network(SEEN[:10]), atol=2e-6)


@pytest.mark.parametrize("first", ["identity", "relu", "tanh", "elu"])
@pytest.mark.parametrize("last", ["identity", "tanh", "argmax"])
def test_every_activation_is_the_same_in_every_format(tmp_path: Path, first: str, last: str) -> None:
    network = sparse_network(first=first, last=last)
    for to in ("scipy", "onnx"):
        export(network, tmp_path / to, to)
    np.testing.assert_allclose(policy_in(tmp_path / "scipy").act(SEEN), network(SEEN), atol=2e-6)
    (action,) = session_of(tmp_path / "onnx/policy.onnx").run(None, {"observation": SEEN})
    np.testing.assert_allclose(action, network(SEEN), atol=2e-6)


def test_observations_of_another_size_are_refused_by_the_runner(tmp_path: Path) -> None:
    export(sparse_network(), tmp_path / "out", "scipy")
    with pytest.raises(ValueError, match="reshape"):
        policy_in(tmp_path / "out").act(np.zeros(6))


def test_the_runner_says_that_bounds_are_not_known(tmp_path: Path) -> None:
    export(sparse_network(), tmp_path / "out", "scipy")
    with pytest.raises(AssertionError, match="bounds are not known"):
        policy_in(tmp_path / "out").scaled([0, 0, 0])


def test_scipy_takes_the_arrays_as_they_are(tmp_path: Path) -> None:
    from scipy.sparse import csr_matrix

    network = sparse_network()
    export(network, tmp_path / "out", "scipy", compacted=False)
    with np.load(tmp_path / "out/policy.npz", allow_pickle=False) as file:
        for number, layer in enumerate(network.layers):
            arrays = (file[f"{number}.data"], file[f"{number}.indices"], file[f"{number}.indptr"])
            assert [array.dtype for array in arrays] == [np.float32, np.int32, np.int32]
            matrix = csr_matrix(arrays, shape=file[f"{number}.shape"])
            matrix.check_format()
            assert matrix.has_canonical_format
            np.testing.assert_array_equal(matrix.toarray(), layer.weight)
            np.testing.assert_array_equal(file[f"{number}.bias"], layer.bias)
            assert str(file[f"{number}.activation"]) == layer.activation


# ONNX


def test_an_onnx_file_is_checked_and_pinned_and_says_what_it_is(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export(sparse_network(), tmp_path / "out", "onnx", low=[-1, 0, 0], high=[1, 1, 1], about={"run": "ab", "n": 1})
    model = onnx.load(tmp_path / "out/policy.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == to_onnx.IR_VERSION
    assert [(each.domain, each.version) for each in model.opset_import] == [("", to_onnx.OPSET)]
    props = {each.key: each.value for each in model.metadata_props}
    assert props["run"] == "ab"
    assert json.loads(props["low"]) == [-1, 0, 0]
    assert json.loads(props["n"]) == 1
    session = session_of(tmp_path / "out/policy.onnx")
    assert [each.name for each in session.get_inputs()] == ["observation"]
    assert [each.name for each in session.get_outputs()] == ["action"]
    for batch in (1, 7):
        assert session.run(None, {"observation": SEEN[:batch]})[0].shape == (batch, 3)


# safetensors


def test_a_sequential_loads_the_dense_tensors_by_their_names(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    module = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3), nn.Tanh())
    export(network_of(module), tmp_path / "out", "safetensors")
    other = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3), nn.Tanh())
    other.load_state_dict(load_file(tmp_path / "out/policy.safetensors"))
    assert torch.equal(other(torch.from_numpy(SEEN)), module(torch.from_numpy(SEEN)))


def test_a_sparse_tensor_is_stored_by_its_connections_where_that_is_smaller(tmp_path: Path) -> None:
    from rl.checkpoint import read_weights

    network = sparse_network()
    export(network, tmp_path / "out", "safetensors", compacted=False)
    stored = read_weights(tmp_path / "out/policy.safetensors")
    assert [stored[f"{name}.weight"].layout for name in (0, 2, 4)] == [torch.sparse_coo] * 3
    for name, layer in zip((0, 2, 4), network.layers, strict=True):
        np.testing.assert_array_equal(stored[f"{name}.weight"].to_dense().numpy(), layer.weight)


# The folder


@pytest.mark.parametrize("to", FORMATS)
def test_equal_exports_are_equal_bytes(tmp_path: Path, to: str) -> None:
    if to == "onnx":
        pytest.importorskip("onnx")
    for name in ("one", "other"):
        export(sparse_network(), tmp_path / name, to, about={"run": "ab", "a": 1, "b": 2, "c": 3})
    assert {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "other").iterdir()
    }


def test_a_folder_of_the_same_words_is_written_anew_and_any_other_is_left_alone(tmp_path: Path) -> None:
    export(sparse_network(), tmp_path / "out", "scipy", about={"run": "ab"})
    export(sparse_network(width=8), tmp_path / "out", "scipy", about={"run": "ab"}, low=[0] * 3, high=[1] * 3)
    assert policy_in(tmp_path / "out").about["low"] == [0, 0, 0]
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    for words in ({"to": "safetensors"}, {"about": {"run": "cd"}}, {"compacted": False}):
        with pytest.raises(Occupied, match="holds another export: ab as scipy, compacted"):
            export(sparse_network(), tmp_path / "out", **{"to": "scipy", "about": {"run": "ab"}} | words)
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("all of it")
    with pytest.raises(Occupied, match="not empty and holds no export"):
        export(sparse_network(), mine, "scipy")
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]
    with pytest.raises(Occupied, match="is a file"):
        export(sparse_network(), mine / "thesis.tex", "scipy")


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    monkeypatch.chdir(tmp_path / "empty")
    for folder in (".", "../link"):
        export(sparse_network(), folder, "scipy")
    assert policy_in(tmp_path / "empty").act(SEEN).shape == (100, 3)


def test_a_card_of_somebody_else_is_no_export(tmp_path: Path) -> None:
    for card in ("{", "[]", "null", '{"format": "scipy"}', '{"format": 1, "compacted": 1, "words": 1}'):
        (tmp_path / "export.json").write_text(card)
        with pytest.raises(Occupied):
            export(sparse_network(), tmp_path, "scipy")


HOSTILE = '"}\n\x00\x1b[31m\ud800 \N{PILE OF POO} ../../etc </script> {{0}} %s'


@pytest.mark.parametrize("to", FORMATS)
def test_whatever_words_say_files_are_written_and_read(tmp_path: Path, to: str) -> None:
    if to == "onnx":
        pytest.importorskip("onnx")
    exported = export(sparse_network(), tmp_path / "out", to, about={"method": HOSTILE, HOSTILE: HOSTILE[:4]})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*exported.sizes, "export.json"])
    assert json.loads((tmp_path / "out/export.json").read_text())["words"]["method"] == HOSTILE
    if to == "scipy":
        assert policy_in(tmp_path / "out").about["method"] == HOSTILE
    if to == "onnx":
        session_of(tmp_path / "out/policy.onnx")


def test_bounds_are_one_for_each_action(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="each of the 3 numbers of an action"):
        export(sparse_network(), tmp_path / "out", "scipy", low=[0], high=[1])


def test_an_unknown_format_is_told_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no format named 'pickle'\. Known: safetensors, scipy, onnx"):
        export(sparse_network(), tmp_path / "out", "pickle")


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"pip install 'sparsity-rl\[onnx\]'"):
        export(sparse_network(), tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


KILLED = """
import os, signal, sys
from sparsity.export import folder
from exports import sparse_network

left = int(sys.argv[2])

def fatal(call):
    def counted(*given):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*given)
    return counted

os.fsync, os.replace = fatal(os.fsync), fatal(os.replace)
folder.export(sparse_network(width=int(sys.argv[3])), sys.argv[1], "scipy", about={"run": "ab"})
"""


@pytest.mark.parametrize(("exists", "after"), [(False, 1), (True, 1), (True, 4)])
def test_an_export_killed_anywhere_leaves_whole_files(tmp_path: Path, exists: bool, after: int) -> None:
    """Before a write is synced or a file replaced: of a new folder nothing is seen, in an old one every file is the old
    or the new, and it can be given again."""
    out = tmp_path / "out"
    if exists:
        export(sparse_network(width=8), out, "scipy", about={"run": "ab"})
    old = {path.name: path.read_bytes() for path in out.iterdir()} if exists else {}
    path = os.pathsep.join((str(Path(__file__).parent), str(Path(__file__).parent.parent)))
    words = [sys.executable, "-c", textwrap.dedent(KILLED), str(out), str(after), "40"]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, timeout=120)
    assert done.returncode == -signal.SIGKILL
    export(sparse_network(), tmp_path / "new", "scipy", about={"run": "ab"})
    new = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert out.exists() == exists
    for file in out.iterdir() if exists else ():
        assert file.name.startswith(".") or file.read_bytes() in (old[file.name], new[file.name])
    export(sparse_network(), out, "scipy", about={"run": "ab"})
    assert {name: (out / name).read_bytes() for name in new} == new
