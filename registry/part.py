"""A choice of one part: its name and the settings that a study chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """A part by name, with the settings that differ from its defaults. Read-only by convention."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def with_settings(self, **changes: Any) -> Part:
        """The same part with some settings changed."""
        return Part(self.name, {**self.settings, **changes})

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.settings.items())})"


def part(name: str, **settings: Any) -> Part:
    """Choose a part: `part("periodic", every=1000)`."""
    return Part(name, settings)
