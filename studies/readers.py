"""Runs that others made, as outcomes: Stable-Baselines3's `evaluations.npz` and `monitor.csv`. Nothing is executed."""

from __future__ import annotations

import csv
import json
import math
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studies.outcome import Outcome
from studies.problems import BadInput


def from_evaluations(path: Path | str, **place: Any) -> Outcome:
    """A run from `EvalCallback`'s file: `timesteps` (n,) and `results` (n, episodes), averaged over episodes.

    `place` is what the file does not say: `label`, `agent`, `env`, `density` and `seed`, as of `Outcome`. BadInput for
    a file without these arrays, or with pickled ones, which are never loaded. Returns that are not finite are kept:
    such a run has diverged.
    """
    steps, results = _arrays(Path(path))
    if steps.ndim != 1 or results.ndim != 2 or len(steps) != len(results) or not results.size:
        shapes = f"timesteps have shape {steps.shape} and results {results.shape}"
        raise BadInput(f"{path}: {shapes}; they must be (n,) and (n, episodes)")
    if (np.diff(steps) <= 0).any():
        raise BadInput(f"{path}: timesteps do not rise; give the file of a single run")
    return Outcome(**place, steps=steps.astype(np.int64), returns=results.astype(np.float64).mean(axis=1))


def from_monitor(path: Path | str, *, every: int, **place: Any) -> Outcome:
    """A run from `Monitor`'s file: mean return of the training episodes that ended in each `every` steps.

    These are returns with exploration, and stand at the end of their steps; where no episode ended there is no point. A
    last line that was torn by a crash is left out with a warning.
    """
    if every < 1:
        raise BadInput(f"every is {every}; it must be at least 1 environment step")
    episodes = np.array(list(_episodes(Path(path))), dtype=np.float64).reshape(-1, 2)
    ends = np.cumsum(episodes[:, 1]).astype(np.int64)
    bins = -(-ends // every) * every
    steps = np.unique(bins)
    returns = np.array([episodes[bins == step, 0].mean() for step in steps], dtype=np.float64)
    return Outcome(**place, steps=steps, returns=returns)


def _arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            return np.asarray(file["timesteps"]), np.asarray(file["results"])
    except KeyError as error:
        raise BadInput(f"{path} has no array {error}: give the evaluations.npz that EvalCallback wrote") from None
    except (ValueError, TypeError) as error:
        advice = "it holds pickled objects, which are never loaded, or is no npz file: write it anew with plain arrays"
        raise BadInput(f"{path}: {advice} ({error})") from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} cannot be read as an npz file: {error}") from None


def _episodes(path: Path) -> Iterator[tuple[float, float]]:
    """Return and length of every episode."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as a monitor file: {error}") from None
    head, *lines = text.split("\n")
    if not head.startswith("#") or not _is_json(head[1:]) or not lines:
        raise BadInput(f"{path} is no monitor file: its first line must be # and JSON, as Monitor writes it")
    if lines[-1]:
        warnings.warn(f"{path}: the last line was torn and is left out", stacklevel=3)
    for number, row in enumerate(csv.DictReader(lines[:-1]), 3):
        try:
            yield float(row["r"]), _length(row["l"])
        except (KeyError, TypeError, ValueError):
            raise BadInput(f"{path}, line {number}: an episode has columns r and l, a number and a count") from None


def _length(text: str) -> float:
    length = float(text)
    if not (math.isfinite(length) and length >= 1):
        raise ValueError(text)
    return length


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
