"""From the words of a study file to methods: a base, what every row shares, and what this row changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from registry import Entry, PartError, Registry
from sparsity import Method
from sparsity.variation import at_density, changed, is_sparse, takes_density

Density = float | Mapping[str, float]
"""One density for all learners, or one a learner."""
Preset = Callable[[str], Iterable[Mapping[str, Any]]]
"""What a preset changes in a base, in order."""


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
        return not self.own_density and any(takes_density(m, registry) for m in self.methods())

    def at(self, density: Density, registry: Registry) -> Choice:
        """The same row at a density."""
        if isinstance(density, Mapping):
            base = {name: at_density(self.of(name), share, registry) for name, share in density.items()}
            return replace(self, learners={**self.learners, **base})
        learners = {name: at_density(method, density, registry) for name, method in self.learners.items()}
        return replace(self, method=at_density(self.method, density, registry), learners=learners)


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


def _sets_density(words: Any) -> bool:
    if not isinstance(words, Mapping):
        return False
    allocation = words.get("allocation")
    return "density" in words or (isinstance(allocation, Mapping) and bool({"density", "layers"} & set(allocation)))
