"""Parts that break one rule each. As a module it is a plugin of the registry."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

from registry import hookimpl, part
from rl import Target, UniformReplay, td3, uniform
from sparsity import SET, Method

Function = TypeVar("Function", bound=Callable[..., Any])


class Planted(NamedTuple):
    """A part that breaks a rule, and what must be said of it."""

    kind: str
    part: Any
    says: str
    facts: dict[str, Any]


PLANTED: dict[str, Planted] = {}
CALLS: list[int] = []
"""What a part should not keep."""


def planted(kind: str, says: str, **facts: Any) -> Callable[[Function], Function]:
    """Plant a part of that kind."""

    def keep(function: Function) -> Function:
        PLANTED[function.__name__] = Planted(kind, function, says, facts)
        return function

    return keep


# Parts of sparsity.


@planted("prune", "changed its input 'weight' in place")
def mutating(weight: Tensor) -> Tensor:
    return weight.abs_()


@planted("prune", "changed its input 'mask' in place")
def mutating_by_numpy(weight: Tensor, mask: Tensor) -> Tensor:
    mask.numpy()[...] = True
    return weight.abs()


@planted("grow", "changed torch's global random state")
def drawing(weight: Tensor) -> Tensor:
    return torch.rand_like(weight)


@planted("grow", "changed torch's global random state")
def seeding(noise: Tensor) -> Tensor:
    torch.manual_seed(3)
    return noise


@planted("grow", "changed NumPy's global random state")
def drawing_by_numpy(noise: Tensor) -> Tensor:
    return noise + float(np.random.random())  # noqa: NPY002


@planted("grow", "changed Python's global random state")
def drawing_by_python(noise: Tensor) -> Tensor:
    return noise + random.random()


@planted("prune", "changed torch's number of threads")
def threading(weight: Tensor) -> Tensor:
    torch.set_num_threads(torch.get_num_threads() % 2 + 1)
    return weight.abs()


@planted("prune", "changed torch's default dtype")
def retyping(weight: Tensor) -> Tensor:
    torch.set_default_dtype(torch.float64)
    return weight.abs()


@planted("prune", "gave two different answers to the same inputs")
def counting(weight: Tensor) -> Tensor:
    CALLS.append(1)
    return weight.abs() + len(CALLS)


@planted("prune", "answers a population otherwise than its members one by one")
def ranked_over_all(weight: Tensor) -> Tensor:
    """Compared with the mean of the other members: ranks change with who else is there."""
    return (weight.abs() - weight.abs().mean(dim=0)).abs()


@planted("prune", "answers a population otherwise than its members")
def scaled_over_all(weight: Tensor) -> Tensor:
    return weight.abs() / weight.abs().max().clamp(min=1e-9)


@planted("grow", "cannot be vectorised over a population")
def branching(grad: Tensor) -> Tensor:
    """Right on each member, but it looks at numbers."""
    if grad.dim() > 2:
        return torch.stack([branching(member) for member in grad])
    return grad.abs() if float(grad.sum()) > 0 else grad.square()


@planted("prune", "scores that are not finite (asked with: (2, 4, 5), all zero, sparse mask)")
def dividing(weight: Tensor) -> Tensor:
    """NaN where all weights are zero."""
    return weight.abs() / weight.abs().sum((-2, -1), keepdim=True)


@planted("grow", "scores that are not finite")
def unbounded(grad: Tensor) -> Tensor:
    return 1 / (grad - grad)


@planted("prune", "gave a torch.int64 tensor shaped (2, 4, 5); it must give a float tensor shaped (2, 4, 5)")
def whole(weight: Tensor) -> Tensor:
    return weight.abs().long()


@planted("prune", "gave a torch.float32 tensor shaped (2, 20); it must give a float tensor shaped (2, 4, 5)")
def flat(weight: Tensor) -> Tensor:
    return weight.abs().flatten(-2)


@planted("prune", "; it must give a float tensor shaped (2, 4, 5)")
def listed(weight: Tensor) -> Any:
    return weight.abs().tolist()


@planted("prune", "raised ZeroDivisionError")
def raising(weight: Tensor) -> Tensor:
    return weight / (1 // 0)


@planted("prune", "raised SystemExit")
def leaving(weight: Tensor) -> Tensor:
    sys.exit(2)


@planted("prune", "raised ValueError: at least 2 neighbours (asked with: (2, 4, 5), ordinary, sparse mask; without a")
def demanding(weight: Tensor, *, neighbours: int) -> Tensor:
    if neighbours < 2:
        raise ValueError("at least 2 neighbours")
    return weight.abs()


@planted("initial", "gave a torch.bool tensor shaped (4, 5); it must give a torch.bool tensor shaped (2, 4, 5)")
def first_member_only(weight: Tensor) -> Tensor:
    return weight[..., 0, :, :] > 0 if weight.dim() > 2 else weight > 0


@planted("born", "gave str 'zero'; it must give a finite number or a tensor")
def named() -> Any:
    return "zero"


@planted("born", "it must give a torch.float32 tensor shaped (2, 4, 5)")
def born_alone(grad: Tensor) -> Tensor:
    return grad.sum(0, keepdim=True)


@planted("spread", "shares of the growth must be finite and not negative")
def owing(removed: Tensor, nnz: Tensor) -> Tensor:
    return removed - nnz


@planted("spread", "must give one share a layer")
def pooled(removed: Tensor) -> Tensor:
    return removed.sum()


@planted("schedule", "gave float 1.5 at step 10; a fraction to swap is a number in [0, 1]")
def overdue(step: int) -> float:
    return 1.5 if step == 10 else 0.0


@planted("schedule", "gave bool True at step 1")
def agreeing(step: int) -> Any:
    return True


@planted("budget", "gave float 0.0 at step 200; a density is a number in (0, 1]")
def emptying(step: int, total: int | None, density: float) -> float:
    return density * (1 - step / (total or 200))


@planted("allocation", "gave densities for hidden.1.weight, head.weight; it must give one for each of hidden.0.weight")
def forgetful(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    return dict.fromkeys(list(shapes)[1:] or shapes, 0.5)


@planted("allocation", "in all where its setting `density` was 0.9: meet it, or call the setting otherwise")
def approximate(shapes: Mapping[str, tuple[int, ...]], *, density: float = 0.5) -> dict[str, float]:
    return dict.fromkeys(shapes, density * 0.99)


@planted("allocation", "gave float 1.2 for hidden.0.weight; a density is a number in (0, 1]")
def overfull(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    return dict.fromkeys(shapes, 1.2)


@planted("eligible", "gave 'hidden.0.wieght', which is no weight of the network. Did you mean 'hidden.0.weight'?")
def misspelt(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    return ("hidden.0.wieght",)


@planted("eligible", "it must give a list or tuple of names, as the order of layers matters")
def unordered(shapes: Mapping[str, tuple[int, ...]]) -> Any:
    return set(shapes)


@planted("target", "gave a torch.float32 tensor shaped (2, 4, 5); it must give a torch.bool tensor")
def soft(target: Tensor) -> Tensor:
    return target.abs()


@planted("target", "changed its input 'target' in place")
def clearing(target: Tensor, mask: Tensor) -> Tensor:
    target.mul_(mask)
    return mask


@planted("moments", "gave negative values for a second moment")
def flipping(moment: Tensor) -> Tensor:
    return -moment


@planted("trace", "gave a torch.float64 tensor shaped (2, 4, 5); it must give a torch.float32 tensor")
def widening(trace: Tensor, grad: Tensor) -> Tensor:
    return trace + grad.double()


# Agents, and what surrounds them.


def spoilt(sizes: tuple[int, int], seed: int, **replaced: Any) -> Any:
    """A small TD3 with some methods replaced."""
    agent: Any = td3(
        *sizes, seed, torch.device("cpu"), torch.float32, batch_size=8, actor_hidden=(4,), critic_hidden=(4,)
    )
    for name, method in replaced.items():
        setattr(agent, name, method(agent))
    return agent


@planted("agent", "actions are finite and lie in [-1, 1]")
def loud(observation_size: int, action_size: int, seed: int) -> Any:
    shout = np.full(action_size, 3.0, np.float32)
    return spoilt((observation_size, action_size), seed, act=lambda agent: lambda observation, *, explore: shout)


@planted("agent", "acts with a float64 ndarray shaped (2,); an action is a float32 array shaped (2,)")
def precise(observation_size: int, action_size: int, seed: int) -> Any:
    return spoilt((observation_size, action_size), seed, act=lambda agent: lambda seen, *, explore: np.zeros(2))


@planted("agent", "acts in two ways on one observation with explore=False")
def restless(observation_size: int, action_size: int, seed: int) -> Any:
    return spoilt(
        (observation_size, action_size),
        seed,
        act=lambda agent: lambda seen, *, explore: type(agent).act(agent, seen, explore=True),
    )


@planted("agent", "used or seeded the global random state")
def seeding_agent(observation_size: int, action_size: int, seed: int) -> Any:
    torch.manual_seed(seed)
    return spoilt((observation_size, action_size), seed)


@planted("agent", "took 4 optimiser steps of 'actor' in 4 updates, but its stride says 2")
def hasty(observation_size: int, action_size: int, seed: int) -> Any:
    agent = spoilt((observation_size, action_size), seed)
    agent.learners = lambda: tuple(learner._replace(stride=2) for learner in type(agent).learners(agent))
    agent.policy_delay = 1
    return agent


@planted("agent", "has an optimiser of learner 'actor' that does not hold hidden.0.weight")
def untrained(observation_size: int, action_size: int, seed: int) -> Any:
    agent = spoilt((observation_size, action_size), seed)
    agent.actor_optimizer = torch.optim.SGD(agent.actor.head.parameters(), lr=0.1)
    return agent


@planted("agent", "differs from another agent of the same seed")
def unseeded(observation_size: int, action_size: int) -> Any:
    CALLS.append(1)
    return spoilt((observation_size, action_size), len(CALLS))


@planted("agent", "goes on otherwise after state_dict and load_state_dict")
def forgetting(observation_size: int, action_size: int, seed: int) -> Any:
    agent = spoilt((observation_size, action_size), seed)
    agent.load_state_dict = lambda state: type(agent).load_state_dict(
        agent, {**state, "exploration": agent.exploration.bit_generator.state}
    )
    return agent


@planted("agent", "gave a torch.float32 Tensor shaped () for the figure")
def tensorial(observation_size: int, action_size: int, seed: int) -> Any:
    return spoilt((observation_size, action_size), seed, update=lambda agent: lambda batch: {"q": batch.reward.mean()})


@planted("agent", "has other mean_actions than it acts with explore=False")
def two_faced(observation_size: int, action_size: int, seed: int) -> Any:
    return spoilt(
        (observation_size, action_size),
        seed,
        mean_actions=lambda agent: lambda rows: torch.ones(len(rows), action_size),
    )


@planted("agent", "without a fitting target")
def untracked(observation_size: int, action_size: int, seed: int) -> Any:
    agent = spoilt((observation_size, action_size), seed)
    agent.learners = lambda: tuple(learner._replace(target=3) for learner in type(agent).learners(agent))
    return agent


@planted("agent", "which lacks act, learners, batch_size")
def idle(observation_size: int, action_size: int) -> Any:
    return Target(torch.nn.Linear(2, 2, device="meta"))


@planted("replay", "samples `terminated` otherwise than it was added")
def confusing(observation_size: int, action_size: int) -> Any:
    memory: Any = uniform(observation_size, action_size, capacity=10)
    add = memory.add
    memory.add = lambda s, a, r, terminated, truncated, after: add(s, a, r, terminated or truncated, False, after)
    return memory


@planted("replay", "samples reward and next_observation and terminated and steps wrongly over horizon=2")
def crossing(observation_size: int, action_size: int) -> Any:
    class Crossing(UniformReplay):
        def _look_ahead(self, rows: Any, ages: Any, horizon: int, discount: float) -> Any:
            rows[:, self._reward + 1 : self._next] = 0  # A walk that sees no end goes over it.
            return super()._look_ahead(rows, ages, horizon, discount)

    return Crossing(observation_size, action_size, 100)


@planted("replay", "samples differently with equal generators")
def careless(observation_size: int, action_size: int) -> Any:
    memory: Any = uniform(observation_size, action_size, capacity=10)
    own = np.random.default_rng(0)
    sample = memory.sample
    memory.sample = lambda size, generator, **kind: sample(size, own, **kind)
    return memory


@planted("wrapper", "gave NoneType None; it must give the environment, wrapped")
def swallowing(env: Any) -> None:
    return None


@planted("wrapper", "has actions in Box(-2.0, 2.0")
def rescaling(env: Any) -> Any:
    return gymnasium.wrappers.RescaleAction(env, np.float32(-2), np.float32(2))


@planted("wrapper", "gives another episode for the same seeds")
def windy(env: Any) -> Any:
    draw = np.random.default_rng()
    return gymnasium.wrappers.TransformObservation(env, lambda o: o + draw.random(3), env.observation_space)


@planted("wrapper", "give it state_dict and load_state_dict, with all that it keeps")
def absent_minded(env: Any, seed: np.random.SeedSequence) -> Any:
    """Noise of its own generator, which nobody is told of."""
    draw = np.random.default_rng(seed)
    return gymnasium.wrappers.TransformObservation(env, lambda o: o + draw.random(3), env.observation_space)


@planted("wrapper", "goes on otherwise in another environment that was given its state after an episode")
def half_told(env: Any) -> Any:
    """Its state lacks what the reward is divided by."""

    class HalfTold(gymnasium.Wrapper[Any, Any, Any, Any]):
        episodes, scale = 0, 1.0

        def reset(self, **how: Any) -> Any:
            self.episodes, self.scale = self.episodes + 1, self.scale * 2
            return self.env.reset(**how)

        def step(self, action: Any) -> Any:
            observation, reward, *rest = self.env.step(action)
            return observation, float(reward) / self.scale, *rest

        def state_dict(self) -> dict[str, Any]:
            return {"episodes": self.episodes}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.episodes = state["episodes"]

    return HalfTold(env)


# Methods.

PLANTED["contradictory"] = Planted(
    "method",
    Method(born=part("as_stepped")),
    "does not resolve: born = 'as_stepped' takes the value of the optimiser's dense step",
    {},
)
PLANTED["unlucky"] = Planted(
    "method",
    replace(SET, prune=part("raising")),
    "chose a part that fails: prune 'raising' of planted raised ZeroDivisionError",
    {},
)


def _hook(kind: str) -> Any:
    def hook(register: Callable[..., object]) -> None:
        for name, bad in PLANTED.items():
            if bad.kind == kind:
                register(bad.part, name=name, **bad.facts)

    return hookimpl(hook)


for _kind in {bad.kind for bad in PLANTED.values()}:
    globals()[f"register_{_kind}"] = _hook(_kind)
