"""What `sparsity.sb3` promises to users of Stable-Baselines3."""

import copy
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("stable_baselines3")

import stable_baselines3.dqn.dqn as sb3_dqn
import stable_baselines3.td3.td3 as sb3_td3
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.policies import ActorCriticPolicy

from registry import PartError
from sparsity import SET, Event
from sparsity.sb3 import SparseCallback, planned_updates

short_plan = pytest.mark.filterwarnings("ignore:.* no change falls into the")
"""For tests of something else, whose plans are too short for a change of topology."""

ROOT = Path(__file__).parent.parent
OFF = {"learning_starts": 20, "batch_size": 8, "buffer_size": 1000}
KINDS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "td3": (TD3, "Pendulum-v1", OFF),
    "sac": (SAC, "Pendulum-v1", OFF),
    "ddpg": (DDPG, "Pendulum-v1", OFF),
    "dqn": (DQN, "CartPole-v1", {**OFF, "target_update_interval": 10, "train_freq": 1}),
    "ppo": (PPO, "CartPole-v1", {"n_steps": 32, "batch_size": 8, "n_epochs": 2}),
    "a2c": (A2C, "CartPole-v1", {"n_steps": 2}),
}
OFF_POLICY = ("td3", "sac", "ddpg", "dqn")
METHODS: dict[str, dict[str, Any]] = {
    "static": {},
    "set": {"schedule": {"every": 10}},
    "rigl": {"schedule": {"every": 10}},
    "ds": {"schedule": {"every": 10, "fraction": 0.2}},
}


def build(kind: str, **settings: Any) -> Any:
    algorithm, env, own = KINDS[kind]
    own = {"seed": 0, "device": "cpu", "policy_kwargs": {"net_arch": [20, 12]}, **own, **settings}
    return algorithm("MlpPolicy", env, **own)


def outside(model: Any, masks: dict[str, Tensor]) -> int:
    """Weights that are not zero where their mask says that they are absent."""
    state = model.policy.state_dict()
    return sum(int(state[name][~mask].count_nonzero()) for name, mask in masks.items())


def actions(model: Any) -> Any:
    draw = np.random.default_rng(1)
    size = model.observation_space.shape[0]
    return model.predict(draw.normal(size=(50, size)).astype(np.float32), deterministic=True)[0]


def target_name(name: str) -> str:
    """Of a weight's slow copy."""
    for part in ("actor", "critic", "q_net"):
        if name.startswith(f"{part}."):
            return name.replace(part, f"{part}_target", 1)
    raise AssertionError(name)


def equal(one: Any, other: Any) -> bool:
    a, b = one.policy.state_dict(), other.policy.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def moments_of(model: Any) -> dict[str, Tensor]:
    """First moments, by the names of the policy's parameters."""
    names = {id(p): name for name, p in model.policy.named_parameters()}
    learners = [model.policy] if hasattr(model.policy, "optimizer") else [model.actor, model.critic]
    optimizers = [learner.optimizer for learner in learners]
    return {names[id(p)]: state["exp_avg"] for each in optimizers for p, state in each.state.items()}


# Sparse, whatever the algorithm and the method.


EACH = [
    *((kind, method, "masked") for kind in KINDS for method in METHODS),
    *((kind, method, "sparse") for kind in OFF_POLICY for method in ("set", "ds")),
]


@pytest.mark.parametrize(("kind", "method", "execution"), EACH)
def test_absent_weights_are_zero_and_counts_are_kept(kind: str, method: str, execution: str, tmp_path: Path) -> None:
    counts: dict[str, set[int]] = {}

    def heard(network: str, event: Event) -> None:
        for layer in event.layers:
            counts.setdefault(f"{network}/{layer.name}", set()).add(layer.active)

    model = build(kind)
    given: Any = {"execution": execution, "on_event": heard, **METHODS[method]}
    callback = SparseCallback(method, density=0.3, **given)
    model.learn(64, callback=callback)
    masks = callback.masks()
    assert masks
    assert outside(model, masks) == 0
    assert all(0.2 < density < 0.4 for density in callback.densities().values())
    assert (method == "static") == (not counts)
    assert all(len(seen) == 1 for seen in counts.values())
    model.save(tmp_path / "model.zip")
    loaded = KINDS[kind][0].load(tmp_path / "model.zip", device="cpu")
    assert np.array_equal(actions(model), actions(loaded))
    assert outside(loaded, masks) == 0


