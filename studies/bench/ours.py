"""Our agent as a contestant: dense, masked or sparse, its gradients in closed form or by autograd."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any, Final

import numpy as np
import torch

from registry import default_registry, part
from rl.agent import Agent
from rl.environment import make, sizes
from rl.replay import UniformReplay
from rl.streams import stream
from rl.train import Episode, Record, Training
from sparsity import Event, Method, Sparsifier
from sparsity.cost import Size, size, thinned, training_flops
from studies.bench.paced import Paced
from studies.bench.plan import Setting
from studies.stored import stored

ROWS: Final = 10_000
"""Random transitions in the memory. Its capacity is the papers'."""
CAPACITY: Final = 1_000_000
TOTAL: Final = 1_000_000
"""Planned updates, for schedules whose windows are shares of them."""
EVERY: Final = 1_000
"""Updates between events."""
FIXED_WIDTH: Final = 8
"""Hidden units that cost nothing to speak of: an update of such an agent is what an update costs at any width."""


def method_row(setting: Setting, density: float | None) -> Method:
    """The method of a setting: as published, or with the layers, allocation and schedule that a fair grid shares."""
    method: Method = default_registry().entry("method", setting.method).value
    if setting.published:
        return method
    if method.schedule.name != "never":
        method = replace(method, schedule=part("periodic", every=EVERY, fraction=0.05))
    erk = part("erk", density=density)
    return replace(method, eligible=part("hidden"), allocation=erk, initial=part("random"))


