"""A run's policy, found by what a user has at hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lab import ENV, REGISTRY, Lab, a_lab, in_this_process, no_figures  # noqa: F401

from rl.environment import check
from rl.streams import stream
from studies.build import attach, build_agent
from studies.policies import find_run, policy_of, policy_of_its_own
from studies.problems import BadInput
from studies.share import share
from studies.store import WEIGHTS, Damaged, Store

lab = a_lab


@pytest.fixture
def store(lab: Lab) -> Store:
    """A dense, a sparse and a random run."""
    answer = lab.grid("dense,set", "--densities", "0.5", "--set", "random_episodes=2", "--execution", "sparse")
    assert answer.code == 0, answer.err
    return Store(lab.store)


def id_of(lab: Lab, label: str) -> str:
    return lab.folder_of(label).name


def test_a_run_is_found_by_its_id_its_beginning_or_its_folder(lab: Lab, store: Store) -> None:
    whole = id_of(lab, "set")
    for given in (whole, whole[:8], str(store.run_folder(whole)), f"{store.run_folder(whole)}/"):
        run, where = find_run(given, store)
        assert run.id == whole
        assert where.root.resolve() == store.root.resolve()
    elsewhere, _ = find_run(str(store.run_folder(whole)), Store("no-such-store"))
    assert elsewhere.id == whole


@pytest.mark.parametrize("label", ["dense", "set"])
def test_the_policy_acts_as_the_run_s_own_agent_would(lab: Lab, store: Store, label: str) -> None:
    """The weights of a sparse run, taken by dense modules, are the same function."""
    from rl.checkpoint import load_weights

    run, _ = find_run(id_of(lab, label), store)
    sizes = check(ENV)
    policy = policy_of(run, store, sizes, REGISTRY)
    agent, _ = build_agent(run, sizes, REGISTRY)
    attach(agent, run, REGISTRY)
    load_weights(store.run_folder(run.id) / WEIGHTS, agent)
    seen = np.random.default_rng(stream(0, "exploration")).normal(size=(20, sizes[0])).astype(np.float32)
    for observation in seen:
        theirs, mine = agent.act(observation, explore=False), policy.act(observation, explore=False)
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    actor = next(learner.module for learner in policy.learners() if learner.name == "actor")
    zeros = sum(int((p == 0).sum()) for name, p in actor.named_parameters() if "hidden" in name and p.dim() > 1)
    assert (zeros > 0) == (label == "set")
    assert all(torch.isfinite(p).all() for p in actor.parameters())


def test_a_run_of_a_gpu_has_its_policy_on_any_machine(lab: Lab, store: Store) -> None:
    run, _ = find_run(id_of(lab, "set"), store)
    far = replace(run, device="cuda:7")
    shutil.copytree(store.run_folder(run.id), store.run_folder(far.id))
    assert {
        p.device.type
        for each in policy_of(far, store, check(ENV), REGISTRY).learners()
        for p in each.module.parameters()
    } == {"cpu"}


def test_what_is_no_run_is_told_with_what_there_is(lab: Lab, store: Store, tmp_path: Path) -> None:
    for given, told in (
        ("tiny", f"tiny is a study, not a run: give one of its runs: {id_of(lab, 'dense')} (dense, seed 0)"),
        ("zzz", "has no run 'zzz'. It holds 3 runs"),
        ("", "3 runs"),
        (f"{tmp_path}/nothing", "is no run's folder"),
        (id_of(lab, "Random policy"), "which has no network"),
    ):
        with pytest.raises(BadInput, match=told.replace("(", r"\(").replace(")", r"\)")):
            find_run(given, store)


def test_a_copy_without_weights_says_so(lab: Lab, store: Store, tmp_path: Path) -> None:
    share(store, "tiny", Store(tmp_path / "copy"))
    with pytest.raises(BadInput, match="without its weights"):
        find_run(id_of(lab, "set"), Store(tmp_path / "copy"))


def test_a_damaged_run_is_not_taken(lab: Lab, store: Store) -> None:
    file = store.run_folder(id_of(lab, "set")) / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(Damaged, match="not as it was written"):
        find_run(id_of(lab, "set"), store)


@pytest.mark.parametrize("made", [policy_of, policy_of_its_own])
def test_an_environment_of_other_sizes_has_no_policy_here(lab: Lab, store: Store, made: Callable[..., object]) -> None:
    """It may have changed with its library since the run."""
    run, _ = find_run(id_of(lab, "set"), store)
    observations, actions = check(ENV)
    with pytest.raises(Damaged, match=f"run {run.id} has weights of another agent"):
        made(run, store, (observations + 1, actions), REGISTRY)


def test_a_run_that_is_not_done_has_no_policy(lab: Lab, store: Store) -> None:
    run_id = id_of(lab, "set")
    (store.run_folder(run_id) / "manifest.json").unlink()
    with pytest.raises(BadInput, match=f"run {run_id} is missing. Only a run that is done"):
        find_run(run_id, store)
