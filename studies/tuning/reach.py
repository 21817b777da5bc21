"""Which settings of a space reach a row: those of its agent, and of the parts that its method has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, Final, get_args

from registry import PartError, Registry, Setting, nearest
from registry.signature import fit
from sparsity import Method
from sparsity.variation import PART_FIELDS, is_sparse, takes
from studies.places import read_row
from studies.problems import BadInput
from studies.spec import Choice, own_fields
from studies.study import Study
from studies.tuning.space import Range, Space, Values

_FIELDS: Final = tuple(Method.__dataclass_fields__)
_OF_EVENTS: Final = ("prune", "grow", "born", "spread", "readmit", "scope", "swap_scope", "event", "traces")
"""Fields that make no difference to a topology that never changes."""
_FORMS: Final = "a list of values, { log = [low, high] } or { uniform = [low, high] }"


def read_space(words: Mapping[str, Any], where: str, study: Study, registry: Registry) -> Space:
    """A space as a study file words it. BadInput with every key that names nothing, and every value that cannot be."""
    space: dict[str, Values | Range] = {}
    problems = []
    for key, tried in words.items():
        try:
            _demand_no_density(key, tried)
            space[key] = _tried(tried, _setting(key, study, registry))
        except ValueError as error:
            problems.append(f"{where} {key!r}: {error}")
    for key in space:
        field, dot, _ = key.partition(".")
        if dot and field in space:
            problems.append(f"{where} has {field!r} and {key!r}: say both in a list of {field}, as tables with `part`")
    if problems:
        raise BadInput(*problems)
    return space


def reached(space: Space, agent: str, choice: Choice, registry: Registry, *, shared: bool) -> dict[str, Values | Range]:
    """What of a space reaches a row that is learnt by an agent. A shared one passes by, as [all] does, what a row has
    not, or is what it is by."""
    kept = own_fields(registry.entry("method", choice.base)) if shared else ()
    return {key: tried for key, tried in space.items() if _reaches(key, agent, choice.method, kept, registry)}


def entry_of(trial: Mapping[str, Any], agent: str) -> dict[str, Any]:
    """A trial as an entry of a row's `at`."""
    entry: dict[str, Any] = {}
    for key, value in trial.items():
        head, dot, setting = key.partition(".")
        if not dot:
            entry[head] = value
        elif head in _FIELDS:
            entry.setdefault(head, {})[setting] = value
        else:
            entry.setdefault("settings", {}).setdefault(agent, {})[setting] = value
    return entry


def is_dense(words: Any, agents: Sequence[str]) -> bool:
    """Whether a row is the dense agent itself."""
    method = read_row(words, agents).method
    return method == "dense" or (isinstance(method, Mapping) and dict(method) == {"base": "dense"})


def _reaches(key: str, agent: str, method: Method, kept: Sequence[str], registry: Registry) -> bool:
    head, dot, setting = key.partition(".")
    if head not in _FIELDS:
        return head == agent
    still = method.schedule.name == "never" and method.budget.name == "constant"
    if head in kept or not is_sparse(method) or (still and head in _OF_EVENTS):
        return False
    return not dot or takes(method, head, setting, registry)


def _demand_no_density(key: str, tried: Any) -> None:
    listed = tried if key == "allocation" and isinstance(tried, list) else []
    within = any(isinstance(words, Mapping) and "density" in words for words in listed)
    if within or key in ("density", "allocation.density"):
        raise PartError("densities are what a study compares: they are not tuned")


def _setting(key: str, study: Study, registry: Registry) -> Setting | None:
    """The setting that a key names; None for a whole field, and for hidden widths. PartError if there is none."""
    head, dot, name = key.partition(".")
    if head not in _FIELDS and head not in study.agents:
        known = [*study.agents, *_FIELDS]
        allowed = f"{', '.join(f'{agent}.SETTING' for agent in study.agents)}, FIELD.SETTING or FIELD of methods"
        raise PartError(f"neither an agent of the study nor a field. {nearest(head, known)}Allowed: {allowed}")
    if not dot and head in _FIELDS:
        return None
    if head in study.agents:
        settings = [*registry.entry("agent", head).settings]
        if name == "hidden":
            return None
    elif head in PART_FIELDS:
        settings = [setting for entry in registry.entries(head) for setting in entry.settings]
    else:
        raise PartError(f"{head} has no settings: list its values under {head!r}")
    known = sorted({setting.name for setting in settings})
    found = [setting for setting in settings if setting.name == name]
    if not found:
        raise PartError(f"no {head} has a setting {name!r}. {nearest(name, known)}Settings: {', '.join(known)}")
    return Setting(name, reduce(or_, (setting.type for setting in found)))


def _tried(words: Any, setting: Setting | None) -> Values | Range:
    if isinstance(words, Mapping) and len(words) == 1 and set(words) <= {"log", "uniform"}:
        [(scale, bounds)] = words.items()
        return _range(scale, bounds, setting)
    if not isinstance(words, list):
        raise PartError(f"must be {_FORMS}, not {words!r}")
    values = [item if setting is None else fit(item, setting.type, "a value") for item in words]
    if not values:
        raise PartError("lists no value")
    if any(value in values[:place] for place, value in enumerate(values)):
        raise PartError(f"lists a value twice: {words}")
    return Values(tuple(words if setting is None else map(_plain, values)))


def _range(scale: str, bounds: Any, setting: Setting | None) -> Range:
    numbers = isinstance(bounds, list) and len(bounds) == 2 and all(map(_is_number, bounds))
    if not numbers or not bounds[0] < bounds[1]:
        raise PartError(f"{scale} takes two numbers, [low, high], low < high, not {bounds!r}")
    if scale == "log" and bounds[0] <= 0:
        raise PartError(f"log takes numbers over 0, not {bounds!r}; or uniform")
    kinds = (get_args(setting.type) or (setting.type,)) if setting is not None else ()
    if not {int, float} & set(kinds):
        raise PartError("takes no numbers: list its values")
    whole = int in kinds and (float not in kinds or all(isinstance(bound, int) for bound in bounds))
    if whole and math.ceil(bounds[0]) > math.floor(bounds[1]):
        raise PartError(f"takes whole numbers, and there is none in {bounds}")
    return Range(float(bounds[0]), float(bounds[1]), scale == "log", whole)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _plain(value: Any) -> Any:
    """As a study file writes it."""
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
