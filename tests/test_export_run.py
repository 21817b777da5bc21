"""`sparsity export`: a finished run's policy, in every format, is the agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from exports import session_of
from lab import ENV, FILE, REGISTRY, Lab, a_lab, no_figures  # noqa: F401

from benchmarks.export import policy_in
from registry import part
from rl import evaluate, make
from rl.agent import Agent
from rl.environment import action_space
from rl.environment import check as check_environment
from sparsity.export import FORMATS, Unexportable
from studies.export import _compare, actor_network
from studies.policies import find_run, policy_of
from studies.store import WEIGHTS, Store

lab = a_lab

PENDULUM = "Pendulum-v1"
"""Its actions lie in [-2, 2], and its rewards depend on every one of them."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports go into the current folder."""
    monkeypatch.chdir(tmp_path)


def trained(lab: Lab, *words: object, agent: str = "td3", env: str = ENV, method: str = "set") -> str:
    """The id of a short run."""
    density = () if method.startswith("dense") else ("--densities", "0.3")
    answer = lab.run(
        *("--methods", method, "--envs", env, "--agents", agent, "--steps", 120, "--hidden", "24,24", *density),
        *("--set", "warmup=50", "--set", f"{agent}.batch_size=8", "--set", "episodes=1", "--eval-every", 60),
        *("--set", "random_episodes=0", "--name", "tiny", *words),
    )
    assert answer.code == 0, answer.err
    return str(lab.cells()[0]["run"])


def agent_of(lab: Lab, run_id: str) -> Agent:
    run, store = find_run(run_id, Store(lab.store))
    return policy_of(run, store, check_environment(run.env), REGISTRY)


def acts(to: str, folder: Path) -> Any:
    """What the files of a format make of observations (batch, size)."""
    if to == "scipy":
        return policy_in(folder).act
    if to == "onnx":
        session = session_of(folder / "policy.onnx")
        return lambda seen: session.run(None, {"observation": seen})[0]
    from rl.checkpoint import read_weights

    tensors = read_weights(folder / "policy.safetensors")

    def act(x: np.ndarray) -> np.ndarray:
        for name in (0, 2, 4):
            x = x @ tensors[f"{name}.weight"].to_dense().numpy().T + tensors[f"{name}.bias"].numpy()
            x = np.tanh(x) if name == 4 else np.maximum(x, 0)
        return x

    return act


@pytest.mark.parametrize("agent", ["td3", "ddpg", "sac"])
@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_the_files_act_as_the_agent_does(lab: Lab, agent: str, execution: str) -> None:
    pytest.importorskip("onnx")
    run_id = trained(lab, "--execution", execution, agent=agent)
    expected = agent_of(lab, run_id)
    seen = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    actions = np.array([expected.act(one, explore=False) for one in seen])
    for to in FORMATS:
        for compacted in ((), ("--no-compact",)):
            answer = lab("export", run_id[:6], "--to", to, "--out", f"out/{to}{len(compacted)}", *compacted)
            assert answer.code == 0, answer.err
            np.testing.assert_allclose(acts(to, Path(f"out/{to}{len(compacted)}"))(seen), actions, atol=1e-6)


@pytest.mark.parametrize("method", ["dense", "dense_small"])
def test_dense_policies_are_exported_alike(lab: Lab, method: str) -> None:
    run_id = trained(lab, method=method)
    assert lab("export", run_id, "--to", "scipy").code == 0
    policy, seen = policy_in(Path("exports", run_id, "scipy")), np.ones((1, 4), np.float32)
    np.testing.assert_allclose(policy.act(seen)[0], agent_of(lab, run_id).act(seen[0], explore=False), atol=1e-6)
    assert (policy.about["method"], policy.about["kept"]) == (method, 1.0)


def test_a_wrapped_environment_s_observations_are_what_the_policy_reads(lab: Lab) -> None:
    answer = lab.study('wrappers = [{ part = "noise_features", share = 0.5 }]\n' + FILE)
    assert answer.code == 0, answer.err
    run_id = lab.folder_of("SET", name="study").name
    assert lab("export", run_id, "--to", "scipy").code == 0
    about = policy_in(Path("exports", run_id, "scipy")).about
    assert about["wrappers"] == [{"part": "noise_features", "share": 0.5}]
    assert (about["observation_size"], about["action_size"]) == (8, 1)


