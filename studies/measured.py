"""Scores measured by a study's own floor and its dense row, so that environments can be taken together.

0 is the random policy, 1 the mean of the reference row; a run that failed or diverged scores 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.aggregate import normalised
from studies.compare import reference_of
from studies.problems import clean
from studies.statistics import Baseline, Row, random_policy, score
from studies.words import named

Axes = tuple[tuple[str, str], ...]
Setting = tuple[str, Axes]
"""An agent and the values of a study's further axes."""


@dataclass(frozen=True)
class Measured:
    """A method at a density over the environments: its rows, and its scores by environment."""

    rows: tuple[Row, ...]
    scores: Mapping[str, NDArray[np.float64]]

    @property
    def label(self) -> str:
        return self.rows[0].label

    @property
    def density(self) -> float | None:
        return self.rows[0].density

    @property
    def setting(self) -> Setting:
        return setting(self.rows[0])


def setting(row: Row) -> Setting:
    return row.agent, tuple(sorted(row.axes.items()))


def measured(rows: Sequence[Row], baseline: Baseline, reference: str) -> tuple[list[Measured], list[str]]:
    """Every method at every density, scored over the environments that can be measured by; and why others cannot.

    Left out, and named, is a method without a run to score in one of its setting's environments: a mean over fewer of
    them would compare tasks, not methods. ValueError where several rows of one setting could be the reference.
    """
    scales, reasons = _scales(rows, baseline, reference)
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if (setting(row), row.env) in scales:
            groups.setdefault((setting(row), row.label, row.density), []).append(row)
    found, missing = [], []
    for members in groups.values():
        scores = {row.env: _scores(row, *scales[setting(row), row.env]) for row in members}
        envs = {env for where, env in scales if where == setting(members[0])}
        if set(scores) == envs and all(len(each) for each in scores.values()):
            found.append(Measured(tuple(members), scores))
        else:
            missing.append(members[0])
    return found, [*reasons, *named("Left out, without a run to score in every environment", missing)]


Scales = dict[tuple[Setting, str], tuple[float, float]]


def _scales(rows: Sequence[Row], baseline: Baseline, label: str) -> tuple[Scales, list[str]]:
    """The random policy's mean and the reference's by setting and environment; reasons where there are none."""
    scales: Scales = {}
    reasons: dict[str, None] = {}
    for row in {(setting(row), row.env): row for row in rows}.values():
        policy, reference = random_policy(row.env, baseline), reference_of(row, rows, label)
        env, top_row = clean(row.env), clean(label)
        if policy is None:
            reasons[f"{env}: no random policy to measure by."] = None
        elif reference is None or not reference.done:
            reasons[f"{env}: no finished run of {top_row} to measure by."] = None
        else:
            top = float(np.mean([score(run) for run in reference.finished]))
            if top > policy.mean:
                scales[setting(row), row.env] = (policy.mean, top)
            else:
                reasons[f"{env}: {top_row} is no better than the random policy."] = None
    return scales, list(reasons)


def _scores(row: Row, floor: float, top: float) -> NDArray[np.float64]:
    scores = [score(run) for run in row.finished] + [floor] * (row.failed + row.diverged)
    return normalised(scores, random=floor, dense=top)
