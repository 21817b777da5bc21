"""The table [tune] of a study file: how much every method is tuned, in which space, and on which seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, get_args

from registry import nearest
from studies.problems import BadInput
from studies.tuning.space import Search

FIRST_SEED: Final = 1_000_000
"""Tuning seeds begin here unless they are listed, so that reporting seeds may grow without meeting them."""
DEFAULT_TRIALS: Final = 8
MOST_TRIALS: Final = 10_000
MOST_SEEDS: Final = 10_000


@dataclass(frozen=True)
class Tune:
    """How a study is tuned: `trials` configurations a method, on seeds that it never reports."""

    search: Search = "random"
    trials: int | None = None
    """Configurations of every method; None is the whole grid, or 8 of a random search."""
    seeds: tuple[int, ...] = ()
    steps: int | None = None
    """Environment steps of a trial; None is as many as the study's."""
    seed: int = 0
    """Of the draws."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """What may be tried, by key, of every row that it reaches."""
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Spaces of single rows, instead of the shared one."""

    @property
    def count(self) -> int | None:
        """Trials of every method; None where the grid says it."""
        return DEFAULT_TRIALS if self.trials is None and self.search == "random" else self.trials

    def words(self) -> dict[str, Any]:
        """As in a study file, with the seeds listed."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        known |= {"seeds": list(self.seeds), "methods": self.methods or None}
        return {key: value for key, value in known.items() if value is not None}


KEYS: Final = tuple(each.name for each in fields(Tune))

_SHAPES: Final = {
    **dict.fromkeys(("trials", "steps", "seed"), "a whole number"),
    "search": "'grid' or 'random'",
    "seeds": "a whole number (how many: 2) or a list of them (which: [100, 101])",
    "space": "a table of what may be tried",
    "methods": "a table of spaces by row",
}


def read_tune(words: Mapping[str, Any], reporting: Sequence[int]) -> Tune:
    """The table [tune] of a study with those seeds. BadInput with everything that is wrong with it."""
    unknown = [key for key in words if key not in KEYS]
    problems = [f"[tune] unknown key {key!r}. {nearest(key, KEYS)}Allowed: {', '.join(KEYS)}" for key in unknown]
    given = {key: _whole(value) for key, value in words.items() if key in KEYS}
    wrong = [key for key, value in given.items() if not _shaped(key, value)]
    problems += [f"[tune] {key} must be {_SHAPES[key]}, not {words[key]!r}" for key in wrong]
    sound = {key: value for key, value in given.items() if key not in wrong}
    problems += _misnumbered(sound)
    sound["seeds"], overlapping = _seeds(sound.get("seeds", 2), reporting)
    problems += overlapping
    if problems:
        raise BadInput(*problems)
    return Tune(**sound)


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shaped(key: str, value: Any) -> bool:
    if key == "search":
        return value in get_args(Search)
    if key == "seeds":
        return _is_whole(value) or (isinstance(value, list) and all(map(_is_whole, value)))
    if key == "methods":
        return isinstance(value, Mapping) and all(isinstance(space, Mapping) for space in value.values())
    return isinstance(value, Mapping) if key == "space" else _is_whole(value)


def _misnumbered(given: Mapping[str, Any]) -> list[str]:
    bounds = {"trials": (1, MOST_TRIALS), "steps": (1, 10**12), "seed": (0, 2**32 - 1)}
    return [
        f"[tune] {key} must lie in {low} ... {high}, not {given[key]}"
        for key, (low, high) in bounds.items()
        if key in given and not low <= given[key] <= high
    ]


def _seeds(given: int | list[int], reporting: Sequence[int]) -> tuple[tuple[int, ...], list[str]]:
    """The seeds of the trials, and what is wrong with them: one that is reported too would be chosen for its luck."""
    if isinstance(given, int):
        if not 1 <= given <= MOST_SEEDS:
            return (), [f"[tune] seeds: how many must lie in 1 ... {MOST_SEEDS}, not {given}"]
        return _others(given, reporting)
    problems = [f"[tune] seeds must lie in 0 ... 2**32 - 1, not {seed}" for seed in given if not 0 <= seed < 2**32]
    problems += [] if given else ["[tune] seeds needs at least one entry"]
    problems += [f"[tune] seeds: one is given twice: {given}"] if len(set(given)) < len(given) else []
    if both := [seed for seed in given if seed in reporting]:
        problems.append(
            f"[tune] seeds: {', '.join(map(str, both))} also among the seeds of the study: settings would be chosen by "
            "the runs that they are judged by. Choose others for one of the two"
        )
    return tuple(given), problems


def _others(count: int, reporting: Sequence[int]) -> tuple[tuple[int, ...], list[str]]:
    """The first seeds from a million on that the study does not report."""
    taken = reporting if isinstance(reporting, range) else frozenset(reporting)
    start = max(FIRST_SEED, taken.stop) if isinstance(taken, range) else FIRST_SEED
    free = (seed for seed in range(start, 2**32) if seed not in taken)
    found = tuple(seed for seed, _ in zip(free, range(count), strict=False))
    none = [f"[tune] seeds: the study's {len(reporting):,} leave none of 2**32 for tuning: give it fewer"]
    return found, [] if len(found) == count else none