@pytest.mark.parametrize("env", [ENV, PENDULUM])
def test_the_environment_itself_gives_the_files_the_agent_s_return(lab: Lab, env: str) -> None:
    """Unwrapped, that is in its own bounds: an episode by `scaled` actions has the very rewards of the agent's."""
    run_id = trained(lab, env=env)
    assert lab("export", run_id, "--to", "scipy").code == 0
    policy, agent = policy_in(Path("exports", run_id, "scipy")), agent_of(lab, run_id)
    wrapped, plain = make(env), gymnasium.make(env).unwrapped
    seen, _ = wrapped.reset(seed=3)
    same, _ = plain.reset(seed=3)
    theirs, ours = 0.0, 0.0
    for _ in range(200):
        action = agent.act(np.asarray(seen, np.float32), explore=False)
        np.testing.assert_array_equal(policy.scaled(action), _in_bounds(wrapped, action))
        seen, reward, ended, _, _ = wrapped.step(action)
        same, mine, stopped, _, _ = plain.step(policy.scaled(policy.act(same)))
        theirs, ours = theirs + float(reward), ours + float(mine)
        assert ended == stopped
        if ended:
            break
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert plain.action_space.contains(policy.scaled(policy.act(same)))


def _in_bounds(wrapped: Any, action: np.ndarray) -> np.ndarray:
    """What `rl.make` hands to the environment itself."""
    taken: list[np.ndarray] = []
    inner = wrapped.env
    step, inner.step = inner.step, lambda given: taken.append(given) or (None, 0.0, False, False, {})
    wrapped.step(action)
    inner.step = step
    return taken[0]


def test_the_files_say_what_they_are(lab: Lab) -> None:
    run_id = trained(lab)
    assert lab("export", run_id, "--to", "scipy").code == 0
    about = policy_in(Path("exports", run_id, "scipy")).about
    known = {"run": run_id, "env": ENV, "agent": "td3", "method": "set", "density": 0.3, "low": [-3], "high": [3]}
    assert known.items() <= about.items()
    assert (about["observation_size"], about["action_size"], about["dtype"]) == (4, 1, "float32")
    assert about["versions"]["torch"]
    assert 0 < about["kept"] < 0.5


def test_the_command_tells_bytes_parameters_and_units(lab: Lab) -> None:
    answer = lab("export", trained(lab), "--to", "safetensors")
    assert answer.code == 0
    for said in ("policy.safetensors", "bytes", "dense policy", "Parameters: ", " of 745 (", "Hidden units: ", "of 24"):
        assert said in answer.out, said


def test_a_run_exported_twice_is_the_same_bytes(lab: Lab) -> None:
    run_id = trained(lab)
    folder = Path("exports", run_id, "scipy")
    assert lab("export", run_id, "--to", "scipy").code == 0
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert lab("export", run_id, "--to", "scipy").code == 0
    assert lab("export", lab.store / "runs" / run_id, "--to", "scipy", "--out", "b").code == 0
    for each in (folder, Path("b")):
        assert first == {path.name: path.read_bytes() for path in each.iterdir()}


def test_a_run_that_a_study_calls_otherwise_since_is_written_anew(lab: Lab) -> None:
    run_id = trained(lab)
    assert lab("export", run_id, "--to", "scipy").code == 0
    for file in (lab.store / "studies").glob("*/cells.json"):
        file.unlink()
    answer = lab("export", run_id, "--to", "scipy")
    assert answer.code == 0, answer.err
    assert policy_in(Path("exports", run_id, "scipy")).about["method"] is None
    assert lab("export", run_id, "--to", "safetensors", "--out", Path("exports", run_id, "scipy")).code == 2


