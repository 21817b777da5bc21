"""Docstrings here are plain text with `names` in backticks: |w| is a formula, and no substitution."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

NAMES = re.compile(r"(``.*?``|`[^`]+`)")


def plain(line: str) -> str:
    """A line of text as reStructuredText that reads the same."""
    if line.startswith("    ") or not line.strip():
        return line
    pieces = NAMES.split(line)
    return "".join(f"``{piece.strip('`')}``" if n % 2 else _escaped(piece) for n, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|`]|_(?=\W|$))", r"\\\1", text)


def read_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Lines in place; what Python itself says of the fields of named tuples is left out."""
    lines[:] = [plain(line) for line in lines if not line.startswith("Alias for field number")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", read_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
