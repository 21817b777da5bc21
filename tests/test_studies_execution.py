"""Runs are carried out in the execution that they were planned for, and it changes little but the time."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import REGISTRY, Lab, a_lab, a_run, no_figures, runs

from rl.checkpoint import read_weights
from sparsity import DS, DS_RELEASED, RIGL, SET
from sparsity.execution.choice import planned_execution

lab, quiet = a_lab, no_figures

EVENTS = """
agents = ["td3"]
envs = ["InvertedPendulum-v5"]
seeds = 1
steps = 150
warmup = 50
eval_every = 75
episodes = 1
random_episodes = 0
densities = [0.3]
[all]
schedule = { every = 10, fraction = 0.2 }
[methods]
"SET" = { base = "set" }
"RigL" = { base = "rigl", schedule = { part = "periodic", every = 10, fraction = 0.2 } }
"DS" = { base = "ds", allocation = "erk" }
[settings.td3]
batch_size = 16
hidden = [16, 16]
"""


def topology(folder: Path) -> list[list[str]]:
    with open(folder / "topology.csv", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def both(lab: Lab) -> Lab:
    for execution in ("masked", "sparse"):
        answer = lab.study(EVENTS, "--name", execution, "--execution", execution)
        assert answer.code == 0, answer.err
    return lab


@pytest.mark.parametrize("method", ["SET", "RigL", "DS"])
def test_a_run_has_the_same_events_in_both_executions(both: Lab, method: str) -> None:
    masked, sparse = (both.folder_of(method, name=name) for name in ("masked", "sparse"))
    assert masked != sparse, "the execution is part of what a run is"
    assert len(topology(masked)) > 20
    assert topology(masked) == topology(sparse)
    one, other = (both.result_of(method, name=name) for name in ("masked", "sparse"))
    for key in ("parameters", "realised_density", "flops_ratio", "layers", "events", "updates"):
        assert one[key] == other[key], key


@pytest.mark.parametrize("method", ["SET", "RigL", "DS"])
def test_the_weights_files_hold_the_same_network_and_the_sparse_one_is_smaller(both: Lab, method: str) -> None:
    masked, sparse = (both.folder_of(method, name=name) / "weights.safetensors" for name in ("masked", "sparse"))
    one, other = read_weights(masked), read_weights(sparse)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name].to_dense(), atol=1e-4), name
    assert any(tensor.layout != torch.strided for tensor in other.values())


def test_a_sparse_run_repeats_its_bytes(tmp_path: Path) -> None:
    found = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        lab = Lab(tmp_path / place)
        assert lab.study(EVENTS, "--execution", "sparse").code == 0
        folder = lab.folder_of("DS", name="study")
        found.append(
            [(folder / name).read_bytes() for name in ("evaluations.csv", "result.json", "weights.safetensors")]
        )
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "execution"),
    [
        ({}, "sparse"),
        ({"execution": "masked"}, "masked"),
        ({"execution": "sparse"}, "sparse"),
        ({"device": "cuda"}, "masked"),
        ({"methods": {"Dense": "dense"}}, "masked"),
        ({"methods": {"R": "ds_released"}}, "masked"),
        ({"methods": {"K": {"base": "set", "moments": "keep"}}}, "masked"),
        ({"methods": {"F": {"base": "set", "density": 0.98}}}, "masked"),
        ({"methods": {"C": {"base": "set", "actor": {"base": "ds_released"}}}}, "masked"),
        ({"methods": {"D": {"base": "set", "actor": {"base": "dense"}}}}, "sparse"),
    ],
)
def test_auto_is_resolved_by_what_a_run_is(changes: dict[str, Any], execution: str) -> None:
    assert a_run(**changes).execution == execution


def test_the_execution_is_part_of_the_id() -> None:
    masked, sparse = (a_run(execution=execution) for execution in ("masked", "sparse"))
    assert masked.id != sparse.id
    assert a_run().id in (masked.id, sparse.id)


def test_dense_runs_are_the_same_run_whatever_the_execution() -> None:
    ids = {run.id for e in ("auto", "masked", "sparse") for run in runs(methods={"Dense": "dense"}, execution=e)}
    assert len(ids) == 1


@pytest.mark.parametrize("batch", [1, 100, 256, 4096])
@pytest.mark.parametrize("widths", [(8,), (256, 256), (1024, 1024, 1024)])
def test_planning_takes_any_shape_and_batch(widths: tuple[int, ...], batch: int) -> None:
    for method in (SET, RIGL, DS):
        assert planned_execution(widths, batch, "cpu", method, REGISTRY) in ("masked", "sparse")
    assert planned_execution(widths, batch, "cpu", DS_RELEASED, REGISTRY) == "masked"
    assert planned_execution((), batch, "cpu", SET, REGISTRY) == "masked"
