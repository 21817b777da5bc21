"""Gymnasium environments as agents need them: a version named, flat observations, actions in [-1, 1]."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # imported where it is used: `import rl` must stay light
    import gymnasium


class Environment(Protocol):
    """What training asks of an environment; every gymnasium.Env has it."""

    @property
    def action_space(self) -> Any: ...

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]: ...

    def step(self, action: Any, /) -> tuple[Any, Any, bool, bool, dict[str, Any]]: ...


class EnvironmentRefused(ValueError):
    """An environment that cannot be used here. The message says why, and what can."""


def make(env_id: str, *, allow_import: bool = False, **drawing: Any) -> gymnasium.Env[Any, Any]:
    """gymnasium.make(env_id), checked, with its actions rescaled from [-1, 1] to the space's bounds.

    `allow_import` permits ids such as `module:Name-v0`, which import (and so run) `module`. `drawing` is how it is
    drawn: `render_mode`, `width`, `height`; nothing that changes what it does.
    """
    _check_id(env_id, allow_import)
    env = _made(env_id, **drawing)
    try:
        _check_actions(env_id, env.action_space)
        _check_observations(env_id, env.observation_space)
    except EnvironmentRefused:
        env.close()
        raise
    return _rescaled(env)


def check(env_id: str, *, allow_import: bool = False) -> tuple[int, int]:
    """Make the environment, close it, and give its sizes; EnvironmentRefused if it cannot be used."""
    env = make(env_id, allow_import=allow_import)
    env.close()
    return sizes(env)


def sizes(env: gymnasium.Env[Any, Any]) -> tuple[int, int]:
    """(observation_size, action_size) of an environment from `make`."""
    observations, actions = env.observation_space.shape, env.action_space.shape
    assert observations is not None, "spaces without a shape are refused by `make`"
    assert actions is not None, "spaces without a shape are refused by `make`"
    return int(observations[0]), int(actions[0])


def action_space(env_id: str, *, allow_import: bool = False) -> Any:
    """The Box of the environment's own actions, to whose bounds `make` rescales those of agents."""
    _check_id(env_id, allow_import)
    env = _made(env_id)
    env.close()
    _check_actions(env_id, env.action_space)
    return env.action_space


def environment_state(env: Any) -> dict[str, Any]:
    """What an environment carries from one episode to the next: its generator, and what its wrappers say they keep.

    Between episodes that is all of it where a reset puts the rest back, as the environments of gymnasium do; one that
    keeps more (a curriculum, running means) tells by `state_dict` and `load_state_dict`.
    """
    innermost = getattr(env, "unwrapped", env)
    generator = getattr(innermost, "np_random", None)
    return {
        "generator": None if generator is None else generator.bit_generator.state,
        "layers": [layer.state_dict() if _keeps_state(layer) else None for layer in _layers(env)],
    }


def load_environment_state(env: Any, state: Mapping[str, Any]) -> None:
    """Restore what `environment_state` gave, of an environment made alike; the next `reset` goes on from there."""
    if state["generator"] is not None:
        bits: Any = getattr(np.random, state["generator"]["bit_generator"])()
        bits.state = state["generator"]
        getattr(env, "unwrapped", env).np_random = np.random.Generator(bits)
    for layer, kept in zip(_layers(env), state["layers"], strict=True):
        if kept is not None:
            layer.load_state_dict(kept)


def _layers(env: Any) -> Iterator[Any]:
    """The environment from its outermost wrapper inwards."""
    yield env
    while env is not getattr(env, "unwrapped", env):
        env = env.env
        yield env


def _keeps_state(layer: Any) -> bool:
    # Asked of the class: wrappers pass on what they do not have themselves.
    return hasattr(type(layer), "state_dict")


def _check_id(env_id: str, allow_import: bool) -> None:
    if ":" in env_id and not allow_import:
        raise EnvironmentRefused(
            f"{env_id!r} would import the module {env_id.split(':')[0]!r}, that is, run its code. "
            "If you trust it, allow imports (--allow-env-import)"
        )
    if not re.search(r"-v\d+$", env_id):
        raise EnvironmentRefused(f"{env_id!r} names no version; write it out, as in {_newest(env_id)!r}")


