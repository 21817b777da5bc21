"""Weights on disk: whole or not at all, and refused where they do not fit."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rl import TD3, WeightsRefused, load_weights, random, save_weights, td3


def agent(seed: int = 0, dtype: torch.dtype = torch.float32, **settings: Any) -> TD3:
    defaults: dict[str, Any] = {"actor_hidden": (8,), "critic_hidden": (8, 8)}
    return td3(4, 2, seed, torch.device("cpu"), dtype, **defaults | settings)


def tensors(learned: TD3) -> list[torch.Tensor]:
    modules = [m for each in learned.learners() if each.target for m in (each.module, each.target.module)]
    return [tensor for module in modules for tensor in module.state_dict().values()]


def test_weights_and_targets_come_back_by_name(tmp_path: Path) -> None:
    one, two = agent(0), agent(1)
    with torch.no_grad():
        one.actor_target.module.head.bias.fill_(7)
    save_weights(tmp_path / "weights.safetensors", one)
    load_weights(tmp_path / "weights.safetensors", two)
    assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(two), strict=True))
    names = load_file(tmp_path / "weights.safetensors")
    assert {"actor/hidden.0.weight", "critic/hidden.1.bias", "target/actor/head.bias"} <= set(names)
    assert os.listdir(tmp_path) == ["weights.safetensors"]


def test_equal_agents_save_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_weights(tmp_path / name, agent(3))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_agent_without_learners_saves_and_loads_nothing(tmp_path: Path) -> None:
    save_weights(tmp_path / "weights", random(2, seed=0))
    load_weights(tmp_path / "weights", random(2, seed=0))


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (
            agent(actor_hidden=(9,)),
            r"actor/hidden.0.weight is \(9, 4\) float32 in .* and \(8, 4\) float32 in the agent",
        ),
        (agent(dtype=torch.float64), r"critic/hidden.0.weight is \(2, 8, 6\) float64"),
        (agent(critic_hidden=(8,)), r"no tensor 'critic/hidden.1.weight'"),
        (agent(critic_hidden=(8, 8, 8)), r"a tensor 'critic/hidden.2.bias' that the agent lacks"),
    ],
)
def test_the_first_misfit_is_named_and_nothing_is_loaded(tmp_path: Path, saved: TD3, message: str) -> None:
    save_weights(tmp_path / "weights", saved)
    learned = agent(5)
    before = [tensor.clone() for tensor in tensors(learned)]
    with pytest.raises(WeightsRefused, match=message):
        load_weights(tmp_path / "weights", learned)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(learned), strict=True))


@pytest.mark.parametrize("content", [b"", b"\x80\x04 a pickle", b"\x00" * 100])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(WeightsRefused, match="no readable safetensors file"):
        load_weights(tmp_path / "weights", agent())


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "weights", agent())
    (tmp_path / "weights").write_bytes((tmp_path / "weights").read_bytes()[:-1])
    with pytest.raises(WeightsRefused, match="no readable safetensors file"):
        load_weights(tmp_path / "weights", agent())


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    save_weights(tmp_path / "weights", agent(0))
    before = (tmp_path / "weights").read_bytes()
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="no space left"):
        save_weights(tmp_path / "weights", agent(1))
    assert (tmp_path / "weights").read_bytes() == before
    assert os.listdir(tmp_path) == ["weights"]


def test_a_file_written_by_others_loads(tmp_path: Path) -> None:
    one, two = agent(0), agent(1)
    save_weights(tmp_path / "ours", one)
    save_file(load_file(tmp_path / "ours"), tmp_path / "theirs", metadata={"by": "another tool"})
    load_weights(tmp_path / "theirs", two)
    assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(two), strict=True))