@pytest.mark.parametrize("kind", ["td3", "sac"])
def test_connections_may_become_fewer_as_it_learns(kind: str) -> None:
    """With the actor's step right after the critic's, whose loss Stable-Baselines3 still holds."""
    callback = SparseCallback("gmp", density=0.2, eligible="hidden", budget={"every": 4}, execution="sparse")
    build(kind).learn(80, callback=callback)
    assert all(density == pytest.approx(0.2, abs=0.01) for density in callback.densities().values())


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_dense_parameters_that_are_set_meanwhile_are_cut(execution: Any) -> None:
    class Set(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 40:
                self.model.set_parameters(dense)
            return True

    model = build("td3")
    dense = copy.deepcopy(model.get_parameters())
    callback = SparseCallback("static", density=0.3, execution=execution)
    model.learn(60, callback=[callback, Set()])
    assert outside(model, callback.masks()) == 0
    active, size = (sum(map(count, callback.masks().values())) for count in (lambda m: int(m.sum()), Tensor.numel))
    assert active / size == pytest.approx(0.3, abs=0.01)


def test_output_layers_stay_dense_each_networks_own() -> None:
    dense = {
        "td3": ("actor.mu.4", "critic.qf0.4", "critic.qf1.4"),
        "sac": ("actor.mu", "actor.log_std", "critic.qf0.4", "critic.qf1.4"),
        "dqn": ("q_net.q_net.4",),
        "ppo": ("action_net", "value_net"),
    }
    for kind, heads in dense.items():
        model, callback = build(kind), SparseCallback("static", density=0.3)
        model.learn(1, callback=callback)
        weights = {name for name, w in model.policy.named_parameters() if w.dim() == 2 and "target" not in name}
        assert weights - set(callback.masks()) == {f"{head}.weight" for head in heads}, kind


def test_each_critic_is_a_network_with_a_first_layer_of_its_own() -> None:
    model, callback = build("td3"), SparseCallback("anf", actor="dense")
    model.learn(1, callback=callback)
    assert set(callback.masks()) == {"critic.qf0.0.weight", "critic.qf1.0.weight"}


def test_features_extractors_belong_to_their_network() -> None:
    pixels = {"n_steps": 8, "batch_size": 4, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
    from stable_baselines3.common.envs import FakeImageEnv

    env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=True)
    model = PPO("CnnPolicy", env, seed=0, device="cpu", **pixels)
    callback = SparseCallback("rigl", density=0.2, schedule={"every": 1})
    model.learn(16, callback=callback)
    masks = callback.masks()
    assert "features_extractor.cnn.0.weight" in masks
    assert outside(model, masks) == 0


# Learners apart.


@short_plan
def test_learners_may_differ_in_method_and_density() -> None:
    model = build("td3")
    callback = SparseCallback("set", density={"actor": 0.5, "critic": 0.2}, actor="static")
    model.learn(60, callback=callback)
    assert callback.densities() == pytest.approx({"actor": 0.5, "critic": 0.2}, abs=0.01)
    assert set(callback.executions()) == {"actor", "critic.qf0", "critic.qf1"}, "after `learn`, too"
    model = build("sac")
    callback = SparseCallback(SET, density=0.5, actor="dense", critic={"base": "rigl", "density": 0.1})
    model.learn(60, callback=callback)
    assert callback.densities() == pytest.approx({"critic": 0.1}, abs=0.01)


def test_other_random_streams_are_those_of_a_dense_run() -> None:
    def drawn(callback: SparseCallback | None) -> Any:
        model = build("td3", learning_starts=100)
        model.learn(30, callback=callback)
        return model.replay_buffer.actions, torch.rand(1)

    (acts, noise), (dense_acts, dense_noise) = drawn(SparseCallback("set", density=0.5)), drawn(None)
    assert np.array_equal(acts, dense_acts)
    assert torch.equal(noise, dense_noise)


def test_the_seed_decides_the_topology() -> None:
    def masks(**given: Any) -> dict[str, Tensor]:
        callback = SparseCallback("static", density=0.5, **given)
        build("ddpg", seed=given.pop("model", 0)).learn(1, callback=callback)
        return callback.masks()

    def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
        return all(torch.equal(one[name], other[name]) for name in one)

    assert same(masks(), masks())
    assert same(masks(), masks(seed=0))
    assert not same(masks(), masks(seed=1))


# Slow copies.


@pytest.mark.parametrize("method", ["set", "ds"])
@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_targets_obey_the_rule_whenever_they_are_read(method: str, execution: str) -> None:
    model = build("td3", gradient_steps=4, train_freq=4, tau=0.2)
    callback = SparseCallback(method, density=0.3, execution=execution, **METHODS[method])  # type: ignore[arg-type]
    reads = 0

    def obeys() -> bool:
        state, masks = model.policy.state_dict(), callback.masks()
        targets = {name: state[target_name(name)] for name in masks}
        if method == "set":
            return not any(bool(targets[name][~mask].any()) for name, mask in masks.items())
        return all(int(targets[name].count_nonzero()) <= int(mask.sum()) for name, mask in masks.items())

    def read(module: nn.Module, *_: Any) -> None:
        nonlocal reads
        reads += 1
        state = {}
        for holder, prefix in ((model.critic_target, "critic."), (model.actor_target, "actor.")):
            if module is holder:
                state = {name: w for name, w in callback.masks().items() if name.startswith(prefix)}
        # The module's own state, which settles nothing.
        own = module.state_dict()
        for name, mask in state.items():
            value = own[name.partition(".")[2]]
            if method == "set":
                assert not bool(value[~mask].any())
            else:
                assert int(value.count_nonzero()) <= int(mask.sum())

    class Watch(BaseCallback):
        def _on_training_start(self) -> None:
            self.hooks = [m.register_forward_pre_hook(read) for m in (model.critic_target, model.actor_target)]

        def _on_step(self) -> bool:
            return True

        def _on_training_end(self) -> None:
            for hook in self.hooks:
                hook.remove()

    model.learn(90, callback=[callback, Watch()])
    assert reads > 100
    assert obeys()


@pytest.mark.parametrize("kind", ["td3", "dqn"])
def test_targets_are_treated_as_by_a_hook_after_each_update(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit: late, but before anybody reads them."""
    settings: dict[str, Any] = {"gradient_steps": 3, "train_freq": 3, "tau": 0.3}
    if kind == "dqn":
        settings |= {"target_update_interval": 1, "learning_starts": 10}

    def trained(at_once: bool) -> Any:
        model, callback = build(kind, **settings), SparseCallback("ds", density=0.3, **METHODS["ds"])
        module = {"td3": sb3_td3, "dqn": sb3_dqn}[kind]
        polyak = module.polyak_update

        def told(*given: Any) -> None:
            polyak(*given)
            if callback._attached is not None:
                callback._attached.settle()

        with monkeypatch.context() as patched:
            if at_once:
                patched.setattr(module, "polyak_update", told)
            model.learn(90, callback=callback)
        return model

    assert equal(trained(at_once=True), trained(at_once=False))


# Clipping.


@pytest.mark.parametrize("kind", ["ppo", "a2c", "dqn"])
def test_clipping_sees_the_gradients_of_active_connections_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, callback = (
        build(kind, max_grad_norm=0.05),
        SparseCallback("rigl", density=0.3, execution="masked", **METHODS["rigl"]),
    )
    clip, seen = nn.utils.clip_grad_norm_, 0

    def watched(parameters: Any, *given: Any) -> Any:
        nonlocal seen
        seen += 1
        weights, masks = dict(model.policy.named_parameters()), callback.masks()
        for name, mask in masks.items():
            assert not bool(weights[name].grad[~mask].any())
            assert bool(weights[name].grad[mask].any())
        return clip(parameters, *given)

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", watched)
    model.learn(70, callback=callback)
    assert seen > 10


def test_growth_sees_the_dense_gradient_though_clipping_does_not() -> None:
    model, grads = build("ppo", max_grad_norm=0.01), {}
    for name, parameter in model.policy.named_parameters():
        parameter.register_hook(lambda grad, name=name: grads.__setitem__(name, grad.clone()))
    checked = 0

    def heard(network: str, event: Event) -> None:
        nonlocal before, checked
        after = callback.masks()
        for name, mask in after.items():
            old = before[name]
            if name.startswith("mlp_extractor.policy_net") == (network == "actor"):
                grown = mask & ~old
                scores = grads[name].abs().masked_fill(old, -1)
                best = scores.reshape(-1).topk(int(grown.sum())).indices
                assert set(best.tolist()) == set(grown.reshape(-1).nonzero().squeeze(1).tolist())
                checked += int(grown.sum())
                before = {**before, name: mask}

    class Start(BaseCallback):
        def _on_training_start(self) -> None:
            nonlocal before
            before = callback.masks()

        def _on_step(self) -> bool:
            return True

    before: dict[str, Tensor] = {}
    changes = {"eligible": "hidden", "readmit": False, "schedule": {"every": 4}}
    callback = SparseCallback("rigl", density=0.3, on_event=heard, **changes)
    model.learn(256, callback=[callback, Start()])
    assert checked > 50


# Sparse execution.


@pytest.mark.parametrize("method", ["set", "rigl", "ds"])
@pytest.mark.parametrize("kind", OFF_POLICY)
def test_sparse_execution_does_what_masked_does(kind: str, method: str) -> None:
    def trained(execution: Any) -> tuple[Any, dict[str, Tensor]]:
        model = build(kind, learning_rate=1e-4)
        changes = {**METHODS[method], "eligible": "hidden"}
        callback = SparseCallback(method, density=0.3, execution=execution, **changes)
        model.learn(60, callback=callback)
        return model, callback.masks()

    (masked, its_masks), (sparse, masks) = trained("masked"), trained("sparse")
    assert all(torch.equal(its_masks[name], mask) for name, mask in masks.items())
    ours, theirs = sparse.policy.state_dict(), masked.policy.state_dict()
    for name, value in theirs.items():
        assert torch.allclose(value, ours[name], atol=1e-5), name
    moments = [moments_of(model) for model in (masked, sparse)]
    for name, mask in masks.items():
        assert torch.allclose(moments[0][name][mask], moments[1][name][mask], atol=1e-4), name


@short_plan
def test_after_learning_a_model_is_one_of_plain_stable_baselines() -> None:
    for execution in ("masked", "sparse"):
        model, plain = build("td3"), build("td3")
        model.learn(60, callback=SparseCallback("set", density=0.3, execution=execution))  # type: ignore[arg-type]
        for online in (model.critic.qf0, model.critic_target.qf1, model.actor.mu):
            assert type(online) is nn.Sequential
            assert not online._forward_pre_hooks
            assert "values" not in dict(online.named_parameters())
        assert not model.critic.optimizer._optimizer_step_pre_hooks
        assert not model.critic.optimizer._optimizer_load_state_dict_pre_hooks
        assert not model.critic_target._forward_pre_hooks
        shapes = [[p.shape for p in m.policy.parameters()] for m in (model, plain)]
        assert shapes[0] == shapes[1]
        trained = {id(p) for p in model.critic.optimizer.param_groups[0]["params"]}
        assert trained == {id(p) for p in model.critic.parameters()}
        copy.deepcopy(model.policy)
        model.learn(50)
        assert set(model.critic.optimizer.state) == set(model.critic.parameters())


@short_plan
def test_sparse_execution_is_refused_where_it_cannot_be_and_nothing_has_changed() -> None:
    for kind, changes in (("ppo", {}), ("sac", {"eligible": "all"})):
        model = build(kind)
        before = copy.deepcopy(model.policy.state_dict())
        with pytest.raises(ValueError, match="masked execution"):
            model.learn(50, callback=SparseCallback("set", density=0.3, execution="sparse", **changes))
        assert all(torch.equal(before[name], value) for name, value in model.policy.state_dict().items())
        model.learn(50, callback=SparseCallback("set", density=0.3, **changes))


def test_ppo_with_relu_can_be_held_sparsely() -> None:
    model = build("ppo", policy_kwargs={"net_arch": [20, 12], "activation_fn": nn.ReLU})
    callback = SparseCallback("set", density=0.3, schedule={"every": 8}, execution="sparse")
    model.learn(200, callback=callback)
    assert outside(model, callback.masks()) == 0


# Saved while it learns, and gone on with.


@pytest.mark.parametrize("execution", ["masked", "sparse"])
@pytest.mark.parametrize("kind", ["td3", "dqn", "ppo"])
def test_a_checkpoint_is_a_plain_model_and_as_sparse(kind: str, execution: str, tmp_path: Path) -> None:
    if (kind, execution) == ("ppo", "sparse"):
        pytest.skip("PPO has Tanh between layers by default")
    callback = SparseCallback("ds", density=0.3, execution=execution, **METHODS["ds"])  # type: ignore[arg-type]
    seen: dict[int, Any] = {}

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            if self.n_calls % 35 == 0:
                seen[self.n_calls] = (callback.masks(), actions(self.model))
            return True

    model = build(kind)
    model.learn(80, callback=[CheckpointCallback(35, str(tmp_path)), callback, Look()])
    for steps, (masks, acts) in seen.items():
        loaded = KINDS[kind][0].load(tmp_path / f"rl_model_{steps}_steps.zip", device="cpu")
        assert outside(loaded, masks) == 0
        assert np.array_equal(actions(loaded), acts) or (kind, execution) == ("td3", "sparse")
        assert np.allclose(actions(loaded), acts, atol=1e-5)
        if kind != "ppo":
            state = loaded.policy.state_dict()
            for name, mask in masks.items():
                assert int(state[target_name(name)].count_nonzero()) <= int(mask.sum())


def test_the_zip_loads_where_this_package_is_not(tmp_path: Path) -> None:
    model = build("td3")
    model.learn(80, callback=SparseCallback("ds", density=0.3, **METHODS["ds"]))
    model.save(tmp_path / "model.zip")
    np.save(tmp_path / "actions.npy", actions(model))
    script = (
        "import sys; sys.modules['sparsity'] = sys.modules['registry'] = None\n"
        "import numpy as np; from stable_baselines3 import TD3\n"
        "model = TD3.load('model.zip', device='cpu')\n"
        "draw = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)\n"
        "assert np.array_equal(model.predict(draw, deterministic=True)[0], np.load('actions.npy'))\n"
        "assert type(model.sparsity_state) is dict\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, check=True, env=dict(os.environ))


@pytest.mark.parametrize("execution", ["masked", "sparse"])
@pytest.mark.parametrize("method", ["ds", "rigl"])
def test_learning_in_two_parts_is_learning_in_one(method: str, execution: str) -> None:
    def callback() -> SparseCallback:
        changes = {**METHODS[method], "eligible": "hidden"}
        return SparseCallback(method, density=0.3, execution=execution, total=80, **changes)  # type: ignore[arg-type]

    whole, one, two = build("td3"), callback(), callback()
    whole.learn(100, callback=one)
    parts = build("td3")
    parts.learn(51, callback=two)
    parts.learn(49, callback=two, reset_num_timesteps=False)
    assert equal(whole, parts)
    assert all(torch.equal(mask, two.masks()[name]) for name, mask in one.masks().items())


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_a_loaded_model_goes_on_with_its_topology_to_the_bit(execution: str, tmp_path: Path) -> None:
    def callback() -> SparseCallback:
        return SparseCallback("ds", density=0.3, execution=execution, total=300, **METHODS["ds"])  # type: ignore[arg-type]

    def goes_on(model: Any) -> Any:
        model._total_timesteps = 200
        model.learning_starts = 0
        follower = callback()
        follower.init_callback(model)
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002  (what Stable-Baselines3 samples with)
        model.train(gradient_steps=60, batch_size=16)
        follower.on_training_end()
        return follower

    model = build("td3")
    model.learn(100, callback=callback())
    model.save(tmp_path / "model.zip")
    loaded = TD3.load(tmp_path / "model.zip", device="cpu")
    loaded.replay_buffer, loaded._logger = model.replay_buffer, model.logger
    masks = [goes_on(each).masks() for each in (model, loaded)]
    assert equal(model, loaded)
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())


@short_plan
def test_a_sparse_model_without_a_state_keeps_what_it_has_learnt() -> None:
    model = build("td3")
    first = SparseCallback("set", density=0.3, **METHODS["set"])
    model.learn(100, callback=first)
    del model.sparsity_state
    weights = copy.deepcopy(model.policy.state_dict())
    second = SparseCallback("rigl", density=0.3, eligible="hidden")
    model.learn(1, callback=second, reset_num_timesteps=False)
    for name, mask in second.masks().items():
        assert int(mask.sum()) == int(first.masks()[name].sum())
        assert not bool(weights[name][~mask].any())


def test_a_state_goes_by_hand_too() -> None:
    one, other = build("sac"), build("sac", seed=1)
    first, second = (SparseCallback("set", density=0.3, total=200, **METHODS["set"]) for _ in range(2))
    one.learn(100, callback=first)
    other.set_parameters(one.get_parameters())
    second.load_state_dict(first.state_dict())
    other.learn(1, callback=second)
    assert all(torch.equal(mask, second.masks()[name]) for name, mask in first.masks().items())
    assert second.state_dict()["actor"]["steps"] == first.state_dict()["actor"]["steps"]


@short_plan
def test_a_state_given_by_hand_that_does_not_fit_is_refused() -> None:
    first = SparseCallback("set", density=0.3)
    model = build("td3")
    model.learn(40, callback=first)
    for other, follower, says in (
        (model, SparseCallback("set", density=0.5), "one of another method or density for actor"),
        (build("td3"), SparseCallback("set", density=0.3), "one of other weights for actor"),
        (build("dqn"), SparseCallback("set", density=0.3), "none for q_net"),
    ):
        follower.load_state_dict(first.state_dict())
        with pytest.raises(ValueError, match=says):
            other.learn(40, callback=follower)


def test_a_model_trained_densely_since_is_made_sparse_anew() -> None:
    model, callback = build("td3"), SparseCallback("static", density=0.3)
    model.learn(60, callback=callback)
    model.learn(60, reset_num_timesteps=False)
    model.learn(60, callback=callback, reset_num_timesteps=False)
    assert outside(model, callback.masks()) == 0
    assert callback.densities() == pytest.approx({"actor": 0.3, "critic": 0.3}, abs=0.01)


@short_plan
@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_learning_goes_on_after_an_interruption(execution: str) -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            if self.n_calls == 50:
                raise KeyboardInterrupt
            return True

    model = build("td3")
    first, second = (SparseCallback("set", density=0.3, execution=execution) for _ in range(2))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        model.learn(100, callback=[first, Stop()])
    masks = first.masks()
    model.learn(30, callback=second, reset_num_timesteps=False)
    assert all(torch.equal(mask, second.masks()[name]) for name, mask in masks.items())
    assert outside(model, masks) == 0


@short_plan
def test_a_callback_used_for_another_model_starts_anew() -> None:
    callback = SparseCallback("set", density=0.3)
    for seed in (0, 1):
        model = build("ddpg", seed=seed)
        model.learn(40, callback=callback)
        assert outside(model, callback.masks()) == 0
        assert callback.state_dict()["actor"]["steps"] == 20


def test_a_callback_used_for_another_algorithm_tells_of_that_alone(tmp_path: Path) -> None:
    callback = SparseCallback("set", density=0.3, schedule={"every": 10})
    build("td3").learn(60, callback=callback)
    model = build("dqn")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(60, callback=callback, log_interval=1)
    model.logger.close()
    assert set(callback.densities()) == {"q_net"}
    header = (tmp_path / "progress.csv").read_text().splitlines()[0]
    assert "sparsity/events_q_net" in header
    assert "actor" not in header


# The plan.


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("td3", {}),
        ("td3", {"gradient_steps": 3, "train_freq": 7}),
        ("sac", {"gradient_steps": -1, "train_freq": 5}),
        ("ddpg", {"gradient_steps": -1, "train_freq": (1, "episode"), "learning_starts": 0}),
        ("dqn", {"train_freq": 4, "gradient_steps": 2, "learning_starts": 41}),
        ("ppo", {"n_steps": 48, "batch_size": 24, "n_epochs": 3}),
        ("a2c", {"n_steps": 7}),
    ],
)
def test_as_many_updates_are_planned_as_are_made(kind: str, settings: dict[str, Any]) -> None:
    model = build(kind, **settings)
    steps = 120 if "episode" not in str(settings) else 200  # An episode of Pendulum.
    callback = SparseCallback("static", density=0.5)
    model.learn(steps, callback=callback)
    state = callback.state_dict()
    made = max(int(network["steps"]) for network in state.values())
    assert planned_updates(model, steps) == made
    assert planned_updates(model, 2 * steps, model.num_timesteps) is not None


def test_shares_of_a_run_are_shares_of_the_planned_updates() -> None:
    events: list[int] = []
    model = build("td3")
    schedule = {"every": 10, "until": 0.5}
    callback = SparseCallback("set", density=0.5, schedule=schedule, on_event=lambda n, e: events.append(e.step))
    model.learn(140, callback=callback)
    assert max(events) == 60
    model = build("td3", gradient_steps=1, train_freq=(1, "episode"))
    with pytest.raises(ValueError, match=r"total=\.\.\."):
        model.learn(140, callback=SparseCallback("set", density=0.5, schedule=schedule))


# What is told.


def test_the_logger_has_densities_and_events(tmp_path: Path) -> None:
    model = build("ppo")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(256, callback=SparseCallback("set", density={"actor": 0.5, "critic": 0.2}, schedule={"every": 8}))
    model.logger.close()
    header, *rows = (tmp_path / "progress.csv").read_text().splitlines()
    last = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    assert float(last["sparsity/density_actor"]) == pytest.approx(0.5, abs=0.01)
    assert float(last["sparsity/density_critic"]) == pytest.approx(0.2, abs=0.01)
    assert int(last["sparsity/events_actor"]) == 7
    assert int(last["sparsity/grown_critic"]) > 0


# What is refused.


def test_what_cannot_be_is_said_before_anything_changes() -> None:
    with pytest.raises(PartError, match="Did you mean 'rigl'"):
        SparseCallback("rgl")
    with pytest.raises(PartError, match="unknown key 'sparsity'"):
        SparseCallback("set", sparsity=0.9)
    with pytest.raises(PartError, match="Known: actor, critic, q_net"):
        SparseCallback("set", density={"policy": 0.5})
    with pytest.raises(ValueError, match="execution must be"):
        SparseCallback("set", execution="dense")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1, not 0"):
        SparseCallback("set", total=0)
    with pytest.raises(ValueError, match=r"DQN has no 'actor'\. Learners: q_net"):
        build("dqn").learn(1, callback=SparseCallback("set", actor="static"))
    with pytest.raises(ValueError, match="net_arch"):
        build("dqn").learn(1, callback=SparseCallback("dense_small"))

    class Other(PPO):
        pass

    build("ppo").learn(1, callback=SparseCallback("static"))
    model = build("ppo")
    model.__class__ = Other.__mro__[2]  # type: ignore[assignment]
    with pytest.raises(ValueError, match="TD3, DDPG, SAC, DQN, PPO and A2C"):
        SparseCallback("static").init_callback(model)


def test_two_callbacks_in_one_learn_are_refused() -> None:
    """The second one would let go of what the first one keeps sparse."""
    both = [SparseCallback("static", density=0.3, critic="dense"), SparseCallback("static", density=0.5, actor="dense")]
    model = build("td3")
    with pytest.raises(ValueError, match="two were given"):
        model.learn(60, callback=both)
    assert type(model.actor.mu) is nn.Sequential
    model.learn(60, callback=both[0])
    assert set(both[0].densities()) == {"actor"}


@short_plan
def test_a_model_without_hidden_layers_is_not_kept_dense_in_silence() -> None:
    policy = {"net_arch": {"pi": [], "vf": [16]}}
    with pytest.raises(ValueError, match="the actor of this model has no weight"):
        build("ppo", policy_kwargs={"net_arch": []}).learn(32, callback=SparseCallback("set", density=0.2))
    with pytest.raises(ValueError, match="the actor of this model has no weight"):
        build("ppo", policy_kwargs=policy).learn(32, callback=SparseCallback("set", density={"actor": 0.2}))
    callback = SparseCallback("set", density=0.2)
    build("ppo", policy_kwargs=policy).learn(32, callback=callback)
    assert set(callback.densities()) == {"critic"}


class Trunk(nn.Module):
    """A network of a user's own, with layers that actor and critic share, and its other layers under these names."""

    latent_dim_pi = latent_dim_vf = 8

    def __init__(self, features: int, actor: str, critic: str) -> None:
        super().__init__()
        self.shared, self.names = nn.Linear(features, 8), (actor, critic)
        for name in self.names:
            self.add_module(name, nn.Sequential(nn.Linear(8, 8), nn.Tanh()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(x), self.forward_critic(x)

    def forward_actor(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.names[0])(self.shared(x))

    def forward_critic(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.names[1])(self.shared(x))


@short_plan
def test_layers_of_a_custom_policy_that_are_not_seen_are_told() -> None:
    class Custom(ActorCriticPolicy):
        names: ClassVar = ("policy_net", "value_net")

        def _build_mlp_extractor(self) -> None:
            self.mlp_extractor = Trunk(self.features_dim, *self.names)

    class Other(Custom):
        names: ClassVar = ("pi", "vf")

    def model(policy: type[Custom]) -> PPO:
        return PPO(policy, "CartPole-v1", n_steps=32, batch_size=8, device="cpu")

    with pytest.warns(UserWarning, match=r"left dense: mlp_extractor.shared.weight, which"):
        model(Custom).learn(32, callback=SparseCallback("set", density=0.3))
    with pytest.raises(ValueError, match="the actor of this policy has nothing where"):
        model(Other).learn(32, callback=SparseCallback("set", density=0.3))


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_a_policy_may_be_copied_while_it_learns(execution: Any) -> None:
    copies = []

    class Copy(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 40:
                copies.append((copy.deepcopy(self.model.policy), actions(self.model)))
            return True

    model = build("td3")
    model.learn(80, callback=[SparseCallback("ds", density=0.3, execution=execution, schedule={"every": 10}), Copy()])
    policy, then = copies[0]
    state = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    model.policy.load_state_dict(state)
    assert np.allclose(actions(model), then, atol=1e-5)
    policy.critic_target(torch.zeros(1, 3), torch.zeros(1, 1))


def test_the_package_does_without_stable_baselines() -> None:
    script = (
        "import sys; sys.modules['stable_baselines3'] = None\n"
        "import sparsity\n"
        "try:\n    import sparsity.sb3\n"
        "except ImportError as error:\n    assert 'sparsity-rl[sb3]' in str(error), error\n"
        "else:\n    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, check=True)


def test_a_plan_without_a_change_of_topology_is_told_once() -> None:
    says = (
        "the topology of actor, critic.qf0, critic.qf1 would change every 1,000 updates, and no change falls into the "
        "30 that are planned: choose schedule={'every': 3}, say total="
    )
    with pytest.warns(UserWarning, match=re.escape(says)) as told:
        build("td3").learn(50, callback=SparseCallback("set"))
    assert len(told) == 1
    for callback in (SparseCallback("set", total=1000), SparseCallback("set", schedule={"every": 3})):
        build("td3").learn(50, callback=callback)  # Warnings are errors.
    build("td3").learn(20, callback=SparseCallback("set"))  # No update, so no event of whatever method.


def test_a_warning_that_is_an_error_leaves_the_model_as_it_was() -> None:
    model = build("td3")
    before = copy.deepcopy(model.policy.state_dict())
    with pytest.raises(UserWarning, match="no change falls into the"):
        model.learn(50, callback=SparseCallback("set"))
    assert all(torch.equal(value, before[name]) for name, value in model.policy.state_dict().items())


def test_densities_may_be_numbers_of_numpy() -> None:
    for density in (np.float32(0.5), {"actor": np.float64(0.5), "critic": np.float32(0.5)}):
        callback = SparseCallback("static", density=density)
        build("td3").learn(30, callback=callback)
        assert callback.densities() == pytest.approx({"actor": 0.5, "critic": 0.5}, abs=0.02)
        assert "np." not in repr(callback.state_dict()["actor"]["method"])


# What is written about it.


def test_the_page_and_the_readme_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "stable-baselines3.md").read_text()
    readme = re.search(r"<!-- sb3 -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert readme is not None
    assert len(blocks) == 5
    names: dict[str, Any] = {}
    for block in [*blocks, readme[1]]:
        small = {
            "100_000": "250",
            "1_000": "150",
            "learn(500": "learn(20",
            "[256, 256]": "[16, 16]",
            '"every": 200': '"every": 20',
            '"every": 100}': '"every": 10}',
        }
        for written, tiny in small.items():
            block = block.replace(written, tiny)
        exec(block, names)
    assert names["callback"].densities() == pytest.approx({"actor": 0.5, "critic": 0.5}, abs=0.01)
    assert (tmp_path / "sparse_td3.zip").exists()


def test_the_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sb3_sparse.py", "--env", "Pendulum-v1", "--steps", "130"])
    monkeypatch.setattr("stable_baselines3.common.callbacks.evaluate_policy", lambda *_, **__: ([0.0], [1]))
    runpy.run_path(str(ROOT / "examples" / "sb3_sparse.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "actor: 0.100 of its hidden weights" in told
    assert "absent weights that are not zero: 0" in told


def test_the_benchmark_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.sb3 import main

    tiny = [
        "--repeats",
        "1",
        "--updates",
        "2",
        "--width",
        "16",
        "--batch",
        "8",
        "--densities",
        "0.5",
        "--agents",
        "td3",
    ]
    monkeypatch.setattr(sys, "argv", ["benchmarks.sb3", *tiny])
    threads = torch.get_num_threads()
    main()
    torch.set_num_threads(threads)
    assert [line.split(" |")[0] for line in capsys.readouterr().out.splitlines()[2:]] == [
        "| Stable-Baselines3", "| masked 0.5", "| sparse 0.5",
    ]  # fmt: skip
