"""The words of the command line as the tables of a study file: one schema, however a study is said."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from datetime import date, time
from typing import Any

from studies import cli
from studies.problems import BadInput, clean


def grid(command: cli.StudyRun, methods: Iterable[str]) -> dict[str, Any]:
    """The flags that say what to compare, as a study file would. `methods` are those that `all` stands for."""
    grid: dict[str, Any] = {}
    if command.methods is not None:
        named = _split(command.methods)
        grid["methods"] = {name: {"base": name} for name in (methods if named == ["all"] else named)}
    if command.envs is not None:
        grid["envs"] = _split(command.envs)
    if command.agents is not None:
        grid["agents"] = _split(command.agents)
    if command.densities is not None:
        grid["densities"] = [number(text, "--densities") for text in _split(command.densities)]
    if command.seeds is not None:
        grid["seeds"] = _seeds(command.seeds, "--seeds")
    if command.steps is not None:
        grid["steps"] = number(command.steps, "--steps")
    return grid


def tuning(command: cli.StudyTune) -> dict[str, Any]:
    """The flags that say how a study is tuned, as its table [tune] would."""
    tune: dict[str, Any] = {} if command.search is None else {"search": command.search}
    if command.trials is not None:
        tune["trials"] = number(command.trials, "--trials")
    if command.tuning_seeds is not None:
        tune["seeds"] = _seeds(command.tuning_seeds, "--tuning-seeds")
    if command.steps is not None:
        tune["steps"] = number(command.steps, "--steps")
    return tune


def _seeds(text: str, flag: str) -> float | list[float]:
    seeds = [number(piece, flag) for piece in _split(text)] or [0.0]
    return seeds if "," in text else seeds[0]


def of_executors(command: cli.Setup, executors: Collection[str]) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """What --set says of executors, by executor, and what else it says."""
    settings: dict[str, dict[str, Any]] = {}
    others = []
    for text in command.set:
        key, equals, value = text.partition("=")
        executor, dot, setting = key.partition(".")
        if equals and dot and executor in executors:
            settings.setdefault(executor, {})[setting] = _value(value)
        else:
            others.append(text)
    return settings, tuple(others)


def setup(command: cli.Setup, agents: Any, settings: Any = None) -> dict[str, Any]:
    """The flags that say how runs are set up, as a study file would, over the agents and settings of one.

    What is no list of names or no table of tables there is left as it is, to be refused with the rest of the file.
    """
    tables: dict[str, Any] = {}
    sound = isinstance(settings, Mapping | None) and all(
        isinstance(words, Mapping) for words in (settings or {}).values()
    )
    merged: dict[str, dict[str, Any]] = {name: dict(words) for name, words in (settings or {}).items()} if sound else {}
    agents = agents if isinstance(agents, list) and all(isinstance(agent, str) for agent in agents) else []
    for text in command.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"--set takes KEY=VALUE, not {text!r}")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise BadInput(f"--set {clean(text)!r} is not text in UTF-8")
        agent, dot, setting = key.partition(".")
        if dot:
            merged.setdefault(agent, {})[setting] = _value(value)
        else:
            tables[key] = _value(value)
    if command.hidden is not None:
        widths = [number(text, "--hidden") for text in _split(command.hidden)]
        for agent in agents:
            merged.setdefault(agent, {})["hidden"] = widths
    if merged and sound:
        tables["settings"] = merged
    if command.eval_every is not None:
        tables["eval_every"] = number(command.eval_every, "--eval-every")
    for key in ("preset", "name"):
        if getattr(command, key) is not None:
            tables[key] = getattr(command, key)
    if command.execution != "auto":
        tables["execution"] = command.execution
    if command.device != "cpu":
        tables["device"] = command.device
    return tables


def _split(text: str) -> list[str]:
    return [piece.strip() for piece in text.split(",") if piece.strip()]


_FORMS = {
    **dict.fromkeys(("--seeds", "--tuning-seeds"), ": how many, 5, or which, 0,1,2"),
    "--trials": ": 8",
    "--densities": ": 0.5,0.1",
    "--hidden": ": 256,256",
}


def number(text: str, flag: str) -> float:
    form = _FORMS.get(flag, "")
    if re.match(r"[+-]?0\d", text):  # Eight to one reader and ten to another.
        raise BadInput(f"{flag}: {clean(text)!r} begins with 0; write {text.lstrip('+-0') or 0}{form}")
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"{flag}: {clean(text)!r} is not a number{form}") from None


def density(text: str) -> float | dict[str, float]:
    """0.1, or one a learner: actor=0.1,critic=0.2."""
    if "=" not in text:
        return number(text, "--density")
    pairs = [piece.partition("=") for piece in _split(text)]
    return {name: number(value, "--density") for name, _, value in pairs}


def _value(text: str) -> Any:
    """A setting as TOML would read it, else as text."""
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return read["value"] if len(read) == 1 else text


def toml(tables: Mapping[str, Any]) -> str:
    """A study's tables as TOML: plain keys first, then one inline table a key."""
    lines = [f"{key} = {_inline(value)}" for key, value in tables.items() if not isinstance(value, Mapping)]
    for key, table in tables.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{key}]", *(f"{_key(name)} = {_inline(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_inline(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str):
        return _key(value)
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else json.dumps(value)


def _key(text: str) -> str:
    # As JSON writes it, but for what TOML does not take: surrogate pairs, and DEL as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
