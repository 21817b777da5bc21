"""Input that cannot be used: all of its problems at once, one line each."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class BadInput(ValueError):
    """What was read and cannot be used. Nothing has been written when this is raised."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


def printable(text: str) -> str:
    """Text without control characters, for a terminal."""
    return _CONTROL.sub("?", text)
