"""SAC: its density against numeric integrals, its gradients against autograd, its temperature, targets and draws."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence
from test_rl_td3 import batch, same
from toy import Carry

from registry import part
from rl import Evaluation, Training, uniform
from rl.deferred import deferring, materialise
from rl.networks import Critics, GaussianActor
from rl.sac import SAC, LogStd, sac, squashed
from sparsity import DS, RIGL, SET, STATIC, Method, Sparsifier

CPU = torch.device("cpu")


def agent(seed: int = 0, dtype: torch.dtype = torch.float32, **more: Any) -> SAC:
    defaults: dict[str, Any] = {"actor_hidden": (16, 12), "critic_hidden": (14, 10), "batch_size": 32}
    return sac(4, 2, seed, CPU, dtype, **defaults | more)


# The density.


def log_density(action: torch.Tensor, mean: float, log_std: float) -> torch.Tensor:
    """log pi(a) by the noise that makes the action."""
    noise = (torch.atanh(action) - mean) / math.exp(log_std)
    given_ = (torch.full_like(noise, value).unsqueeze(-1) for value in (mean, log_std))
    return squashed(*given_, noise.unsqueeze(-1)).log_prob


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.7, -1.0), (-1.5, 0.3), (0.2, -3.0)])
def test_the_density_integrates_to_one_and_is_the_slope_of_the_distribution(mean: float, log_std: float) -> None:
    u = torch.linspace(mean - 12 * math.exp(log_std), mean + 12 * math.exp(log_std), 400_001, dtype=torch.float64)
    u = u[u.abs() < 17]  # Beyond, tanh is 1 in float64 and its inverse infinite.
    action = torch.tanh(u)
    density = log_density(action, mean, log_std).exp()
    assert torch.trapezoid(density, action).item() == pytest.approx(1, abs=1e-6)
    distribution = torch.distributions.Normal(mean, math.exp(log_std)).cdf(u)
    middle = slice(len(u) // 2 - 50_000, len(u) // 2 + 50_000)
    slope = torch.gradient(distribution, spacing=(action,))[0]
    assert torch.allclose(slope[middle], density[middle], rtol=1e-4)


def test_components_add_up() -> None:
    mean, log_std, noise = torch.randn(3, 5, 4, dtype=torch.float64)
    whole = squashed(mean, log_std, noise)
    each = [squashed(mean[:, [i]], log_std[:, [i]], noise[:, [i]]).log_prob for i in range(4)]
    assert torch.allclose(whole.log_prob, torch.stack(each).sum(0))
    assert torch.allclose(whole.action, torch.tanh(mean + whole.spread))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_tanh_is_one_the_density_stays_exact(dtype: torch.dtype) -> None:
    """log(1 - tanh(u)^2) = log 4 - 2 |u| but for exp(-2 |u|), which float64 no longer sees from 20 on."""
    for u in (-300.0, -20.0, 20.0, 300.0):
        mean = torch.tensor([[u]], dtype=dtype)
        got = squashed(mean, torch.zeros_like(mean), torch.zeros_like(mean)).log_prob.item()
        assert got == pytest.approx(-0.5 * math.log(2 * math.pi) - math.log(4) + 2 * abs(u), rel=1e-6)


def test_a_density_without_the_squashing_would_be_seen() -> None:
    """What peers have shipped: the Gaussian's own density. Its integral over actions is not one."""
    u = torch.linspace(-9, 9, 100_001, dtype=torch.float64)
    wrong = torch.distributions.Normal(0.0, 1.0).log_prob(u).exp()
    assert torch.trapezoid(wrong, torch.tanh(u)).item() != pytest.approx(1, abs=0.1)


@given(low=st.floats(-20, -1), width=st.floats(0.1, 10), raw=st.floats(-40, 40), by=st.sampled_from(["clamp", "tanh"]))
def test_log_stds_lie_within_their_bounds_with_the_slope_of_autograd(
    low: float, width: float, raw: float, by: Any
) -> None:
    bound = LogStd(by, low, low + width)
    x = torch.tensor(raw, dtype=torch.float64, requires_grad=True)
    value = bound.of(x)
    assert low - 1e-9 <= value.item() <= low + width + 1e-9
    value.backward()
    assert x.grad is not None
    assert bound.slope(x.detach()).item() == pytest.approx(x.grad.item(), abs=1e-12)


