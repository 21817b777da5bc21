"""One run in a process of its own: contents in, result out.

`python -m studies.run STORE ID [PLUGIN ...]` prints its progress as JSON lines. Exit codes: 0 finished (also when it
diverged, which is a result), 1 failed, HELD if another process is working on it.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from registry import PartError, Registry, part, use_registry
from rl.checkpoint import save_weights
from rl.environment import make, sizes
from rl.files import write_atomically
from rl.streams import stream
from rl.train import Diverged, Episode, Evaluation, Signals, train
from studies.account import Account
from studies.build import build_agent, build_replay
from studies.contents import Run, canonical, foreign_sources
from studies.diagnostics import Diagnostics
from studies.loggers import TRAINING
from studies.runner import HELD
from studies.store import DIAGNOSTICS, EVALUATIONS, RESULT, TOPOLOGY, WEIGHTS, WORLD, Held, Store
from studies.world import world

Report = Callable[[Mapping[str, Any]], None]


def execute(
    run: Run,
    folder: Path,
    registry: Registry,
    report: Report,
    *,
    allow_import: bool = False,
    loggers: Sequence[str] = (),
    diagnostics: bool = False,
) -> list[str]:
    """Train, writing the run's files into its folder; the names of the files that now stand there.

    `loggers` get the training signals beside `csv`; what they write is not the store's. `diagnostics` are written too
    if asked for, and change nothing else.
    """
    started = time.time()
    with ExitStack() as stack:
        env, evaluation_env = (_environment(run, i, registry, allow_import, stack) for i in (0, 1))
        agent, full = build_agent(run, sizes(env), registry)
        replay = build_replay(run, sizes(env), registry)
        account = stack.enter_context(closing(Account(agent, run, registry, folder)))
        looking: Diagnostics | None = None
        if diagnostics:
            looking = stack.enter_context(closing(Diagnostics(folder, agent, account, replay, run.seed)))
        named = [registry.bind("logger", part(name)) for name in ("csv", *loggers)]
        opened = [stack.enter_context(closing(logger(folder=folder))) for logger in named]

        def log(record: Mapping[str, Any]) -> None:
            for logger in opened:
                logger.write(record)

        evaluations = stack.enter_context(open(folder / EVALUATIONS, "w", newline=""))
        records = train(
            agent,
            env,
            evaluation_env,
            replay,
            seed=run.seed,
            steps=run.steps,
            warmup=run.warmup,
            eval_every=run.eval_every,
            episodes=run.episodes,
            device=torch.device(run.device),
            dtype=torch.float32,
        )

        def evaluated(step: int, updates: int) -> None:
            if looking is not None:
                looking.measure(step, updates, account.result(full, updates))

        cause, ended = _follow(records, evaluations, log, report, evaluated, run.steps)
    files = [EVALUATIONS, TOPOLOGY, TRAINING, RESULT, WORLD, *([DIAGNOSTICS] if diagnostics else [])]
    if not cause:
        save_weights(folder / WEIGHTS, agent)
        files.append(WEIGHTS)
    updates = max(0, ended - run.warmup)
    result = {"status": "diverged" if cause else "done", "cause": cause, "updates": updates}
    _write(folder / RESULT, result | account.result(full, updates))
    _write(folder / WORLD, world(registry, run.device) | {"seconds": time.time() - started})
    return files


def _environment(run: Run, index: int, registry: Registry, allow_import: bool, stack: ExitStack) -> Any:
    env = stack.enter_context(closing(make(run.env, allow_import=allow_import)))
    for position, wrapper in enumerate(run.wrappers):
        env = registry.bind("wrapper", wrapper)(env=env, seed=stream(run.seed, "environment", 1 + index, position))
    return env


def _follow(
    records: Iterable[Evaluation | Episode | Signals],
    file: TextIO,
    log: Callable[[Mapping[str, Any]], None],
    report: Report,
    evaluated: Callable[[int, int], None],
    steps: int,
) -> tuple[str, int]:
    """Write evaluations and signals as they come, and tell how far the run is.

    Gives why it diverged, if it did, and the environment step at which it ended.
    """
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["step", "updates", "returns", "lengths"])
    try:
        for record in records:
            match record:
                case Evaluation(step, updates, returns, lengths):
                    rows.writerow([step, updates, " ".join(map(repr, returns)), " ".join(map(str, lengths))])
                    file.flush()
                    evaluated(step, updates)
                    report({"step": step, "steps": steps, "return": float(np.mean(returns))})
                case Signals(step, _, values):
                    log({"step": step, **values})
                    report({"step": step, "steps": steps})
                case Episode(step, return_, length):
                    log({"step": step, "episode_return": return_, "episode_length": length})
    except Diverged as diverged:
        return str(diverged), diverged.step
    return "", steps


def _write(path: Path, value: Mapping[str, Any]) -> None:
    write_atomically(path, (canonical(value) + "\n").encode())


def _print(record: Mapping[str, Any]) -> None:
    """One line for the runner. When nobody listens any more, the runner is gone, and so is this run."""
    try:
        print(json.dumps(record), flush=True)
    except BrokenPipeError:
        os._exit(1)


def main(arguments: list[str]) -> int:
    """Run one run of a store by its id."""
    root, run_id, *more = arguments
    torch.set_num_threads(1)
    # Moments of dead units decay into denormals, on which CPUs are many times slower.
    torch.set_flush_denormal(True)
    registry = Registry(installed="--no-plugins" not in more)
    use_registry(registry)
    store = Store(root)
    try:
        for file in (argument for argument in more if not argument.startswith("--")):
            registry.load_file(file)
        with store.claim(run_id):
            if store.is_finished(run_id):
                return 0
            folder = store.run_folder(run_id)
            run = store.load_run(run_id)
            if foreign_sources(run, registry) != dict(run.foreign):
                raise PartError("the source of a plugin changed since the study was started: give the command again")
            os.chdir(folder)  # mujoco writes its log into the working folder.
            loggers = [argument.partition("=")[2] for argument in more if argument.startswith("--logger=")]
            allowed = "--allow-env-import" in more
            files = execute(
                run,
                folder,
                registry,
                _print,
                allow_import=allowed,
                loggers=loggers,
                diagnostics="--diagnostics" in more,
            )
            store.finish(folder, files)
    except Held as held:
        print(held, file=sys.stderr)
        return HELD
    except SystemExit as left:
        print(f"a part left the process by SystemExit({left.code})", file=sys.stderr)
        return 1
    except PartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
