"""B6: an environment goes on from its kept state as if nothing had happened, in one that has played something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
from lab import FILE, Lab, a_lab, a_run, no_figures, run_here

from registry import Registry
from rl import EnvironmentRefused, make
from rl.environment import environment_state, load_environment_state
from rl.surroundings import restores
from studies.build import KEEPS_MORE
from studies.keeping import Keeper
from studies.leaving import Leave
from studies.store import Store
from studies.underway import Underway

lab, quiet = a_lab, no_figures

ORDINARY = ("InvertedPendulum-v5", "Hopper-v5", "HalfCheetah-v5", "Pendulum-v1", "MountainCarContinuous-v0")
KEEP_MORE = ("phys2d/Pendulum-v0",)
"""Not exact: its randomness is a JAX key of its own, which `np_random` knows nothing of."""
POINTS = 5
"""Ends of episodes at which the state is kept."""


@cache
def accepted() -> list[str]:
    """Every environment of gymnasium that agents can use, and whose packages are there."""
    found = []
    for name in sorted(gymnasium.registry):
        try:
            make(name).close()
            found.append(name)
        except EnvironmentRefused:
            pass
    return found


def episode(env: Any, seed: int, first: int | None = None, most: int = 10_000) -> Iterator[tuple[Any, ...]]:
    """Everything it gives, at random actions."""
    draw = np.random.default_rng(seed)
    yield (np.array(env.reset(seed=first)[0]),)
    for _ in range(most):
        observation, reward, terminated, truncated, _ = env.step(draw.uniform(-1, 1, env.action_space.shape))
        yield np.array(observation), float(reward), terminated, truncated
        if terminated or truncated:
            return


def same(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    """Step by step, without a tolerance."""
    if len(one) != len(other):
        return False
    return all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one, other, strict=True))


def differing(name: str) -> list[int]:
    """Points from which two whole episodes are not what they are without a restoration."""
    wrong = []
    env, other = make(name), make(name)
    list(episode(env, 0, first=0))
    for point in range(POINTS):
        list(episode(other, 50 + point, first=60 + point))
        list(episode(other, 70 + point, most=7))
        load_environment_state(other, json.loads(json.dumps(environment_state(env))))
        seeds = (2 * point + 1, 2 * point + 2)
        if not all(same(list(episode(env, seed)), list(episode(other, seed))) for seed in seeds):
            wrong.append(point)
    env.close()
    other.close()
    return wrong


@pytest.mark.parametrize("name", ORDINARY)
def test_an_environment_goes_on_from_its_state(name: str) -> None:
    assert differing(name) == []
    assert restores(lambda: make(name))


@pytest.mark.reliability
@pytest.mark.filterwarnings("ignore")
def test_all_environments_of_gymnasium_go_on_from_their_state_but_for_those_listed() -> None:
    names = accepted()
    assert len(names) >= 20
    wrong = [name for name in names if differing(name)]
    assert wrong == [name for name in KEEP_MORE if name in names]
    assert [name for name in names if not restores(lambda name=name: make(name))] == wrong  # type: ignore[misc]


class Tiring(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Pays less in each episode, and tells nobody."""

    pay = 1.0

    def reset(self, **how: Any) -> Any:
        self.pay *= 0.9
        return self.env.reset(**how)

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        return observation, float(reward) * self.pay, *rest


class Told(Tiring):
    def state_dict(self) -> dict[str, Any]:
        return {"pay": self.pay}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pay = state["pay"]


def test_a_wrapper_that_keeps_more_than_it_tells_is_found() -> None:
    assert not restores(lambda: Tiring(make("Pendulum-v1")))
    assert restores(lambda: Told(make("Pendulum-v1")))


PLUGIN = """\
from test_reliability_environments import Tiring, Told

from registry import hookimpl


def tiring(env):
    return Tiring(env)


def told(env):
    return Told(env)


@hookimpl
def register_wrapper(register):
    register(tiring)
    register(told)
"""


@pytest.mark.parametrize(("wrapper", "exact"), [("tiring", False), ("told", True)])
def test_a_study_says_beforehand_where_nothing_can_go_on_bit_for_bit(lab: Lab, wrapper: str, exact: bool) -> None:
    plugin = lab.file(PLUGIN, "mine.py")
    answer = lab.study(f'wrappers = ["{wrapper}"]\n{FILE}', "--plugin", plugin, "--dry-run")
    assert answer.code == 0, answer.err
    assert (KEEPS_MORE in answer.out + answer.err) is not exact


@pytest.mark.parametrize(("wrapper", "exact"), [("tiring", False), ("told", True)])
def test_a_run_that_went_on_from_less_than_all_is_marked(lab: Lab, wrapper: str, exact: bool) -> None:
    """Twice: the mark stays, and is there once."""
    plugin = lab.file(PLUGIN, "mine.py")
    registry = Registry(installed=False)
    registry.load_file(plugin)
    run, store = a_run(registry, wrappers=[wrapper], steps=200), Store(lab.store)
    store.prepare(run)
    words = (str(lab.store), run.id, str(plugin), "--no-plugins", "--checkpoint-every=0")
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("studies.run.Keeper", Leaving)
            patch.setattr("studies.keeping.PAUSE", 0.0)
            assert run_here(*words).code == 143
    assert run_here(*words).code == 0
    told = json.loads((store.run_folder(run.id) / "world.json").read_text()).get("drift")
    assert told == (None if exact else f"{run.env}: {KEEPS_MORE}")


class Leaving(Keeper):
    """Leaves once something is saved."""

    def save(self, underway: Underway) -> None:
        super().save(underway)
        raise Leave(143)
