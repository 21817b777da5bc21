"""What a plugin's hook is called with: it takes parts, and refuses what is none."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from registry.entry import Entry, Origin
from registry.hookspecs import Kind
from registry.place import place
from registry.signature import PartError, Setting, read_signature


class Register:
    """The callable handed to a plugin's hook."""

    def __init__(self, kind: Kind, origin: Origin, entries: list[Entry], hook: str = "") -> None:
        """`hook` is the place of the function that calls this, for errors about what has no place of its own."""
        self._kind, self._origin, self._entries, self._hook = kind, origin, entries, hook

    def __call__(self, value: Any, *, name: str | None = None, about: str = "", **facts: Any) -> Any:
        try:
            entry = self._entry(value, name, {**facts, "about": about} if about else facts)
        except PartError as error:
            raise PartError(f"{error}{at(place(value) or self._hook)}") from error
        self._entries.append(entry)
        return value

    def _entry(self, value: Any, name: str | None, facts: Mapping[str, Any]) -> Entry:
        kind = self._kind
        self._check_facts({fact: facts[fact] for fact in facts if fact != "about"})
        if not kind.row and not inspect.isfunction(value):
            what = repr(name) if name else _shown(value)
            raise PartError(f"{kind.name} {what} must be a function, not {_shown(value)}{self._instead(value)}")
        chosen = name or str(getattr(value, "__name__", ""))
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,60}", chosen):
            what = repr(chosen) if chosen else _shown(value)
            raise PartError(
                f"{kind.name} {what}: a name is lower-case letters, digits, _ and -, a letter first"
                f"{_named(chosen, value)}"
            )
        inputs, settings = self._read(value, chosen)
        return Entry(kind, chosen, value, inputs, settings, self._origin, facts)

    def _instead(self, value: Any) -> str:
        """What to register in the place of what is no function."""
        if not isinstance(value, type):
            return f": write `def name({', '.join(self._kind.inputs[:1])}): ...` and register that"
        made = f"{value.__name__}(...)"
        return f": write a function that gives what a {self._kind.name} gives, say one that ends in `return {made}`"

    def _read(self, value: Any, name: str) -> tuple[tuple[str, ...], tuple[Setting, ...]]:
        kind = self._kind
        if kind.row:
            here = f"{type(value).__module__}:{type(value).__qualname__}"
            if here != kind.row:
                raise PartError(f"{kind.name} {name!r} must be a {kind.row.split(':')[1]}, not {value!r}")
            return (), ()
        if kind.name == "trace" and name in kind.inputs:
            raise PartError(f"a trace cannot be named {name!r}: that is an input of its own")
        try:
            return read_signature(value)
        except PartError as error:
            raise PartError(f"{kind.name} {name!r}: {error}") from error

    def _check_facts(self, facts: Mapping[str, Any]) -> None:
        for fact in facts:
            if fact not in self._kind.facts:
                raise PartError(f"register for a {self._kind.name} takes no {fact!r}")
        window = facts.get("window", 1)
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise PartError(f"window is a whole number of optimiser steps before an event, at least 1, not {window!r}")


def at(where: str) -> str:
    """A place, behind a message."""
    return f" ({where})" if where else ""


def _named(chosen: str, value: Any) -> str:
    if chosen == "<lambda>":
        return "; a lambda has none, and no docstring: write a `def`"
    return "" if chosen else "; a row of data has none of its own: register(..., name='mine')"


def _shown(value: Any) -> str:
    """A value that is no function, in a few words: a row of data may be a page long."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    return text if len(text) <= 80 else f"a {type(value).__name__}"
