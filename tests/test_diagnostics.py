"""What masks and runs tell of themselves, against counts by hand; and that telling changes nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import REGISTRY, Lab, a_lab, no_figures
from numpy.random import SeedSequence
from toys_sparse import Layered

from registry import part
from sparsity import SET, Event, Sparsifier
from sparsity.cost import dense_gradient_flops, dense_gradient_steps
from sparsity.diagnostics import Watch, churn, cut_off, explored, jaccard, overlap
from studies.diagnostics import COLUMNS, read

lab, quiet = a_lab, no_figures


def mask(text: str) -> torch.Tensor:
    """Rows of `x` and `.`."""
    return torch.tensor([[c == "x" for c in row] for row in text.split()])


def test_the_measures_of_masks_by_hand() -> None:
    before, after = mask("xx. .x. ..."), mask("x.. .xx ...")
    assert jaccard(before, after) == 2 / 4
    assert churn(before, after) == 0.5
    assert churn(before, before) == churn(mask("..."), mask("...")) == 0
    assert explored(before | after) == 4 / 9
    assert cut_off(before) == (1 / 3, 1 / 3)
    assert overlap(mask("xxx. ...."), mask("xx.. xxxx")) == 2 / 3
    assert overlap(mask("...."), mask("xx..")) == 1


def test_twins_are_looked_at_one_by_one() -> None:
    """One twin has a unit that nothing enters and an input that goes nowhere, the other has none."""
    twins = torch.stack([mask("xx .."), mask("xx xx")])
    assert cut_off(twins) == (1 / 4, 0.0)


@pytest.mark.parametrize("execution", ["masked", "sparse"])
@pytest.mark.parametrize("readmit", [False, True])
def test_a_watch_tells_what_the_masks_went_through(execution: str, readmit: bool) -> None:
    twin = Layered(None, execution)
    method = replace(
        SET, allocation=part("uniform", density=0.3), schedule=part("periodic", fraction=0.4, every=2), readmit=readmit
    )
    heard: list[Event] = []
    history: list[dict[str, torch.Tensor]] = []

    def hear(event: Event) -> None:
        heard.append(event)
        history.append(sparsifier.masks)
        watch.heard(event)

    sparsifier = Sparsifier(twin.learners[0], method, seed=SeedSequence(3), execution=execution, on_event=hear)  # type: ignore[arg-type]
    watch, first = Watch(sparsifier), sparsifier.masks
    history.append(first)
    looks = []
    for number in range(3):
        for step in range(6):
            twin.do(6 * number + step)
        looks.append((len(history), watch.look()))
    start = 0
    for until, told in looks:
        for name, measures in told.items():
            ever = torch.stack([each[name] for each in history[:until]]).any(0)
            assert measures["explored"] == pytest.approx(float(ever.double().mean()))
            assert measures["density"] == pytest.approx(float(first[name].double().mean()))
            assert measures["churn"] == pytest.approx(churn(history[start][name], history[until - 1][name]))
            grown = back = left = returned = 0
            for i in range(start + 1, until):
                new = history[i][name] & ~history[i - 1][name]
                earlier = torch.stack([each[name] for each in history[:i]]).any(0)
                grown, back = grown + int(new.sum()), back + int((new & earlier).sum())
                [change] = [c for c in heard[i - 1].layers if c.name == name]
                left, returned = left + change.dropped + change.readmitted, returned + change.readmitted
            assert measures["regrown"] == pytest.approx(back / grown)
            assert measures.get("readmitted", 0) == pytest.approx(returned / left)
            assert (measures.get("readmitted", 0) > 0) == readmit
        start = until - 1
    assert looks[2][1][name]["explored"] > looks[0][1][name]["explored"] > 0.3
    assert all(0 <= m["target_overlap"] <= 1 for _, told in looks for m in told.values() if "target_overlap" in m)


# Cost.

DENSE_GRADIENTS = {
    **dict.fromkeys(["rigl", "itop_rigl", "granet", "rlx2", "rlx2_released", "ne", "ne_released"], 1.0),
    **dict.fromkeys(["snfs", "snfs_released"], math.inf),
}
"""The others form none, or are not charged for them by their papers."""


@pytest.mark.parametrize("name", REGISTRY.names("method"))
def test_who_pays_for_dense_gradients(name: str) -> None:
    method = REGISTRY.entry("method", name).value
    assert dense_gradient_steps(method, REGISTRY) == DENSE_GRADIENTS.get(name, 0.0)


def test_a_window_of_gradients_is_paid_for_step_by_step() -> None:
    assert dense_gradient_steps(replace(SET, grow=part("averaged")), REGISTRY) == 4


def test_an_event_of_rigl_costs_what_its_paper_says() -> None:
    """(3 f_S dT + 2 f_S + f_D) / (dT + 1) a step, f = 2 B W (Evci et al. 2020, appendix)."""
    batch, active, dense, every = 100, 30_000, 100_000, 100
    f_s, f_d = 2 * batch * active, 2 * batch * dense
    ours = (3 * f_s * (every + 1) + dense_gradient_flops(dense - active, batch)) / (every + 1)
    assert ours == pytest.approx((3 * f_s * every + 2 * f_s + f_d) / (every + 1))


SIZES = {"actor": 4 * 16 + 16 * 16 + 16, "critic": 2 * (5 * 16 + 16 * 16 + 16)}
"""Weights of the laboratory's TD3 on InvertedPendulum."""


