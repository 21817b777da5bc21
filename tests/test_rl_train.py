"""The training loop: its records, its order, its randomness, and its watch for numbers that are not finite."""

import math
import pickle
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from toy import Carry, Paid

from rl import (
    TD3,
    Agent,
    Diverged,
    Environment,
    Episode,
    Evaluation,
    Record,
    Signals,
    Training,
    UniformReplay,
    env_seed,
    evaluate,
    random,
    stream,
    td3,
    uniform,
)
from rl.signals import norms

CPU = torch.device("cpu")


def agent(size: int = 2, **settings: Any) -> TD3:
    small: dict[str, Any] = {"batch_size": 8, "actor_hidden": (8,), "critic_hidden": (8,)}
    return td3(size, 1, 0, CPU, torch.float32, **small | settings)


def run(
    learner: Agent,
    env: Environment,
    evaluation_env: Environment | None = None,
    replay: UniformReplay | None = None,
    **plan: Any,
) -> list[Record]:
    size = 1 if isinstance(env, Paid) else 2
    plan = {"seed": 0, "steps": 30, "warmup": 10, "eval_every": 10, "episodes": 2} | plan
    replay = uniform(size, 1, capacity=1000) if replay is None else replay
    records = Training(learner, env, evaluation_env or type(env)(), replay, device=CPU, dtype=torch.float32, **plan)
    return list(records)


R = TypeVar("R")


def of(kind: type[R], records: list[Record]) -> list[R]:
    return [record for record in records if isinstance(record, kind)]


@pytest.mark.parametrize(
    ("steps", "eval_every", "expected"),
    [(0, 10, [0]), (30, 10, [0, 10, 20, 30]), (35, 10, [0, 10, 20, 30, 35]), (5, 10, [0, 5]), (2, 1, [0, 1, 2])],
)
def test_evaluations_come_at_the_start_on_time_and_at_the_end_once(
    steps: int, eval_every: int, expected: list[int]
) -> None:
    evaluations = of(Evaluation, run(agent(), Carry(), steps=steps, eval_every=eval_every, episodes=3))
    assert [e.step for e in evaluations] == expected
    assert [e.updates for e in evaluations] == [max(0, step - 10) for step in expected]
    assert all(len(e.returns) == 3 and e.lengths == (2, 2, 2) for e in evaluations)


def test_episodes_report_their_returns_and_lengths() -> None:
    episodes = of(Episode, run(agent(1), Paid(length=7, pay=(2.0,)), steps=30))
    assert episodes == [Episode(7, 14, 7), Episode(14, 14, 7), Episode(21, 14, 7), Episode(28, 14, 7)]


def test_warm_up_acts_uniformly_and_learns_nothing() -> None:
    env, learner = Paid(length=100), agent(1)
    run(learner, env, steps=500, warmup=500, eval_every=1000)
    actions = np.concatenate(env.actions)
    assert learner.updates == 0
    assert np.abs(actions).max() <= 1
    assert actions.mean() == pytest.approx(0, abs=0.1)
    assert actions.std() == pytest.approx(3**-0.5, rel=0.05)


