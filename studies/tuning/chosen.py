"""Which trial of each row is chosen, and the study with the chosen settings written into its rows.

One setting is chosen for an agent, a row and a density, over all environments: what a method is given to solve them
all, as its users would have to. A setting an environment would be tuned to a handful of curves each.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from studies.outcome import Outcome
from studies.statistics import Baseline, random_policy, score, standing
from studies.study import shown_value
from studies.tuning.reach import entry_of
from studies.tuning.space import Trial
from studies.tuning.trials import Tuning

NAN = float("nan")


@dataclass(frozen=True)
class Tried:
    """A trial of a row and what became of it."""

    number: int
    """Counted from 1."""
    settings: Trial
    runs: Mapping[str, Sequence[Outcome]]
    """Over the tuning seeds, by environment."""
    means: Mapping[str, float]
    """Mean score by environment, failed and diverged runs counted; nan where a run is not finished."""
    score: float = NAN
    """Mean over environments of (mean - random) / (best - random); nan as above."""

    def finished(self, env: str) -> list[float]:
        """Scores of the runs that have one."""
        return [score(run) for run in self.runs[env] if standing(run) == "done"]

    @property
    def counted(self) -> tuple[int, int]:
        """How many runs are done, and how many there are."""
        runs = [run for each in self.runs.values() for run in each]
        return sum(standing(run) == "done" for run in runs), len(runs)

    @property
    def electable(self) -> bool:
        """Whether all runs ended, and on every environment one of them well: nobody wins by crashing."""
        return math.isfinite(self.score) and all(self.finished(env) for env in self.runs)


@dataclass(frozen=True)
class Tuned:
    """The trials of a row for an agent at a density of the study, None for rows that have none or their own."""

    agent: str
    label: str
    density: Any
    tried: tuple[Tried, ...]

    @property
    def chosen(self) -> Tried | None:
        """The trial of the highest score, the first of equals; None where none can be chosen."""
        return max((each for each in self.tried if each.electable), key=lambda each: each.score, default=None)


class _Place(NamedTuple):
    agent: str
    label: str
    density: str
    """In words; none for a row that the study's densities do not multiply."""


def choose(tuning: Tuning, outcomes: Iterable[Outcome], baseline: Baseline) -> list[Tuned]:
    """Every row with its trials, scored by the study's own score, the mean of a run's last evaluations.

    Environments differ in scale, so that a mean over them takes (R - random) / (best - random), `best` being the best
    trial of any row with that agent: one yardstick for all, which keeps how much better a trial is. Ranks would not,
    and tie as soon as two environments disagree. On one environment this orders trials as their returns do.

    A failed or diverged run counts as the random policy, and as the worst finished run of its row where that is even
    lower: to crash is never better than to finish.
    """
    groups = _grouped(tuning, outcomes)
    tried = {place: _tried(tuning, place, runs, baseline) for place, runs in groups.items()}
    for agent in dict.fromkeys(place.agent for place in tried):
        mine = {place: found for place, found in tried.items() if place.agent == agent}
        sticks = _yardsticks([each for found in mine.values() for each in found], baseline)
        tried |= {place: [replace(each, score=_score(each, sticks)) for each in found] for place, found in mine.items()}
    return [Tuned(p.agent, p.label, _asked(tuning, p), tuple(found)) for p, found in tried.items()]


def tuned_tables(tuning: Tuning, chosen: Sequence[Tuned]) -> dict[str, Any]:
    """The study with what was chosen in its rows, under a name of its own; [tune] is kept, to say how it came about."""
    rows = {}
    for label in tuning.study.methods:
        entries = [_entry(each) for each in chosen if each.label == label and each.chosen and each.chosen.settings]
        rows[label] = tuning.with_entries(label, entries) if entries else tuning.study.methods[label]
    name, tune = f"{tuning.study.name}-tuned", {**tuning.tune.words(), "trials": tuning.trials}
    kept = {key: value for key, value in tuning.tables.items() if key != "scales"}
    return {**kept, "name": name, "methods": rows, "tune": tune}


def _entry(each: Tuned) -> dict[str, Any]:
    assert each.chosen is not None
    where = {"agent": each.agent} if each.density is None else {"agent": each.agent, "density": each.density}
    return {**where, **entry_of(each.chosen.settings, each.agent)}


def _grouped(tuning: Tuning, outcomes: Iterable[Outcome]) -> dict[_Place, dict[int, list[Outcome]]]:
    """Runs by place and trial, rows in the order of the study. A density that a trial itself gives is no place."""
    labels, groups = tuning.labels(), dict[_Place, dict[int, list[Outcome]]]()
    for run in outcomes:
        label, trial = labels[run.label]
        asked = (run.agent, label) in tuning.multiplied
        density = run.axes.get("density", _named(run.density)) if asked else ""
        groups.setdefault(_Place(run.agent, label, density), {}).setdefault(trial, []).append(run)
    return groups


def _asked(tuning: Tuning, place: _Place) -> Any:
    """The density of the study that a place is at."""
    if (place.agent, place.label) not in tuning.multiplied:
        return None
    return next(density for density in tuning.study.densities if _named(density) == place.density)


def _named(density: Any) -> str:
    """A density as a run's place tells it: of learners by an axis, else the number itself."""
    return shown_value(density) if isinstance(density, Mapping) else repr(density)


def _tried(tuning: Tuning, place: _Place, runs: Mapping[int, Sequence[Outcome]], baseline: Baseline) -> list[Tried]:
    by_env = {
        number: {env: [run for run in mine if run.env == env] for env in tuning.study.envs}
        for number, mine in sorted(runs.items())
    }
    floors = {
        env: _floor([run for mine in by_env.values() for run in mine[env]], env, baseline) for env in tuning.study.envs
    }
    drawn = tuning.drawn[place.agent, place.label]
    return [
        Tried(number + 1, drawn[number], mine, {env: _mean(mine[env], floors[env]) for env in mine})
        for number, mine in by_env.items()
    ]


def _floor(runs: Sequence[Outcome], env: str, baseline: Baseline) -> float:
    """What a run without a score counts as."""
    policy = random_policy(env, baseline)
    finished = [score(run) for run in runs if standing(run) == "done"]
    return min([*([policy.mean] if policy else []), *finished], default=NAN)


def _mean(runs: Collection[Outcome], floor: float) -> float:
    standings = [standing(run) for run in runs]
    if not runs or {"running", "missing"} & set(standings):
        return NAN
    return float(np.mean([score(run) if how == "done" else floor for run, how in zip(runs, standings, strict=True)]))


def _yardsticks(tried: Sequence[Tried], baseline: Baseline) -> dict[str, tuple[float, float]]:
    """By environment what counts as 0, the random policy, and as 1, the best trial.

    Where nobody is better than the random policy, the worst trial is 0.
    """
    sticks = {}
    for env in dict.fromkeys(env for each in tried for env in each.means):
        means = [each.means[env] for each in tried if math.isfinite(each.means[env])]
        policy = random_policy(env, baseline)
        low, high = policy.mean if policy else NAN, max(means, default=NAN)
        low = low if low < high else min(means, default=NAN)
        sticks[env] = (low, high if high > low else low + 1)
    return sticks


def _score(each: Tried, sticks: Mapping[str, tuple[float, float]]) -> float:
    shares = [(mean - sticks[env][0]) / (sticks[env][1] - sticks[env][0]) for env, mean in each.means.items()]
    return float(np.mean(shares))
