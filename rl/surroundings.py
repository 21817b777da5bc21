"""What a replay, a wrapper and an environment are asked on trial."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from rl.agent import Batch
from rl.environment import environment_state, load_environment_state
from rl.replay import Replay
from rl.streams import numpy_generator, stream
from rl.trial import SIZES, same, shown

if TYPE_CHECKING:  # imported where it is used: `import rl` must stay light
    import gymnasium

TRIED: Final = 60
"""Steps at most of each episode in which an environment is tried."""
Step = tuple[NDArray[Any], float, bool, bool]
"""An observation, the reward, whether the episode terminated, and whether it was cut off."""


def on_replay(build: Callable[[], Any]) -> Iterator[str]:
    """What is wrong with a memory: what it keeps, gives back and restores."""
    replay = build()
    missing = [name for name in ("add", "sample", "__len__") if not hasattr(replay, name)]
    if missing:
        yield f"gave {type(replay).__name__}, which lacks {', '.join(missing)}: see rl.Replay"
        return
    if len(replay):
        yield f"starts with {len(replay)} transitions; a new memory is empty"
    _fill(replay, 6)
    if len(replay) != 6:
        yield f"counts {len(replay)} transitions after 6 were added"
    batch = _drawn(replay)
    misfits = _misshapen(batch)
    yield from misfits
    if not misfits:
        yield from _on_rows(batch)
        yield from _on_horizon(replay)
        yield from _on_draws(replay, build)


def _fill(replay: Replay, count: int) -> None:
    """Add transitions whose every number tells their own; odd ones terminate, every third is cut off by time."""
    row = np.empty(SIZES[0], dtype=np.float32)
    for number in range(count):
        row[:] = number
        action = np.full(SIZES[1], number / 10, dtype=np.float32)
        replay.add(row, action, float(number), number % 2 == 1, number % 3 == 0, row + 100)
    row[:] = -1  # Environments write into the arrays that they gave.


def _drawn(replay: Replay, seed: int = 0) -> Batch:
    return replay.sample(32, numpy_generator(stream(seed, "replay")), device=torch.device("cpu"), dtype=torch.float32)


def _misshapen(batch: Any) -> list[str]:
    shapes = {"observation": (32, 3), "action": (32, 2), "reward": (32,), "next_observation": (32, 3)}
    wrong = []
    for name, shape in {**shapes, "terminated": (32,)}.items():
        value = getattr(batch, name, None)
        if not isinstance(value, torch.Tensor) or tuple(value.shape) != shape or value.dtype != torch.float32:
            wrong.append(f"samples {name} as {shown(value)}; a batch of 32 has a float32 tensor shaped {shape}")
    return wrong


def _on_rows(batch: Batch) -> Iterator[str]:
    number = batch.reward
    columns = {
        "observation": batch.observation == number[:, None],
        "action": torch.isclose(batch.action, number[:, None] / 10),
        "next_observation": batch.next_observation == number[:, None] + 100,
    }
    for name, fits in columns.items():
        if not bool(fits.all()):
            yield f"samples an {name} that was not added with its reward: keep transitions whole, and copy arrays"
    if not torch.equal(batch.terminated, number % 2):
        yield "samples `terminated` otherwise than it was added: 1.0 where the task ended, 0.0 at a time limit"


def _on_horizon(replay: Any) -> Iterator[str]:
    """Two steps ahead: of what was added, 2 and 4 go on, and the others ended, two of them by time."""
    parameters = inspect.signature(replay.sample).parameters
    if "horizon" not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    how: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32, "horizon": 2, "discount": 0.5}
    batch = replay.sample(32, numpy_generator(stream(0, "replay")), **how)
    number = batch.observation[:, 0]
    on = ((number == 2) | (number == 4)).float()
    wanted = {
        "reward": number + on * 0.5 * (number + 1),
        "next_observation": (number + on + 100)[:, None].expand(-1, SIZES[0]),
        "terminated": (number + on) % 2,
        "steps": 1 + on,
    }
    wrong = [name for name, value in wanted.items() if not same(getattr(batch, name), value.contiguous())]
    if wrong:
        told = (
            "sum discounted rewards up to the episode's end, be it by a time limit, and tell how many steps that took"
        )
        yield f"samples {' and '.join(wrong)} wrongly over horizon=2: {told}"


def _on_draws(replay: Any, build: Callable[[], Any]) -> Iterator[str]:
    if not same(_drawn(replay), _drawn(replay)):
        yield "samples differently with equal generators: draw from the generator that it is given"
        return
    if not (hasattr(replay, "state_dict") and hasattr(replay, "load_state_dict")):
        yield "cannot be saved: give it state_dict and load_state_dict"
        return
    restored = build()
    restored.load_state_dict(copy.deepcopy(replay.state_dict()))
    for memory in (replay, restored):
        _fill(memory, 2)
    if len(restored) != len(replay) or not same(_drawn(replay, 1), _drawn(restored, 1)):
        yield "goes on otherwise after state_dict and load_state_dict: put all that it keeps into the state"


def small_env() -> gymnasium.Env[Any, Any]:
    """Three observations, two actions in [-1, 1], episodes of five steps."""
    import gymnasium

    class Small(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (SIZES[0],), np.float64)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (SIZES[1],), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            self.left, self.at = 5, self.np_random.standard_normal(SIZES[0])
            return self.at, {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            self.left, self.at = self.left - 1, self.at + np.sum(action)
            return self.at, -float(np.abs(self.at).sum()), False, self.left == 0, {}

    return Small()


def on_wrapper(build: Callable[[], Any]) -> Iterator[str]:
    """What is wrong with a wrapped `small_env`: spaces, numbers, whether seeds decide all, how it is restored."""
    import gymnasium

    env = build()
    if not isinstance(env, gymnasium.Env):
        yield f"gave {shown(env)}; it must give the environment, wrapped"
        return
    misfits = [*_on_spaces(env, gymnasium.spaces.Box)]
    yield from misfits
    if misfits:
        return
    episode = _episode(env, seed=0)
    for observation, reward, *_ in episode:
        if np.shape(observation) != env.observation_space.shape or not np.isfinite(observation).all():
            yield f"gives {shown(observation)}; observations are finite and shaped {env.observation_space.shape}"
            return
        if not np.isfinite(reward):
            yield f"gives the reward {reward!r}; rewards are finite"
            return
    if not same(episode, _episode(build(), seed=0)):
        yield "gives another episode for the same seeds: all of its randomness must come from `seed`"
    elif not restores(build):
        told = "give it state_dict and load_state_dict, with all that it keeps from one episode to the next"
        yield f"goes on otherwise in another environment that was given its state after an episode: {told}"


def _on_spaces(env: Any, box: Any) -> Iterator[str]:
    seen, acted = env.observation_space, env.action_space
    if not isinstance(seen, box) or len(seen.shape) != 1 or not np.issubdtype(seen.dtype, np.floating):
        yield f"has observations in {seen}; agents need a flat Box of floats"
    if not isinstance(acted, box) or acted.shape != (SIZES[1],) or (acted.low != -1).any() or (acted.high != 1).any():
        yield f"has actions in {acted}; agents act in [-1, 1], one number an action of the environment"


def restores(build: Callable[[], Any]) -> bool:
    """Whether an environment goes on equally from its `environment_state` in another one made alike: two are tried.

    A trial of `TRIED` steps: what an environment begins to keep only later, it cannot see.
    """
    with closing(build()) as one, closing(build()) as other:
        _episode(one, 0.1, seed=1)
        for seed in (2, 3):  # More episodes than the one: a count of them would be another.
            _episode(other, -0.4, seed=seed)
        load_environment_state(other, environment_state(one))
        return all(_alike(_episode(one, 0.2), _episode(other, 0.2)) for _ in range(2))


def _episode(env: Any, change: float = 0.1, seed: int | None = None) -> list[Step]:
    """One episode of actions that wander within [-1, 1]: its first observation, and all that each step gives."""
    seen: list[Step] = [(np.array(env.reset(seed=seed)[0]), 0.0, False, False)]
    places = np.arange(env.action_space.shape[0])
    for number in range(TRIED):
        action = np.sin(places + change * number).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append((np.array(observation), float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            break
    return seen


def _alike(one: list[Step], other: list[Step]) -> bool:
    """Number by number; what is not finite equals itself, as it does not for `same`."""
    pairs: list[tuple[Any, Any]] = [pair for rows in zip(one, other, strict=False) for pair in zip(*rows, strict=True)]
    return len(one) == len(other) and all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