# Gradients.


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(1, 40),
    temperature=st.floats(0.01, 3),
    learned=st.booleans(),
    by=st.sampled_from(["clamp", "tanh"]),
    bounds=st.sampled_from([(-20.0, 2.0), (-0.05, 0.05)]),
)
def test_gradients_in_closed_form_are_those_of_autograd(
    seed: int, size: int, temperature: float, learned: bool, by: Any, bounds: tuple[float, float]
) -> None:
    """Bounds of +-0.05 hold most log standard deviations back."""
    made = [
        agent(
            seed, torch.float64, analytic=analytic, temperature=temperature, learned_temperature=learned,
            log_std=by, log_std_low=bounds[0], log_std_high=bounds[1],
        )
        for analytic in (True, False)
    ]  # fmt: skip
    figures = [each.update(batch(seed, torch.float64, size)) for each in made]
    assert figures[0] == pytest.approx(figures[1], rel=1e-9)
    for learner, other in zip(made[0].learners(), made[1].learners(), strict=True):
        for one, two in zip(learner.module.parameters(), other.module.parameters(), strict=True):
            assert one.grad is not None and two.grad is not None  # noqa: PT018
            assert torch.allclose(one.grad, two.grad, atol=1e-12)
    assert made[0].log_temperature.item() == pytest.approx(made[1].log_temperature.item(), abs=1e-12)


@pytest.mark.parametrize("analytic", [True, False])
def test_the_actors_loss_leaves_the_critics_gradients_alone(analytic: bool) -> None:
    """Growth by gradient takes them for the critics' own."""
    learned = agent(analytic=analytic)
    seen: list[Any] = []
    learned.critics_optimizer.register_step_post_hook(
        lambda *_: seen.extend(p.grad.clone() for p in learned.critics.parameters() if p.grad is not None)
    )
    learned.update(batch(0))
    for parameter, own in zip(learned.critics.parameters(), seen, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, own)


def test_the_actor_climbs_the_lesser_critic() -> None:
    """With one critic far below the other everywhere, the actor's gradients are those against that one alone."""
    learned, seen = agent(dtype=torch.float64), batch(0, torch.float64)
    with torch.no_grad():
        learned.critics.head.bias[1] -= 1000
    noise = learned.policy_noise.get_state()
    _, slope = learned._lesser(seen.observation, seen.action)
    action = seen.action.clone().requires_grad_()
    learned.critics(seen.observation, action)[1].sum().backward()
    assert torch.allclose(slope, action.grad)  # type: ignore[arg-type]
    assert torch.equal(noise, learned.policy_noise.get_state())


# Targets and temperature.


def test_the_target_is_soft_and_ends_with_the_task_alone() -> None:
    learned, seen = agent(dtype=torch.float64, discount=0.9), batch(0, torch.float64)
    generator = torch.Generator().set_state(learned.target_noise.get_state())
    out = learned.actor(seen.next_observation).detach()
    noise = torch.empty(32, 2, dtype=torch.float64).normal_(generator=generator)
    following = squashed(out[:, :2], out[:, 2:].clamp(-20, 2), noise)
    q = learned.critics_target.module(seen.next_observation, following.action).min(0).values.detach()
    expected = seen.reward + 0.9 * (1 - seen.terminated) * (q - 0.3 * following.log_prob)
    assert torch.allclose(learned.bootstrap(seen, 0.3), expected)
    ended = learned.bootstrap(seen._replace(terminated=torch.ones(32, dtype=torch.float64)), 0.3)
    assert torch.equal(ended, seen.reward)


def test_rewards_are_scaled_in_the_target_alone() -> None:
    seen = batch(0, torch.float64)._replace(terminated=torch.ones(32, dtype=torch.float64))
    assert torch.allclose(agent(dtype=torch.float64, reward_scale=0.1).bootstrap(seen, 0.3), 0.1 * seen.reward)


def test_the_target_is_the_slow_copys_and_not_the_networks() -> None:
    learned, seen = agent(), batch(0)
    noise = learned.target_noise.get_state()
    before = learned.bootstrap(seen, 0.2)
    with torch.no_grad():
        learned.critics.head.bias += 10
    learned.target_noise.set_state(noise)
    assert torch.equal(before, learned.bootstrap(seen, 0.2))


