"""From the words of a study file to methods: a base, what every row shares, and what this row changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from registry import Entry, Part, PartError, Registry, nearest
from sparsity import Method

Density = float | Mapping[str, float]
"""One density for all learners, or one a learner."""
Preset = Callable[[str], Iterable[Mapping[str, Any]]]
"""What a preset changes in a base, in order."""

_FIELDS = {f.name: f for f in fields(Method)}
PART_FIELDS = tuple(name for name, f in _FIELDS.items() if isinstance(f.default, Part))


@dataclass(frozen=True)
class Choice:
    """The method of a row: one for all learners, and those of learners that have their own."""

    base: str
    method: Method
    learners: Mapping[str, Method]
    own_density: bool
    """Whether the row sets its own density, so that the study's densities do not multiply it."""

    def of(self, learner: str) -> Method:
        return self.learners.get(learner, self.method)

    def methods(self) -> list[Method]:
        return [self.method, *self.learners.values()]

    def takes_density(self, registry: Registry) -> bool:
        return not self.own_density and any(_takes_density(m, registry) for m in self.methods())

    def at(self, density: Density, registry: Registry) -> Choice:
        """The same row at a density."""
        if isinstance(density, Mapping):
            base = {name: _at(self.of(name), share, registry) for name, share in density.items()}
            return replace(self, learners={**self.learners, **base})
        learners = {name: _at(method, density, registry) for name, method in self.learners.items()}
        return replace(self, method=_at(self.method, density, registry), learners=learners)


def choose(
    spec: str | Mapping[str, Any],
    registry: Registry,
    *,
    preset: Preset = lambda base: (),
    shared: Iterable[Mapping[str, Any]] = (),
    learners: Iterable[str] = (),
    here: Iterable[Mapping[str, Any]] = (),
) -> Choice:
    """The methods that a row's words mean. Between the base and the row's own words come what a `preset` changes in the
    base, of single learners too, and then what all rows share; over them, what the row says of one place (`here`)."""
    spec = {"base": spec} if isinstance(spec, str) else dict(spec)
    base = spec.pop("base", None)
    if not isinstance(base, str):
        raise PartError(f"a method needs a base, one of {', '.join(registry.names('method'))}")
    learners, shared, here = tuple(learners), tuple(shared), tuple(here)
    own = {name: spec.pop(name) for name in learners if name in spec}
    entry = registry.entry("method", base)

    def laid(learner: str | None) -> Method:
        """The base under everything that is laid over it, for one learner or for all."""
        method: Method = entry.value
        for change in _preset_of(preset, learner, learners)(base):
            method = changed(method, change, registry, lenient=True)
        for change in shared if is_sparse(method) else ():
            passed = {field: value for field, value in change.items() if field not in own_fields(entry)}
            method = changed(method, passed, registry, lenient=True)
        method = changed(method, spec, registry, known=(*learners, "settings", "at") if learners else ())
        for change in here:
            method = changed(method, change, registry)
        return method

    method = laid(None)
    by_learner = {name: laid(name) for name in learners if any(name in change for change in preset(base))}
    for name, words in own.items():
        mine = _preset_of(preset, name, learners)
        by_learner[name] = _override(name, words, by_learner.get(name, method), mine, shared, registry)
    return Choice(base, method, by_learner, _sets_density(spec) or any(map(_sets_density, own.values())))


def _preset_of(preset: Preset, learner: str | None, learners: tuple[str, ...]) -> Preset:
    """What a preset changes for one learner: what it changes for all, and then for this one."""

    def mine(base: str) -> Iterator[Mapping[str, Any]]:
        for change in preset(base):
            yield {field: value for field, value in change.items() if field not in learners}
            if learner is not None and learner in change:
                yield change[learner]

    return mine


def own_fields(entry: Entry) -> tuple[str, ...]:
    """What a row does not share with others, as it is what it is by them: ANF by its input layer, SynFlow by its start.

    A row that never swaps has no share in when the others do.
    """
    own: tuple[str, ...] = tuple(entry.facts.get("own", ()))
    return (*own, "schedule") if entry.value.schedule.name == "never" else own


def changed(
    method: Method,
    changes: Mapping[str, Any],
    registry: Registry,
    *,
    lenient: bool = False,
    known: Iterable[str] = (),
) -> Method:
    """A method with some fields changed. `lenient`: settings that the row's part does not have pass it by."""
    new: dict[str, Any] = {}
    for field, value in changes.items():
        if field == "density":
            continue
        if field in PART_FIELDS:
            new[field] = _choose_part(field, getattr(method, field), value, registry, lenient)
        elif field == "traces":
            if not isinstance(value, list | tuple) or not all(isinstance(words, str | Mapping) for words in value):
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


def _override(
    name: str,
    words: Any,
    method: Method,
    preset: Preset,
    shared: tuple[Mapping[str, Any], ...],
    registry: Registry,
) -> Method:
    if isinstance(words, str) or (isinstance(words, Mapping) and "base" in words):
        return choose(words, registry, preset=preset, shared=shared).method
    if not isinstance(words, Mapping):
        raise PartError(f"{name} must be a method's name or a table, not {words!r}")
    return changed(method, words, registry)


def _choose_part(field: str, base: Part, words: Any, registry: Registry, lenient: bool) -> Part:
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


def is_sparse(method: Method) -> bool:
    """Rows without sparse weights share nothing with the others: there is nothing to share."""
    return method.eligible.name != "none"


def _takes_density(method: Method, registry: Registry) -> bool:
    return takes(method, "allocation", "density", registry)


def _at(method: Method, density: float, registry: Registry) -> Method:
    if not _takes_density(method, registry):
        return method
    return replace(method, allocation=method.allocation.with_settings(density=density))


def _sets_density(words: Any) -> bool:
    if not isinstance(words, Mapping):
        return False
    allocation = words.get("allocation")
    return "density" in words or (isinstance(allocation, Mapping) and bool({"density", "layers"} & set(allocation)))
