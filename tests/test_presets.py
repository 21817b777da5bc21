"""Presets against the numbers of their papers: densities, sizes, FLOPs, and the environments that can still be had."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from lab import REGISTRY, Lab, a_lab, a_run, cells, no_figures, runs

from registry import part
from rl.sac import sac
from rl.td3 import td3
from sparsity.cost import planned_size, size, training_flops
from studies.contents import Run

lab, quiet = a_lab, no_figures

SIZES = {"HalfCheetah": (17, 6), "Walker2d": (17, 6), "Hopper": (11, 3), "Ant": (111, 8), "Humanoid": (376, 17)}
"""Observations and actions of the papers' versions."""
QUIET: dict[str, Any] = {
    "settings": None,
    "warmup": None,
    "episodes": None,
    "densities": None,
    "seeds": 1,
    "steps": 10**6,
}


def row(base: str, env: str, preset: str) -> Run:
    """A run of one row under a preset."""
    agent = "sac" if "sac" in preset else "td3"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return next(
            run for run in runs(preset=preset, methods={base: base}, envs=[env], agents=[agent], **QUIET) if run.methods
        )


def modules(agent: str, env: str) -> dict[str, torch.nn.Module]:
    """The networks of an agent for the paper's version of an environment."""
    build: Any = sac if agent == "sac" else td3
    made = build(*SIZES[env], 0, torch.device("cpu"), torch.float32)
    return {learner.name: learner.module for learner in made.learners()}