@pytest.mark.parametrize(("entropy_wanted", "rises"), [(1e3, True), (-1e3, False)])
def test_the_temperature_rises_where_there_is_too_little_entropy(entropy_wanted: float, rises: bool) -> None:
    learned = agent(target_entropy=entropy_wanted)
    for number in range(10):
        learned.update(batch(number))
    assert (learned.temperature > 1) == rises
    assert abs(math.log(learned.temperature)) == pytest.approx(10 * 3e-4, rel=0.01), "Adam's step, ten times"


def test_a_fixed_temperature_stays_and_the_wanted_entropy_is_minus_the_actions() -> None:
    fixed = agent(temperature=0.2, learned_temperature=False)
    figures = [fixed.update(batch(number)) for number in range(5)]
    assert [figure["temperature"] for figure in figures] == pytest.approx([0.2] * 5)
    assert agent().target_entropy == -2


def test_a_hard_update_copies_at_every_so_manyth_update() -> None:
    learned = agent(tau=1.0, target_every=3)
    for number in range(1, 8):
        before = copy.deepcopy(learned.critics_target.module)
        learned.update(batch(number))
        slow, online = learned.critics_target.module.state_dict(), learned.critics.state_dict()
        if number % 3 == 0:
            assert all(torch.equal(slow[name], online[name]) for name in online)
        else:
            assert all(torch.equal(slow[name], value) for name, value in before.state_dict().items())


def test_adaptation_comes_before_a_hard_copy_of_the_same_update() -> None:
    """DS-SAC's Algorithm 4: where both fall on one update, the slow copy has the new topology."""
    learned = agent(dtype=torch.float64, tau=1.0, target_every=5)
    method = replace(
        DS, allocation=part("uniform", density=0.5), initial=part("random"),
        schedule=part("periodic", fraction=0.3, every=5),
    )  # fmt: skip
    critic = learned.learners()[0]
    sparsifier = Sparsifier(critic, method, seed=SeedSequence(0), total=20, execution="masked")
    for number in range(1, 11):
        before = sparsifier.masks
        learned.update(batch(number, torch.float64))
        if number % 5 == 0:
            assert any(not torch.equal(mask, before[name]) for name, mask in sparsifier.masks.items())
            slow, online = learned.critics_target.module.state_dict(), learned.critics.state_dict()
            assert all(torch.equal(slow[name], online[name]) for name in online)


# Acting.


def test_it_explores_by_samples_or_by_the_mean() -> None:
    learned, observation = agent(dtype=torch.float64), np.ones(4)
    mean, raw = learned.actor.single(observation)
    sampled = np.stack([learned.act(observation, explore=True) for _ in range(4000)])
    u = np.arctanh(sampled.clip(-1 + 1e-7, 1 - 1e-7))
    assert u.mean(0) == pytest.approx(mean, abs=0.07)
    assert u.std(0) == pytest.approx(np.exp(raw.clip(-20, 2)), rel=0.07)
    assert learned.act(observation, explore=False) == pytest.approx(np.tanh(mean), abs=1e-6)
    still = agent(dtype=torch.float64, explores="mean")
    assert (still.act(observation, explore=True) == still.act(observation, explore=False)).all()
    rows = torch.ones(3, 4, dtype=torch.float64)
    assert learned.mean_actions(rows).numpy() == pytest.approx(np.tanh(np.stack([mean] * 3)))


# State.


@pytest.mark.parametrize("settings_", [{}, {"learned_temperature": False}, {"tau": 1.0, "target_every": 4}])
def test_a_restored_agent_goes_on_bit_for_bit(settings_: dict[str, Any]) -> None:
    one, other = agent(**settings_), agent(5, **settings_)
    for number in range(6):
        one.update(batch(number))
        one.act(np.ones(4), explore=True)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for each in (one, other):
        each.update(batch(9))
        each.act(np.ones(4), explore=True)
    assert same(one.state_dict(), other.state_dict())


def test_a_state_of_the_other_kind_of_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match="learned and the agent's fixed, or the other way round"):
        agent().load_state_dict(agent(learned_temperature=False).state_dict())