def test_large_weights_that_cancel_are_told_from_an_agent_that_does_more() -> None:
    """Rounding alone moves their actions by more than 1e-5."""
    made = REGISTRY.bind("agent", part("td3", actor_hidden=(256, 256), critic_hidden=(2,)))
    how: dict[str, Any] = {"seed": 0, "device": torch.device("cpu"), "dtype": torch.float32}
    agent = made(observation_size=376, action_size=17, **how)
    actor = next(each.module for each in agent.learners() if each.name == "actor")
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.mul_(10)
    network = actor_network(agent)
    _compare(agent, network)
    with torch.no_grad():
        actor.head.weight[3] *= -1
    with pytest.raises(Unexportable, match="acts otherwise"):
        _compare(agent, network)


def test_what_cannot_be_exported_is_told_and_nothing_is_written(lab: Lab, tmp_path: Path) -> None:
    run_id = trained(lab, "--set", "random_episodes=1")
    random = next(folder.name for folder in lab.folders() if folder.name != run_id)
    occupied = tmp_path / "mine"
    occupied.mkdir()
    (occupied / "thesis.tex").write_text("all of it")
    asked = {
        ("nothing",): "has no run 'nothing'",
        ("../../etc/passwd",): "is no run's folder",
        (run_id + "\n\x1b[31m",): "has no run",
        (random,): "which has no network",
        ("tiny",): "is a study, not a run",
        (run_id, "--out", occupied): "not empty and holds no export: give another folder (--out)",
        (run_id, "--out", occupied / "thesis.tex"): "is a file",
        (run_id, "--plugin", "none.py"): "none.py",
    }
    for words, told in asked.items():
        answer = lab("export", *words, "--to", "scipy")
        assert answer.code == 2, words
        assert told in answer.errors[0]
        assert "\x1b" not in answer.err
    assert not Path("exports").exists()
    weights = lab.store / "runs" / run_id / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    answer = lab("export", run_id, "--to", "scipy")
    assert answer.code == 4
    assert "not as it was written" in answer.err
    assert not Path("exports").exists()


def test_a_run_of_another_results_version_is_refused(lab: Lab) -> None:
    run_id = trained(lab)
    contents = lab.store / "runs" / run_id / "contents.json"
    contents.write_text(contents.read_text().replace('"results":4', '"results":3'))
    answer = lab("export", run_id, "--to", "scipy")
    assert answer.code == 2
    assert f"run {run_id} is of another version: these contents are of results version 3" in answer.err


def test_without_its_environment_a_run_is_exported_without_bounds(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that has not the simulator: the weights tell the sizes."""
    run_id = trained(lab)
    monkeypatch.delitem(gymnasium.registry, ENV)
    answer = lab("export", run_id, "--to", "scipy")
    assert answer.code == 0, answer.err
    assert "note: the files do not know the bounds of actions: gymnasium cannot make" in answer.err
    assert policy_in(Path("exports", run_id, "scipy")).about["low"] is None


def test_an_agent_that_does_more_than_its_actor_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from rl.td3 import TD3

    run_id = trained(lab)
    monkeypatch.setattr(TD3, "act", lambda self, observation, *, explore: -self.actor.act(observation))
    answer = lab("export", run_id, "--to", "scipy")
    assert answer.code == 2
    assert "acts otherwise than the layers of its actor do" in answer.err
    assert not Path("exports").exists()


def test_the_bounds_are_those_of_the_environment_itself() -> None:
    space = action_space(ENV)
    assert (space.low.tolist(), space.high.tolist()) == ([-3], [3])


def test_whole_episodes_have_the_return_that_an_evaluation_gives(lab: Lab) -> None:
    run_id = trained(lab)
    assert lab("export", run_id, "--to", "scipy").code == 0
    policy, env, returns = policy_in(Path("exports", run_id, "scipy")), gymnasium.make(ENV), []
    for seed in (7, None):
        seen, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            seen, reward, ended, cut, _ = env.step(policy.scaled(policy.act(seen)))
            total, over = total + float(reward), ended or cut
        returns.append(total)
    assert evaluate(agent_of(lab, run_id), make(ENV), episodes=2, seed=7)[0] == tuple(returns)