class Counting:
    """Acts 1/100, 2/100, ...: what a policy does, as a number that it goes on from."""

    def __init__(self) -> None:
        self.acted = 0

    def act(self, observation: Any, *, explore: bool) -> Any:
        assert explore
        self.acted += 1
        return np.array([self.acted / 100], dtype=np.float32)

    def state_dict(self) -> dict[str, Any]:
        return {"acted": self.acted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.acted = state["acted"]


def begun(policy: Any, replay: UniformReplay, *, learner: TD3 | None = None, **plan: int) -> Training:
    """A training of 30 steps, of which a policy does the first 12; episodes have five."""
    plan = {"seed": 0, "steps": 30, "warmup": 12, "eval_every": 10, "episodes": 1} | plan
    learner = learner or agent(1, exploration_noise=0.0)
    envs = Paid(length=5), Paid(length=5)
    return Training(learner, *envs, replay, warmup_policy=policy, device=CPU, dtype=torch.float32, **plan)  # type: ignore[arg-type]


def test_the_samples_of_a_warm_up_are_those_of_its_policy_and_the_agent_s_come_after() -> None:
    replay, policy = uniform(1, 1, capacity=100), Counting()
    list(begun(policy, replay))
    actions = replay.state_dict()["rows"][:, 1]
    assert np.allclose(actions[:12], np.arange(1, 13) / 100)
    assert policy.acted == 12, "neither evaluations nor later steps ask it"
    assert not torch.isin(actions[12:], torch.arange(13, 31) / 100).any()


def test_a_warm_up_that_goes_on_has_its_policy_go_on() -> None:
    replay = uniform(1, 1, capacity=100)
    stopped = begun(Counting(), replay, learner=(learner := agent(1)))
    next(record for record in stopped if isinstance(record, Episode) and record.step == 10)
    state = stopped.state_dict()
    assert state["warmup_policy"] == {"acted": 10}
    again = begun(policy := Counting(), replay, learner=learner)
    again.load_state_dict(state)
    list(again)
    assert np.allclose(replay.state_dict()["rows"][:12, 1], np.arange(1, 13) / 100)
    assert policy.acted == 12
    with pytest.raises(ValueError, match="of a warm-up with a policy: give `warmup_policy`"):
        begun(None, replay).load_state_dict(state)


def test_a_policy_is_let_go_when_the_warm_up_is_over() -> None:
    training = begun(Counting(), replay := uniform(1, 1, capacity=100))
    late = next(training.state_dict() for record in training if isinstance(record, Episode) and record.step == 15)
    assert "warmup_policy" not in late
    begun(None, replay).load_state_dict(late)


def test_a_policy_that_gives_no_number_is_found_at_once() -> None:
    class Lost(Counting):
        def act(self, observation: Any, *, explore: bool) -> Any:
            return np.array([np.nan], dtype=np.float32)

    with pytest.raises(Diverged, match="action of the warm-up's policy"):
        list(begun(Lost(), uniform(1, 1, capacity=100)))


def test_one_update_follows_each_step_after_warm_up() -> None:
    learner = agent()
    run(learner, Carry(), steps=30, warmup=12)
    assert learner.updates == 18


def test_evaluating_does_not_disturb_training() -> None:
    def weights(learner: Agent, **plan: int) -> Any:
        run(learner, Carry(), steps=60, **plan)
        return [p for each in learner.learners() for p in each.module.state_dict().values()]

    often, seldom = weights(agent(), eval_every=3, episodes=5), weights(agent(), eval_every=60, episodes=1)
    assert all(torch.equal(one, two) for one, two in zip(often, seldom, strict=True))


@pytest.mark.parametrize("which", ["td3", "random"])
def test_equal_seeds_give_equal_records(which: str) -> None:
    def records(seed: int) -> list[Record]:
        learner = agent() if which == "td3" else random(1, seed)
        return run(learner, Carry(), seed=seed, steps=60, signals_every=10)

    assert records(1) == records(1)
    assert records(1) != records(2)


def test_environments_are_seeded_once_and_evaluations_by_their_number() -> None:
    env, evaluation_env = Paid(length=4), Paid()
    run(agent(1), env, evaluation_env, seed=5, steps=20)
    assert env.seeds == [env_seed(stream(5, "environment")), None, None, None, None]
    assert evaluation_env.seeds[::2] == [env_seed(stream(5, "evaluation", i)) for i in range(3)]
    assert set(evaluation_env.seeds[1::2]) == {None}


def test_transitions_are_stored_as_they_happened() -> None:
    replay = uniform(2, 1, capacity=100)
    run(agent(), Carry(), replay=replay, steps=20)
    first, second = replay.state_dict()["rows"].reshape(10, 2, 8).unbind(1)
    goal, action = first[:, 1], first[:, 2]
    assert (first[:, 0] == 0).all()
    assert (second[:, 0] == 1).all()
    assert torch.allclose(first[:, 7], action - goal, atol=1e-6)
    assert torch.equal(first[:, 6:8], second[:, 0:2]), "the observation after is the next one before"
    assert torch.equal(second[:, 4], torch.ones(10))
    assert not first[:, 4].any()
    assert not replay.state_dict()["rows"][:, 5].any()


def test_truncated_ends_an_episode_and_is_not_stored_as_terminated() -> None:
    replay = uniform(1, 1, capacity=100)
    records = run(agent(1), Paid(length=5), replay=replay, steps=20)
    assert len(of(Episode, records)) == 4
    terminated, truncated = replay.state_dict()["rows"][:, 3], replay.state_dict()["rows"][:, 4]
    assert not terminated.any()
    assert truncated.nonzero().flatten().tolist() == [4, 9, 14, 19]


def test_signals_are_means_since_the_last_with_norms_of_now() -> None:
    learner, figures = agent(), list[Mapping[str, float]]()
    update = learner.update
    learner.update = lambda batch: figures.append(update(batch)) or figures[-1]
    signals = of(Signals, run(learner, Carry(), steps=30, warmup=10, signals_every=10))
    assert [(s.step, s.updates) for s in signals] == [(20, 10), (30, 20)]
    for signal, since in zip(signals, (figures[:10], figures[10:]), strict=True):
        for name, count in (("critic_loss", 10), ("q", 10), ("actor_loss", 5)):
            values = [f[name] for f in since if name in f]
            assert len(values) == count
            assert signal.values[name] == pytest.approx(np.mean(values))
    for name, module in (("critic", learner.critics), ("actor", learner.actor)):
        weights = torch.cat([p.detach().flatten() for p in module.parameters()])
        grads = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
        assert signals[-1].values[f"weight_norm/{name}"] == pytest.approx(weights.norm().item(), rel=1e-5)
        assert signals[-1].values[f"grad_norm/{name}"] == pytest.approx(grads.norm().item(), rel=1e-5)


def test_an_agent_without_learners_is_evaluated_and_never_updated() -> None:
    records = run(random(1, seed=0), Carry(), steps=30, signals_every=10)
    assert not of(Signals, records)
    assert [e.updates for e in of(Evaluation, records)] == [0, 0, 0, 0]


def test_random_actions_are_uniform_and_restored_exactly() -> None:
    one, two = random(3, seed=0), random(3, seed=1)
    actions = np.stack([one.act(np.zeros(2), explore=i % 2 == 0) for i in range(2000)])
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= 1
    assert actions.std(axis=0) == pytest.approx(3**-0.5, rel=0.05)
    two.load_state_dict(one.state_dict())
    for explore in (True, False):
        assert np.array_equal(one.act(np.zeros(2), explore=explore), two.act(np.zeros(2), explore=explore))


def test_evaluate_resets_by_its_seed_alone() -> None:
    learner, env = agent(), Carry()
    first = evaluate(learner, env, episodes=4, seed=3)
    assert first == evaluate(learner, env, episodes=4, seed=3) != evaluate(learner, env, episodes=4, seed=4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_ends_the_run_where_it_came(bad: float) -> None:
    with pytest.raises(Diverged, match="reward is not finite at environment step 3") as caught:
        run(agent(1), Paid(length=100, pay=(1.0, 1.0, bad, 1.0)))
    assert (caught.value.what, caught.value.step) == ("reward", 3)


def test_an_observation_that_is_not_finite_ends_the_run_where_it_came() -> None:
    env = Paid(length=100)
    env.seen[:] = math.nan
    with pytest.raises(Diverged, match="observation is not finite at environment step 1"):
        run(agent(1), env)


@pytest.mark.parametrize("network", ["actor", "critics"])
def test_a_weight_that_is_not_finite_ends_the_run_within_an_update(network: str) -> None:
    learner = agent()
    update = learner.update

    def spoiled(batch: Any) -> Mapping[str, float]:
        figures = update(batch)
        if learner.updates == 5:
            with torch.no_grad():
                getattr(learner, network).head.bias.fill_(math.nan)
        return figures

    learner.update = spoiled
    with pytest.raises(Diverged) as caught:
        run(learner, Carry(), steps=100, eval_every=100)
    assert caught.value.step == 16
    assert caught.value.what == {"actor": "action", "critics": "critic_loss"}[network]


def test_a_weight_that_is_not_finite_is_named_at_an_evaluation() -> None:
    learner = agent()
    with torch.no_grad():
        learner.actor_target.module.head.bias.fill_(math.inf)
    with pytest.raises(Diverged, match=r"weight target/actor/head.bias is not finite at environment step 0"):
        run(learner, Carry())


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    learner = agent(1)
    with pytest.raises(Diverged, match="critic_loss is not finite at environment step 11"):
        run(learner, Paid(length=100, pay=(1e30,)), steps=20, eval_every=20)


def test_an_evaluation_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(Diverged, match="evaluation return is not finite at environment step 0"):
        run(agent(1), Paid(), Paid(pay=(math.nan,)))


def test_diverged_survives_the_way_back_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(Diverged("reward", 7)))
    assert (error.what, error.step) == ("reward", 7)


@pytest.mark.parametrize(
    "wrong", [{"steps": -1}, {"warmup": -1}, {"eval_every": 0}, {"episodes": 0}, {"signals_every": 0}, {"seed": -1}]
)
def test_a_plan_out_of_range_is_refused_before_the_first_step(wrong: dict[str, int]) -> None:
    env = Paid()
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} is .*must be"):
        run(agent(1), env, **wrong)
    assert not env.seeds


