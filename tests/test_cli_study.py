"""The whole way of a small grid: run, list, status, table, plot, verify, and given again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import ENV, Answer, Lab, no_figures
from scipy import stats

from rl.checkpoint import read_weights
from studies.sealed import read_sealed, write_sealed
from studies.store import Damaged, Store

quiet = no_figures

METHODS = ("dense", "dense_small", "static", "set", "rigl", "ds")
GRID = (",".join(METHODS), "--densities", "0.5", "--seeds", "2", "--eval-every", "6", "--set", "random_episodes=4")
FILES = (
    "contents.json",
    "evaluations.csv",
    "result.json",
    "topology.csv",
    "training.csv",
    "weights.safetensors",
    "world.json",
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Answer]:
    """The grid, carried out once."""
    lab = Lab(tmp_path_factory.mktemp("grid"))
    return lab, lab.grid(*GRID)


@pytest.fixture
def copy(done: tuple[Lab, Answer], tmp_path: Path) -> Lab:
    """A copy of the finished store, to be damaged."""
    lab = Lab(tmp_path)
    shutil.copytree(done[0].store, lab.store)
    return lab


def table(lab: Lab) -> dict[str, dict[str, str]]:
    answer = lab("study", "table", "tiny", "--format", "csv")
    assert answer.code == 0, answer.err
    return {row["method"]: row for row in csv.DictReader(io.StringIO(answer.out))}


def evaluations(folder: Path) -> tuple[list[int], list[float]]:
    with open(folder / "evaluations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [int(r["step"]) for r in rows], [float(np.mean([float(x) for x in r["returns"].split()])) for r in rows]


def test_a_grid_ends_with_its_table_and_figures(done: tuple[Lab, Answer]) -> None:
    lab, answer = done
    assert answer.code == 0, answer.err
    for method in (*METHODS, "random policy"):
        assert f"\n{method} " in answer.out
    for figure in ("learning-curves.png", "learning-curves.pdf", "sparsity-against-return.png"):
        path = lab.store / "studies" / "tiny" / figure
        assert path.stat().st_size > 1000
        assert str(path) in answer.out
    assert (lab.store / "studies" / "tiny" / "table.md").is_file()
    assert (lab.store / "studies" / "tiny" / "table.csv").is_file()
    assert "13 runs, 13 to do" in answer.err


def test_progress_goes_to_standard_error_and_the_table_to_standard_output(done: tuple[Lab, Answer]) -> None:
    _, answer = done
    assert "[13/13]" in answer.err
    assert "[13/13]" not in answer.out


def test_every_run_has_its_files_and_hashes(done: tuple[Lab, Answer]) -> None:
    lab, _ = done
    assert len(lab.folders()) == 13
    for folder in lab.folders():
        manifest = json.loads((folder / "manifest.json").read_text())
        assert sorted(manifest["files"]) == sorted(FILES)
        left = {path.name for path in folder.rglob("*") if path.is_file()}
        assert left == {*FILES, "manifest.json", "lock", "0001.json"}, "nothing temporary is left"


def test_a_run_is_evaluated_at_the_start_every_so_often_and_at_the_end(done: tuple[Lab, Answer]) -> None:
    steps, _ = evaluations(done[0].folder_of("set"))
    assert steps == list(range(0, 121, 6))


def test_given_again_nothing_is_run_and_the_table_is_the_same(copy: Lab, quiet: None) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.store.glob("runs/*/*")}
    shown = copy("study", "table", "tiny").out
    again = copy.grid(*GRID)
    assert again.code == 0
    assert "13 runs, 0 to do" in again.err
    assert "[1/" not in again.err
    assert again.out.strip() == shown.strip()
    assert {path: path.stat().st_mtime_ns for path in copy.store.glob("runs/*/*")} == before


def test_a_study_of_the_store_runs_by_its_name(copy: Lab, quiet: None) -> None:
    again = copy.run("tiny")
    assert again.code == 0, again.err
    assert "13 runs, 0 to do" in again.err


def test_another_study_of_that_name_is_refused(copy: Lab) -> None:
    before = sorted(copy.store.rglob("*"))
    other = copy.grid("dense,set", "--densities", "0.5")
    assert other.code == 2
    assert "another study named 'tiny'" in other.err
    assert "--name" in other.err
    assert sorted(copy.store.rglob("*")) == before


def test_studies_share_their_runs(copy: Lab, quiet: None) -> None:
    again = copy.grid("set,ds", *GRID[1:], "--name", "other")
    assert again.code == 0
    assert "5 runs, 0 to do" in again.err


def test_studies_are_listed_with_how_far_they_are(done: tuple[Lab, Answer]) -> None:
    answer = done[0]("study", "list")
    assert answer.code == 0
    assert "tiny" in answer.out
    assert "13 runs: 13 done" in answer.out
    assert "quickstart" in answer.out


def test_status_counts_runs(done: tuple[Lab, Answer]) -> None:
    answer = done[0]("study", "status", "tiny")
    assert (answer.code, answer.out.strip()) == (0, "tiny: 13 runs: 13 done")


@pytest.mark.parametrize(
    ("format_", "sign"),
    [("text", "-----"), ("markdown", "|:---|"), ("latex", r"\toprule"), ("csv", "agent,env,method")],
)
def test_the_table_in_every_format(done: tuple[Lab, Answer], format_: str, sign: str) -> None:
    answer = done[0]("study", "table", "tiny", "--format", format_)
    assert answer.code == 0
    assert sign in answer.out
    rows = ["dense", "static", "set", "rigl", "ds", "random policy"]
    small = {"markdown": r"dense\_small", "latex": r"dense\_small"}.get(format_, "dense_small")
    for row in [*rows, small]:
        assert row in answer.out


def test_tables_are_the_same_each_time(done: tuple[Lab, Answer]) -> None:
    one, other = (done[0]("study", "table", "tiny", "--format", "csv").out for _ in range(2))
    assert one == other


def test_plot_says_what_it_drew(copy: Lab) -> None:
    for path in (copy.store / "studies" / "tiny").glob("*.p??"):
        path.unlink()
    answer = copy("study", "plot", "tiny")
    assert answer.code == 0
    drawn = [Path(line) for line in answer.out.splitlines()]
    assert drawn
    assert all(path.is_file() for path in drawn)


def test_verify_finds_nothing_to_complain_about(done: tuple[Lab, Answer]) -> None:
    answer = done[0]("study", "verify", "tiny")
    assert (answer.code, answer.out.strip()) == (0, "13 finished runs checked, 0 damaged files")


def test_table_numbers_are_those_of_the_evaluations(done: tuple[Lab, Answer]) -> None:
    lab, _ = done
    rows = table(lab)
    for method in METHODS:
        curves = [evaluations(lab.folder_of(method, seed))[1] for seed in (0, 1)]
        assert {len(curve) for curve in curves} == {21}
        scores = np.array([np.mean(curve[-2:]) for curve in curves])  # The last tenth of 21 evaluations.
        half = stats.t.ppf(0.975, 1) * scores.std(ddof=1) / math.sqrt(2)
        row = rows[method]
        assert float(row["return"]) == pytest.approx(scores.mean())
        assert float(row["return_low"]) == pytest.approx(scores.mean() - half)
        assert float(row["return_high"]) == pytest.approx(scores.mean() + half)
        assert float(row["lca"]) == pytest.approx(np.mean([np.mean(curve) for curve in curves]))
        assert (row["planned"], row["done"], row["failed"], row["diverged"], row["unfinished"]) == tuple("22000")
        results = [lab.result_of(method, seed) for seed in (0, 1)]
        assert float(row["parameters"]) == np.mean([r["parameters"] for r in results])
        assert float(row["flops_ratio"]) == pytest.approx(np.mean([r["flops_ratio"] for r in results]))


def test_every_run_has_a_line_with_its_id_and_score(done: tuple[Lab, Answer]) -> None:
    lab, _ = done
    lines = list(csv.DictReader(io.StringIO(lab("study", "table", "tiny", "--runs", "--format", "csv").out)))
    assert len(lines) == 2 * len(METHODS)
    for line in lines:
        folder = lab.folder_of(line["row"], int(line["seed"]))
        assert line["run"] == folder.name
        assert float(line["score"]) == np.mean(evaluations(folder)[1][-2:])
    shown = lab("study", "table", "tiny", "--runs").out
    assert all(line["run"] in shown for line in lines)


@pytest.mark.parametrize(
    "words",
    [
        ("table", "tiny", "--against", "dense", "--runs"),
        ("table", "tiny", "--against", "dense", "--clock", "cpu"),
        ("plot", "tiny", "--measure", "churn", "--clock", "cpu"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(done: tuple[Lab, Answer], words: tuple[str, ...]) -> None:
    answer = done[0]("study", *words)
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert words[-1] in answer.err


def test_the_random_policy_s_row_is_of_its_episodes(done: tuple[Lab, Answer]) -> None:
    lab, _ = done
    with open(lab.folder_of("Random policy") / "evaluations.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    returns = np.array([float(x) for x in row["returns"].split()])
    shown = table(lab)["random policy"]
    assert (len(returns), shown["episodes"]) == (4, "4")
    assert float(shown["return"]) == pytest.approx(returns.mean())
    assert float(shown["standard_error"]) == pytest.approx(returns.std(ddof=1) / 2)


def weights(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Online weight matrices by learner and name."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in read_weights(folder / "weights.safetensors").items():
        array = tensor.to_dense().numpy()
        learner, _, rest = name.partition("/") if "/" in name else name.partition(".")
        found.setdefault(learner, {})[rest] = array
    return {learner: arrays for learner, arrays in found.items() if learner in ("actor", "critic")}


def test_absent_connections_are_zero_in_the_final_weights(done: tuple[Lab, Answer]) -> None:
    for method in ("static", "set", "rigl", "ds"):
        layers, arrays = done[0].result_of(method)["layers"], weights(done[0].folder_of(method))
        assert layers
        for learner, counts in layers.items():
            for name, layer in counts.items():
                matrix = arrays[learner][name]
                assert matrix.size == layer["size"]
                assert 0 < np.count_nonzero(matrix) <= layer["active"] < layer["size"] + 1


def sizes(folder: Path) -> tuple[int, int]:
    """Weights and parameters of the networks in a folder's weights file."""
    arrays = [a for of in weights(folder).values() for a in of.items()]
    return (
        sum(a.size for name, a in arrays if name.endswith("weight")),
        sum(a.size for _, a in arrays),
    )


