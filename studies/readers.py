"""Runs that others made, one at a time: Stable-Baselines3's `evaluations.npz` and `monitor.csv`. Nothing is executed.

A file that does not fit is refused with its name: what is read here stands beside intervals, so no number is guessed.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from studies.outcome import Outcome
from studies.problems import BadInput
from studies.statistics import standing

NO_AXES: Final[Mapping[str, str]] = MappingProxyType({})
ARRAYS: Final = ("timesteps", "results")
LONGEST: Final = 2**31
"""Steps of an episode, exclusive: a longer one is damage, and sums of shorter ones fit 64 bits."""


def from_evaluations(
    path: Path | str,
    *,
    label: str,
    env: str,
    seed: int,
    agent: str = "",
    density: float | None = None,
    axes: Mapping[str, str] = NO_AXES,
) -> Outcome:
    """A run from `evaluations.npz`, each evaluation averaged over its episodes (Stable-Baselines3, EvalCallback).

    `timesteps` (n,) are environment steps and `results` (n, episodes) returns; step 0 is not among them. A return that
    is not finite makes the run `diverged`. BadInput for other arrays, and for pickled ones, which are never loaded.
    """
    steps, results = _checked(path, *_arrays(Path(path)))
    # Infinite returns of both signs have no mean: nan, by which the run is known as diverged.
    with np.errstate(all="ignore"):
        returns = results.mean(axis=1, dtype=np.float64)
    run = Outcome(label=label, agent=agent, env=env, density=_share(density), seed=seed, axes=dict(axes))
    return _with_curve(run, steps, returns)


def from_monitor(
    path: Path | str | Sequence[Path | str],
    *,
    every: int,
    label: str,
    env: str,
    seed: int,
    agent: str = "",
    density: float | None = None,
    axes: Mapping[str, str] = NO_AXES,
) -> Outcome:
    """A run from `monitor.csv`: mean return of the episodes of each `every` steps (Stable-Baselines3, Monitor).

    Steps ((k - 1) every, k every] stand at k every; where no episode ended there is no point. These returns have the
    exploration of training in them. `path` is a file, the files of one run (a vector of environments), or a folder of
    them: they are merged by time, and their steps add up. A last line that was torn by a crash is left out with a
    warning. A run in which no episode ended has failed. BadInput for files that are not Monitor's.
    """
    if isinstance(every, bool) or not isinstance(every, int | np.integer) or not 1 <= every < LONGEST:
        raise BadInput(f"every is {every!r}, but must be a count of environment steps, at least 1: give every=1000")
    returns, ends = _merged([_log(file) for file in _monitor_files(path)])
    run = Outcome(label=label, agent=agent, env=env, density=_share(density), seed=seed, axes=dict(axes))
    return _with_curve(run, *_binned(returns, ends, int(every)))


def natural(path: Path) -> list[str | int]:
    """seed_2 before seed_10."""
    return [int(piece) if index % 2 else piece for index, piece in enumerate(re.split("([0-9]+)", str(path)))]


# Evaluations ------------------------------------------------------------------------------------------------


def _arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """`timesteps` and `results` as they are in the file."""
    try:
        with open(path, "rb") as opened:
            if not zipfile.is_zipfile(opened):
                raise zipfile.BadZipFile("it is empty, torn or no npz archive")
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as file:
                names, found = file.files, {name: np.asarray(file[name]) for name in ARRAYS if name in file.files}
    except Exception as error:  # Of damage numpy and zipfile make a dozen kinds, TokenError and zlib.error among them.
        raise BadInput(_damage(path, error)) from None
    for name in ARRAYS:
        if name not in found:
            known = ", ".join(names) or "none"
            raise BadInput(
                f"{path} has no array {name!r}, only {known}: give the evaluations.npz that EvalCallback wrote"
            )
    return found["timesteps"], found["results"]


def _damage(path: Path, error: Exception) -> str:
    if "allow_pickle" not in str(error):
        return f"{path} cannot be read as an npz archive ({error}): give the evaluations.npz that EvalCallback wrote"
    return (
        f"{path} holds pickled Python objects, which can run code and are never loaded: write timesteps and results "
        "anew as arrays of numbers, from a file that you trust"
    )


def _checked(path: Path | str, steps: NDArray[Any], results: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The arrays, steps as integers; refused unless they are one run's."""
    if steps.ndim != 1 or results.ndim != 2 or len(steps) != len(results) or not results.size:
        shapes = f"timesteps of shape {steps.shape} and results of {results.shape}"
        raise BadInput(f"{path} has {shapes}, which must be (n,) and (n, episodes): give the file of a single run")
    if steps.dtype.kind not in "iu" or results.dtype.kind not in "iuf":
        types = f"timesteps of type {steps.dtype} and results of {results.dtype}"
        raise BadInput(f"{path} has {types}, which must be integers and real numbers: write them anew as such")
    whole = steps.astype(np.int64)
    if whole[0] < 0 or (whole[1:] <= whole[:-1]).any():
        shown = f"{path} has timesteps that do not rise from 0 or more"
        raise BadInput(f"{shown}, as if learning had started again: give the file of a single run")
    return whole, results


# Monitor ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Log:
    """A Monitor's file: return, length and seconds since `start` of each episode, shape (episodes, 3)."""

    path: Path
    start: object
    env_id: object
    episodes: NDArray[np.float64]


