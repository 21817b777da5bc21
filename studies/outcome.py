"""What a run came to, in the form that statistics, tables and figures read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

Status = Literal["done", "diverged", "failed", "running", "missing"]
Clock = Literal["wall", "cpu"]


@dataclass(frozen=True)
class Outcome:
    """One run of a study: where it stands in the comparison, and its learning curve.

    `status` is `done`, `diverged` (a non-finite number ended it), `failed` (it crashed), `running` or `missing`
    (not started). Only `done` runs have a score; the others are counted beside every figure.
    """

    label: str
    """The row's name in the study, "RigL"."""
    agent: str
    env: str
    density: float | None
    """Active share of the eligible weights that was asked for; None for rows that have none (dense)."""
    seed: int
    status: Status = "done"
    steps: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Environment steps at which the policy was evaluated, shape (evaluations,); step 0 is in this project's runs."""
    returns: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """Mean return of each evaluation's episodes, shape (evaluations,)."""
    realised: float | None = None
    """Active weights / all weights of the agent's learners, biases excluded, as trained."""
    parameters: int | None = None
    """Active weights and biases of the agent's learners."""
    flops: float | None = None
    """Training FLOPs as a share of the dense agent's."""
    seconds: float | None = None
    """Wall-clock seconds of the run. Not covered by the byte promise."""
    cpu_seconds: float | None = None
    """Seconds on the CPU, which other processes on a busy machine do not lengthen by making it wait."""
    training_seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """Wall-clock seconds of training until each evaluation, evaluations left out, shape (evaluations,); or empty."""
    training_cpu_seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """The same on the CPU."""
    clock: Clock = "wall"
    """By which clock `seconds` and `training_seconds` are."""
    axes: Mapping[str, str] = field(default_factory=dict)
    """Values of the study's further axes, as text, by axis name."""
    run: str = ""
    """Its id in the store; empty for runs of others."""
    note: str = ""
    """Why it failed, or what world it belongs to."""


def by_clock(outcomes: Iterable[Outcome], clock: Clock) -> list[Outcome]:
    """The same outcomes with their seconds by that clock; not known where a run did not count them so."""
    if clock == "wall":
        return list(outcomes)
    return [
        replace(run, seconds=run.cpu_seconds, training_seconds=run.training_cpu_seconds, clock=clock)
        for run in outcomes
    ]


def training_time(run: Outcome) -> float | None:
    """Seconds of training alone, where the run counted them; else of all of it."""
    return float(run.training_seconds[-1]) if len(run.training_seconds) else run.seconds
