"""Act, store, update, evaluate: one agent on one environment, told as records for the caller to keep."""

import inspect
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rl.agent import Agent, Batch, Policy
from rl.environment import Environment, environment_state, load_environment_state
from rl.replay import Replay
from rl.settings import demand
from rl.signals import Diverged, Means, check_weights, norms
from rl.streams import env_seed, numpy_generator, stream


class Evaluation(NamedTuple):
    """Returns and lengths of episodes without exploration, after `step` environment steps."""

    step: int
    updates: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]


class Episode(NamedTuple):
    """A training episode that ended at `step`, exploration included: the last record of its step.

    Nothing is half done when it comes, so that the state of the training can be kept.
    """

    step: int
    return_: float
    length: int


class Signals(NamedTuple):
    """Means of the agent's figures since the last Signals; gradient and weight norms of each learner now."""

    step: int
    updates: int
    values: Mapping[str, float]


Record = Evaluation | Episode | Signals

Numbers = TypeVar("Numbers", float, NDArray[np.float32], tuple[float, ...])


class Training:
    """Train for `steps` environment steps, one update a step after the first `warmup`.

    Those act uniformly at random, or as `warmup_policy` does when it explores: the initial samples of Sokar et al. 2022
    (Fig. 4). It learns nothing, and is let go with its last action.

    Iterating carries it out and gives its records. It evaluates at step 0, every `eval_every` steps and at the end,
    `episodes` episodes each. `evaluation_env` is an environment of its own, and every consumer of randomness has its
    own stream: evaluating changes no training. Raises Diverged at the first action, observation, reward, loss or weight
    that is not finite.
    """

    def __init__(
        self,
        agent: Agent,
        env: Environment,
        evaluation_env: Environment,
        replay: Replay,
        *,
        seed: int,
        steps: int,
        warmup: int,
        eval_every: int,
        episodes: int,
        signals_every: int = 1000,
        warmup_policy: Policy | None = None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        _check_plan(steps, warmup, eval_every, episodes, signals_every)
        _check_memory(agent, replay)
        self._agent, self._env, self._evaluation_env, self._replay = agent, env, evaluation_env, replay
        self._seed, self._steps, self._warmup = seed, steps, warmup
        self._eval_every, self._episodes, self._signals_every = eval_every, episodes, signals_every
        self._sampling: dict[str, Any] = {"device": device, "dtype": dtype}
        self._warmup_actions, self._warmup_policy = numpy_generator(stream(seed, "warmup")), warmup_policy
        self._draws = numpy_generator(stream(seed, "replay"))
        self._figures = Means()
        self._evaluations = 0
        self._observation: NDArray[np.float32] | None = None
        self.step = self.updates = 0
        """Environment steps and agent updates so far."""
        self.spent_evaluating = (0.0, 0.0)
        """Seconds that evaluations took of this object's time: on the wall, and on the CPU."""

    def __iter__(self) -> Iterator[Record]:
        agent, env, replay = self._agent, self._env, self._replay
        wants_mean, review_every = getattr(replay, "wants_mean", False), getattr(replay, "review_every", None)
        learns, action_size = bool(agent.learners()), env.action_space.shape[0]
        return_, length = 0.0, 0

        if self.step == 0:
            yield self._evaluation()
        for step in range(self.step + 1, self._steps + 1):
            self.step = step
            if self._observation is None:
                first_seed = env_seed(stream(self._seed, "environment")) if step == 1 else None
                self._observation = _finite("observation", _row(env.reset(seed=first_seed)[0]), step)
            observation = self._observation

            # Act
            if step <= self._warmup:
                action = self._warmup_action(observation, action_size)
            else:
                action = _finite("action", agent.act(observation, explore=True), step)
            seen, reward, terminated, truncated, _ = env.step(action)
            following = _finite("observation", _row(seen), step)
            reward = _finite("reward", float(reward), step)

            # Store
            learned = learns and step > self._warmup
            mean = {"mean_action": _mean_action(agent, observation, action, learned)} if wants_mean else {}
            replay.add(observation, action, reward, bool(terminated), bool(truncated), following, **mean)
            self._observation = following
            return_, length = return_ + reward, length + 1

            # Update
            if learned:
                batch = replay.sample(agent.batch_size, self._draws, **self._sampling, **_ahead(agent))
                self._figures.add(_updated(agent, batch, step), step)
                self.updates += 1
                if review_every is not None and step % review_every == 0:
                    replay.review(agent)  # type: ignore[attr-defined]

            # Report
            if self.updates and step % self._signals_every == 0:
                check_weights(agent, step)
                yield Signals(step, self.updates, self._figures.taken() | norms(agent.learners()))
            if step % self._eval_every == 0 or step == self._steps:
                self._evaluations += 1
                yield self._evaluation()
            if terminated or truncated:
                ended, self._observation = Episode(step, return_, length), None
                return_, length = 0.0, 0
                yield ended

    def _warmup_action(self, observation: NDArray[np.float32], action_size: int) -> NDArray[np.float32]:
        policy = self._warmup_policy
        if policy is None:
            return self._warmup_actions.uniform(-1, 1, action_size).astype(np.float32)
        if self.step == self._warmup:
            self._warmup_policy = None  # It may hold as much memory as the agent.
        return _finite("action of the warm-up's policy", policy.act(observation, explore=True), self.step)

    def _evaluation(self) -> Evaluation:
        """The first start comes from the seed and the evaluation's number alone, equal for every method.

        The further starts are so too where the environment draws at resets only.
        """
        check_weights(self._agent, self.step)
        wall, cpu = time.monotonic(), time.process_time()
        first = env_seed(stream(self._seed, "evaluation", self._evaluations))
        returns, lengths = evaluate(self._agent, self._evaluation_env, episodes=self._episodes, seed=first)
        _finite("evaluation return", returns, self.step)
        spent = self.spent_evaluating
        self.spent_evaluating = spent[0] + time.monotonic() - wall, spent[1] + time.process_time() - cpu
        return Evaluation(self.step, self.updates, returns, lengths)

    def state_dict(self) -> dict[str, Any]:
        """What goes on beside agent and replay: counters, generators, environments, gradients that Signals will read.

        To be had when an Episode has just come; RuntimeError in the midst of one, as an environment's inner state
        cannot be kept. Tensors are references: copy to keep. While the warm-up's policy acts, its state is among them.
        """
        if self._observation is not None:
            raise RuntimeError("an episode is under way: its state can be kept when its Episode has come")
        policy = {} if self._warmup_policy is None else {"warmup_policy": self._warmup_policy.state_dict()}
        return policy | {
            "step": self.step,
            "updates": self.updates,
            "evaluations": self._evaluations,
            "figures": self._figures.state_dict(),
            "warmup": self._warmup_actions.bit_generator.state,
            "draws": self._draws.bit_generator.state,
            "gradients": {name: [p.grad for p in parameters] for name, parameters in self._parameters()},
            "env": environment_state(self._env),
            "evaluation_env": environment_state(self._evaluation_env),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. Agent, replay, and whatever hangs on the agent: load them before this call.

        Within the warm-up it takes a policy like the one that acted; past it none is needed.
        """
        self.step, self.updates = int(state["step"]), int(state["updates"])
        self._evaluations, self._observation = int(state["evaluations"]), None
        self._figures.load_state_dict(state["figures"])
        self._warmup_actions.bit_generator.state = state["warmup"]
        if "warmup_policy" not in state:
            self._warmup_policy = None
        elif self._warmup_policy is None:
            raise ValueError("this state is of a warm-up with a policy: give `warmup_policy` one like it")
        else:
            self._warmup_policy.load_state_dict(state["warmup_policy"])
        self._draws.bit_generator.state = state["draws"]
        for name, parameters in self._parameters():
            for parameter, gradient in zip(parameters, state["gradients"][name], strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter)
        load_environment_state(self._env, state["env"])
        load_environment_state(self._evaluation_env, state["evaluation_env"])

    def _parameters(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        return ((learner.name, list(learner.module.parameters())) for learner in self._agent.learners())


def evaluate(
    agent: Policy, env: Environment, *, episodes: int, seed: int, explore: bool = False
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Returns and lengths of episodes, without exploration unless asked; `seed` resets the first, others follow on."""
    results = [_episode(agent, env, seed if i == 0 else None, explore) for i in range(episodes)]
    return tuple(r for r, _ in results), tuple(n for _, n in results)


def _ahead(agent: Agent) -> dict[str, Any]:
    """What an agent whose targets look several steps ahead asks of a memory."""
    horizon = getattr(agent, "horizon", 1)
    return {"horizon": horizon, "discount": agent.discount} if horizon > 1 else {}  # type: ignore[attr-defined]


def _mean_action(
    agent: Agent, observation: NDArray[np.float32], action: NDArray[np.float32], learned: bool
) -> NDArray[Any]:
    """What the policy does without noise; an action of the warm-up is its own mean."""
    if not learned:
        return action
    example = next(agent.learners()[0].module.parameters())
    row = torch.from_numpy(observation).to(device=example.device, dtype=example.dtype).unsqueeze(0)
    mean: NDArray[Any] = agent.mean_actions(row)[0].cpu().numpy()  # type: ignore[attr-defined]
    return mean


def _check_memory(agent: Agent, replay: Replay) -> None:
    """ValueError, before the first step, for an agent and a memory that do not understand each other."""
    kind, memory = type(agent).__name__, type(replay).__name__
    if getattr(agent, "multi_step", 1) > 1 and not _takes(replay.sample, "horizon"):
        raise ValueError(
            f"{kind} looks several steps ahead, and {memory}.sample knows no `horizon`: set multi_step = 1"
        )
    if agent.learners() and hasattr(replay, "check"):
        replay.check(agent)


def _takes(function: Any, name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _updated(agent: Agent, batch: Batch, step: int) -> Mapping[str, float]:
    try:
        return agent.update(batch)
    except FloatingPointError as error:  # Whatever hangs on the optimiser saw it first.
        raise Diverged(str(error), step) from error


def _episode(agent: Policy, env: Environment, seed: int | None, explore: bool) -> tuple[float, int]:
    observation, _ = env.reset(seed=seed)
    return_, length, done = 0.0, 0, False
    while not done:
        action = agent.act(_row(observation), explore=explore)
        observation, reward, terminated, truncated, _ = env.step(action)
        return_, length, done = return_ + float(reward), length + 1, bool(terminated or truncated)
    return return_, length


def _row(observation: Any) -> NDArray[np.float32]:
    # A copy, as an environment may go on writing into the array it gave; float32, as the replay keeps it.
    return np.array(observation, dtype=np.float32)


def _finite(what: str, value: Numbers, step: int) -> Numbers:
    if not np.isfinite(value).all():
        raise Diverged(what, step)
    return value


def _check_plan(steps: int, warmup: int, eval_every: int, episodes: int, signals_every: int) -> None:
    demand(steps >= 0, "steps", steps, "at least 0 environment steps")
    demand(warmup >= 0, "warmup", warmup, "at least 0 environment steps")
    demand(eval_every >= 1, "eval_every", eval_every, "at least 1 environment step")
    demand(episodes >= 1, "episodes", episodes, "at least 1 an evaluation")
    demand(signals_every >= 1, "signals_every", signals_every, "at least 1 environment step")