def _newest(name: str) -> str:
    """The newest registered version of that name, else an example."""
    import gymnasium

    known = [spec.id for spec in gymnasium.registry.values() if spec.name == name and spec.namespace is None]
    return max(known, key=lambda env_id: gymnasium.spec(env_id).version or 0, default="HalfCheetah-v5")


def _made(env_id: str, **drawing: Any) -> gymnasium.Env[Any, Any]:
    import gymnasium

    try:
        with _unremarked():
            return gymnasium.make(env_id, **drawing)
    except TypeError as error:
        if not drawing:
            raise
        raise EnvironmentRefused(f"{env_id!r} cannot be drawn with {', '.join(drawing)}: {error}") from error
    except gymnasium.error.Error as error:
        raise EnvironmentRefused(f"gymnasium cannot make {env_id!r}: {error}") from error
    except ImportError as error:
        if re.search(r"-v[23]$", env_id) and "mujoco" in str(error):
            name = env_id.rpartition("-")[0]
            advice = f"needs mujoco-py, which is no longer to be had; use {name}-v4 or {name}-v5"
            raise EnvironmentRefused(f"{env_id!r} {advice}") from error
        raise EnvironmentRefused(f"{env_id!r} needs a package that cannot be imported: {error}") from error
    except (AttributeError, RuntimeError) as error:
        chosen = os.environ.get("MUJOCO_GL")  # Read when mujoco is imported, whether anything is drawn or not.
        if chosen is None or "mujoco" in sys.modules:
            raise
        advice = "Unset it, or name a library that is there: egl, osmesa, glfw"
        raise EnvironmentRefused(f"mujoco cannot be imported with MUJOCO_GL={chosen!r}: {error}. {advice}") from error


@contextmanager
def _unremarked() -> Iterator[None]:
    # A study that asks for -v4 means it: gymnasium's advice to upgrade is no news.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
        yield


def _check_actions(env_id: str, space: Any) -> None:
    from gymnasium.spaces import Box

    if not isinstance(space, Box):
        raise EnvironmentRefused(f"agents need a Box action space; {env_id} has {space}")
    if len(space.shape) != 1 or not np.issubdtype(space.dtype, np.floating):
        raise EnvironmentRefused(f"agents need a flat Box of float actions; {env_id} has {space}")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise EnvironmentRefused(f"agents need finite action bounds; {env_id} has {space}")


def _check_observations(env_id: str, space: Any) -> None:
    from gymnasium.spaces import Box

    if not isinstance(space, Box) or len(space.shape) != 1 or not np.issubdtype(space.dtype, np.floating):
        shown = f"{type(space).__name__} observations {getattr(space, 'shape', None) or ''}".rstrip()
        raise EnvironmentRefused(
            f"agents need a flat Box of float observations; {env_id} has {shown} of {space.dtype}. "
            "Register a version of it wrapped in gymnasium.wrappers.FlattenObservation, as floats"
        )


def _rescaled(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """a -> low + (a + 1) / 2 (high - low), clipped to the bounds and cast to the space's own dtype.

    gymnasium's RescaleAction computes in the space's dtype without a clip: in float32 an action of 1 can land
    one rounding outside the bounds.
    """
    from gymnasium.spaces import Box
    from gymnasium.wrappers import TransformAction

    space = env.action_space
    assert isinstance(space, Box)
    if (space.low == -1).all() and (space.high == 1).all():
        return env
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)

    def to_bounds(action: NDArray[Any]) -> NDArray[Any]:
        share = (np.asarray(action, dtype=np.float64) + 1) / 2
        return (low + share * (high - low)).clip(low, high).astype(space.dtype)

    return TransformAction(env, to_bounds, Box(-1.0, 1.0, shape=space.shape, dtype=np.float32))
