"""Which method each learner has: the callback's arguments, which are the words of a study's row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry import PartError, Registry, nearest
from sparsity.method import Method
from sparsity.variation import changed

LEARNERS = ("actor", "critic", "q_net")
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
        method = self._changed(_based(base or self._base, self._registry), changes)
        density = self._density.get(learner) if isinstance(self._density, Mapping) else self._density
        if density is not None and method.sparse:
            method = self._changed(method, {"density": density})
        return self._changed(method, words).resolved(self._registry)

    def _changed(self, method: Method, changes: Mapping[str, Any]) -> Method:
        return changed(method, changes, self._registry, known=LEARNERS)


def _based(base: Any, registry: Registry) -> Method:
    if isinstance(base, Method):
        return base
    if not isinstance(base, str):
        raise PartError(f"a method is a name, a Method, or a table of changes, not {base!r}")
    method: Method = registry.entry("method", base).value
    return method
