"""Files that are whole or not there."""

import os
import uuid
from pathlib import Path


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """A temporary name in the same folder, synced, then moved into place and the folder synced.

    Whoever reads `path` finds the old content or the new, whenever the machine stops.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Let the names in a folder outlive a crash of the machine."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
