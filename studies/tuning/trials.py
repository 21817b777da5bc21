"""The trials of a study as a study of their own: every row as often as it is tuned, "RigL #3", on the tuning seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from registry import Registry, nearest
from studies.problems import BadInput
from studies.read import study_from
from studies.spec import Choice
from studies.study import Study
from studies.tuning.asked import Tune, read_tune
from studies.tuning.reach import entry_of, is_dense, reached, read_space
from studies.tuning.space import Space, Trial, trials


@dataclass(frozen=True)
class Tuning:
    """A study, how it is tuned, and the trials of each of its rows."""

    study: Study
    """The study that is tuned."""
    tune: Tune
    tables: Mapping[str, Any]
    """Its words."""
    spaces: Mapping[tuple[str, str], Space]
    """What is tried of a row, by agent and row; empty where a row says that nothing is."""
    drawn: Mapping[tuple[str, str], list[Trial]]
    """Trials by agent and row."""
    multiplied: Collection[tuple[str, str]]
    """Agents and rows that take part at every density of the study."""

    @property
    def trials(self) -> int:
        """How many every tuned row has."""
        return max(len(found) for found in self.drawn.values())

    @property
    def untuned(self) -> list[str]:
        """Rows that say themselves that nothing of them is tuned."""
        return [label for label in self.study.methods if not any(self.spaces[agent, label] for agent in self._agents)]

    @property
    def reference(self) -> str:
        """The row that others are compared with: the dense one, else the first."""
        dense = [label for label, words in self.study.methods.items() if is_dense(words, self._agents)]
        return [*dense, *self.study.methods][0]

    @property
    def _agents(self) -> tuple[str, ...]:
        return self.study.agents

    def labels(self) -> dict[str, tuple[str, int]]:
        """The rows of the trials: which row of the study each is, and its place among the trials."""
        return {
            f"{label} #{place + 1}": (label, place)
            for label in self.study.methods
            for place in range(len(self.drawn[self._agents[0], label]))
        }

    def study_tables(self) -> dict[str, Any]:
        """The trials as a study file, which can be run, listed and shown like any other."""
        rows = {shown: self._trial(label, place) for shown, (label, place) in self.labels().items()}
        kept = {key: value for key, value in self.tables.items() if key not in ("tune", "scales", "reported")}
        return {
            **kept,
            "name": f"{self.study.name}-tune",
            "question": f"Trials of {self.study.name}: which settings for the rows that it compares?",
            "seeds": list(self.tune.seeds),
            "steps": self.tune.steps or self.study.steps,
            "methods": rows,
        }

    def _trial(self, label: str, place: int) -> dict[str, Any]:
        """A row with a trial written into it, for each agent its own."""
        drawn = {agent: self.drawn[agent, label][place] for agent in self._agents}
        return self.with_entries(label, [{"agent": agent, **entry_of(t, agent)} for agent, t in drawn.items()])

    def with_entries(self, label: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """A row with further entries in its `at`."""
        words = self.study.methods[label]
        row = {"base": words} if isinstance(words, str) else dict(words)
        return {**row, "at": [*row.get("at", []), *entries]}


def tuning_of(
    tables: Mapping[str, Any], registry: Registry, *, name: str, where: str = "study", text: str = ""
) -> Tuning:
    """How the study of these tables is tuned. BadInput with everything that does not fit."""
    study = study_from(tables, registry, name=name, where=where, text=text)
    if "tune" not in tables:
        raise BadInput(f"{where} has no table [tune]: give it one with a [tune.space] (docs/tuning.md)")
    if study.axes:
        raise BadInput(f"{where}: [axes] and [tune] do not go together: a setting is chosen for agents and densities. "
                       "Leave the axes out, or give each value a row")  # fmt: skip
    if not study.random_episodes:
        raise BadInput(f"{where}: random_episodes = 0: trials are measured against the random policy; give it some")
    tune = read_tune(tables["tune"], study.seeds)
    if unknown := [label for label in tune.methods if label not in study.methods]:
        close, known = nearest(unknown[0], study.methods), ", ".join(study.methods)
        raise BadInput(f"{where}: [tune.methods]: the study has no row {unknown[0]!r}. {close}Rows: {known}")
    choices = {
        (agent, label): study.choice(label, agent, study.envs[0], registry)
        for label in study.methods
        for agent in study.agents
    }
    spaces = _spaces(study, choices, tune, registry, where)
    multiplied = {key for key, choice in choices.items() if study.densities and choice.takes_density(registry)}
    tuning = Tuning(study, tune, tables, spaces, _drawn(spaces, tune, where), multiplied)
    _demand_new_labels(tuning, where)
    return tuning


def _spaces(
    study: Study, choices: Mapping[tuple[str, str], Choice], tune: Tune, registry: Registry, where: str
) -> dict[tuple[str, str], Space]:
    """What reaches each row, by agent and row."""
    problems: list[str] = []
    spaces: dict[tuple[str, str], Space] = {}
    shared = _space_or_problems(tune.space, f"{where}: [tune.space]", study, registry, problems)
    for label in study.methods:
        own = tune.methods.get(label)
        table = f"{where}: [tune.methods.{label!r}]"
        space = shared if own is None else _space_or_problems(own, table, study, registry, problems)
        for agent in study.agents:
            spaces[agent, label] = reached(space or {}, agent, choices[agent, label], registry, shared=own is None)
        if space is None:
            continue
        reaching = {key for agent in study.agents for key in spaces[agent, label]}
        problems += [f"{table} {key!r} does not reach this row" for key in own or () if key not in reaching]
        problems += [] if own == {} else _unreached(spaces, label, study, where)
    used = {key for space in spaces.values() for key in space}
    idle = [key for key in shared or () if key not in used]
    problems += [f"{where}: [tune.space] {key!r} reaches no row: leave it out, or name a row's own" for key in idle]
    if problems:
        raise BadInput(*dict.fromkeys(problems))
    return spaces


def _space_or_problems(
    words: Mapping[str, Any], where: str, study: Study, registry: Registry, problems: list[str]
) -> Space | None:
    """The space, or nothing and what is wrong with it among the problems."""
    try:
        return read_space(words, where, study, registry)
    except BadInput as bad:
        problems += bad.problems
        return None


def _unreached(spaces: Mapping[tuple[str, str], Space], label: str, study: Study, where: str) -> list[str]:
    """Rows that would be compared as they are with others that were tuned."""
    return [
        f"{where}: [tune] nothing reaches {label!r} with {agent}, which would be compared untuned with rows that were "
        f"tuned: try a setting of the agent, {agent}.learning_rate for instance; or say so, [tune.methods] "
        f"{label!r} = {{}}"
        for agent in study.agents
        if not spaces[agent, label]
    ]


def _drawn(spaces: Mapping[tuple[str, str], Space], tune: Tune, where: str) -> dict[tuple[str, str], list[Trial]]:
    """Equally many trials for all."""
    problems: list[str] = []
    drawn: dict[tuple[str, str], list[Trial]] = {}
    for (agent, label), space in spaces.items():
        try:
            drawn[agent, label] = trials(space, tune.search, tune.count, tune.seed) if space else [{}]
        except BadInput as bad:
            problems += [f"{where}: [tune] the space of {label!r} with {agent} {bad}"]
    sizes = {key: len(found) for key, found in drawn.items() if spaces[key]}
    if not sizes and not problems:
        problems = [f"{where}: [tune] nothing is tuned: give it a [tune.space]"]
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{label!r} {size}" for (_, label), size in sizes.items())
        least = min(sizes.values())
        problems.append(
            f"{where}: [tune] grids of different sizes, and every method has the same budget: {told}. Let --trials "
            f"{least} try as many of each, or even them out by [tune.methods]"
        )
    if problems:
        raise BadInput(*problems)
    return drawn


def _demand_new_labels(tuning: Tuning, where: str) -> None:
    """Names of trials must tell them apart."""
    expected = sum(len(tuning.drawn[tuning.study.agents[0], label]) for label in tuning.study.methods)
    if len(tuning.labels()) < expected or set(tuning.labels()) & set(tuning.study.methods):
        raise BadInput(f"{where}: [methods] a row is named like a trial of another, NAME #1: rename it")