def test_kept_weights_and_parameters_are_those_of_the_files(done: tuple[Lab, Answer]) -> None:
    for method in ("dense", "static", "set", "rigl", "ds"):
        result = done[0].result_of(method)
        every, parameters = sizes(done[0].folder_of(method))
        absent = sum(x["size"] - x["active"] for layers in result["layers"].values() for x in layers.values())
        assert result["realised_density"] == pytest.approx((every - absent) / every), method
        assert result["parameters"] == parameters - absent, method


def test_training_flops_of_a_static_network_have_a_closed_form(done: tuple[Lab, Answer]) -> None:
    """Weights, those of the actor halved: it steps on every second update."""
    result, arrays = done[0].result_of("static"), weights(done[0].folder_of("static"))
    dense = {name: sum(a.size for n, a in of.items() if n.endswith("weight")) for name, of in arrays.items()}
    absent = {n: sum(x["size"] - x["active"] for x in layers.values()) for n, layers in result["layers"].items()}
    expected = (dense["critic"] - absent["critic"] + (dense["actor"] - absent["actor"]) / 2) / (
        dense["critic"] + dense["actor"] / 2
    )
    assert result["flops_ratio"] == pytest.approx(expected, rel=1e-12)
    assert done[0].result_of("dense")["flops_ratio"] == 1
    assert done[0].result_of("dense")["realised_density"] == 1


