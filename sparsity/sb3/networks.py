"""The networks of a model, each by itself: what reads observations, hidden layers, and an output layer called `head`.

A network is what a paper means by one. Twin critics, which share a module and an optimiser in Stable-Baselines3, are
two, and so are the actor and the critic of PPO: a first layer is a first layer in each of them, and each keeps its own
output layer dense where only hidden layers are sparse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from torch import nn
from torch.optim import Optimizer

from sparsity.weights import candidate_weights


class Chain(nn.Module):
    """The layers of one network under names of their own. Modules and parameters are the model's, shared with it.

    `body` is the sequence of its layers, whose last one is the output layer unless there are `heads`. `features` is
    what comes before it, and `others` are parameters that belong to it and are no layers. Where the body has linear
    layers with ReLU between them, `stack` has them, for sparse execution.
    """

    def __init__(
        self,
        body: nn.Sequential,
        heads: Mapping[str, nn.Module] | None = None,
        features: nn.Module | None = None,
        others: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        super().__init__()
        self.in_body = {str(place): str(place) for place in range(len(body))}
        """Names of the body's children, here and there."""
        linear = [place for place, child in enumerate(body) if isinstance(child, nn.Linear)]
        if not heads and linear:
            self.in_body = {"head" if n == str(linear[-1]) else n: n for n in self.in_body}
        if features is not None:
            self.features = features
        for name, child in zip(self.in_body, body, strict=True):
            self.add_module(name, child)
        if heads:
            self.head = nn.ModuleDict(heads)
        for name, parameter in (others or {}).items():
            self.register_parameter(name, parameter)
        self._body = (body,)  # No child: its children are mine.
        if linear and _relu_between(body, linear):
            self.stack: Any = SimpleNamespace(layers=[body[place] for place in linear])

    @property
    def body(self) -> nn.Sequential:
        return self._body[0]


def _relu_between(body: nn.Sequential, linear: list[int]) -> bool:
    """Whether the linear layers have ReLU between them and nothing before, and what follows has no parameters."""
    children = list(body)
    alternate = linear == list(range(0, 2 * len(linear), 2))
    between, after = children[1 : linear[-1] : 2], children[linear[-1] + 1 :]
    return alternate and all(type(c) is nn.ReLU for c in between) and not any(list(c.parameters()) for c in after)


@dataclass(frozen=True)
class Network:
    """One network of a learner, what trains it, and its slow copy. `modules` are those that it and the copy lie in."""

    learner: str
    name: str
    chain: Chain
    optimizer: Optimizer
    slow: Chain | None = None
    modules: tuple[nn.Module, nn.Module] | None = None
    stride: int = 1
    """Gradient steps that make one step of its optimiser."""


def networks_of(model: Any) -> tuple[Network, ...]:
    """All networks of a model. ValueError for algorithms that are not known."""
    if isinstance(model, DQN):
        return tuple(_value_based(model.policy))
    if isinstance(model, TD3 | SAC):
        return tuple(_off_policy(model.policy, getattr(model, "policy_delay", 1)))
    if isinstance(model, PPO | A2C):
        return tuple(_on_policy(model.policy))
    raise ValueError(
        f"SparseCallback knows the networks of TD3, DDPG, SAC, DQN, PPO and A2C, not of {type(model).__name__}: hang a "
        "sparsity.Sparsifier on each of its modules and optimisers instead"
    )


def unknown_weights(model: Any) -> list[str]:
    """Names in the policy of weights that its optimisers train, and that lie in none of its networks."""
    networks = networks_of(model)
    known = {id(p) for network in networks for p in network.chain.parameters()}
    groups = [group for network in networks for group in network.optimizer.param_groups]
    trained = {id(p) for group in groups for p in group["params"]}
    return [name for name, w in candidate_weights(model.policy).items() if id(w) in trained - known]


def _value_based(policy: Any) -> Iterator[Network]:
    modules = policy.q_net, policy.q_net_target
    online, slow = (_chain("q_net", net.q_net, features=net.features_extractor) for net in modules)
    yield Network("q_net", "q_net", online, policy.optimizer, slow, modules)


def _off_policy(policy: Any, policy_delay: int) -> Iterator[Network]:
    _refuse_shared(policy)
    actor, optimizer = _actor(policy.actor), policy.actor.optimizer
    slow = getattr(policy, "actor_target", None)  # SAC has none.
    copy, modules = (None, None) if slow is None else (_actor(slow), (policy.actor, slow))
    yield Network("actor", "actor", actor, optimizer, copy, modules, policy_delay)
    modules = policy.critic, policy.critic_target
    for number in range(len(policy.critic.q_networks)):
        online, copy = (_critic(critic, number) for critic in modules)
        yield Network("critic", f"critic.qf{number}", online, policy.critic.optimizer, copy, modules)


def _on_policy(policy: Any) -> Iterator[Network]:
    shared = policy.share_features_extractor
    pi = policy.features_extractor if shared else policy.pi_features_extractor
    others = {"log_std": policy.log_std} if isinstance(getattr(policy, "log_std", None), nn.Parameter) else {}
    body, heads = policy.mlp_extractor, {"action_net": policy.action_net}
    chain = _chain("actor", getattr(body, "policy_net", None), heads, pi, others)
    yield Network("actor", "actor", chain, policy.optimizer)
    vf = None if shared else policy.vf_features_extractor
    chain = _chain("critic", getattr(body, "value_net", None), {"value_net": policy.value_net}, vf)
    yield Network("critic", "critic", chain, policy.optimizer)


def _actor(actor: Any) -> Chain:
    """TD3's ends in its output layer; SAC's has two of them, or with gSDE one and a parameter."""
    features = actor.features_extractor
    if not hasattr(actor, "latent_pi"):
        return _chain("actor", actor.mu, features=features)
    if isinstance(actor.log_std, nn.Parameter):
        return _chain("actor", actor.latent_pi, {"mu": actor.mu}, features, {"log_std": actor.log_std})
    return _chain("actor", actor.latent_pi, {"mu": actor.mu, "log_std": actor.log_std}, features)


def _critic(critic: Any, number: int) -> Chain:
    """What critics share counts with the first of them."""
    return _chain("critic", critic.q_networks[number], features=critic.features_extractor if number == 0 else None)


def _chain(
    learner: str,
    body: Any,
    heads: Mapping[str, nn.Module] | None = None,
    features: nn.Module | None = None,
    others: Mapping[str, nn.Parameter] | None = None,
) -> Chain:
    if not isinstance(body, nn.Sequential):
        raise ValueError(
            f"the {learner} of this policy has {'nothing' if body is None else f'a {type(body).__name__}'} where "
            "Stable-Baselines3 has an nn.Sequential: keep it sparse by sparsity.attach instead"
        )
    return Chain(body, heads, features, others)


def _refuse_shared(policy: Any) -> None:
    if getattr(policy, "share_features_extractor", False) and candidate_weights(policy.actor.features_extractor):
        raise ValueError(
            "actor and critic share a features extractor here, whose slow copies are several: build the model with "
            "policy_kwargs={'share_features_extractor': False}"
        )
