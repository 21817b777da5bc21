"""Every run of a study, a line each with its id: the scores that all else is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from studies.formats import Cells, Sheet, csv_text
from studies.outcome import Outcome
from studies.problems import clean
from studies.statistics import score, standing
from studies.table import WRITERS, Format, heading
from studies.words import ABSENT, number

HEAD: Final = ("row", "density", "where", "seed", "state", "score", "seconds", "run")
LEFT: Final = ("row", "where", "state", "run")


def every_run(outcomes: Sequence[Outcome], *, format: Format = "text") -> str:  # noqa: A002 - the name that users type
    """A line a run, in the study's order; a run that is not done has no score. CSV has the numbers themselves."""
    if format != "csv":
        return WRITERS[format](runs_sheet(outcomes))
    return csv_text(HEAD, (_numbers(run) for run in outcomes))


def runs_sheet(outcomes: Sequence[Outcome]) -> Sheet:
    """The same in words."""
    return Sheet("", HEAD, [("", [_cells(run) for run in outcomes])], [], left=LEFT)


def _cells(run: Outcome) -> Cells:
    return (
        clean(run.label),
        ABSENT if run.density is None else f"{run.density:g}",
        heading(run),
        str(run.seed),
        standing(run),
        number(score(run), 1) if standing(run) == "done" else ABSENT,
        number(run.seconds),
        run.run,
    )


def _numbers(run: Outcome) -> tuple[object, ...]:
    done = standing(run) == "done"
    return (
        *(run.label, run.density, heading(run), run.seed, standing(run)),
        *(score(run) if done else None, run.seconds, run.run),
    )
