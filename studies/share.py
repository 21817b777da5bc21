"""A study copied into another store, to be given away: whole, or without its weights, which are most of its bytes."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from studies.premises import unsafe
from studies.problems import BadInput
from studies.sealed import read_sealed, write_sealed
from studies.store import CELLS, MANIFEST, STUDY, WEIGHTS, Damaged, Store, run_ids

LEFT_OUT: Final = "left_out"
"""Of a manifest: hashes of the files that a copy was made without."""


def share(store: Store, name: str, target: Store, *, weights: bool = False) -> int:
    """Copy a study's file, its list of runs and its finished runs, donors among them; how many of these there are now.

    Every file is compared with its hash first: Damaged where one is not as written. Without `weights` a run's manifest
    says what it was left without, and the copy verifies, gives tables and figures, and is not run again. Runs that the
    target has stay as they are there, but that `weights` brings those which it was left without. BadInput for a target
    that holds another study of that name.
    """
    runs = sorted(run_ids(store.cells(name)))
    if target.root.resolve() == store.root.resolve():
        raise BadInput(f"--to {target.root} is the store itself: give another folder")
    problems = unsafe(target.root, [target.study_folder(name), *map(target.run_folder, runs)])
    if not problems and (target.study_folder(name) / CELLS).is_file():
        others = run_ids(target.cells(name)) - set(runs)
        problems = [f"{target.root} has another study named {name!r}, with {len(others)} other runs"] if others else []
    if problems:
        raise BadInput(*problems)
    finished = [run for run in runs if store.is_finished(run)]
    damaged = [file for run in finished for file in store.verify(run)] + store.verify_file(name)
    if damaged:
        raise Damaged(f"not as written: {', '.join(damaged)}")
    for run in finished:
        if not target.is_finished(run) or (weights and store.files(run) - target.files(run)):
            copy_run(store.run_folder(run), target.run_folder(run), set() if weights else {WEIGHTS})
    folder = target.study_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(store.study_folder(name) / STUDY, folder / STUDY)
    shutil.copyfile(store.study_folder(name) / CELLS, folder / CELLS)
    return len(finished)


def copy_run(folder: Path, into: Path, leave_out: Collection[str] = ()) -> None:
    """A finished run's files, its manifest last."""
    manifest = read_sealed(folder / MANIFEST)
    into.mkdir(parents=True, exist_ok=True)
    left = {file: digest for file, digest in manifest["files"].items() if file in leave_out}
    for file in manifest["files"].keys() - left.keys():
        shutil.copyfile(folder / file, into / file)
    if left:
        kept = {key: {f: v for f, v in manifest[key].items() if f not in left} for key in ("files", "bytes")}
        manifest |= {**kept, LEFT_OUT: {**manifest.get(LEFT_OUT, {}), **left}}
    write_sealed(into / MANIFEST, manifest)
