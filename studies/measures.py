"""Curves of what the diagnostics of a study's runs tell: one figure a network, the rows beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry import nearest
from studies.diagnostics import read
from studies.figures.curves import learning_curves
from studies.figures.page import NothingToDraw
from studies.outcome import Outcome
from studies.outcomes import collect
from studies.store import Store
from studies.study import RANDOM_POLICY

if TYPE_CHECKING:
    import pandas as pd


def plot_measure(store: Store, name: str, measure: str) -> list[Path]:
    """Write a figure of a measure for every network that has it; of its layers the mean.

    NothingToDraw where no run has diagnostics, or none has that measure; the message names those that there are.
    """
    frames = dict(_frames(store, name))
    if not frames:
        raise NothingToDraw("no run has diagnostics: run the study with --diagnostics")
    known = sorted({one for frame in frames.values() for one in frame.measure})
    if measure not in known:
        raise NothingToDraw(f"no measure {measure!r}. {nearest(measure, known)}Known: {', '.join(known)}")
    outcomes, _ = collect(store, name)
    cells = [cell for cell in store.cells(name) if cell["label"] != RANDOM_POLICY]
    runs = [(outcome, frames.get(cell["run"])) for outcome, cell in zip(outcomes, cells, strict=True)]
    of = {frame: rows[rows.measure == measure] for frame, rows in frames.items()}
    learners = list(dict.fromkeys(one for rows in of.values() for one in rows.learner))
    paths: list[Path] = []
    for learner in learners:
        curves = [curve for outcome, frame in runs if (curve := _curve(outcome, frame, learner, measure)) is not None]
        stem = store.study_folder(name) / "-".join(filter(None, ("measure", measure, learner)))
        whose = f" of the {learner}" if learner else ""
        said = measure.replace("_", " ")
        paths += learning_curves(curves, {}, stem, title=f"{name}: {said}{whose}", height=said)
    return paths


def _frames(store: Store, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    for run_id in dict.fromkeys(cell["run"] for cell in store.cells(name)):
        if store.is_finished(run_id):
            try:
                yield run_id, read(store.run_folder(run_id))
            except FileNotFoundError:
                continue


def _curve(outcome: Outcome, frame: pd.DataFrame | None, learner: str, measure: str) -> Outcome | None:
    """The outcome with the measure in the place of its returns, missing without diagnostics; None for a network that
    has no such measure, as a dense one has no topology."""
    if frame is None or outcome.status != "done":
        return replace(outcome, status="missing")
    rows = frame[(frame.learner == learner) & (frame.measure == measure)]
    if rows.empty:
        return None
    means = rows.groupby("step").value.mean()
    return replace(outcome, steps=means.index.to_numpy(), returns=means.to_numpy())