def test_hidden_layers_have_the_density_asked_for(done: tuple[Lab, Answer]) -> None:
    for method in ("static", "set", "rigl"):
        for layers in done[0].result_of(method)["layers"].values():
            active, size = (sum(x[key] for x in layers.values()) for key in ("active", "size"))
            assert abs(active - 0.5 * size) <= 2, "a population of two rounds twice"


def test_a_small_dense_network_is_as_small_and_hardly_smaller(done: tuple[Lab, Answer]) -> None:
    """At most as many parameters as the sparse row, and one unit of width more would be too many."""
    lab, _ = done
    small, sparse = lab.result_of("dense_small")["parameters"], lab.result_of("static")["parameters"]
    assert small <= sparse
    arrays = weights(lab.folder_of("dense_small"))
    wider = {name: wide([a.shape for n, a in of.items() if n.endswith("weight")]) for name, of in arrays.items()}
    static, kept = weights(lab.folder_of("static")), lab.result_of("static")["layers"]
    for learner, of in static.items():
        absent = sum(x["size"] - x["active"] for x in kept[learner].values())
        limit = sum(a.size for a in of.values()) - absent
        mine = sum(a.size for a in arrays[learner].values())
        assert mine <= limit
        assert mine >= 0.95 * limit or wider[learner] > limit, learner
    assert lab.result_of("dense_small")["flops_ratio"] < 1


