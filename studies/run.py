"""One run in a process of its own: contents in, result out.

`python -m studies.run STORE ID [PLUGIN ...]` prints its progress as JSON lines, and goes on from the newest checkpoint
that is whole. Exit codes: 0 finished (also when it diverged, which is a result), 1 failed, HELD if another process is
working on it, 128 and a signal's number if it was told to leave.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from registry import PartError, Registry, use_registry
from rl.signals import Diverged
from studies.attempts import Attempt, Superseded, begin
from studies.build import KEEPS_MORE, keeps_all
from studies.contents import Run, foreign_sources
from studies.donors import NoDonor, trained
from studies.keeping import Drifted, Keeper, last
from studies.leaving import Leave, Notice
from studies.options import Care
from studies.rounds import HELD
from studies.store import Held, Store
from studies.underway import Underway
from studies.world import drift, world

Report = Callable[[Mapping[str, Any]], None]

SPOKEN = 1.0
"""Seconds between two signs of work that say nothing but how far the run is."""


@dataclass
class Words:
    """What follows STORE and ID."""

    plugins: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    values: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, arguments: list[str]) -> Words:
        words = cls()
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if not argument.startswith("--"):
                words.plugins.append(argument)
            elif equals:
                words.values.setdefault(name, []).append(value)
            else:
                words.flags.add(name)
        return words

    def number(self, name: str, default: float) -> float:
        return float(self.values.get(name, [str(default)])[-1])


def work(
    run: Run, attempt: Attempt, store: Store, registry: Registry, report: Report, notice: Notice, words: Words
) -> list[str]:
    """Carry a run out in an attempt's folder, from the newest checkpoint on; the names of its files."""
    now = world(registry, run.device)
    loaded, told = last(attempt, now, allow_drift="--allow-drift" in words.flags)
    diagnostics = "--diagnostics" in words.flags
    if loaded and diagnostics and loaded.state["diagnostics"] is None:
        loaded, told = None, [*told[:-1], "its checkpoint is without diagnostics, so that the run begins anew"]
    for line in told:
        report({"note": line})
    beside: dict[str, Any] = {"attempts": attempt.number}
    step = loaded.about["step"] if loaded else 0
    attempt.note(resumed=step)
    donor, said = _donor(run, step, store, now)
    if loaded:
        kept = "" if keeps_all(run, registry, "--allow-env-import" in words.flags) else f"{run.env}: {KEEPS_MORE}"
        said = [*loaded.about["drift"].split("; "), drift(loaded.about["world"], now), kept, *said]
        if kept:
            report({"note": f"{kept}, so that the rest is not that of an undisturbed run"})
    changed = "; ".join(dict.fromkeys(filter(None, said)))
    beside |= {"drift": changed} if changed else {}
    about = {"run": run.id, "attempt": attempt.number, "world": now, "drift": changed}
    _compile(run, report)
    underway = Underway(
        run,
        attempt.folder,
        registry,
        allow_import="--allow-env-import" in words.flags,
        loggers=words.values.get("--logger", []),
        diagnostics=diagnostics or bool(loaded and loaded.state["diagnostics"] is not None),
        donor=donor,
        state=loaded.state if loaded else None,
    )
    keeper = Keeper(attempt, about, every=words.number("--checkpoint-every", Care.checkpoint_every), lender=loaded)
    del loaded  # A full replay buffer is in there.
    with closing(underway):
        diverged = _trained(underway, keeper, report, notice)
        return underway.result(diverged, beside)


def _compile(run: Run, report: Report) -> None:
    """Have the kernels of sparse execution ready before the run's clock starts: its seconds are not a compiler's."""
    if run.execution != "sparse":
        return
    from sparsity.execution.ready import are_compiled, compile_kernels  # They take a while to load.

    if not are_compiled():
        report({"note": "compiles the kernels of sparse execution first, once on a machine: a quarter of a minute"})
    compile_kernels()


