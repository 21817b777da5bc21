"""A run under way: all that it is made of, its files, and its state from one episode to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from registry import Registry, part
from rl.checkpoint import save_weights
from rl.environment import sizes
from rl.files import write_atomically
from rl.signals import Diverged, check_weights
from rl.train import Episode, Evaluation, Signals, Training
from studies.account import Account
from studies.build import build_agent, build_environment, build_replay
from studies.clock import Clock
from studies.contents import Run, canonical
from studies.diagnostics import Diagnostics
from studies.donors import Donor, donor_policy
from studies.loggers import LENGTH, RETURN, TRAINING, tell_evaluation
from studies.rows import Rows
from studies.store import DIAGNOSTICS, EVALUATIONS, RESULT, TOPOLOGIES, TOPOLOGY, WEIGHTS, WORLD
from studies.world import world

LOGS = (EVALUATIONS, TOPOLOGY, TRAINING)
"""Files that grow with the run, and that a finished one answers for."""
LOOKS = (DIAGNOSTICS, TOPOLOGIES)
"""Those that do so where diagnostics were asked for."""


class Underway:
    """Builds a run, from its beginning or from a saved state, and writes its files into a folder as it goes.

    `loggers` get the training signals beside `csv`; what they write into the folder goes on with the run, as do all
    files in there, but the store does not answer for it. `diagnostics` are written too
    if asked for, and change nothing else. `donor` are the weights of the run's donor, needed until the warm-up is over.
    """

    def __init__(
        self,
        run: Run,
        folder: Path,
        registry: Registry,
        *,
        allow_import: bool = False,
        loggers: Sequence[str] = (),
        diagnostics: bool = False,
        donor: Path | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._run, self._folder, self._registry = run, folder, registry
        self._clock = Clock()
        for name, content in state["files"].items() if state else ():
            if name != Path(name).name:  # A checkpoint may come from others: no name of theirs becomes a path.
                raise ValueError(f"a checkpoint holds a file {name!r}: it was not written here")
            (folder / name).write_bytes(content)
        with ExitStack() as stack:
            env, evaluation_env = (
                stack.enter_context(closing(build_environment(run, index, registry, allow_import=allow_import)))
                for index in (0, 1)
            )
            self._agent, self._full = build_agent(run, sizes(env), registry)
            self._replay = build_replay(run, sizes(env), registry)
            self._account = stack.enter_context(closing(Account(self._agent, run, registry, folder)))
            self._looking: Diagnostics | None = None
            if diagnostics:
                looking = Diagnostics(folder, self._agent, self._account, self._replay, run)
                self._looking = stack.enter_context(closing(looking))
            named = [registry.bind("logger", part(name)) for name in dict.fromkeys(("csv", *loggers))]
            self._loggers = [stack.enter_context(closing(logger(folder=folder, run=run))) for logger in named]
            columns = ("step", "updates", "returns", "lengths")
            self._evaluations = stack.enter_context(closing(Rows(folder / EVALUATIONS, columns)))
            self._training = Training(
                self._agent,
                env,
                evaluation_env,
                self._replay,
                seed=run.seed,
                steps=run.steps,
                warmup=run.warmup,
                eval_every=run.eval_every,
                episodes=run.episodes,
                warmup_policy=self._warmup_policy(sizes(env), donor, state),
                device=torch.device(run.device),
                dtype=torch.float32,
            )
            if state:
                self._load(state)
            self._stack = stack.pop_all()

    def _warmup_policy(
        self, sizes: tuple[int, int], donor: Path | None, state: Mapping[str, Any] | None
    ) -> Donor | None:
        run = self._run
        if run.donor is None or (state and state["training"]["step"] >= run.warmup):
            return None
        if donor is None:
            raise ValueError(f"run {run.id} begins with the policy of run {run.donor.id}: its weights are needed")
        return donor_policy(run, donor, sizes, self._registry)

    def close(self) -> None:
        self._stack.close()

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return self._training.step

    @property
    def keeps_state(self) -> bool:
        """Whether its agent and replay can be saved: parts from elsewhere may have no state_dict."""
        return all(hasattr(each, "load_state_dict") for each in (self._agent, self._replay))

    @property
    def is_finite(self) -> bool:
        """Whether all weights are: training itself looks at every one of them at evaluations only."""
        try:
            check_weights(self._agent, self.step)
        except Diverged:
            return False
        return True

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, once an episode has ended. Tensors are references."""
        return {
            "agent": self._agent.state_dict(),
            "account": self._account.state_dict(),
            "replay": self._replay.state_dict(),  # type: ignore[attr-defined]
            "training": self._training.state_dict(),
            "diagnostics": None if self._looking is None else self._looking.state_dict(),
            "files": {path.name: path.read_bytes() for path in sorted(self._folder.iterdir()) if path.is_file()},
            "clock": self._clock.state_dict(),
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self._agent.load_state_dict(state["agent"])
        self._account.load_state_dict(state["account"])
        self._replay.load_state_dict(state["replay"])  # type: ignore[attr-defined]
        if self._looking is not None:
            self._looking.load_state_dict(state["diagnostics"])
        self._training.load_state_dict(state["training"])
        self._clock.load_state_dict(state["clock"])

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Carry it out, writing records as they come; how far it is after each, and `rest` where it may be saved."""
        for record in self._training:
            match record:
                case Evaluation(step, updates, returns, lengths):
                    self._clock.evaluated(self._training.spent_evaluating)
                    row = [step, updates, " ".join(map(repr, returns)), " ".join(map(str, lengths))]
                    self._evaluations.write([row])
                    told = {"step": step, RETURN: float(np.mean(returns)), LENGTH: float(np.mean(lengths))}
                    for logger in self._loggers:
                        tell_evaluation(logger, told)
                    if self._looking is not None:
                        self._looking.measure(step, updates, self._account.result(self._full, updates))
                    yield {"step": step, "steps": self._run.steps, "return": float(np.mean(returns))}
                case Signals(step, _, values):
                    self._log({"step": step, **values})
                    yield {"step": step, "steps": self._run.steps}
                case Episode(step, return_, length):
                    self._log({"step": step, "episode_return": return_, "episode_length": length})
                    yield {"step": step, "steps": self._run.steps, "rest": True}

    def _log(self, record: Mapping[str, Any]) -> None:
        for logger in self._loggers:
            logger.write(record)

    def result(self, diverged: Diverged | None, beside: Mapping[str, Any]) -> list[str]:
        """Write how it ended; the names of the files that now stand in the folder. `beside` goes into the world."""
        updates = max(0, (diverged.step if diverged else self._run.steps) - self._run.warmup)
        words = {"status": "diverged" if diverged else "done", "cause": str(diverged or ""), "updates": updates}
        files = [*LOGS, *(LOOKS if self._looking is not None else ())]
        if not diverged:
            save_weights(self._folder / WEIGHTS, self._agent)
            files.append(WEIGHTS)
        self._write(RESULT, words | self._account.result(self._full, updates))
        self._write(WORLD, world(self._registry, self._run.device) | self._clock.told() | dict(beside))
        return [*files, RESULT, WORLD]

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self._folder / name, (canonical(value) + "\n").encode())