def _monitor_files(path: Path | str | Sequence[Path | str]) -> list[Path]:
    """The files of one run, each once."""
    if not isinstance(path, str | Path):
        files = [Path(one) for one in path]
    elif Path(path).is_dir():
        files = sorted(Path(path).glob("*monitor.csv"), key=natural)
    else:
        files = [Path(path)]
    if not files or len({file.resolve() for file in files}) < len(files):
        what = "names a file twice" if files else "has no file named *monitor.csv"
        raise BadInput(f"{path} {what}: give each file that Monitor wrote of one run once")
    return files


def _log(path: Path) -> _Log:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        header = json.loads(head[1:], parse_int=float) if head.startswith(b"#") else None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): give a monitor.csv that Monitor wrote") from None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        said = f"{path} is empty or does not begin with # and JSON"
        raise BadInput(f"{said}, as every monitor.csv does: give a file that Monitor wrote")
    episodes = np.array(list(_episodes(path, body)), dtype=np.float64).reshape(-1, 3)
    return _Log(path, header.get("t_start"), header.get("env_id"), episodes)


def _episodes(path: Path, body: bytes) -> Iterator[tuple[float, float, float]]:
    """Return, length and time of every whole record."""
    reader = csv.reader(io.StringIO(body.decode("utf-8", errors="replace"), newline=""))
    try:
        rows = [(reader.line_num + 1, row) for row in reader]
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num + 1} is no CSV ({error}): remove or mend that line") from None
    # A writer's quotes come in pairs: an odd one is a record that was cut within its quotes.
    if rows and (not body.endswith(b"\n") or body.count(b'"') % 2):
        line, _ = rows.pop()
        warnings.warn(f"{path}: the last line was torn and is left out (line {line})", stacklevel=2)
    (_, columns), *records = [(line, row) for line, row in rows if row] or [(2, ["r", "l", "t"])]
    if not {"r", "l", "t"} <= set(columns):
        raise BadInput(f"{path} has columns {', '.join(columns)}, but needs r, l and t: give a file that Monitor wrote")
    for line, row in records:
        yield _episode(f"{path}, line {line}", row, columns)


def _episode(where: str, row: Sequence[str], columns: Sequence[str]) -> tuple[float, float, float]:
    if len(row) != len(columns):
        joined = f"{where} has {len(row)} fields under {len(columns)} columns"
        raise BadInput(f"{joined}, as where a torn file was written on: remove that line")
    try:
        gained, length, time = (float(row[columns.index(name)]) for name in ("r", "l", "t"))
    except ValueError:
        raise BadInput(f"{where} is no episode, whose r, l and t are numbers: remove or mend that line") from None
    if not (1 <= length < LONGEST and length.is_integer()):
        raise BadInput(f"{where} has an episode of {length:g} steps, not a count from 1 on: remove or mend that line")
    return gained, length, time


def _merged(logs: Sequence[_Log]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns, and the steps of the run at which their episodes ended: one file as it is, several by time."""
    episodes = np.concatenate([log.episodes for log in logs])
    if len(logs) > 1:
        # As everywhere in Stable-Baselines3 (load_results, ts2xy): time counts from each file's own start.
        episodes = episodes[np.argsort(np.concatenate([_times(log, logs[0]) for log in logs]), kind="stable")]
    return episodes[:, 0], np.cumsum(episodes[:, 1].astype(np.int64))


def _times(log: _Log, first: _Log) -> NDArray[np.float64]:
    """Seconds on a clock that all files of a run share."""
    if log.env_id != first.env_id:
        other = f"{log.path} is of {log.env_id} and {first.path} of {first.env_id}"
        raise BadInput(f"{other}, but files are merged within one run: give the files of each run on their own")
    start, since = log.start, log.episodes[:, 2]
    if not isinstance(start, float) or not math.isfinite(start):
        raise BadInput(f"{log.path} has no number t_start in its first line, by which files are merged: give it alone")
    if not np.isfinite(since).all() or (since[1:] < since[:-1]).any():
        falls = f"{log.path} has times t that fall or are not finite, as where a run was continued"
        raise BadInput(f"{falls}, so it cannot be merged with others: give each file alone, or mend the times")
    return np.asarray(start + since)


def _binned(
    returns: NDArray[np.float64], ends: NDArray[np.int64], every: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Multiples of `every` up to which an episode ended, and the mean return there; `ends` rise."""
    steps, first, count = np.unique(-(-ends // every) * every, return_index=True, return_counts=True)
    with np.errstate(all="ignore"):
        means = np.add.reduceat(returns, first) / count if len(steps) else np.zeros(0)
    return steps, np.asarray(means, dtype=np.float64)


# Outcomes ---------------------------------------------------------------------------------------------------


def _share(density: float | None) -> float | None:
    if density is None or 0 < density <= 1:
        return density
    raise BadInput(f"density {density:g} must be the share of weights that stays, in (0, 1]: give None if it is dense")


def _with_curve(run: Outcome, steps: NDArray[np.int64], returns: NDArray[np.float64]) -> Outcome:
    """The run with its evaluations, and its status as statistics count it."""
    run = replace(run, steps=steps, returns=returns, note="" if len(steps) else "no episode ended")
    return replace(run, status=standing(run))
