"""`sparsity train`: one run in a process of its own, and what it prints of it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from lab import ENV, Lab, a_lab, in_this_process, no_figures, sparsity

lab, quiet, inside = a_lab, no_figures, in_this_process

QUICK = (
    *("--set", "td3.batch_size=8", "--hidden", "16,16", "--set", "warmup=50", "--steps", "120"),
    "--eval-every",
    "60",
)

#              p of Sokar et al. 2022, Eq. 1, with lambda 7 and 64, and the weights of the layer
DS_LAYERS = {
    ("actor", "hidden.0.weight"): (7 * (17 + 256) / (17 * 256), 17 * 256),
    ("actor", "hidden.1.weight"): (0.5, 256 * 256),
    ("critic", "hidden.0.weight"): (7 * (23 + 256) / (23 * 256), 2 * 23 * 256),
    ("critic", "hidden.1.weight"): (0.5, 2 * 256 * 256),
}


def result_of(lab: Lab) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    (folder,) = lab.folders()
    result: dict[str, dict[str, dict[str, dict[str, int]]]] = json.loads((folder / "result.json").read_text())
    return result


def test_the_paper_s_densities_are_realised_and_printed(lab: Lab) -> None:
    """DS-TD3 on HalfCheetah: .439 and .5 in the actor, .332 and .5 in the critic, up to the Bernoulli draw."""
    answer = lab(
        *("train", "--env", "HalfCheetah-v5", "--method", "ds", "--preset", "ds-td3", "--steps", "200"),
        *("--set", "warmup=100", "--set", "episodes=1"),
    )
    assert answer.code == 0, answer.err
    printed = re.findall(r"^(actor|critic) +(\S+) +density (\d\.\d+) \(([\d,]+) of ([\d,]+)", answer.out, re.MULTILINE)
    assert {(learner, layer) for learner, layer, *_ in printed} == set(DS_LAYERS)
    assert round(DS_LAYERS["actor", "hidden.0.weight"][0], 3) == 0.439
    assert round(DS_LAYERS["critic", "hidden.0.weight"][0], 3) == 0.332
    layers = result_of(lab)["layers"]
    for learner, layer, density, active, size in printed:
        p, n = DS_LAYERS[learner, layer]
        assert int(size.replace(",", "")) == n
        assert abs(float(density) - p) <= 4 * math.sqrt(p * (1 - p) / n) + 5e-5
        assert int(active.replace(",", "")) == layers[learner][layer]["active"]
        assert layers[learner][layer]["target"] <= layers[learner][layer]["active"]
    assert "of the dense training FLOPs" in answer.out
    assert str(lab.folders()[0]) in answer.out
    assert "no change of topology" in answer.err, "a run too short for an event says so"


def test_densities_differ_by_learner(lab: Lab, inside: None) -> None:
    answer = lab("train", "--env", ENV, "--method", "set", "--density", "actor=0.3,critic=0.7", *QUICK)
    assert answer.code == 0, answer.err
    for learner, asked in (("actor", 0.3), ("critic", 0.7)):
        layers = result_of(lab)["layers"][learner].values()
        assert sum(x["active"] for x in layers) / sum(x["size"] for x in layers) == pytest.approx(asked, abs=0.01)


def test_a_training_is_a_study_of_one_run_in_the_same_store(lab: Lab, inside: None) -> None:
    words = ("train", "--env", ENV, *QUICK, "--name", "mine", "--seed", "7")
    answer = lab(*words)
    assert answer.code == 0, answer.err
    assert "study mine: 1 run, 1 to do" in answer.err
    assert "mine" in lab("study", "list").out
    table = lab("study", "table", "mine")
    assert table.code == 0
    assert "dense" in table.out
    again = lab(*words)
    assert "study mine: 1 run, 0 to do" in again.err
    assert again.out == answer.out


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.folder)
    answer = lab("train", "--env", ENV, *QUICK, "--dry-run")
    assert answer.code == 0
    for word in ("runs", "hours", " min) with ", "memory", "disk"):
        assert word in answer.out
    assert not lab.store.exists()
    assert {path.name for path in Path().iterdir()} == {"here.py"}


def test_the_store_may_be_named_by_the_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSITY_STORE", str(lab.folder / "elsewhere"))
    assert "elsewhere" in sparsity("study", "list").out
    assert "elsewhere" not in lab("study", "list").out
