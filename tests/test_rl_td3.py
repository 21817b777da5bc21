"""TD3 against an independent reference, and on toy environments with a known optimum."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from toy import Carry, Paid

from registry import part
from rl import TD3, Batch, Evaluation, Training, evaluate, td3, uniform
from sparsity import DS, RIGL, SET, STATIC, Method, Sparsifier

CPU = torch.device("cpu")
Array = NDArray[np.float64]


def agent(seed: int = 0, dtype: torch.dtype = torch.float32, **settings: Any) -> TD3:
    defaults: dict[str, Any] = {"actor_hidden": (16, 12), "critic_hidden": (14, 10), "batch_size": 32}
    return td3(4, 2, seed, CPU, dtype, **defaults | settings)


def batch(i: int, dtype: torch.dtype = torch.float32, size: int = 32) -> Batch:
    draw = np.random.default_rng(i)
    columns = (
        draw.normal(size=(size, 4)),
        draw.uniform(-1, 1, (size, 2)),
        draw.normal(size=size),
        draw.normal(size=(size, 4)),
        draw.integers(2, size=size),
    )
    return Batch(*(torch.tensor(column, dtype=dtype) for column in columns))


class Reference:
    """TD3 in NumPy, every derivative and Adam by hand; one matrix a critic, no autograd."""

    def __init__(self, learned: TD3, *, rate: float, decay: float, discount: float, tau: float, delay: int) -> None:
        self.rate, self.decay, self.discount, self.tau, self.delay = rate, decay, discount, tau, delay
        self.actor = [p.detach().numpy().copy() for p in learned.actor.parameters()]
        population = [p.detach().numpy() for p in learned.critics.parameters()]
        self.critics = [[p[i].copy() for p in population] for i in (0, 1)]
        self.nets = [self.actor, *self.critics]
        self.targets = copy.deepcopy(self.nets)
        self.moments = [[(np.zeros_like(p), np.zeros_like(p)) for p in net] for net in self.nets]
        self.adams, self.updates = [0, 0, 0], 0

    @staticmethod
    def forward(net: list[Array], x: Array) -> tuple[Array, list[Array]]:
        inputs = []
        for layer in range(0, len(net), 2):
            inputs.append(x)
            x = x @ net[layer].T + net[layer + 1]
            if layer < len(net) - 2:
                x = np.maximum(x, 0)
        return x, inputs

    @staticmethod
    def backward(net: list[Array], inputs: list[Array], slope: Array) -> tuple[list[Array], Array]:
        grads: list[Array] = []
        for layer in reversed(range(0, len(net), 2)):
            x = inputs[layer // 2]
            grads = [slope.T @ x, slope.sum(0), *grads]
            slope = slope @ net[layer]
            if layer:
                slope = slope * (x > 0)
        return grads, slope

    def adam(self, which: int, grads: list[Array]) -> None:
        self.adams[which] += 1
        t = self.adams[which]
        for p, g, (m, v) in zip(self.nets[which], grads, self.moments[which], strict=True):
            g = g + self.decay * p
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= self.rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    def update(self, transitions: Batch, noise: Array) -> dict[str, float]:
        s, a, r, following, end = (column.numpy() for column in transitions[:5])
        n = len(r)
        self.updates += 1
        action = np.clip(np.tanh(self.forward(self.targets[0], following)[0]) + np.clip(noise, -0.5, 0.5), -1, 1)
        pairs = np.hstack([following, action])
        y = r + self.discount * (1 - end) * np.minimum(*(self.forward(q, pairs)[0][:, 0] for q in self.targets[1:]))
        losses, values = [], []
        for which in (1, 2):
            q, inputs = self.forward(self.nets[which], np.hstack([s, a]))
            error = q[:, 0] - y
            losses.append((error**2).mean())
            values.append(q.mean())
            self.adam(which, self.backward(self.nets[which], inputs, 2 * error[:, None] / n)[0])
        figures = {"critic_loss": sum(losses), "q": values[0]}
        if self.updates % self.delay:
            return figures
        out, actor_inputs = self.forward(self.actor, s)
        action = np.tanh(out)
        q, inputs = self.forward(self.nets[1], np.hstack([s, action]))
        slope = self.backward(self.nets[1], inputs, np.full_like(q, -1 / n))[1][:, s.shape[1] :]
        self.adam(0, self.backward(self.actor, actor_inputs, slope * (1 - action**2))[0])
        for slow, fast in zip(self.targets, self.nets, strict=True):
            for p, online in zip(slow, fast, strict=True):
                p *= 1 - self.tau
                p += self.tau * online
        return figures | {"actor_loss": -q.mean()}


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_updates_equal_an_independent_numpy_reference(delay: int) -> None:
    settings = {"weight_decay": 2e-4, "discount": 0.97, "tau": 0.01, "policy_delay": delay}
    learned = agent(dtype=torch.float64, learning_rate=1e-3, **settings)
    reference = Reference(learned, rate=1e-3, decay=2e-4, discount=0.97, tau=0.01, delay=delay)
    smoothing = torch.Generator()
    smoothing.set_state(learned.smoothing.get_state())
    for i in range(120):
        noise = torch.empty(32, 2, dtype=torch.float64).normal_(0, 0.2, generator=smoothing).numpy()
        expected = reference.update(batch(i, torch.float64), noise)
        assert learned.update(batch(i, torch.float64)) == pytest.approx(expected, rel=1e-9)
    twins = [[np.stack(p) for p in zip(*nets[1:], strict=True)] for nets in (reference.nets, reference.targets)]
    for module, parameters in (
        (learned.actor, reference.actor),
        (learned.actor_target.module, reference.targets[0]),
        (learned.critics, twins[0]),
        (learned.critics_target.module, twins[1]),
    ):
        for one, two in zip(module.parameters(), parameters, strict=True):
            assert one.detach().numpy() == pytest.approx(two, rel=1e-8, abs=1e-11)


def test_the_actors_step_leaves_the_critics_gradients_alone() -> None:
    def critic_gradients(policy_delay: int) -> list[Any]:
        learned = agent(policy_delay=policy_delay)
        assert ("actor_loss" in learned.update(batch(0))) == (policy_delay == 1)
        return [p.grad for p in learned.critics.parameters()]

    for with_actor_step, without in zip(critic_gradients(1), critic_gradients(2), strict=True):
        assert torch.equal(with_actor_step, without)


def test_actor_and_targets_move_every_policy_delay_updates() -> None:
    learned = agent(policy_delay=3)
    moved = []
    for i in range(7):
        before = copy.deepcopy([learned.actor, learned.actor_target.module, learned.critics_target.module])
        figures = learned.update(batch(i))
        after = [learned.actor, learned.actor_target.module, learned.critics_target.module]
        moved.append([not torch.equal(a.head.weight, b.head.weight) for a, b in zip(before, after, strict=True)])
        assert ("actor_loss" in figures) == moved[-1][0]
    assert moved == [[update % 3 == 0] * 3 for update in range(1, 8)]
    assert [(learner.name, learner.stride) for learner in learned.learners()] == [("critic", 1), ("actor", 3)]


def test_only_termination_ends_the_bootstrap() -> None:
    learned, transitions = agent(), batch(0)
    ended = learned.bootstrap(transitions._replace(terminated=torch.ones(32)))
    assert torch.equal(ended, transitions.reward)
    assert not torch.isclose(learned.bootstrap(transitions._replace(terminated=torch.zeros(32))), ended).all()


@pytest.mark.parametrize(("terminates", "value"), [(True, 1.0), (False, 2.0)])
def test_a_time_limit_does_not_lower_the_value_and_an_end_does(terminates: bool, value: float) -> None:
    settings: dict[str, Any] = {"batch_size": 8, "actor_hidden": (8,), "critic_hidden": (16,)}
    learned = td3(1, 1, 0, CPU, torch.float32, discount=0.5, tau=0.1, learning_rate=3e-3, **settings)
    env = Paid(length=1, terminates=terminates)
    plan = {"steps": 800, "warmup": 10, "eval_every": 1000, "episodes": 1}
    list(Training(learned, env, Paid(), uniform(1, 1), seed=0, device=CPU, dtype=torch.float32, **plan))
    q = learned.critics(torch.ones(1, 1), torch.tensor([[0.3]]))
    assert q.mean().item() == pytest.approx(value, abs=0.1)


def test_td3_reaches_the_optimum_of_a_toy_environment() -> None:
    settings: dict[str, Any] = {"batch_size": 64, "actor_hidden": (32,), "critic_hidden": (64, 64), "tau": 0.02}
    learned = td3(2, 1, 0, CPU, torch.float32, learning_rate=2e-3, exploration_noise=0.2, **settings)
    plan = {"steps": 3500, "warmup": 500, "eval_every": 3500, "episodes": 40}
    records = Training(learned, Carry(), Carry(), uniform(2, 1), seed=0, device=CPU, dtype=torch.float32, **plan)
    before, after = (np.mean(record.returns) for record in records if isinstance(record, Evaluation))
    assert before < -0.3
    assert after > -0.01, "the optimum is 0"


@pytest.mark.parametrize(("row", "execution"), [(STATIC, "masked"), (SET, "sparse"), (RIGL, "masked"), (DS, "sparse")])
def test_sparse_networks_reach_it_too(row: Method, execution: str) -> None:
    settings: dict[str, Any] = {"batch_size": 64, "actor_hidden": (64, 32), "critic_hidden": (64, 64), "tau": 0.02}
    learned = td3(2, 1, 0, CPU, torch.float32, learning_rate=2e-3, exploration_noise=0.2, **settings)
    swaps = row.schedule if row is STATIC else part("periodic", fraction=0.1, every=200, until=0.7)
    method = replace(
        row, eligible=part("hidden"), allocation=part("erk", density=0.5), initial=part("random"), schedule=swaps
    )
    for number, learner in enumerate(learned.learners()):
        Sparsifier(learner, method, seed=np.random.SeedSequence(number), total=3000, execution=execution)  # type: ignore[arg-type]
    plan = {"steps": 3500, "warmup": 500, "eval_every": 3500, "episodes": 40}
    records = Training(learned, Carry(), Carry(), uniform(2, 1), seed=0, device=CPU, dtype=torch.float32, **plan)
    _, after = (np.mean(record.returns) for record in records if isinstance(record, Evaluation))
    assert after > -0.03, "the optimum is 0"


def test_exploration_adds_noise_within_bounds_and_evaluation_none() -> None:
    learned = agent(exploration_noise=0.3)
    observation = np.ones(4, dtype=np.float32)
    mean = learned.act(observation, explore=False)
    assert np.array_equal(mean, learned.act(observation, explore=False))
    noisy = np.stack([learned.act(observation, explore=True) for _ in range(2000)])
    assert noisy.dtype == mean.dtype == np.float32
    assert (noisy - mean).std() == pytest.approx(0.3, rel=0.05)
    loud = agent(exploration_noise=50.0)
    assert set(np.abs(np.concatenate([loud.act(observation, explore=True) for _ in range(20)]))) <= {1.0}


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    def weights(seed: int) -> Any:
        learned = agent(seed)
        for i in range(20):
            learned.update(batch(i))
            learned.act(np.ones(4), explore=True)
        return learned.state_dict()

    assert same(weights(1), weights(1))
    assert not same(weights(1), weights(2))


def test_widths_of_one_network_do_not_change_the_others_initial_values() -> None:
    one, two = agent(actor_hidden=(16,)), agent(actor_hidden=(64, 64, 64))
    assert same(one.critics.state_dict(), two.critics.state_dict())


@pytest.mark.parametrize("updates", [0, 5])
def test_a_restored_agent_goes_on_bit_for_bit(updates: int) -> None:
    one, two = agent(0, policy_delay=3), agent(7, policy_delay=3)
    for i in range(updates):
        one.update(batch(i))
        one.act(np.ones(4), explore=True)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for i in range(20):
        assert one.update(batch(100 + i)) == two.update(batch(100 + i))
        assert np.array_equal(one.act(np.ones(4), explore=True), two.act(np.ones(4), explore=True))
    assert same(one.state_dict(), two.state_dict())


def test_a_state_of_another_width_is_refused() -> None:
    one = agent()
    one.update(batch(0))
    state = one.state_dict()
    other = agent(critic_hidden=(14, 11))
    with pytest.raises(ValueError, match="Build the agent as it was then"):
        other.load_state_dict(state)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tau": 0.0},
        {"tau": 5.0},
        {"discount": -0.1},
        {"discount": 1.5},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"policy_delay": 0},
        {"batch_size": 0},
        {"exploration_noise": -0.1},
        {"target_noise": -0.1},
        {"noise_clip": -0.1},
        {"actor_hidden": (0,)},
        {"critic_hidden": (256, -1)},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name} of td3 is .*; it must be "):
        agent(**wrong)


def test_acting_and_updating_draw_nothing_from_global_generators() -> None:
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    learned = agent()
    learned.update(batch(0))
    learned.act(np.ones(4), explore=True)
    evaluate(learned_on_toy(), Carry(), episodes=1, seed=0)
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(torch_before, torch.get_rng_state())


def learned_on_toy() -> TD3:
    return td3(2, 1, 0, CPU, torch.float32, actor_hidden=(4,), critic_hidden=(4,))


def same(one: Any, two: Any) -> bool:
    """Nested equality, bit for bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else bool(one == two)
