"""A method with some of it changed: in the words of a study file, or of keywords in Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from registry import Part, PartError, Registry, nearest
from sparsity.method import Method

_FIELDS = {f.name: f for f in fields(Method)}
PART_FIELDS = tuple(name for name, f in _FIELDS.items() if isinstance(f.default, Part))


def changed(
    method: Method,
    changes: Mapping[str, Any],
    registry: Registry,
    *,
    lenient: bool = False,
    known: Iterable[str] = (),
) -> Method:
    """A method with some fields changed. `lenient`: settings that the row's part does not have pass it by.

    The value of a part's field is a name, a table of settings of the part that the method has, a table with `part`,
    or a `Part`. `density` is the allocation's.
    """
    new: dict[str, Any] = {}
    for field, value in changes.items():
        if field == "density":
            continue
        if field in PART_FIELDS:
            new[field] = _choose_part(field, getattr(method, field), value, registry, lenient)
        elif field == "traces":
            if not isinstance(value, list | tuple) or not all(isinstance(w, str | Mapping | Part) for w in value):
                raise PartError(f"traces must be a list of tables with `part`, not {value!r}")
            new[field] = tuple(_choose_part("trace", Part(""), words, registry, False) for words in value)
        elif field in _FIELDS:
            new[field] = value
        else:
            allowed = ["base", "density", *_FIELDS, *known]
            raise PartError(f"unknown key {field!r}. {nearest(field, allowed)}Allowed: {', '.join(allowed)}")
    if "density" in changes:  # Last, whatever the order of the keys: it is a setting of the allocation that was chosen.
        if not (lenient or is_sparse(replace(method, **new))):
            raise PartError(
                f"density = {changes['density']!r}: dense weights have none; leave it out, or choose another base"
            )
        new["allocation"] = new.get("allocation", method.allocation).with_settings(density=changes["density"])
    return replace(method, **new)


def takes(method: Method, field: str, setting: str, registry: Registry) -> bool:
    """Whether the part that a method has in a field knows a setting."""
    if not is_sparse(method):
        return False
    return setting in (s.name for s in registry.entry(field, getattr(method, field).name).settings)


def takes_density(method: Method, registry: Registry) -> bool:
    """Whether there is an allocation that a density can be given to."""
    return takes(method, "allocation", "density", registry)


def at_density(method: Method, density: float, registry: Registry) -> Method:
    """The same method at a density; one that takes none as it is."""
    if not takes_density(method, registry):
        return method
    return replace(method, allocation=method.allocation.with_settings(density=density))


def is_sparse(method: Method) -> bool:
    """Rows without sparse weights share nothing with the others: there is nothing to share."""
    return method.eligible.name != "none"


def _choose_part(field: str, base: Part, words: Any, registry: Registry, lenient: bool) -> Part:
    if isinstance(words, Part):
        registry.entry(field, words.name).check(words.settings, partial=True)
        return words
    if isinstance(words, str):
        registry.entry(field, words)
        return base if words == base.name else Part(words)
    if not isinstance(words, Mapping):
        raise PartError(f"{field} must be a part's name or a table of settings, not {words!r}")
    settings = dict(words)
    name = settings.pop("part", None)
    if name is not None:
        registry.entry(field, name).check(settings, partial=True)
        return Part(name, settings)
    if lenient:
        known = {s.name for s in registry.entry(field, base.name).settings}
        settings = {key: value for key, value in settings.items() if key in known}
    registry.entry(field, base.name).check(settings, partial=True)
    return base.with_settings(**settings)
