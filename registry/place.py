"""Where things stand in their files, as a reader of an error finds them."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def place(value: Any) -> str:
    """`file.py:12`, where a function or class stands; "" where that is not known. Shown from the working folder."""
    try:
        file, line = inspect.getsourcefile(inspect.unwrap(value)), inspect.getsourcelines(inspect.unwrap(value))[1]
    except (OSError, TypeError):
        return ""
    return f"{nearby(file)}:{line}" if file else ""


def raised_at(error: BaseException, within: str | Path) -> str:
    """The last line of a file that an error came through, as `file.py:12`; "" if it came through none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{nearby(error.filename)}:{error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(within)]
    return f"{nearby(within)}:{lines[-1]}" if lines and within else ""


def nearby(file: str | Path) -> str:
    """A file as a reader finds it: from the working folder, if it is below."""
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def source_file(function: Callable[..., Any]) -> str:
    """The file that a function stands in; "" where that is not known."""
    try:
        return inspect.getsourcefile(inspect.unwrap(function)) or ""
    except TypeError:
        return ""
