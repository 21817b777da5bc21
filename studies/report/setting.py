"""How a study was set up, in words: its plan, its agents, and what its rows are, from the contents of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sparsity import Method
from studies.formats import Cells, Sheet
from studies.problems import clean
from studies.words import ABSENT

Contents = Mapping[str, Any]

PLAN: Final = {
    "steps": "environment steps",
    "warmup": "steps of warm-up",
    "eval_every": "steps between evaluations",
    "episodes": "episodes an evaluation",
    "execution": "execution",
    "device": "device",
    "replay": "memory",
    "wrappers": "wrappers",
}
"""What decides a run beside its agent and its methods, in words."""
_ORDER: Final = tuple(Method.__dataclass_fields__)
FREE: Final = ("density",)
"""Settings that the rows' densities set, which stand in the table of results."""


def plan(runs: Sequence[Contents]) -> list[tuple[str, str]]:
    """Each thing of the plan with its value, or its values where runs differ."""
    return [(said, _values(shown(run[key]) for run in runs)) for key, said in PLAN.items()]


def agents(runs: Sequence[Contents]) -> list[tuple[str, str]]:
    """Each agent with its settings, one way where its runs agree; a setting on which they differ has all values."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        found.setdefault(run["agent"]["part"], []).append(run["agent"])
    return [(clean(name), _settings(parts)) for name, parts in found.items()]


def brought(runs: Iterable[Contents]) -> str:
    """The parts of others without which the study cannot be made again, each with the SHA-256 of its source."""
    found = {key: digest for run in runs for key, digest in run["foreign"].items()}
    return ", ".join(f"{clean(key).replace('/', ' ')} (SHA-256 {clean(found[key])[:16]}...)" for key in sorted(found))


def rows_sheet(runs: Iterable[tuple[str, Contents]]) -> Sheet:
    """What the rows are: a line a row (and a network, where these differ), a column a field in which they differ.

    Fields in which all sparse rows agree are the notes; one that an axis or an agent varies has all values. `runs` are
    labels with contents.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for label, contents in runs:
        for name, fields in _methods(label, contents).items():
            for field, value in fields.items():
                found.setdefault(name, {}).setdefault(field, []).append(value)
    methods = {name: {field: _values(values) for field, values in fields.items()} for name, fields in found.items()}
    sparse = [fields for fields in methods.values() if "grow" in fields]
    names = [name for name in _ORDER if any(name in fields for fields in sparse)]
    differing = [name for name in names if len({fields.get(name, "") for fields in sparse}) > 1]
    lines: list[Cells] = [
        (clean(label), *(fields.get(name, ABSENT) for name in differing)) for label, fields in methods.items()
    ]
    shared = (
        [f"{name.replace('_', ' ')} {sparse[0][name]}" for name in names if name not in differing] if sparse else []
    )
    notes = [f"All sparse rows: {', '.join(shared)}."] if shared else []
    head = ("row", *(name.replace("_", " ") for name in differing))
    return Sheet("", head, [("", lines)] if lines and differing else [], notes, left=head)


def _methods(label: str, contents: Contents) -> dict[str, dict[str, str]]:
    """The fields of a row's methods in words, by row, or by row and network where networks differ."""
    told = {learner: _fields(method) for learner, method in contents["methods"].items()}
    if not told:
        return {}
    first = next(iter(told.values()))
    if all(fields == first for fields in told.values()):
        return {label: first}
    return {f"{label}, {learner}": fields for learner, fields in told.items()}


def _fields(method: Mapping[str, Any]) -> dict[str, str]:
    return {name: shown(value) for name, value in method.items() if value not in ([], ())}


def shown(value: Any) -> str:
    """A setting as a reader would write it: `periodic (every 1,000, fraction 0.05)`."""
    if isinstance(value, Mapping):
        settings = [f"{key} {shown(item)}" for key, item in value.items() if key != "part" and key not in FREE]
        return clean(value.get("part", "")) + (f" ({', '.join(settings)})" if settings else "")
    if isinstance(value, list | tuple):
        return " x ".join(map(shown, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,.10g}" if isinstance(value, int | float) else clean(str(value))


def _settings(parts: Sequence[Mapping[str, Any]]) -> str:
    names = [name for name in parts[0] if name != "part"]
    return ", ".join(f"{name} {_values(shown(part.get(name)) for part in parts)}" for name in names)


def _values(values: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(values))
