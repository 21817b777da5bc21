"""Conformance of parts of every kind: `sparsity check`, in tests `assert_conforms`. Presets, executors, loggers: here.

`sparsity.check` and `rl.check` do the same for the kinds that are their own, and import no more than that.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from registry import KINDS, Bound, Entry, Registry
from registry.place import nearby, place, raised_at, source_file
from registry.report import Problem, Report, demand_conforming, once
from registry.sample import sample_settings
from rl import check as of_rl
from sparsity import check as of_sparsity
from studies.contents import Run
from studies.executors.process import Job
from studies.loggers import LENGTH, RETURN, tell_evaluation
from studies.preset import Preset

TRIED: Final[Mapping[str, str]] = {
    "preset": "a study planned with it",
    "executor": "three processes, one of which fails",
    "logger": "three records, gone on with after the second",
}
_ENV: Final = "InvertedPendulum-v5"


def assert_conforms(plugin: ModuleType, registry: Registry | None = None) -> None:
    """For the tests of a plugin: AssertionError, which explains, unless all of its parts conform.

    `plugin` is its module; it is loaded beside the parts of this project, or into `registry`. PartError if it cannot be
    loaded, ValueError if it has no part.
    """
    demand_conforming(plugin, KINDS, examine, registry)


def examine(entry: Entry, registry: Registry) -> Report:
    """What keeps a part of any kind from conforming to it."""
    kind = entry.kind.name
    if kind in of_rl.CHECKED:
        return of_rl.examine(entry, registry)
    if kind in of_sparsity.CHECKED:
        return of_sparsity.examine(entry, registry)
    where, obstacles = place(entry.value) or nearby(entry.origin.file), _obstacles(entry)
    if obstacles:
        return Report(entry.kind, entry.name, where, f"not tried here: {'; '.join(obstacles)}")
    return Report(entry.kind, entry.name, where, TRIED[kind], once(_problems(entry, registry)))


def _obstacles(entry: Entry) -> list[str]:
    ready = entry.facts.get("ready")
    return list(ready(sample_settings(entry))) if ready else []


def _problems(entry: Entry, registry: Registry) -> Iterator[Problem]:
    trial: Callable[[], Iterator[Problem]] = {
        "preset": lambda: _on_preset(entry, registry),
        "executor": lambda: _on_executor(Bound(entry, sample_settings(entry))),
        "logger": lambda: _on_logger(Bound(entry, sample_settings(entry)), registry),
    }[entry.kind.name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from trial()
    except (Exception, SystemExit) as error:
        file = source_file(entry.value) or entry.origin.file
        yield Problem("raises", f"raised {type(error).__name__}: {error}", where=raised_at(error, file))


# Presets.


def _on_preset(entry: Entry, registry: Registry) -> Iterator[Problem]:
    """A study of its agent and its methods must be one that can be planned."""
    from studies.read import study_from

    preset: Preset = entry.value
    rows = {name: {"base": name} for name in preset.methods or ("dense",)}
    envs = [successor.env for successor in preset.successors.values()] or [_ENV]
    tables = {"agents": [preset.agent], "envs": envs, "preset": entry.name, "methods": rows, "seeds": 1}
    try:
        study_from({**tables, "steps": 1_000_000}, registry, name="trial").cells(registry)
    except ValueError as error:
        said = "cannot be planned with: " + "; ".join(str(error).splitlines())
        yield Problem("plans", said, advice="methods are written as in a study file; settings are those of its agent")


# Executors.

_PROGRESS: Final = "import json; print(json.dumps({'step': 1, 'steps': 2, 'return': None}), flush=True)"
_JOBS: Final[Mapping[str, tuple[str, int]]] = {
    "good": ("", 0),
    "telling": (_PROGRESS.replace("'return': None", "'return': 0.5"), 0),
    "failing": ("import sys; print('no such thing', file=sys.stderr); sys.exit(1)", 1),
}


def _on_executor(executor: Bound) -> Iterator[Problem]:
    heard: dict[str, list[Mapping[str, Any]]] = {}
    jobs = [Job(name, (sys.executable, "-c", code)) for name, (code, _) in _JOBS.items()]
    executor(jobs=iter(jobs), report=lambda job, record: heard.setdefault(job, []).append(dict(record)))
    for name, (_, code) in _JOBS.items():
        ends = [record for record in heard.pop(name, []) if "ended" in record]
        yield from _on_end(name, ends, code)
    if heard:
        yield Problem("ids", f"reports of {', '.join(heard)}, which is no job's id", "report(job.id, record)")


def _on_end(name: str, ends: list[Mapping[str, Any]], code: int) -> Iterator[Problem]:
    expected = 'report(job.id, {"ended": exit code, "cause": text}), once a job'
    if len(ends) != 1:
        yield Problem("ends", f"reports {len(ends)} ends of the job {name!r}", expected, _CARRY)
    elif (ends[0]["ended"] == 0) != (code == 0):
        said = f"reports that the job {name!r} ended with {ends[0]['ended']!r}, where its process ended with {code}"
        yield Problem("codes", said, expected, _CARRY)
    elif code and not str(ends[0].get("cause", "")).strip():
        yield Problem("causes", "gives no cause for a job that failed", expected, _CARRY)


_CARRY: Final = "studies.executors.process.carry_out(job, report) does all of it on the machine that it is called on"


# Loggers.

_RECORDS: Final = ({"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "q": 1.0}, {"step": 3, "q": 2.0})


def _on_logger(logger: Bound, registry: Registry) -> Iterator[Problem]:
    run = _run(registry)
    with tempfile.TemporaryDirectory() as place_:
        one, other = Path(place_, "one"), Path(place_, "other")
        one.mkdir()
        first = logger(folder=one, run=run)
        missing = [name for name in ("write", "close") if not callable(getattr(first, name, None))]
        if missing:
            yield Problem("has", f"gave {type(first).__name__}, which lacks {' and '.join(missing)}")
            return
        with closing(first):
            for record in _RECORDS[:2]:
                first.write(dict(record))
            tell_evaluation(first, {"step": 2, RETURN: 1.0, LENGTH: 5.0})
            _keep(one, other)
        if _contents(one) != _contents(other):
            said, mend = "has not written all that it was told, until it is closed", "call flush() after each record"
            yield Problem("flushes", said, "files that a checkpoint can be taken of at any time", mend)
            return
        with closing(logger(folder=other, run=run)) as second:
            second.write(dict(_RECORDS[2]))
        for name, content in _contents(one).items():
            if not _contents(other).get(name, b"").startswith(content):
                said, mend = f"begins {name} anew in a run that goes on", 'open it to append: open(path, "a")'
                yield Problem("appends", said, "what was there, and the new records behind it", mend)


def _run(registry: Registry) -> Run:
    """A run of the smallest kind, for loggers that ask what they log."""
    from studies.read import study_from

    tables = {"agents": ["td3"], "envs": [_ENV], "methods": {"SET": "set"}, "seeds": 1, "steps": 2000}
    return study_from(tables, registry, name="trial").cells(registry)[0].run


def _keep(folder: Path, other: Path) -> None:
    """What a checkpoint keeps of a run's folder: its files, not the folders in it."""
    other.mkdir()
    for name, content in _contents(folder).items():
        (other / name).write_bytes(content)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
