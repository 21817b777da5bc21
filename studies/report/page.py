"""A study as one page in HTML, whole in itself: what was asked, what it shows, tables, figures, and how it was made."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rl.files import write_atomically
from studies.compare import reference_label
from studies.every_run import runs_sheet
from studies.figures.page import NothingToDraw
from studies.formats import FALLEN, Sheet, template
from studies.outcome import Clock, Outcome, by_clock
from studies.outcomes import WORLD_KEYS, collect
from studies.plot import figures_of
from studies.problems import BadInput, clean, visible
from studies.read import read_file
from studies.report import setting
from studies.report.findings import findings
from studies.reported import reported
from studies.statistics import standing, summary
from studies.store import STUDY, WORLD, Store
from studies.study import RANDOM_POLICY
from studies.table import blocks, heading, sheet
from studies.versus import versus_sheet
from studies.words import ABSENT, row_name

REPORT: Final = "report.html"
CAPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "learning-curves": ("Learning curves", "Return against environment steps: who learns with fewer samples."),
    "learning-curves-by-time": (
        "Learning curves by time",
        "The same against seconds of training: who learns sooner on the clock.",
    ),
    "sparsity-against-return": ("Return against density", "How much of a network a method can do without."),
    "return-against-flops": ("Return against FLOPs", "What arithmetic buys, as it is counted."),
    "return-against-seconds": (
        "Return against time",
        "What time buys, as it was measured: up and to the left is better.",
    ),
    "performance-profiles": (
        "Performance profiles",
        "The share of runs above each score: a curve above another is better.",
    ),
    "probability-of-improvement": (
        "Probability of improvement",
        "How often a run of a method would beat one of the dense agent; 0.5 is a coin.",
    ),
    "layer-densities": ("Layer densities", "Where the connections are: the active share of each sparse layer."),
    "mask-churn": ("Mask churn", "How many connections were replaced, as a share of those that are active."),
    "topology": (
        "Topology over time",
        "One run's connections: of the start, grown since, gone since.",
    ),
    "survival": ("Survival", "The share of the first connections that are still there."),
}
"""Title and sentence of each figure."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it, or the reason why there is none."""

    title: str
    caption: str
    sources: Sequence[str]
    """Data URIs of its pages."""
    reason: str = ""


def write_report(store: Store, name: str, *, clock: Clock = "wall") -> Path:
    """The report of a stored study, beside its tables and figures, which are drawn anew.

    Whatever the store holds gives a page: what cannot be shown has its reason there. Equal stores give equal bytes.
    """
    path = store.study_folder(name) / REPORT
    write_atomically(path, page(store, name, clock=clock).encode())
    return path


def page(store: Store, name: str, *, clock: Clock = "wall") -> str:
    """The report's text."""
    measured, baseline = collect(store, name)
    outcomes = by_clock(measured, clock)
    rows = summary(outcomes, baseline)
    runs = _contents(store, name)
    return template("report.html").render(
        name=clean(name),
        question=clean(_question(store, name)),
        findings=findings(outcomes, baseline),
        table=sheet(blocks(rows, baseline), reported=reported(store, name)),
        versus=_versus(outcomes, reference_label(rows)),
        pictures=_pictures(store, name, outcomes, baseline),
        plan=setting.plan([contents for _, contents in runs]),
        agents=setting.agents([contents for _, contents in runs]),
        methods=setting.rows_sheet(runs),
        brought=setting.brought(contents for _, contents in runs),
        worlds=_worlds(store, name),
        runs=runs_sheet(outcomes),
        failures=_failures(outcomes),
        file=_file(store, name),
        fallen=FALLEN,
        absent=ABSENT,
    )


def _file(store: Store, name: str) -> str:
    if store.verify_file(name):
        return "It is missing, or not as it was written, as `sparsity study verify` tells."
    return visible((store.study_folder(name) / STUDY).read_text("utf-8", "replace"))


def _question(store: Store, name: str) -> str:
    try:
        return str(read_file(store.study_folder(name) / STUDY).get("question", ""))
    except BadInput:  # Damaged, which `study verify` tells.
        return ""


def _versus(outcomes: Sequence[Outcome], reference: str | None) -> Sheet:
    if reference is None:
        return Sheet("", (), [], ["There is no dense row to compare with."])
    try:
        return versus_sheet(outcomes, reference)
    except (BadInput, ValueError) as error:
        return Sheet("", (), [], [clean(str(error))])


def _pictures(store: Store, name: str, outcomes: Sequence[Outcome], baseline: Any) -> list[Picture]:
    folder = store.study_folder(name)
    pictures = []
    for stem, figure in figures_of(store, outcomes, baseline).items():
        title, caption = CAPTIONS.get(stem, (stem.replace("-", " ").capitalize(), ""))
        try:
            paths = figure(folder / stem, title="")
        except NothingToDraw as reason:
            pictures.append(Picture(title, caption, [], clean(str(reason))))
            continue
        pictures.append(Picture(title, caption, [_inline(path) for path in paths if path.suffix == ".png"]))
    return pictures


def _inline(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _contents(store: Store, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Label and contents of every run that the store has whole, the random policy's left out; a run once a row."""
    found = []
    for label, run in dict.fromkeys((cell["label"], cell["run"]) for cell in store.cells(name)):
        try:
            contents = store.load_run(run).contents()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if label != RANDOM_POLICY:
            found.append((label, contents))
    return found


def _worlds(store: Store, name: str) -> list[str]:
    """The worlds of the finished runs: versions, threads, device."""
    told: dict[str, None] = {}
    for run in dict.fromkeys(cell["run"] for cell in store.cells(name)):
        try:
            world = json.loads((store.run_folder(run) / WORLD).read_text())
            told[", ".join(f"{key} {world[key]}" for key in WORLD_KEYS if key in world)] = None
        except (OSError, ValueError, TypeError):
            continue
    return [clean(text) for text in told]


def _failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Every run that failed or diverged, with its cause."""
    return [
        f"{row_name(run)}, {heading(run)}, seed {run.seed}: {standing(run)}{f', {clean(run.note)}' if run.note else ''}"
        for run in outcomes
        if standing(run) in ("failed", "diverged")
    ]
