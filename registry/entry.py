"""A registered part: its function or row, what it asks for, and where it came from."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.hookspecs import Kind
from registry.signature import PartError, Setting, check_settings


@dataclass(frozen=True)
class Origin:
    """Where a part came from."""

    plugin: str
    """Module name, entry point, or file."""
    distribution: str = ""
    """Name and version of the installed distribution, if there is one."""
    in_tree: bool = False
    file: str = ""
    """The plugin's own source file."""

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution})" if self.distribution else self.plugin


@dataclass(frozen=True)
class Entry:
    """A registered part: its function (or row), what it asks for, and where it came from."""

    kind: Kind
    name: str
    value: Any
    inputs: tuple[str, ...]
    settings: tuple[Setting, ...]
    origin: Origin
    facts: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """The first line of its documentation: formula or effect, then the source."""
        text = self.facts.get("about") or inspect.getdoc(self.value) or ""
        return text.strip().split("\n")[0]

    @property
    def module(self) -> str:
        """The module that its function, or its row's class, stands in."""
        return str(getattr(self.value, "__module__", ""))

    @property
    def source_hash(self) -> str | None:
        """SHA-256 of the source of a foreign part: its file, or every file of the package that it stands in.

        None for our own, which the results version covers. PartError where there is no source.
        """
        if self.origin.in_tree:
            return None
        file = inspect.getsourcefile(inspect.unwrap(self.value)) if callable(self.value) else self.origin.file
        if not file or not Path(file).is_file():
            raise PartError(f"{self.kind.name} {self.name!r} of {self.origin} has no source file that a run could name")
        package = sys.modules.get(self.module.split(".")[0])
        roots = [Path(folder) for folder in getattr(package, "__path__", ())]
        files = sorted(path for root in roots for path in root.rglob("*.py")) or [Path(file)]
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()

    def check(self, settings: Mapping[str, Any], *, partial: bool = False) -> dict[str, Any]:
        """Settings with defaults written out, or a PartError."""
        return check_settings(f"{self.kind.name} {self.name!r}", self.settings, settings, partial=partial)


@dataclass(frozen=True)
class Bound:
    """A part with its settings: called with inputs by name, it takes those that it asks for."""

    entry: Entry
    settings: Mapping[str, Any]

    def asks(self, name: str) -> bool:
        return name in self.entry.inputs

    def __call__(self, **given: Any) -> Any:
        return self.entry.value(*(given[name] for name in self.entry.inputs), **self.settings)