def wide(shapes: list[Any]) -> int:
    """Parameters of an MLP whose hidden layers are one unit wider than in these weight shapes."""
    copies = shapes[0][0] if len(shapes[0]) == 3 else 1
    total = 0
    for i, shape in enumerate(shapes):
        out, fan_in = shape[-2:]
        out, fan_in = out + (i < len(shapes) - 1), fan_in + (i > 0)
        total += copies * out * (fan_in + 1)
    return total


def test_methods_of_one_seed_start_from_the_same_policy(done: tuple[Lab, Answer]) -> None:
    """Equal seeds share initial weights and evaluation starts: comparisons are paired."""
    lab, _ = done
    first = [evaluations(lab.folder_of(method))[1][0] for method in ("static", "set")]
    assert first[0] == first[1]


# Damage


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_flipped_bit_is_named_and_its_run_counted_as_failed(copy: Lab, name: str) -> None:
    path = copy.folder_of("set") / name
    flip(path, path.stat().st_size * 4)
    answer = copy("study", "verify", "tiny")
    assert answer.code == 4
    assert copy.folder_of("set").name in answer.out
    assert name in answer.out
    row = table(copy)["set"]
    assert (row["done"], row["failed"], row["planned"]) == ("1", "1", "2")
    assert "1 of 2, 1 failed" in copy("study", "table", "tiny").out


def test_a_file_that_is_gone_is_named(copy: Lab) -> None:
    (copy.folder_of("ds") / "weights.safetensors").unlink()
    answer = copy("study", "verify", "tiny")
    assert answer.code == 4
    assert "weights.safetensors" in answer.out


def test_no_flipped_bit_of_a_run_goes_unnoticed(copy: Lab) -> None:
    folder = copy.folder_of("set")
    store, generator = Store(copy.store), np.random.default_rng(0)
    for name in (*FILES, "manifest.json"):
        path = folder / name
        whole = path.read_bytes()
        for bit in generator.integers(len(whole) * 8, size=60):
            flip(path, int(bit))
            assert store.verify(folder.name), (name, bit)
            path.write_bytes(whole)
    assert not store.verify(folder.name)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_status_tells_of_a_file_that_is_cut_short(copy: Lab, name: str) -> None:
    path = copy.folder_of("set") / name
    path.write_bytes(path.read_bytes()[:-1])
    answer = copy("study", "status", "tiny")
    assert "1 failed" in answer.out
    assert name in answer.out


def named(store: Store) -> str:
    """What `verify` says of the study."""
    try:
        return " ".join(store.verify_study("tiny")[1])
    except Damaged as damage:
        return str(damage)


