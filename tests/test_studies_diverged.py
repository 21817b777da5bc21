"""F2: a number that is not finite, wherever it comes from, ends its run within an update, and the run counts."""

from __future__ import annotations

import csv

import pytest
from lab import FILE, Lab, a_lab, a_run, no_figures, run_here

from studies.attempts import CHECKPOINT
from studies.checkpoints import newest
from studies.keeping import Keeper
from studies.leaving import Leave
from studies.store import Store
from studies.tree import pack
from studies.underway import Underway

lab, quiet = a_lab, no_figures

UPDATE = 37
"""At which it happens; the warm-up of 50 steps and episodes of some ten steps go before."""
PLUGIN = """\
import gymnasium
import numpy as np
import torch

from registry import hookimpl
from rl import sac, td3
from test_studies_diverged import UPDATE

BAD = {"nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}


def poison(env, *, place: str, bad: str = "nan"):
    class Poison(gymnasium.Wrapper):
        steps = 0

        def reset(self, **how):
            return self.env.reset(**how)

        def step(self, action):
            observation, reward, *rest = self.env.step(action)
            Poison.steps += 1
            if Poison.steps == 50 + UPDATE:
                reward = BAD[bad] if place == "reward" else reward
                observation = observation * BAD[bad] if place == "observation" else observation
            return observation, reward, *rest

    return Poison(env)


def poisoned(observation_size, action_size, seed, device, dtype, *, place: str, bad: str = "nan"):
    agent = (sac if place == "bias" else td3)(
        observation_size, action_size, seed, device, dtype, batch_size=8, actor_hidden=(8,), critic_hidden=(8,)
    )
    update, act, number = agent.update, agent.act, BAD[bad]

    def spoiling(optimizer, *_):
        if place == "gradient" and agent.updates == UPDATE:  # Counted when an update begins.
            optimizer.param_groups[0]["params"][-1].grad.view(-1)[0] = number

    learners = {learner.name: learner for learner in agent.learners()}
    actor = learners["actor"].module
    learners["critic"].optimizer.register_step_pre_hook(spoiling)

    def updating(batch):
        now = agent.updates == UPDATE - 1
        if now and place == "loss":
            batch = batch._replace(reward=batch.reward * number)
        figures = update(batch)
        if now and place == "weight":
            with torch.no_grad():
                agent.actor.head.weight[0, 0] = number
        if now and place == "bias":
            with torch.no_grad():
                next(each for name, each in actor.named_parameters() if name == "hidden.0.bias")[0] = number
        return figures

    def acting(observation, *, explore):
        action = act(observation, explore=explore)
        return action * number if explore and place == "action" and agent.updates == UPDATE - 1 else action

    agent.update, agent.act = updating, acting
    return agent


@hookimpl
def register_wrapper(register):
    register(poison)


@hookimpl
def register_agent(register):
    register(poisoned)
"""
SAYS = {
    "reward": "reward",
    "observation": "observation",
    "loss": "critic_loss",
    "gradient": "loss",
    "weight": "action",
    "action": "action",
}


LATER = ("gradient", "weight")
"""Seen in what the next update or action makes of them."""


def study(place: str, bad: str) -> str:
    text = FILE.replace("random_episodes = 1", "random_episodes = 0").replace("seeds = 1", "seeds = 2")
    if place in ("reward", "observation"):
        return f'wrappers = [{{ part = "poison", place = "{place}", bad = "{bad}" }}]\n{text}'
    table = f'[settings.poisoned]\nplace = "{place}"\nbad = "{bad}"\n'
    return text.replace('agents = ["td3"]', 'agents = ["poisoned"]').partition("[settings.td3]")[0] + table


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("place", SAYS)
def test_a_run_ends_where_a_number_stops_being_finite(
    lab: Lab, place: str, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.keeping.PAUSE", 0.0)
    plugin = lab.file(PLUGIN, "bad.py")
    answer = lab.study(
        study(place, bad), "--plugin", plugin, "--name", "tiny", "--keep-buffers", "--checkpoint-every", "0"
    )
    assert answer.code == 0, answer.err
    [row] = csv.DictReader(lab("study", "table", "tiny", "--format", "csv").out.splitlines())
    assert (row["planned"], row["diverged"], row["done"], row["return"]) == ("2", "2", "0", "")
    for seed in (0, 1):
        result, folder = lab.result_of("SET", seed), lab.folder_of("SET", seed)
        assert result["status"] == "diverged"
        assert SAYS[place] in result["cause"]
        assert result["updates"] - UPDATE in ((0, 1) if place in LATER else (0,))
        loaded, told = newest([folder / CHECKPOINT])
        assert loaded is not None, told
        assert 50 < loaded.about["step"] < 50 + UPDATE
        _, tensors = pack(loaded.state)
        assert all(bool(tensor.isfinite().all()) for tensor in tensors)
    assert lab("study", "verify", "tiny").code == 0


@pytest.mark.parametrize("saved", [True, False])
def test_the_last_checkpoint_is_kept_though_the_attempt_that_diverged_made_none(lab: Lab, saved: bool) -> None:
    """Unless nobody asked for it."""
    run, store = a_run(settings={"td3": {"batch_size": 8, "hidden": [8], "learning_rate": 1e30}}), Store(lab.store)
    store.prepare(run)
    words = (str(lab.store), run.id, "--no-plugins", *(["--keep-buffers"] if saved else []))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.run.Keeper", Leaving)
        assert run_here(*words, "--checkpoint-every=0").code == 143
    assert run_here(*words, "--checkpoint-every=1000").code == 0
    assert store.status(run.id)[0] == "diverged"
    loaded, _ = newest([store.run_folder(run.id) / CHECKPOINT])
    assert (loaded is not None) is saved


class Leaving(Keeper):
    """Leaves once something is saved."""

    def save(self, underway: Underway) -> None:
        super().save(underway)
        raise Leave(143)


def test_what_is_not_finite_is_not_saved(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minus infinity before a ReLU harms nothing: where no target follows it, it is seen at the next evaluation."""
    monkeypatch.setattr("studies.keeping.PAUSE", 0.0)
    plugin = lab.file(PLUGIN, "bad.py")
    text = (
        study("bias", "-inf").replace('base = "set"', 'base = "static"').replace("eval_every = 60", "eval_every = 119")
    )
    answer = lab.study(text, "--plugin", plugin, "--name", "tiny", "--keep-buffers", "--checkpoint-every", "0")
    assert answer.code == 0, answer.err
    result = lab.result_of("SET")
    assert result["cause"].startswith("weight actor/hidden.0.bias is not finite at environment step 119")
    loaded, _ = newest([lab.folder_of("SET") / CHECKPOINT])
    assert loaded is not None
    assert loaded.about["step"] < 50 + UPDATE
