"""JSON that carries the hash of itself: whoever reads it knows whether it is what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rl.files import write_atomically
from studies.contents import canonical

SEAL: Final = "sha256"


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object with the SHA-256 of its canonical JSON under `sha256`: the whole file or nothing."""
    write_atomically(path, _bytes(value, _seal(value)))


def read_sealed(path: Path) -> dict[str, Any]:
    """The object without its seal. ValueError unless the file is, byte for byte, what `write_sealed` wrote."""
    data = path.read_bytes()
    try:
        value: dict[str, Any] = json.loads(data)
        seal = value.pop(SEAL)
        # Compared as bytes: a space more, or an escape for a letter, would leave the value and its seal as they were.
        whole = seal == _seal(value) and data == _bytes(value, seal)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not as it was written: {type(error).__name__}") from None
    if not whole:
        raise ValueError(f"{path} is not as it was written: its seal is broken")
    return value


def _bytes(value: Mapping[str, Any], seal: str) -> bytes:
    return (canonical({**value, SEAL: seal}) + "\n").encode()


def _seal(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()