def _donor(run: Run, step: int, store: Store, now: Mapping[str, Any]) -> tuple[Path | None, list[str]]:
    """The weights of the donor that acts from a step on, None if none does, and how its world was another."""
    if run.donor is None or step >= run.warmup:
        return None, []
    weights, record = trained(run.donor, store)
    changed = (*record.world.get("drift", "").split("; "), drift(record.world, now))
    return weights, [f"its donor: {words}" for words in changed if words]


def _trained(underway: Underway, keeper: Keeper, report: Report, notice: Notice) -> Diverged | None:
    """Train to the end, saving on the way; how the run diverged, if it did. Leave, state saved, if told to go."""
    spoken = 0.0
    notice.patient = underway.keeps_state
    try:
        for record in underway.records():
            if not record.get("rest"):
                report(record)
                continue
            if time.monotonic() - spoken > SPOKEN:
                report({key: value for key, value in record.items() if key != "rest"})
                spoken = time.monotonic()
            if underway.keeps_state and (notice.code or keeper.due()) and underway.is_finite:
                keeper.save(underway)
            if notice.code:
                raise Leave(notice.code)
    except Diverged as diverged:
        return diverged
    finally:
        notice.patient = True  # What is left takes a moment: to leave now would throw away what is done.
    return None


def _print(record: Mapping[str, Any]) -> None:
    """One line for the runner. When nobody listens any more, the runner is gone, and this run is told otherwise."""
    with suppress(BrokenPipeError):
        print(json.dumps(record), flush=True)


def main(arguments: list[str]) -> int:
    """Run one run of a store by its id."""
    try:
        return _main(arguments)
    except Leave as left:  # Wherever it was told so.
        return left.code


def _main(arguments: list[str]) -> int:
    root, run_id, *more = arguments
    words = Words.of(more)
    torch.set_num_threads(1)
    # Moments of dead units decay into denormals, on which CPUs are many times slower.
    torch.set_flush_denormal(True)
    registry = Registry(installed="--no-plugins" not in words.flags)
    use_registry(registry)
    store = Store(os.path.abspath(root))
    with Notice() as notice:
        try:
            for file in words.plugins:
                registry.load_file(file)
            with store.claim(run_id, stale_after=words.number("--stall-after", 0.0)) as beat:
                if store.is_finished(run_id):
                    store.sweep(run_id)
                    return 0
                _carry_out(store, run_id, registry, beat, notice, words)
        except (Held, Superseded) as held:
            print(held, file=sys.stderr)
            return HELD
        except SystemExit as left:
            print(f"a part left the process by SystemExit({left.code})", file=sys.stderr)
            return 1
        except (PartError, Drifted, NoDonor) as error:
            print(error, file=sys.stderr)
            return 1
        except OSError as error:
            if error.filename is None or error.errno is None:
                raise
            print(f"{error.filename}: {error.strerror}", file=sys.stderr)
            return 1
    return 0


def _carry_out(
    store: Store, run_id: str, registry: Registry, beat: Callable[[], None], notice: Notice, words: Words
) -> None:
    run = store.load_run(run_id)
    if foreign_sources(run, registry) != dict(run.foreign):
        raise PartError("the source of a plugin changed since the study was started: give the command again")
    attempt = begin(store.run_folder(run_id), beat)
    if store.is_finished(run_id):  # By one that was taken for dead, a moment before it was refused.
        store.sweep(run_id)
        return

    def report(record: Mapping[str, Any]) -> None:
        beat()
        _print(record)

    try:
        os.chdir(attempt.folder)  # mujoco writes its log into the working folder.
        files = work(run, attempt, store, registry, report, notice, words)
    except BaseException as error:
        with suppress(OSError, ValueError):
            attempt.note(ended=time.time(), by=f"{type(error).__name__}: {error}"[:1000])
        if isinstance(error, Exception):
            attempt.demand_latest()  # Its folder may be gone under it: that is no failure of the run.
        raise
    os.chdir(store.run_folder(run_id))
    store.finish(attempt, files, keep_checkpoints="--keep-buffers" in words.flags)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