def test_a_flipped_bit_of_a_study_or_of_a_failure_is_named(copy: Lab) -> None:
    store, folder = Store(copy.store), copy.store / "studies" / "tiny"
    (copy.folder_of("set") / "manifest.json").unlink()
    store.fail(copy.folder_of("set").name, "it fell over")
    assert copy("study", "verify", "tiny").code == 0
    for path in (folder / "study.toml", folder / "cells.json", copy.folder_of("set") / "failure.json"):
        whole = path.read_bytes()
        for bit in np.random.default_rng(1).integers(len(whole) * 8, size=20):
            flip(path, int(bit))
            assert str(path) in named(store), (path, bit)
            path.write_bytes(whole)
    assert store.verify_study("tiny")[1] == []


def test_a_sealed_file_is_read_back_and_no_byte_of_it_may_differ(tmp_path: Path) -> None:
    path, value = tmp_path / "it.json", {"name": "über", "numbers": [1, 0.5], "none": None}
    write_sealed(path, value)
    whole = path.read_bytes()
    assert read_sealed(path) == value
    changed = [whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :] for i in range(len(whole)) for bit in range(8)]
    for data in [*changed, *(whole[:i] for i in range(len(whole))), whole + b"\n", b" " + whole]:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"it\.json is not as it was written"):
            read_sealed(path)


def test_a_damaged_run_can_be_made_again(copy: Lab, quiet: None) -> None:

    flip(copy.folder_of("set") / "result.json", 100)
    again = copy.grid(*GRID)
    assert "1 to do" in again.err or "damaged" in again.err + again.out or again.code == 4


def test_a_damaged_list_of_runs_is_a_plain_sentence(copy: Lab) -> None:

    (copy.store / "studies" / "tiny" / "cells.json").write_text("[{")
    for command in ("status", "table", "verify"):
        answer = copy("study", command, "tiny")
        assert answer.code == 4
        assert "cells.json" in answer.err


def test_another_world_is_a_row_of_its_own(copy: Lab) -> None:
    folder = copy.folder_of("set")
    world = json.loads((folder / "world.json").read_text()) | {"torch": "1.0.0"}
    (folder / "world.json").write_text(json.dumps(world))
    manifest = read_sealed(folder / "manifest.json")
    manifest["files"]["world.json"] = hashlib.sha256((folder / "world.json").read_bytes()).hexdigest()
    manifest["bytes"]["world.json"] = (folder / "world.json").stat().st_size
    write_sealed(folder / "manifest.json", manifest)
    answer = copy("study", "table", "tiny")
    assert answer.code == 0
    assert "torch 1.0.0" in answer.out, "runs of different worlds are never pooled silently"


def test_tables_need_no_registry(done: tuple[Lab, Answer]) -> None:
    """A study stays readable when the plugin that made it is gone: only its runs and its list of them are read."""
    assert ENV in done[0]("study", "table", "tiny").out


def test_every_row_is_compared_with_one_of_them(done: tuple[Lab, Answer]) -> None:
    answer = done[0]("study", "table", "tiny", "--against", "dense")
    assert answer.code == 0, answer.err
    lines = {line.split("  ")[0]: line for line in answer.out.splitlines()}
    assert {"set 0.5", "static 0.5"} <= set(lines), answer.out
    scores = {name: float(row["return"]) for name, row in table(done[0]).items() if name in ("set", "dense")}
    assert f"{scores['set'] - scores['dense']:+,.4g}" in lines["set 0.5"]
    assert "2 against 2" in lines["set 0.5"]
    unknown = done[0]("study", "table", "tiny", "--against", "dence")
    assert (unknown.code, "no row is labelled 'dence'" in unknown.err) == (2, True)
    [row, *_] = csv.DictReader(
        io.StringIO(done[0]("study", "table", "tiny", "--against", "dense", "--format", "csv").out)
    )
    assert (row["against"], row["done"], row["test"]) == ("dense", "2", "welch")
    permuted = done[0]("study", "table", "tiny", "--against", "dense", "--test", "permutation")
    assert "p: permutation test" in permuted.out
    assert "add --against" in done[0]("study", "table", "tiny", "--test", "permutation").err
