"""Checkpoints: generations of a run's state on disk, of which the newest whole one counts.

A generation is a folder `<step>/` with `state.json`, `tensors.safetensors` and a sealed `manifest.json` that holds the
SHA-256 of both and of every chunk. Large tensors are cut into chunks named by their hash, shared by the generations: a
replay buffer that only grows is written once. A generation is written under a temporary name, synced, and moved into
place; then the one before the previous is deleted. No pickle is written or read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rl.files import make_folder, sync, write_atomically
from studies.attempts import generations
from studies.sealed import read_sealed, write_sealed
from studies.tree import pack, unpack

FORMAT: Final = 1
STATE: Final = "state.json"
TENSORS: Final = "tensors.safetensors"
MANIFEST: Final = "manifest.json"
CHUNKS: Final = "chunks"
LARGE: Final = 2**20
"""Tensors of at least so many bytes are cut into chunks."""
CHUNK: Final = 2**22
KEPT: Final = 2
_DIGEST: Final = re.compile("[0-9a-f]{64}")


class Loaded(NamedTuple):
    """A state as it was saved."""

    state: Any
    about: Mapping[str, Any]
    """What was said of it at the time, its `step` with it."""
    folder: Path


class Checkpoints:
    """The generations in a folder that nobody else writes to.

    `lenders` are folders of earlier generations, read only: chunks that are there already are linked, not written anew.
    """

    def __init__(self, folder: Path, lenders: Iterable[Path] = ()) -> None:
        self._folder, self._lenders = folder, tuple(lenders)
        self._chunks: dict[str, set[str]] = {}

    def save(self, state: Any, about: Mapping[str, Any], step: int) -> Path:
        """A new generation, durable when this returns; the newest two stay, and a step is saved once.

        OSError if it cannot be written: what was there before is there still.
        """
        name, temporary = f"{step:012d}", self._folder / f"{step:012d}.tmp"
        if name in self._chunks:
            return self._folder / name
        self._open()
        _remove(temporary)
        temporary.mkdir()
        words, tensors = pack(state)
        small, large = {}, {}
        for number, tensor in enumerate(tensors):
            if tensor.nbytes < LARGE:
                small[str(number)] = tensor.clone()  # safetensors takes no two tensors of one storage.
            else:
                large[str(number)] = self._cut(tensor)
        sync(self._folder / CHUNKS)
        whole = {"words": words, "large": large}
        files = {STATE: json.dumps(whole, separators=(",", ":")).encode(), TENSORS: save(small)}
        for file, content in files.items():
            write_atomically(temporary / file, content)
        chunks = {digest for value in large.values() for digest in value["chunks"]}
        listed = {
            "format": FORMAT,
            "about": {**about, "step": step},
            "files": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
            "chunks": sorted(chunks),
        }
        write_sealed(temporary / MANIFEST, listed)
        _remove(self._folder / name)
        os.replace(temporary, self._folder / name)
        sync(self._folder)
        self._chunks[name] = chunks
        self._sweep()
        return self._folder / name

    def _open(self) -> None:
        """The folder of chunks, in here: a link would let the sweep delete files elsewhere."""
        chunks = self._folder / CHUNKS
        if chunks.is_symlink() or not chunks.is_dir():
            _remove(chunks)
            make_folder(chunks)

    def _cut(self, tensor: Tensor) -> dict[str, Any]:
        content = memoryview(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        digests = []
        for start in range(0, len(content), CHUNK):
            piece = content[start : start + CHUNK]
            digests.append(hashlib.sha256(piece).hexdigest())
            self._keep(digests[-1], piece)
        return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "chunks": digests}

    def _keep(self, digest: str, piece: memoryview) -> None:
        """A chunk at its name: there from this object's earlier saves, linked from a lender, or written."""
        path = self._folder / CHUNKS / digest
        if any(digest in chunks for chunks in self._chunks.values()):
            return
        if path.is_dir():
            _remove(path)
        for lent in (lender / CHUNKS / digest for lender in self._lenders):
            if path.exists() or lent.is_symlink():
                continue
            try:
                if hashlib.sha256(lent.read_bytes()).hexdigest() == digest:
                    sync(lent)  # Whoever put it there may have copied it, and the disk not have it yet.
                    os.link(lent, path)
                    return
            except OSError:  # Not there, or on a disk that knows no links.
                continue
        write_atomically(path, piece)

    def _sweep(self) -> None:
        """Delete all but the newest generations, and chunks that none of them names."""
        for old in sorted(self._chunks)[:-KEPT]:
            _remove(self._folder / old)
            del self._chunks[old]
        for entry in self._folder.iterdir():
            if entry.name not in self._chunks and entry.name != CHUNKS:
                _remove(entry)
        used = set().union(*self._chunks.values())
        for chunk in (self._folder / CHUNKS).iterdir():
            if chunk.name not in used:
                _remove(chunk)