def test_equal_seeds_share_networks_whatever_the_other_settings() -> None:
    one, other = agent(3), agent(3, dtype=torch.float64, temperature=0.2, learned_temperature=False, tau=0.5)
    for mine, theirs in zip(one.actor.parameters(), other.actor.parameters(), strict=True):
        assert torch.allclose(mine.double(), theirs, atol=1e-7)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("learning_rate", 0.0), ("weight_decay", -1.0), ("batch_size", 0), ("discount", 1.1), ("tau", 0.0),
        ("target_every", 0), ("temperature", 0.0), ("temperature", math.inf), ("log_std_low", 3.0),
        ("reward_scale", 0.0), ("actor_hidden", ()), ("critic_hidden", (4, 0)), ("initial", "zeros"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_named(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=setting if setting != "initial" else "how weights are drawn"):
        sac(4, 2, 0, CPU, torch.float32, **{setting: value})


# Initial weights.


def test_weights_are_drawn_within_their_bounds() -> None:
    made = {drawn: agent(1, torch.float64, initial=drawn) for drawn in ("uniform", "xavier", "orthogonal")}
    first = {name: each.critics.hidden[1].weight.detach() for name, each in made.items()}  # (2, 10, 14)
    assert first["uniform"].abs().max().item() == pytest.approx(14**-0.5, rel=0.05)
    assert first["xavier"].abs().max().item() == pytest.approx((6 / 24) ** 0.5, rel=0.05)
    for twin in first["orthogonal"]:
        assert torch.allclose(twin @ twin.T, torch.eye(10, dtype=torch.float64), atol=1e-12)
    assert not torch.equal(first["orthogonal"][0], first["orthogonal"][1])
    for name in ("xavier", "orthogonal"):
        assert all(not bias.any() for key, bias in made[name].critics.state_dict().items() if key.endswith("bias"))


@pytest.mark.parametrize("drawn", ["uniform", "xavier", "orthogonal"])
@pytest.mark.parametrize("kind", [GaussianActor, Critics])
def test_weights_that_are_drawn_later_are_the_same(kind: Any, drawn: Any) -> None:
    now = kind(4, 2, (8, 6), generator=torch.Generator().manual_seed(0), drawn=drawn)
    with deferring():
        later = kind(4, 2, (8, 6), generator=torch.Generator().manual_seed(0), drawn=drawn)
    materialise(later)
    assert all(torch.equal(one, two) for one, two in zip(now.parameters(), later.parameters(), strict=True))


# Learning.

ROWS: dict[str, Method | None] = {"dense": None, "static": STATIC, "set": SET, "rigl": RIGL, "ds": DS}


@pytest.mark.parametrize(
    ("name", "execution"),
    [("dense", ""), ("static", "sparse"), ("set", "masked"), ("rigl", "sparse"), ("ds", "masked"), ("ds", "sparse")],
)
def test_it_reaches_the_optimum_of_a_toy_environment(name: str, execution: str) -> None:
    """The optimum is 0, of a choice whose reward comes a step later."""
    learned = sac(
        2, 1, 0, CPU, torch.float32, learning_rate=2e-3, batch_size=64, tau=0.02, temperature=0.1,
        target_entropy=-3.0, actor_hidden=(64, 32), critic_hidden=(64, 64),
    )  # fmt: skip
    row = ROWS[name]
    if row is not None:
        schedule = row.schedule if name == "static" else part("periodic", fraction=0.1, every=200, until=0.7)
        method = replace(
            row, eligible=part("hidden"), allocation=part("erk", density=0.5), initial=part("random"), schedule=schedule
        )
        for number, learner in enumerate(learned.learners()):
            Sparsifier(learner, method, seed=SeedSequence(number), total=2500, execution=execution)  # type: ignore[arg-type]
    plan = {"steps": 2800, "warmup": 300, "eval_every": 2800, "episodes": 40}
    records = Training(learned, Carry(), Carry(), uniform(2, 1), seed=0, device=CPU, dtype=torch.float32, **plan)
    before, after = (np.mean(record.returns) for record in records if isinstance(record, Evaluation))
    assert before < -0.1
    assert after > -0.03


def test_it_uses_no_global_randomness() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learned = agent()
    learned.update(batch(0))
    learned.act(np.ones(4), explore=True)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