class Ours:
    """An agent of this package with its sparsifiers, on a full-sized memory and the real environment."""

    def __init__(self, kind: str, density: float | None, setting: Setting) -> None:
        torch.set_num_threads(setting.threads)
        # Moments of dead units decay into denormals, on which CPUs are many times slower; runs do the same.
        torch.set_flush_denormal(True)
        self._setting, self._env, self._other_env = setting, make(setting.env), make(setting.env)
        self._agent = self._made(setting.width, analytic=kind != "autograd")
        self._full = {learner.name: size(learner.module) for learner in self._agent.learners()}
        self._fixed = self._made(FIXED_WIDTH) if kind == "dense" else None
        self._replay = self._filled()
        self._events = 0
        self._sparsifiers: dict[str, Sparsifier] = {}
        if kind != "dense":
            self._method = method_row(setting, density)
            execution: Any = "masked" if kind == "masked" else "sparse"
            for index, learner in enumerate(self._agent.learners()):
                self._sparsifiers[learner.name] = Sparsifier(
                    learner,
                    self._method,
                    seed=stream(0, "topology", index),
                    total=TOTAL,
                    execution=execution,
                    on_event=self._hear,
                )
        self._batch = self._replay.sample(
            setting.batch, np.random.default_rng(1), device=torch.device("cpu"), dtype=torch.float32
        )
        self._steps: Iterator[float] | None = None
        self._block = 0

    def warm(self) -> dict[str, Any]:
        """Some updates, and what one takes by then; and what the agent costs in memory and arithmetic."""
        seconds = {work: self._warmed(work) for work in ("update", "fixed") if work == "update" or self._fixed}
        rewires = self._sparsifiers and self._method.schedule.name != "never"
        event = [self._event() for _ in range(2)][-1] if rewires else None  # The first one warms up.
        return {"seconds": seconds, "facts": {**self._cost(), "bytes": self._stored(), "event": event}}

    def _warmed(self, work: str) -> float:
        """Seconds of an update after eight of them, or twenty if there is time: kernels compile in the first."""
        started, done = time.perf_counter(), 0
        while done < 8 or (done < 20 and time.perf_counter() - started < 1):
            seconds, done = self.block(work, 2) / 2, done + 2
        return seconds

    def block(self, work: str, n: int) -> float:
        """`update`: on a prepared batch; `step`: act, environment, store, sample, update; `fixed`: of a tiny agent."""
        if work == "step":
            return self._stepped(n)
        agent = self._agent if work == "update" else self._fixed
        assert agent is not None, "only the dense contestant has a tiny agent beside it"
        started = time.perf_counter()
        for _ in range(n):
            agent.update(self._batch)
        return time.perf_counter() - started

    def _stepped(self, n: int) -> float:
        """Seconds of n steps of `rl.train.train`, all sizes equal, as it marks the time itself."""
        if self._steps is None:
            self._steps, self._block = self._marks(n), n
            next(self._steps)  # It evaluates first.
        assert n == self._block, "the training loop was told the size of a block at its start"
        started = time.perf_counter()
        return next(self._steps) - started

    def _marks(self, n: int) -> Iterator[float]:
        """The time at the end of every n-th step. A pause of the caller falls between two blocks."""
        records: Iterable[Record] = Training(
            self._agent,
            Paced(self._env, n),
            self._other_env,
            self._replay,
            seed=0,
            steps=TOTAL,
            warmup=0,
            eval_every=TOTAL,
            episodes=1,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        return (time.perf_counter() for record in records if isinstance(record, Episode) and record.step % n == 0)

    def _made(self, width: int, *, analytic: bool = True) -> Agent:
        hidden = (width, width)
        chosen = part(
            self._setting.agent,
            learning_rate=self._setting.learning_rate,
            batch_size=self._setting.batch,
            actor_hidden=hidden,
            critic_hidden=hidden,
            analytic=analytic,
        )
        observation_size, action_size = sizes(self._env)
        made: Agent = default_registry().bind("agent", chosen)(
            observation_size=observation_size,
            action_size=action_size,
            seed=0,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        return made

    def _filled(self) -> UniformReplay:
        observation_size, action_size = sizes(self._env)
        replay, draw = UniformReplay(observation_size, action_size, CAPACITY), np.random.default_rng(0)
        for _ in range(ROWS):
            before, after = draw.normal(size=(2, observation_size))
            replay.add(before, draw.uniform(-1, 1, action_size), float(draw.normal()), False, False, after)
        return replay

    # What it costs.

    def _cost(self) -> dict[str, float]:
        """Active share of all weights, and FLOPs of training as a share of the dense agent's."""
        strides = {learner.name: learner.stride for learner in self._agent.learners()}
        whole = {name: float(each.weights) for name, each in self._full.items()}
        active = {name: float(self._active(name, each)) for name, each in self._full.items()}
        flops = [training_flops(weights, strides, self._setting.batch) for weights in (active, whole)]
        return {"density": sum(active.values()) / sum(whole.values()), "flops": flops[0] / flops[1]}

    def _active(self, name: str, full: Size) -> int:
        layers = self._sparsifiers[name].densities() if name in self._sparsifiers else ()
        return thinned(full, layers).active_weights

    def _stored(self) -> dict[str, int]:
        return stored(self._agent.learners(), list(self._sparsifiers.values()))

    def _event(self) -> dict[str, float] | None:
        """What an event adds to its update, in seconds: the clock is set close before one, and each update is timed."""
        soon = 10
        for learner in self._agent.learners():
            sparsifier = self._sparsifiers[learner.name]
            sparsifier.load_state_dict(sparsifier.state_dict() | {"steps": (EVERY - soon) // learner.stride})
        taken: list[float] = []
        at: list[int] = []
        for i in range(2 * soon):
            heard = self._events
            taken.append(self.block("update", 1))
            at += [i] if self._events > heard else []
        added = [taken[i] - statistics.median(t for j, t in _like(taken, i) if j not in at) for i in at]
        return {"seconds": sum(added), "every": EVERY} if at else None

    def _hear(self, _: Event) -> None:
        self._events += 1


def _like(taken: list[float], i: int) -> Iterator[tuple[int, float]]:
    """The updates that move the actor if the i-th does, else those that do not."""
    return ((j, t) for j, t in zip(count(), taken, strict=False) if j % 2 == i % 2)
