"""Files that are whole or not there, and that outlive a crash of the machine."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """A temporary name in the same folder, synced, then moved into place and the folder synced.

    Whoever reads `path` finds the old content or the new, whenever the machine stops. Every OSError names a path.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with _named(path), open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """A folder, of that mode if it is new, and those that lead to it, whose names outlive a crash of the machine."""
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(mode, exist_ok=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Let the bytes of a file, or the names in a folder, outlive a crash of the machine."""
    with _named(path):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What fails on an open file names no path: it gets this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