def newest(folders: Sequence[Path]) -> tuple[Loaded | None, list[str]]:
    """The last generation that is whole, and what was wrong with each that was passed over.

    Folders from the latest to the earliest; within one the highest step counts.
    """
    complaints: list[str] = []
    for folder in folders:
        try:
            found = generations(folder)
        except OSError as error:
            complaints.append(f"checkpoints in {folder} cannot be looked for: {error}")
            continue
        for generation in reversed(found):
            try:
                return read(generation), complaints
            except (OSError, ValueError) as error:
                complaints.append(f"checkpoint {generation} is not whole: {error}")
    return None, complaints


def damaged_files(folders: Sequence[Path]) -> list[Path]:
    """Files of generations that are not as they were written; folders from the latest to the earliest.

    Folders before one with as many whole generations as are kept are no longer needed: their deletion may have been
    cut short, as may that of a generation that is not the newest and has no manifest.
    """
    found: list[Path] = []
    for folder in folders:
        whole, known = 0, dict[Path, bool]()
        for number, generation in enumerate(reversed(generations(folder))):
            if number and not os.path.lexists(generation / MANIFEST):
                continue
            damaged = _damaged(generation, known)
            whole += not damaged
            found += [file for file in damaged if file not in found]
        if whole >= KEPT:
            break
    return found


def _damaged(generation: Path, known: dict[Path, bool]) -> list[Path]:
    """Files of one generation. `known` are those of others that were looked at: they share chunks."""
    try:
        manifest = _manifest(generation)
    except (OSError, ValueError):
        return [generation / MANIFEST]
    chunks = {generation.parent / CHUNKS / digest: digest for digest in manifest["chunks"]}
    files = {generation / file: digest for file, digest in manifest["files"].items()} | chunks
    for path, digest in files.items():
        if path not in known:
            try:
                _checked(path, digest)
                known[path] = True
            except (OSError, ValueError):
                known[path] = False
    return [path for path in files if not known[path]]


def _manifest(generation: Path) -> dict[str, Any]:
    """What a generation is made of. ValueError unless it is the one of that name, and names nothing outside."""
    path = generation / MANIFEST
    if path.is_symlink():
        raise ValueError(f"{path} is a link")
    manifest = read_sealed(path)
    try:
        if manifest["format"] != FORMAT:
            raise ValueError(f"{generation} has format {manifest['format']}, and this version reads {FORMAT}")
        if manifest["about"]["step"] != int(generation.name):
            raise ValueError(f"{generation} holds step {manifest['about']['step']}: it was copied or renamed")
        if {*manifest["files"]} != {STATE, TENSORS} or not all(map(_DIGEST.fullmatch, manifest["chunks"])):
            raise ValueError(f"{path} names files that are none of a checkpoint")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{generation} cannot be read: {type(error).__name__} {error}") from error
    return manifest


def read(generation: Path) -> Loaded:
    """A generation with every byte checked. ValueError or OSError, naming the file, if it is not what was written."""
    manifest = _manifest(generation)
    try:
        content = {file: _checked(generation / file, digest) for file, digest in manifest["files"].items()}
        whole, small = json.loads(content[STATE]), load(content[TENSORS])
        count = len(small) + len(whole["large"])
        tensors = [
            small[str(number)] if str(number) in small else _joined(generation.parent, whole["large"][str(number)])
            for number in range(count)
        ]
        return Loaded(unpack(whole["words"], tensors), manifest["about"], generation)
    except (SafetensorError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{generation} cannot be read: {type(error).__name__} {error}") from error


def _joined(folder: Path, cut: Mapping[str, Any]) -> Tensor:
    dtype = getattr(torch, cut["dtype"])
    files = {digest: folder / CHUNKS / digest for digest in cut["chunks"] if _DIGEST.fullmatch(digest)}
    length = math.prod(cut["shape"]) * dtype.itemsize
    # Before so much memory is asked for.
    if sum(files[digest].stat().st_size for digest in cut["chunks"]) != length:
        raise ValueError(f"chunks in {folder / CHUNKS} are not as long as the tensor {cut['shape']}")
    content = bytearray(length)
    at = 0
    for digest in cut["chunks"]:
        piece = _checked(files[digest], digest)
        content[at : at + len(piece)] = piece
        at += len(piece)
    return torch.frombuffer(content, dtype=dtype).reshape(cut["shape"])


def _checked(path: Path, digest: str) -> bytes:
    if path.is_symlink() or path.parent.is_symlink():
        raise ValueError(f"{path} is reached by a link")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} is not as it was written")
    return content


def _remove(path: Path) -> None:
    """Delete what is there, so that a half of it never looks whole: a folder's manifest goes first."""
    if path.is_dir() and not path.is_symlink():
        if not (path / MANIFEST).is_dir():
            (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
