"""The record of topologies: what is read back is what the masks were, whatever carries them out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab import Lab, a_lab, no_figures
from numpy.random import SeedSequence
from safetensors.numpy import load, load_file
from toys_sparse import Layered

from registry import part
from sparsity import SET, Sparsifier
from studies.topologies import LEAST, LOOKS, Topologies, read, stride

lab, quiet = a_lab, no_figures

SWAPPING = replace(SET, allocation=part("uniform", density=0.3), schedule=part("periodic", fraction=0.4, every=5))


def kept(folder: Path, execution: str, looks: int = 6) -> list[dict[str, torch.Tensor]]:
    """A twin agent that swaps at its steps 5 and 10, looked at after every second step; the masks at each look."""
    twin = Layered(None, execution)
    sparsifiers = {
        learner.name: Sparsifier(learner, SWAPPING, seed=SeedSequence(3), execution=execution)  # type: ignore[arg-type]
        for learner in twin.learners
    }
    record = Topologies(folder, sparsifiers, steps=2 * looks, eval_every=2)

    def masks() -> dict[str, torch.Tensor]:
        return {f"{who} {name}": mask for who, each in sparsifiers.items() for name, mask in each.masks.items()}

    seen = [masks()]
    record.look(0)
    for look in range(1, looks + 1):
        for step in range(2):
            twin.do(2 * look + step)
        record.look(2 * look)
        seen.append(masks())
    return seen


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_the_masks_that_are_read_are_those_that_were_there(tmp_path: Path, execution: str) -> None:
    seen = kept(tmp_path, execution)
    record = read(tmp_path)
    assert record.steps == (0, 2, 4, 6, 8, 10, 12)
    assert {f"{who} {name}" for who, name in record.shapes} == set(seen[0])
    for layer in record.shapes:
        there = [masks[" ".join(layer)].numpy() for masks in seen]
        assert np.array_equal(record.masks(layer), np.stack(there))
        assert not np.array_equal(there[0], there[-1])


def test_both_executions_keep_the_same_record(tmp_path: Path) -> None:
    for execution in ("masked", "sparse"):
        (tmp_path / execution).mkdir()
        kept(tmp_path / execution, execution)
    one, other = ((tmp_path / name / "topologies.safetensors").read_bytes() for name in ("masked", "sparse"))
    assert one == other


def test_a_look_takes_a_bit_a_weight_and_nothing_where_nothing_has_changed(tmp_path: Path) -> None:
    seen = kept(tmp_path, "masked")
    sizes = [len(bits) for _, bits in sorted(load_file(tmp_path / "topologies.safetensors").items())]
    whole = sum(math.ceil(mask.numel() / 8) for mask in seen[0].values())
    changed = [any(not torch.equal(old[name], new[name]) for name in old) for old, new in pairwise(seen)]
    assert sizes == [whole, *(whole if change else 0 for change in changed)]
    assert changed.count(False) == 4


@given(steps=st.integers(1, 3_000_000), eval_every=st.integers(1, 100_000), size=st.integers(0, 2_000_000))
def test_long_runs_keep_few_looks_evenly_and_their_end(steps: int, eval_every: int, size: int) -> None:
    every = stride(steps, eval_every, size) * eval_every
    regular = steps // every
    looks = 1 + regular + (steps % every > 0)
    assert looks <= LOOKS
    assert looks <= LEAST or looks * size <= 4_000_000
    if steps // eval_every >= 2 * LOOKS and size <= 100_000:
        assert looks > LOOKS // 2


def test_what_is_not_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run it with --diagnostics"):
        read(tmp_path)
    kept(tmp_path, "masked")
    from safetensors.numpy import save_file

    file = tmp_path / "topologies.safetensors"
    looks, record = load(file.read_bytes()), read(tmp_path)
    layers = [[who, name, shape] for (who, name), shape in record.shapes.items()]
    save_file({name: bits[:-1] for name, bits in looks.items()}, file, {"layers": json.dumps(layers)})
    with pytest.raises(ValueError, match="bytes where"):
        read(tmp_path).masks(next(iter(record.shapes)))


def test_a_run_keeps_its_topologies_with_its_diagnostics_and_answers_for_them(lab: Lab) -> None:
    """Events at updates 20, 40 and 60 of 70, evaluations at steps 0, 60 and 120, after 0, 10 and 70 updates."""
    shared = ("--densities", "0.4", "--set", 'all={schedule={part="periodic",every=20,fraction=0.3}}')
    assert lab.grid("dense,set", *shared, "--diagnostics").code == 0
    folder = lab.folder_of("set")
    assert "topologies.safetensors" in json.loads((folder / "manifest.json").read_text())["files"]
    record = read(folder)
    assert record.steps == (0, 60, 120)
    layers = lab.result_of("set")["layers"]
    assert {(who, name) for who, of in layers.items() for name in of} == set(record.shapes)
    from rl.checkpoint import read_weights

    weights = read_weights(folder / "weights.safetensors")
    for who, name in record.shapes:
        masks = record.masks((who, name))
        assert masks[-1].sum() == layers[who][name]["active"]
        assert not np.any(weights[f"{who}/{name}"].to_dense().numpy()[~masks[-1]])
        assert np.array_equal(masks[0], masks[1])
        assert not np.array_equal(masks[1], masks[2])
    assert read(lab.folder_of("dense")).shapes == {}
    with open(folder / "topologies.safetensors", "ab") as file:
        file.write(b" ")
    assert lab("study", "verify", "tiny").code == 4
