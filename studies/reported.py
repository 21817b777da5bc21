"""What a publication reported for the rows of a study: numbers beside ours, no part of any run.

```toml
[reported]
source = "Sokar et al. 2022, Tables 1 and 2: mean ± s.d. of 5 seeds"
[reported."HalfCheetah-v5"]
"TD3" = { return = 11153.48, spread = 473.29, lca = 8843.0 }
```
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from registry import Registry, nearest
from studies.premises import leads_out
from studies.problems import BadInput
from studies.statistics import Row
from studies.store import STUDY, Store

SOURCE: Final = "source"
NUMBERS: Final = ("return", "spread", "lca")


@dataclass(frozen=True)
class ReportedScore:
    """Of one row on one environment, in the units of returns."""

    mean: float
    spread: float | None
    """As the source has it: a standard deviation, or half of an interval."""
    area: float | None
    """The mean of all evaluations (LCA)."""


@dataclass(frozen=True)
class Reported:
    """What a publication reported: where, and the scores by environment and row."""

    source: str
    scores: Mapping[str, Mapping[str, ReportedScore]]


def reported(store: Store, name: str) -> Reported | None:
    """What the file of a stored study says was reported; None if it says nothing, or cannot be read.

    A label that the study has at several densities, or for several agents, is left out: the file does not say of which.
    """
    from studies.read import read_file

    folder = store.study_folder(name)
    if any(leads_out(path, store.root) for path in (folder, folder / STUDY)):
        return None
    try:
        words = read_file(folder / STUDY).get("reported")
    except BadInput:
        return None
    if not isinstance(words, Mapping) or any(_problems(words)):
        return None
    several = _several(store, name)
    scores = {
        env: {row: _score(each) for row, each in rows.items() if (env, row) not in several}
        for env, rows in _environments(words)
    }
    return Reported(words[SOURCE], scores)


def _several(store: Store, name: str) -> set[tuple[str, str]]:
    """Environments and labels of more than one row, a study's axes and seeds apart."""
    try:
        cells = store.cells(name)
    except BadInput:
        return set()
    rows = Counter((env, label) for env, label, *_ in {_row(cell) for cell in cells})
    return {place for place, count in rows.items() if count > 1}


def _row(cell: Mapping[str, Any]) -> tuple[str, str, str, float | None]:
    return cell["env"], cell["label"], cell["agent"], cell["density"]


def misreported(words: Mapping[str, Any], rows: Collection[str], envs: Collection[str]) -> list[str]:
    """What is wrong with the `reported` of a study with these rows and environments."""
    problems = list(_problems(words))
    for env, scores in _environments(words):
        if env not in envs:
            problems.append(f"no environment {env!r}. {nearest(env, envs)}Environments: {', '.join(envs)}")
        problems += [
            f"{env}: no row {row!r}. {nearest(row, rows)}Rows: {', '.join(rows)}"
            for row in (scores if isinstance(scores, Mapping) else ())
            if row not in rows
        ]
    return problems


def still_reported(tables: Mapping[str, Any], file: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """The tables of a study without what its file reports of rows and environments that a scale or a flag took out."""
    from studies.read import environments

    words, preset = tables.get("reported"), tables.get("preset")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What runs in the place of others is told where the study is read.
        envs = _taken_out(*(environments(each.get("envs"), preset, registry) for each in (file, tables)))
    rows = _taken_out(file.get("methods"), tables.get("methods"))
    if not isinstance(words, Mapping) or not envs | rows:
        return dict(tables)
    left = {
        env: {row: score for row, score in scores.items() if row not in rows} if isinstance(scores, Mapping) else scores
        for env, scores in _environments(words)
        if env not in envs
    }
    others = {key: value for key, value in tables.items() if key != "reported"}
    return others | ({"reported": {**_said(words), **left}} if any(left.values()) else {})


def _taken_out(before: Any, now: Any) -> set[str]:
    if not isinstance(before, list | Mapping) or not isinstance(now, list | Mapping):
        return set()
    return {name for name in before if isinstance(name, str) and name not in now}


def _said(words: Mapping[str, Any]) -> dict[str, Any]:
    return {SOURCE: words[SOURCE]} if SOURCE in words else {}


def _environments(words: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(env, scores) for env, scores in words.items() if env != SOURCE]


def _problems(words: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with it whatever the study is."""
    source = words.get(SOURCE)
    if not isinstance(source, str) or not source.strip():
        yield f"{SOURCE} must say which publication and table, and what its numbers are, not {source!r}"
    for env, scores in _environments(words):
        if not isinstance(scores, Mapping):
            yield f"{env} must be a table of rows, not {scores!r}"
            continue
        for row, score in scores.items():
            yield from (f"{env}: {row!r}: {problem}" for problem in _misscored(score))


def _misscored(score: Any) -> Iterator[str]:
    if not isinstance(score, Mapping):
        yield f"must be a table of {', '.join(NUMBERS)}, not {score!r}"
        return
    for key, value in score.items():
        if key not in NUMBERS:
            yield f"unknown key {key!r}. {nearest(key, NUMBERS)}Allowed: {', '.join(NUMBERS)}"
        elif not _finite(value):
            yield f"{key} must be a finite number, not {value!r}"
        elif key == "spread" and value < 0:
            yield f"spread must be at least 0, not {value!r}"
    if "return" not in score:
        yield "'return' is missing: the mean that was reported"


def _finite(value: Any) -> bool:
    """Whether it is a number, and one that a float holds."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _score(words: Mapping[str, Any]) -> ReportedScore:
    spread, area = (None if words.get(key) is None else float(words[key]) for key in ("spread", "lca"))
    return ReportedScore(float(words["return"]), spread, area)


def score_of(row: Row, reported: Reported | None) -> ReportedScore | None:
    """What was reported of a row in its environment; nothing for one of a study's axes, which no publication means."""
    if reported is None or row.axes.keys() - {"world", "drift"}:
        return None
    return reported.scores.get(row.env, {}).get(row.label)