def flops(active: dict[str, float], absent_steps: dict[str, float], updates: int = 70) -> float:
    strides = {"actor": 2, "critic": 1}
    return sum(6 * 8 * w * updates / strides[n] for n, w in active.items()) + sum(
        2 * 8 * each for each in absent_steps.values()
    )


@pytest.mark.parametrize(("base", "per_event"), [("set", False), ("rigl", True)])
def test_a_run_counts_its_dense_gradients(lab: Lab, base: str, per_event: bool) -> None:
    """Events at updates 20, 40, 60 for both networks, the actor's at its own steps."""
    done = lab.grid(base, "--set", 'all={schedule={part="periodic",every=20,fraction=0.2}}')
    assert done.code == 0, done.err
    result = lab.result_of(base)
    active = {n: SIZES[n] - sum(x["size"] - x["active"] for x in result["layers"][n].values()) for n in SIZES}
    absent = {n: 3 * (SIZES[n] - active[n]) if per_event else 0 for n in SIZES}
    assert result["training_flops"] == pytest.approx(flops(active, absent))
    assert result["training_flops_ratio"] == pytest.approx(
        flops(active, absent) / flops(SIZES, dict.fromkeys(SIZES, 0))
    )
    assert (result["training_flops_ratio"] > result["flops_ratio"]) == per_event
    assert result["action_flops"] == 2 * active["actor"]


def test_momentum_pays_at_every_step(lab: Lab) -> None:
    done = lab.grid("snfs", "--set", 'all={spread="in_place",schedule="never"}')
    assert done.code == 0, done.err
    result = lab.result_of("snfs")
    active = {n: SIZES[n] - sum(x["size"] - x["active"] for x in result["layers"][n].values()) for n in SIZES}
    absent = {"critic": 70 * (SIZES["critic"] - active["critic"]), "actor": 35 * (SIZES["actor"] - active["actor"])}
    assert result["training_flops"] == pytest.approx(flops(active, absent))


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_bytes_are_of_what_is_held(lab: Lab, execution: str) -> None:
    done = lab.grid("static", "--densities", "0.25", "--execution", execution)
    assert done.code == 0, done.err
    result = lab.result_of("static")
    biases = 16 + 16 + 1 + 2 * (16 + 16 + 1)
    held = result["parameters"] if execution == "sparse" else sum(SIZES.values()) + biases
    assert result["bytes"]["parameters"] == 4 * held
    assert result["bytes"]["moments"] == pytest.approx(2 * 4 * held, abs=100)  # and step counters
    assert (result["bytes"]["parameters"] < 4 * sum(SIZES.values())) == (execution == "sparse")


