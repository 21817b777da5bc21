"""A network in a folder: compacted, described, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple

from sparsity.export import to_onnx, to_safetensors, to_scipy
from sparsity.export.compaction import compact, unread_inputs
from sparsity.export.network import Network

FORMATS: Final[dict[str, Any]] = {"safetensors": to_safetensors, "scipy": to_scipy, "onnx": to_onnx}
"""Modules with `files(network, about)` and `dense_bytes(network)`."""
CARD: Final = "export.json"
"""What the files of a folder are, by whose words a later export knows its own."""


class Occupied(ValueError):
    """A folder that holds something else. The message says what, and what to do."""


class Exported(NamedTuple):
    """What was written, and of what."""

    folder: Path
    sizes: dict[str, int]
    """Bytes of each file of the format."""
    dense_bytes: int
    """Of the same network in whole matrices, in the same format."""
    before: Network
    network: Network
    """As it was written."""
    about: dict[str, Any]


def export(
    network: Network,
    folder: str | os.PathLike[str],
    to: str,
    *,
    compacted: bool = True,
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    dtype: str = "float32",
    about: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a network as `to` (`safetensors`, `scipy` or `onnx`), in float32, into a folder of its own.

    `low` and `high` are the bounds of the environment's actions and `dtype` their type, None where nobody knows them;
    `about` is any JSON, kept in the files. Equal networks and words give equal bytes. Unexportable, or Occupied, before
    anything is written; a folder that an export of the same `run`, or else with the same words, has written is written
    anew.
    """
    if to not in FORMATS:
        raise ValueError(f"no format named {to!r}. Known: {', '.join(FORMATS)}")
    if any(bound is not None and len(bound) != network.action_size for bound in (low, high)):
        raise ValueError(f"low and high must have a bound for each of the {network.action_size} numbers of an action")
    written = (compact(network) if compacted else network).single_precision()
    words = dict(about or {})
    told = words | _described(network, written, low, high, dtype)
    files: dict[str, bytes] = FORMATS[to].files(written, told)
    card = {"format": to, "compacted": compacted, "words": words, "about": told}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    card_bytes = (json.dumps(card | {"sha256": hashes}, indent=1) + "\n").encode()
    _write(Path(folder), {CARD: card_bytes} | files, card)
    sizes = {name: len(data) for name, data in files.items()}
    return Exported(Path(folder), sizes, FORMATS[to].dense_bytes(network.single_precision()), network, written, told)


def _described(
    network: Network, written: Network, low: Sequence[float] | None, high: Sequence[float] | None, dtype: str
) -> dict[str, Any]:
    """What a reader needs to use the network, and what became of it."""
    return {
        "observation_size": network.observation_size,
        "action_size": network.action_size,
        "activations": [layer.activation for layer in written.layers],
        "low": None if low is None else [float(bound) for bound in low],
        "high": None if high is None else [float(bound) for bound in high],
        "dtype": dtype,
        "rescale": "clip(low + (action + 1) / 2 * (high - low), low, high)",
        "kept": network.connections / network.weights,
        "units": list(written.units),
        "units_before": list(network.units),
        "unread_inputs": unread_inputs(written),
        "versions": {name: _version(name) for name in ("sparsity-rl", "torch", "numpy")},
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _write(folder: Path, files: Mapping[str, bytes], card: Mapping[str, Any]) -> None:
    """A new folder appears with all of its files; in an empty one, or one of our own, each appears whole."""
    if folder.exists():
        _check_own(folder, card)
        for name, data in files.items():  # The card first: by it a later export knows the folder, whatever happens now.
            _replace(folder / name, data)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        made.mkdir()
        for name, data in files.items():
            _write_synced(made / name, data)
        os.rename(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        _write_synced(beside, data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _check_own(folder: Path, card: Mapping[str, Any]) -> None:
    """Occupied unless it is empty, or an export of the same network, format and compaction wrote it."""
    if not folder.is_dir():
        raise Occupied(f"{folder} is a file: give another folder")
    if not any(folder.iterdir()):
        return
    try:
        found = json.loads((folder / CARD).read_bytes())
        own = _identity(found) == _identity(json.loads(json.dumps(card)))
    except (OSError, ValueError, KeyError, TypeError):
        raise Occupied(f"{folder} is not empty and holds no export: give another folder") from None
    if not own:
        run = found["words"].get("run", "another network") if isinstance(found["words"], dict) else "another network"
        how = "compacted" if found["compacted"] else "not compacted"
        raise Occupied(
            f"{folder} holds another export: {run} as {found['format']}, {how}. Remove it, or give another folder"
        )


def _identity(card: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells exports apart. Of a run other words may change, as what studies call its method does."""
    words = card["words"]
    run = words.get("run") if isinstance(words, dict) else None
    return card["format"], card["compacted"], words if run is None else run
