"""Whether a store may be written: nobody else can plant files in it, and no link in it leads out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from studies.problems import clean


def unsafe(root: Path, folders: Iterable[Path]) -> list[str]:
    """Why nothing should be written into these folders of a store; empty if it may. What is not there yet is safe."""
    if root.exists() and not root.is_dir():
        return [f"store: Not a directory: {clean(str(root))} is a file; choose a folder (--store)"]
    if root.is_dir() and root.stat().st_mode & stat.S_IWOTH:
        where = clean(str(root))
        return [f"store: anybody may write into {where}: take that away (chmod o-w), or choose another (--store)"]
    top = [root / "runs", root / "studies"]
    return [problem for folder in [*top, *folders] for problem in _leading_out(root, folder, deep=folder not in top)]


def leads_out(path: Path, root: Path) -> bool:
    """Whether a path is a link out of a folder."""
    return path.is_symlink() and not path.resolve().is_relative_to(root.resolve())


def _leading_out(root: Path, folder: Path, *, deep: bool) -> Iterator[str]:
    for path in (folder, *(_links(folder) if deep and not folder.is_symlink() else ())):
        if leads_out(path, root):
            yield (
                f"store: {clean(str(path))} is a link out of the store, to {clean(str(path.resolve()))}: nothing is "
                "written through it. Remove it; a store as a whole may lie anywhere (--store)"
            )


def _links(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        yield from (Path(here, name) for name in (*folders, *files) if os.path.islink(os.path.join(here, name)))