# Runs.

SAME = ("contents.json", "evaluations.csv", "training.csv", "topology.csv", "result.json", "weights.safetensors")


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_diagnostics_change_no_byte_of_a_run(tmp_path: Path, quiet: None, execution: str) -> None:
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    labs = [Lab(tmp_path / name) for name in ("with", "without")]
    shared = ("--execution", execution, "--densities", "0.4", "--set", 'all={schedule={part="periodic",every=10}}')
    for each, more in zip(labs, (["--diagnostics"], []), strict=True):
        done = each.grid("rigl", *shared, *more)
        assert done.code == 0, done.err
    folders = [each.folder_of("rigl") for each in labs]
    for name in SAME:
        assert folders[0].joinpath(name).read_bytes() == folders[1].joinpath(name).read_bytes(), name
    assert (folders[0] / "diagnostics.csv").is_file()
    assert not (folders[1] / "diagnostics.csv").exists()
    assert "diagnostics.csv" in json.loads((folders[0] / "manifest.json").read_text())["files"]


def test_a_run_tells_of_topologies_units_and_costs(lab: Lab) -> None:
    shared = ("--densities", "0.4", "--set", 'all={schedule={part="periodic",every=10,fraction=0.3}}')
    done = lab.grid("set", *shared, "--diagnostics")
    assert done.code == 0, done.err
    frame = read(lab.folder_of("set"))
    assert tuple(frame.columns) == COLUMNS
    assert sorted(set(frame.step)) == [0, 60, 120]
    last = frame[frame.step == 120]
    value: Any = last.set_index(["learner", "layer", "measure"]).value
    assert value["critic", "hidden.1.weight", "explored"] > value["critic", "hidden.1.weight", "density"]
    assert 0 < value["actor", "hidden.1.weight", "churn"] < 1
    assert value["critic", "hidden.1.weight", "target_overlap"] == 1  # SET's slow copy follows the mask
    for learner in ("actor", "critic"):
        assert 0 <= value[learner, "", "dead_units"] <= value[learner, "", "dormant_units"] <= 1
        assert 1 <= value[learner, "", "effective_rank"] <= 16
    result = lab.result_of("set")
    assert value["", "", "training_flops"] == result["training_flops"]
    assert value["", "", "bytes_parameters"] == result["bytes"]["parameters"]
    with pytest.raises(FileNotFoundError, match="run it with --diagnostics"):
        read(lab.folder)


def test_a_run_that_is_finished_without_them_is_said(lab: Lab) -> None:
    assert lab.grid("static").code == 0
    again = lab.grid("static", "--diagnostics")
    assert again.code == 0
    assert "2 finished runs were made without diagnostics, and stay as they are" in again.err


def test_a_measure_is_drawn_for_every_network_that_has_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    shared = ("--densities", "0.4", "--set", 'all={schedule={part="periodic",every=10,fraction=0.3}}')
    assert lab.grid("dense,set,static", *shared, "--diagnostics").code == 0
    drawn = lab("study", "plot", "tiny", "--measure", "explored")
    assert drawn.code == 0, drawn.err
    names = [Path(line).name for line in drawn.out.split()]
    assert names == [f"measure-explored-{n}.{kind}" for n in ("critic", "actor") for kind in ("png", "pdf")]
    assert all((lab.store / "studies" / "tiny" / name).stat().st_size > 1000 for name in names)
    assert lab("study", "plot", "tiny", "--measure", "training_flops").code == 0
    wrong = lab("study", "plot", "tiny", "--measure", "explord")
    assert wrong.code == 2
    assert "Did you mean 'explored'?" in wrong.err
    (tmp_path / "bare").mkdir()
    bare = Lab(tmp_path / "bare")
    assert bare.grid("static").code == 0
    nothing = bare("study", "plot", "tiny", "--measure", "churn")
    assert nothing.code == 2
    assert "run the study with --diagnostics" in nothing.err
