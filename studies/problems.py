"""Input that cannot be used: all of its problems at once, one line each; and text that is safe to show."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


class BadInput(ValueError):
    """What was read and cannot be used. Nothing has been written when this is raised."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


def clean(text: str) -> str:
    """Text that no terminal or file obeys: control, format and surrogate characters go, white space is a space."""
    return visible(" ".join(text.split())).strip()


def visible(text: str) -> str:
    """Text in lines that no terminal obeys: as `clean`, but line breaks and blanks stay where they are."""
    return "".join(c for c in text.replace("\t", " ") if c == "\n" or unicodedata.category(c) not in _UNSEEN)


_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
