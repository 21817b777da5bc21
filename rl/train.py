"""Act, store, update, evaluate: one agent on one environment, told as records for the caller to keep."""

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl.agent import Agent, Batch, Learner
from rl.environment import Environment
from rl.replay import Replay
from rl.settings import demand
from rl.streams import env_seed, numpy_generator, stream


class Evaluation(NamedTuple):
    """Returns and lengths of episodes without exploration, after `step` environment steps."""

    step: int
    updates: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]


class Episode(NamedTuple):
    """A training episode that ended at `step`, exploration included."""

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


class Diverged(RuntimeError):
    """A number that is not finite: `what` it was, and the environment step at which it was seen."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__(f"{what} is not finite at environment step {step}: the run has diverged")
        self.what = what
        self.step = step

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.step)


def train(
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
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[Record]:
    """Train for `steps` environment steps, one update a step after the first `warmup` of uniform actions.

    Evaluates at step 0, every `eval_every` steps and at the end, `episodes` episodes each. `evaluation_env` is an
    environment of its own, and every consumer of randomness has its own stream: evaluating changes no training.
    Raises Diverged at the first action, observation, reward, loss or weight that is not finite.
    """
    _check_plan(steps, warmup, eval_every, episodes, signals_every)
    _check_memory(agent, replay)
    wants_mean, review_every = getattr(replay, "wants_mean", False), getattr(replay, "review_every", None)
    warmup_actions, draws = numpy_generator(stream(seed, "warmup")), numpy_generator(stream(seed, "replay"))
    learns = bool(agent.learners())
    figures = Means()
    updates = evaluations = length = 0
    return_ = 0.0
    action_size = env.action_space.shape[0]
    observation: NDArray[np.float32] | None = None

    yield _evaluation(agent, evaluation_env, seed, evaluations, episodes, step=0, updates=0)
    for step in range(1, steps + 1):
        if observation is None:
            first_seed = env_seed(stream(seed, "environment")) if step == 1 else None
            observation = _finite("observation", _row(env.reset(seed=first_seed)[0]), step)

        # Act
        if step <= warmup:
            action = warmup_actions.uniform(-1, 1, action_size).astype(np.float32)
        else:
            action = _finite("action", agent.act(observation, explore=True), step)
        seen, reward, terminated, truncated, _ = env.step(action)
        following = _finite("observation", _row(seen), step)
        reward = _finite("reward", float(reward), step)

        # Store
        mean = {"mean_action": _mean_action(agent, observation, action, learns and step > warmup)} if wants_mean else {}
        replay.add(observation, action, reward, bool(terminated), bool(truncated), following, **mean)
        observation = following
        return_, length = return_ + reward, length + 1

        # Update
        if learns and step > warmup:
            batch = replay.sample(agent.batch_size, draws, device=device, dtype=dtype, **_ahead(agent))
            figures.add(_updated(agent, batch, step), step)
            updates += 1
            if review_every is not None and step % review_every == 0:
                replay.review(agent)  # type: ignore[attr-defined]

        # Report
        if terminated or truncated:
            yield Episode(step, return_, length)
            observation, return_, length = None, 0.0, 0
        if updates and step % signals_every == 0:
            check_weights(agent, step)
            yield Signals(step, updates, figures.taken() | norms(agent.learners()))
        if step % eval_every == 0 or step == steps:
            evaluations += 1
            yield _evaluation(agent, evaluation_env, seed, evaluations, episodes, step=step, updates=updates)


def evaluate(agent: Agent, env: Environment, *, episodes: int, seed: int) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Returns and lengths of episodes without exploration; `seed` resets the first, the others follow on."""
    results = [_episode(agent, env, seed if i == 0 else None) for i in range(episodes)]
    return tuple(r for r, _ in results), tuple(n for _, n in results)


def norms(learners: tuple[Learner, ...]) -> dict[str, float]:
    """`grad_norm/<learner>`, `weight_norm/<learner>`: L2 over its parameters; no gradient, no norm."""
    values = {}
    for learner in learners:
        parameters = list(learner.module.parameters())
        gradients = [p.grad for p in parameters if p.grad is not None]
        if gradients:
            values[f"grad_norm/{learner.name}"] = _norm(gradients)
        values[f"weight_norm/{learner.name}"] = _norm([p.detach() for p in parameters])
    return values


def check_weights(agent: Agent, step: int) -> None:
    """Diverged if a weight of a network or of its target is not finite."""
    for learner in agent.learners():
        modules = {learner.name: learner.module}
        if learner.target:
            modules[f"target/{learner.name}"] = learner.target.module
        for prefix, module in modules.items():
            for name, parameter in module.named_parameters():
                if not torch.isfinite(parameter).all():
                    raise Diverged(f"weight {prefix}/{name}", step)


class Means:
    """Means of named figures since they were last taken."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Count each figure once; Diverged if one is not finite."""
        for name, value in figures.items():
            if not math.isfinite(value):
                raise Diverged(name, step)
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def taken(self) -> dict[str, float]:
        """The means, and start anew."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


def _ahead(agent: Agent) -> dict[str, Any]:
    """What an agent whose targets look several steps ahead asks of a memory."""
    horizon = getattr(agent, "horizon", 1)
    return {"horizon": horizon, "discount": agent.discount} if horizon > 1 else {}  # type: ignore[attr-defined]


def _mean_action(
    agent: Agent, observation: NDArray[np.float32], action: NDArray[np.float32], learned: bool
) -> NDArray[Any]:
    """What the policy does without noise; an action at random is its own mean."""
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


def _evaluation(
    agent: Agent, env: Environment, seed: int, index: int, episodes: int, *, step: int, updates: int
) -> Evaluation:
    """Evaluation number `index`: its first start comes from (seed, index) alone, equal for every method.

    The further starts are so too where the environment draws at resets only.
    """
    check_weights(agent, step)
    first = env_seed(stream(seed, "evaluation", index))
    returns, lengths = evaluate(agent, env, episodes=episodes, seed=first)
    _finite("evaluation return", returns, step)
    return Evaluation(step, updates, returns, lengths)


def _episode(agent: Agent, env: Environment, seed: int | None) -> tuple[float, int]:
    observation, _ = env.reset(seed=seed)
    return_, length, done = 0.0, 0, False
    while not done:
        action = agent.act(_row(observation), explore=False)
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


def _norm(tensors: list[Tensor]) -> float:
    if not tensors:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors))))


def _check_plan(steps: int, warmup: int, eval_every: int, episodes: int, signals_every: int) -> None:
    demand(steps >= 0, "steps", steps, "at least 0 environment steps")
    demand(warmup >= 0, "warmup", warmup, "at least 0 environment steps")
    demand(eval_every >= 1, "eval_every", eval_every, "at least 1 environment step")
    demand(episodes >= 1, "episodes", episodes, "at least 1 an evaluation")
    demand(signals_every >= 1, "signals_every", signals_every, "at least 1 environment step")
