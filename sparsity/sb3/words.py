"""Which method each learner has: the callback's arguments, which are the words of a study's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from registry import Part, PartError, Registry, nearest
from sparsity.method import Method

LEARNERS = ("actor", "critic", "q_net")
_FIELDS = {f.name: f for f in fields(Method)}
Density = float | Mapping[str, float] | None


class Choice:
    """A base, changes of it, and what single learners have of their own. PartError for what does not fit."""

    def __init__(self, base: str | Method, density: Density, changes: Mapping[str, Any], registry: Registry) -> None:
        self._own = {name: changes[name] for name in LEARNERS if name in changes}
        self._changes = {name: value for name, value in changes.items() if name not in LEARNERS}
        self._base, self._density, self._registry = base, density, registry
        unknown = [name for name in density if name not in LEARNERS] if isinstance(density, Mapping) else []
        if unknown:
            raise PartError(f"density of {unknown[0]!r}: {nearest(unknown[0], LEARNERS)}Known: {', '.join(LEARNERS)}")
        self.named = {*self._own, *(density if isinstance(density, Mapping) else ())}
        """The learners that were named: a model must have them."""
        for learner in LEARNERS:
            self.of(learner)

    def of(self, learner: str) -> Method:
        """One learner's method, its settings written out."""
        own = self._own.get(learner, {})
        words: dict[str, Any] = dict(own) if isinstance(own, Mapping) else {"base": own}
        base = words.pop("base", None)
        changes = {} if base is not None else self._changes
        method = _varied(_based(base or self._base, self._registry), changes, self._registry)
        density = self._density.get(learner) if isinstance(self._density, Mapping) else self._density
        if density is not None and method.sparse:
            method = _varied(method, {"density": density}, self._registry)
        return _varied(method, words, self._registry).resolved(self._registry)


def _based(base: Any, registry: Registry) -> Method:
    if isinstance(base, Method):
        return base
    if not isinstance(base, str):
        raise PartError(f"a method is a name, a Method, or a table of changes, not {base!r}")
    method: Method = registry.entry("method", base).value
    return method


def _varied(method: Method, changes: Mapping[str, Any], registry: Registry) -> Method:
    """A method with some fields changed, each in the words of a study's row; `density` is the allocation's."""
    new: dict[str, Any] = {}
    for field, value in changes.items():
        if field == "density":
            continue
        if field not in _FIELDS:
            allowed = ["base", "density", *_FIELDS, *LEARNERS]
            raise PartError(f"unknown argument {field!r}. {nearest(field, allowed)}Allowed: {', '.join(allowed)}")
        is_part = isinstance(_FIELDS[field].default, Part)
        new[field] = _part(field, getattr(method, field), value, registry) if is_part else value
    if "density" in changes:  # Last: it is a setting of the allocation that was chosen.
        if not replace(method, **new).sparse:
            raise PartError(f"density = {changes['density']!r}: dense weights have none; leave it out")
        new["allocation"] = new.get("allocation", method.allocation).with_settings(density=changes["density"])
    return replace(method, **new)


def _part(field: str, present: Part, words: Any, registry: Registry) -> Part:
    """A part by its name, as a `Part`, or as a table: of settings of the present one, or with `part`."""
    if isinstance(words, Part):
        return words
    if isinstance(words, str):
        registry.entry(field, words)
        return present if words == present.name else Part(words)
    if not isinstance(words, Mapping):
        raise PartError(f"{field} must be a part's name or a table of settings, not {words!r}")
    settings = dict(words)
    name = settings.pop("part", present.name)
    registry.entry(field, name).check(settings, partial=True)
    return present.with_settings(**settings) if name == present.name and "part" not in words else Part(name, settings)
