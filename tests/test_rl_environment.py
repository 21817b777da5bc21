"""Environments made, checked and refused with a sentence."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rl import EnvironmentRefused, Evaluation, Training, make, sizes, td3, uniform
from rl.environment import check


class Custom(gymnasium.Env[Any, Any]):
    """An environment of any spaces, that remembers the actions it was given."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.given: list[Any] = []
        self.closed = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.given.append(action)
        return self.observation_space.sample(), 0.0, False, False, {}


VECTOR = spaces.Box(-1, 1, (3,), np.float64)


@pytest.fixture
def custom(request: pytest.FixtureRequest) -> Iterator[None]:
    observation_space, action_space = request.param
    gymnasium.register(
        "Custom-v0", entry_point=lambda: Custom(observation_space, action_space), disable_env_checker=True
    )
    yield
    del gymnasium.registry["Custom-v0"]


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("HalfCheetah", "'HalfCheetah' names no version; write it out, as in 'HalfCheetah-v5'"),
        ("", "'' names no version"),
        ("halfcheetah-v5", "Did you mean: `HalfCheetah`"),
        ("HalfCheetah-v9", "`v4`, `v5`"),
        ("Nonsense-v0", "doesn't exist"),
        ("Pendulum-v0", "deprecated"),
        ("HalfCheetah-v2", "'HalfCheetah-v2' needs mujoco-py, .* use HalfCheetah-v4 or HalfCheetah-v5"),
        ("Ant-v3", "use Ant-v4 or Ant-v5"),
        ("CartPole-v1", r"agents need a Box action space; CartPole-v1 has Discrete\(2\)"),
        ("a:b-v0", r"'a:b-v0' would import the module 'a', .*\(--allow-env-import\)"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused_with_a_sentence(env_id: str, message: str) -> None:
    with pytest.raises(EnvironmentRefused, match=message):
        make(env_id)


def test_a_module_is_imported_only_by_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "imported"
    code = f"import gymnasium, pathlib\npathlib.Path({str(canary)!r}).touch()\n"
    code += "gymnasium.register('Mine-v0', entry_point='gymnasium.envs.classic_control:PendulumEnv')\n"
    (tmp_path / "toy_canary.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentRefused):
        make("toy_canary:Mine-v0")
    assert not canary.exists()
    assert check("toy_canary:Mine-v0", allow_import=True) == (3, 1)
    assert canary.exists()
    del gymnasium.registry["Mine-v0"]
    with pytest.raises(EnvironmentRefused, match="needs a package that cannot be imported"):
        make("toy_missing:Mine-v0", allow_import=True)


@pytest.mark.parametrize(
    ("custom", "message"),
    [
        ((VECTOR, spaces.Box(-np.inf, np.inf, (2,))), "finite action bounds; Custom-v0 has Box"),
        ((VECTOR, spaces.Box(-1, np.array([1, np.inf], np.float32))), "finite action bounds"),
        ((VECTOR, spaces.Box(-1, 1, (2, 2))), "flat Box of float actions"),
        ((VECTOR, spaces.Box(0, 5, (2,), np.int64)), "flat Box of float actions"),
        ((VECTOR, spaces.MultiDiscrete([2, 3])), "Box action space"),
        ((spaces.Dict({"a": VECTOR}), VECTOR), "Custom-v0 has Dict observations"),
        ((spaces.Box(0, 255, (8, 8, 3), np.uint8), VECTOR), r"Box observations \(8, 8, 3\) of uint8.*Flatten"),
        ((spaces.Box(0, 255, (8,), np.uint8), VECTOR), r"Box observations \(8,\) of uint8"),
        ((spaces.Discrete(5), VECTOR), "Custom-v0 has Discrete observations"),
    ],
    indirect=["custom"],
)
@pytest.mark.usefixtures("custom")
def test_spaces_that_agents_cannot_use_are_refused(message: str) -> None:
    with pytest.raises(EnvironmentRefused, match=message):
        make("Custom-v0")


@pytest.mark.parametrize(
    "custom",
    [
        (VECTOR, spaces.Box(np.array([-2, 0.1], dtype), np.array([3, 0.7], dtype), dtype=dtype))
        for dtype in (np.float32, np.float64)
    ],
    indirect=True,
)
@pytest.mark.usefixtures("custom")
def test_actions_are_rescaled_to_the_bounds_and_never_beyond() -> None:
    env = make("Custom-v0")
    inner = env.unwrapped
    assert isinstance(inner, Custom)
    assert sizes(env) == (3, 2)
    assert env.action_space == spaces.Box(-1, 1, (2,), np.float32)
    env.reset()
    for action in ([-1, 1], [0, 0], [1, -1]):
        env.step(np.array(action, dtype=np.float32))
    assert np.array(inner.given) == pytest.approx(np.array([[-2, 0.7], [0.5, 0.4], [3, 0.1]]), rel=1e-6)
    assert all(inner.action_space.contains(action) for action in inner.given)


@pytest.mark.parametrize("custom", [(VECTOR, spaces.Box(-1, 1, (2,), np.float64))], indirect=True)
@pytest.mark.usefixtures("custom")
def test_bounds_of_one_leave_actions_as_they_are() -> None:
    env = make("Custom-v0")
    assert isinstance(env.unwrapped, Custom)
    env.reset()
    action = np.array([0.3, -1], dtype=np.float32)
    env.step(action)
    assert env.unwrapped.given[0] is action


def test_an_old_version_is_made_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check("HalfCheetah-v4") == check("HalfCheetah-v5") == (17, 6)


def test_td3_trains_on_a_simulated_robot() -> None:
    import torch

    env, evaluation_env, cpu = make("HalfCheetah-v5"), make("HalfCheetah-v5"), torch.device("cpu")
    agent = td3(*sizes(env), 0, cpu, torch.float32, batch_size=16, actor_hidden=(16,), critic_hidden=(16,))
    plan = {"seed": 0, "steps": 60, "warmup": 30, "eval_every": 60, "episodes": 1}
    records = list(Training(agent, env, evaluation_env, uniform(17, 6), device=cpu, dtype=torch.float32, **plan))
    assert [r.lengths for r in records if isinstance(r, Evaluation)] == [(1000,), (1000,)]
    assert agent.updates == 30
