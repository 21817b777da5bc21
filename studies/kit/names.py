"""The names of a new plugin: its distribution, module and part, checked before anything is written."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from registry import KINDS, Registry, nearest
from studies.kit.installed import points
from studies.problems import BadInput

PREFIXES: Final = ("sparsity-rl-", "sparsity-")
"""What the name of a distribution may begin with, to be found among others; the part's name leaves it out."""


class Names(NamedTuple):
    """What a new plugin is called, and where it is written."""

    distribution: str
    module: str
    part: str
    kind: str
    folder: Path


def names(name: str, kind: str, to: Path | None, registry: Registry, part: str | None = None) -> Names:
    """All names that follow from one; `part` if that has its name already. BadInput, with every problem, for what
    cannot be a plugin's."""
    if kind not in KINDS:
        raise BadInput(f"--kind {kind}: no such kind. {nearest(kind, KINDS)}Kinds: {', '.join(KINDS)}")
    if not name:
        raise BadInput("name the plugin: `sparsity plugin new warm` writes the folder warm with a package in it")
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name) or len(name) > 60:
        raise BadInput(
            f"{name!r} cannot be a distribution and a module: lower-case letters and digits, a letter first, words "
            f"joined by - or _, at most 60 characters{_mended(name)}"
        )
    module, own = name.replace("-", "_"), _without_prefix(name).replace("-", "_")
    made = Names(name, module, part or own, kind, to if to is not None else Path(name))
    problems = [*_of_module(made), *([] if part else _of_part(made, registry)), *_of_folder(made.folder)]
    if problems:
        raise BadInput(*problems)
    return made


def _mended(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.lower())
    mended = "-".join(words).lstrip("0123456789-")[:60]
    return f". Say, {mended}" if mended else ""


def _without_prefix(name: str) -> str:
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix) and name != prefix), "")
    return name.removeprefix(prefix)


def _of_module(made: Names) -> list[str]:
    if keyword.iskeyword(made.module) or keyword.iskeyword(made.part):
        return [f"{made.distribution!r} is a word of Python's: choose another name"]
    other = f"choose another name, sparsity-rl-{_without_prefix(made.distribution)} say"
    if made.module in sys.stdlib_module_names:
        return [f"a module {made.module!r} would stand in front of Python's own: {other}"]
    try:
        found = importlib.util.find_spec(made.module)
    except (ImportError, ValueError):
        found = None
    # What lies in the working folder is not installed: the file, say, that the package is made from.
    if found is not None and found.origin is not None and Path(found.origin).parent != Path.cwd():
        return [f"a module {made.module!r} is installed already, at {found.origin}: {other}"]
    try:
        taken = metadata.distribution(made.distribution)
    except metadata.PackageNotFoundError:
        return []
    return [f"a distribution {taken.name} {taken.version} is installed already: {other}"]


def _of_part(made: Names, registry: Registry) -> list[str]:
    problems = []
    kinds = ("trace", "grow") if made.kind == "trace" else (made.kind,)
    for kind in kinds:
        origins = [str(entry.origin) for entry in registry.entries(kind) if entry.name == made.part]
        problems += [
            f"a {kind} {made.part!r} is registered already, by {origin}: choose another name" for origin in origins
        ]
    if made.part in KINDS[made.kind].inputs:
        problems.append(f"{made.part!r} is an input of a {made.kind} part: choose another name")
    same = [point for point in points() if point.name == made.part]
    problems += [
        f"an installed plugin is called {made.part!r} already, {point.value}: choose another name" for point in same
    ]
    return problems


def _of_folder(folder: Path) -> list[str]:
    if folder.exists() or folder.is_symlink():
        return [f"{folder} exists already: choose another name, or another folder by --to"]
    if not folder.resolve().parent.is_dir():
        return [f"{folder} would be made in {folder.resolve().parent}, which is no folder: make it first"]
    return []