def densities(run: Run, learner: str, env: str) -> list[float]:
    """Of the layers that the method allocates to."""
    inputs, actions = SIZES[env]
    first = inputs if learner == "actor" else inputs + actions
    shapes = {"hidden.0.weight": (256, first), "hidden.1.weight": (256, 256)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given: dict[str, float] = REGISTRY.bind("allocation", run.methods[learner].allocation)(shapes=shapes)
    return list(given.values())


@pytest.mark.parametrize(
    ("env", "actor", "critic", "second", "ratio"),
    [
        ("HalfCheetah", 0.7528, 0.5686, 0.625, 0.631),
        ("Walker2d", 0.7528, 0.5686, 0.625, 0.631),
        ("Hopper", 0.6637, 0.5273, 0.1562, 0.184),
        ("Ant", None, None, 0.5, 0.470),
        ("Humanoid", None, None, 0.5, 0.448),
    ],
)
def test_ds_sac_has_the_densities_and_flops_of_the_appendix(
    env: str, actor: float | None, critic: float | None, second: float, ratio: float
) -> None:
    run = row("ds", f"{env}-v5", "ds-sac")
    for learner, first in (("actor", actor), ("critic", critic)):
        got = densities(run, learner, env)
        assert got[1] == pytest.approx(second, abs=1e-4)
        if first is not None:
            assert got[0] == pytest.approx(first, abs=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        active = {
            name: float(planned_size(module, run.methods[name], REGISTRY).active_weights)
            for name, module in modules("sac", env).items()
        }
    dense = {name: float(size(module).weights) for name, module in modules("sac", env).items()}
    strides = {"actor": 1, "critic": 1}
    assert training_flops(active, strides, 256) / training_flops(dense, strides, 256) == pytest.approx(ratio, abs=2e-3)


@pytest.mark.parametrize(
    ("preset", "env", "published"),
    [
        ("rlx2-td3", "HalfCheetah", 0.133), ("rlx2-td3", "Hopper", 0.040),
        ("rlx2-td3", "Walker2d", 0.043), ("rlx2-td3", "Ant", 0.093),
        ("rlx2-sac", "HalfCheetah", 0.180), ("rlx2-sac", "Hopper", 0.044),
        ("rlx2-sac", "Walker2d", 0.100), ("rlx2-sac", "Ant", 0.220),
    ],
)  # fmt: skip
@pytest.mark.parametrize("base", ["rlx2", "rlx2_released", "static", "set", "rigl"])
def test_rlx2_has_the_published_sizes(preset: str, env: str, published: float, base: str) -> None:
    """Their size counts weights of slow copies too: TD3 has two actors and four critics, SAC one actor and four."""
    run, agent = row(base, f"{env}-v5", preset), preset.split("-")[1]
    whole = kept = 0
    for name, module in modules(agent, env).items():
        copies = 1 if (agent, name) == ("sac", "actor") else 2
        planned = planned_size(module, run.methods[name], REGISTRY)
        whole, kept = whole + copies * planned.weights, kept + copies * planned.active_weights
    assert kept / whole == pytest.approx(published, abs=1e-3)


def test_rlx2_brings_its_targets_and_its_memory() -> None:
    run = row("rlx2", "HalfCheetah-v5", "rlx2-td3")
    assert (run.agent.settings["multi_step"], run.agent.settings["multi_step_after"]) == (3, 300_000)
    assert (run.replay.name, run.replay.settings["distance"], run.replay.settings["repeat"]) == (
        "dynamic",
        "norm",
        True,
    )
    released = row("rlx2_released", "HalfCheetah-v5", "rlx2-sac-released")
    assert (released.replay.settings["distance"], released.replay.settings["repeat"]) == ("half_squared", False)
    assert (released.agent.settings["explores"], released.replay.settings["least"]) == ("mean", 200_000)
    tiny = row("dense_small", "Hopper-v4", "rlx2-td3")
    assert {name: m.allocation.settings["density"] for name, m in tiny.methods.items()} == {
        "actor": 0.02,
        "critic": 0.05,
    }


@pytest.mark.parametrize("agent", ["td3", "sac"])
def test_rlx2s_baselines_have_plain_targets_and_memories(agent: str) -> None:
    run = row("rigl", "HalfCheetah-v5", f"rlx2-{agent}-baselines")
    assert (run.agent.settings["multi_step"], run.replay.name) == (1, "uniform")
    other = row("rigl", "HalfCheetah-v5", f"rlx2-{agent}")
    assert run.methods == other.methods
    assert run.agent.settings.get("initial") == other.agent.settings.get("initial")


def test_the_densities_of_a_study_stand_over_those_of_a_preset() -> None:
    asked = QUIET | {"densities": [0.3]}
    run = a_run(preset="rlx2-td3", methods={"R": "rlx2"}, envs=["Hopper-v4"], random_episodes=0, **asked)
    assert {m.allocation.settings["density"] for m in run.methods.values()} == {0.3}


def test_an_override_of_one_learner_has_the_presets_changes_for_it() -> None:
    changed = {"R": {"base": "rlx2", "actor": {"base": "static"}, "critic": {"grow": "random"}}}
    (run,) = [r for r in runs(preset="rlx2-td3", methods=changed, envs=["Hopper-v4"], **QUIET) if r.methods]
    actor, critic = run.methods["actor"], run.methods["critic"]
    assert (actor.schedule.name, actor.allocation.settings["density"]) == ("never", 0.02)
    assert (critic.schedule.name, critic.grow.name, critic.allocation.settings["density"]) == ("cosine", "random", 0.05)


def test_graesser_scales_the_first_weights_and_zeroes_the_slots_of_newcomers() -> None:
    for base in ("set", "rigl"):
        method = row(base, "Hopper-v4", "graesser-sac").methods["critic"]
        assert (method.weights.name, method.moments.name, method.event) == ("unit_scaled", "reset_grown", "after_step")
        assert (method.schedule.settings["fraction"], method.schedule.settings["until"]) == (0.5, 0.8)
        assert method.allocation.settings["density"] == pytest.approx(0.1)
    assert row("dense", "Hopper-v4", "graesser-sac-dense").agent.settings["weight_decay"] == 1e-4


def test_anf_runs_in_the_noise_that_it_filters() -> None:
    run = row("anf", "HalfCheetah-v5", "anf-td3")
    assert [(w.name, w.settings["share"]) for w in run.wrappers] == [("noise_features", 0.9)]
    assert run.methods["actor"].eligible.name == "input"


@pytest.mark.parametrize("name", REGISTRY.names("preset"))
@pytest.mark.parametrize("env", ["HalfCheetah-v5", "Hopper-v4", "Walker2d-v4", "Ant-v5", "Humanoid-v5"])
def test_every_preset_plans_all_of_its_methods_everywhere(name: str, env: str) -> None:
    preset = REGISTRY.entry("preset", name).value
    named = [*preset.methods, "dense"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cells(preset=name, agents=[preset.agent], envs=[env], methods={base: base for base in named}, **QUIET)
    assert {cell.label for cell in found if cell.run.methods} == set(named)


# Environments.


@pytest.mark.parametrize(
    ("asked", "runs_", "said"),
    [
        ("HalfCheetah-v3", "HalfCheetah-v5", "the same task"),
        ("Hopper-v3", "Hopper-v4", "v5 rewards differently"),
        ("Walker2d-v2", "Walker2d-v4", "v5 rewards and rubs differently"),
        ("Ant-v3", "Ant-v5", "not the same task (105 observations, v3 has 111)"),
        ("Humanoid-v3", "Humanoid-v5", "not the same task (348 observations, v3 has 376)"),
    ],
)
def test_an_environment_that_cannot_be_had_is_replaced_and_said(asked: str, runs_: str, said: str) -> None:
    with pytest.warns(UserWarning, match=f"{asked} needs mujoco-py: {runs_} runs in its place") as heard:
        run = a_run(preset="ds-td3", methods={"DS": "ds"}, envs=[asked], random_episodes=0, **QUIET)
    assert run.env == runs_
    assert any(said in str(warning.message) for warning in heard)


def test_another_version_than_the_papers_runs_and_is_said() -> None:
    with pytest.warns(UserWarning, match="the paper's Hopper is Hopper-v4 here"):
        assert (
            a_run(preset="ds-td3", methods={"DS": "ds"}, envs=["Hopper-v5"], random_episodes=0, **QUIET).env
            == "Hopper-v5"
        )


def test_environments_of_their_own_are_left_alone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = a_run(preset="ds-td3", methods={"D": "dense"}, envs=["InvertedPendulum-v5"], random_episodes=0, **QUIET)
    assert run.env == "InvertedPendulum-v5"
    assert math.isclose(run.agent.settings["learning_rate"], part("td3", learning_rate=1e-3).settings["learning_rate"])


def test_a_command_that_names_no_agent_means_the_presets(lab: Lab) -> None:
    said = lab("train", "--env", "Hopper-v4", "--method", "ds", "--preset", "ds-sac", "--steps", 20_000, "--dry-run")
    assert said.code == 0, said.err
    grid = lab("study", "run", "--methods", "ds", "--envs", "Hopper-v4", "--preset", "ds-sac", "--steps", 20_000,
               "--dry-run")  # fmt: skip
    assert grid.code == 0, grid.err
    run = a_run(preset="ds-sac", agents=None, methods={"DS": "ds"}, envs=["Hopper-v4"], random_episodes=0, **QUIET)
    assert (run.agent.name, run.agent.settings["target_every"]) == ("sac", 1000)