def test_a_learner_without_gradients_has_no_gradient_norm() -> None:
    """An event that replaces the step leaves none: zero would say that the loss is flat."""
    learned = td3(3, 1, 0, torch.device("cpu"), torch.float32, actor_hidden=(4,), critic_hidden=(4,))
    assert not any(name.startswith("grad_norm/") for name in norms(learned.learners()))
    for parameter in learned.actor.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert [name for name in norms(learned.learners()) if name.startswith("grad_norm/")] == ["grad_norm/actor"]


def test_an_episode_s_record_is_the_last_of_its_step() -> None:
    records = run(agent(1), Paid(length=5), steps=30, eval_every=5, signals_every=5)
    for index, record in enumerate(records):
        if isinstance(record, Episode):
            assert all(later.step > record.step for later in records[index + 1 :])


def test_a_state_is_to_be_had_between_episodes_alone() -> None:
    settings: dict[str, Any] = {"seed": 0, "steps": 30, "warmup": 10, "eval_every": 7, "episodes": 1}
    training = Training(
        agent(1), Paid(length=5), Paid(length=5), uniform(1, 1), **settings, device=CPU, dtype=torch.float32
    )
    asked = 0
    for record in training:
        if isinstance(record, Episode):
            assert training.state_dict()["step"] == training.step == record.step
            asked += 1
        elif record.step % 5:
            with pytest.raises(RuntimeError, match="an episode is under way"):
                training.state_dict()
    assert asked == 6
