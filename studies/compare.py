"""Methods against each other: every row of a study with the reference row of its environment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np

from studies.aggregate import holm, probability_of_improvement
from studies.difference import Difference, difference, permutation
from studies.outcome import Outcome
from studies.statistics import Row, score, standing, summary

Test = Literal["welch", "permutation"]

DENSE: Final = "dense"
NAN: Final = float("nan")


@dataclass(frozen=True)
class Comparison:
    """A row of a study against the reference row of its environment; `failed` are runs without a score.

    Where either side has fewer than two scores the numbers are nan, and the row is listed with its failures.
    """

    row: Row
    reference: Row
    difference: Difference
    """With Welch's interval, and p by the test that was asked for."""
    adjusted: float
    """p after Holm's correction over the environments of this row's agent, label, density and axes.

    An environment without a p value counts in the family as p = 1, so that runs which fail relax no test.
    """
    better: float
    """P(a run of the row beats one of the reference), ties by half."""
    failed: int
    reference_failed: int


def comparisons(outcomes: Iterable[Outcome], *, against: str = DENSE, test: Test = "welch") -> list[Comparison]:
    """Every other row against the row labelled `against` of its agent, environment and, if several, axes and density.

    p values are corrected by Holm (1979) over the environments of a method, the family in which it is judged. Left
    out are only rows of an agent and environment in which no reference was planned, or several and none of the
    row's density.

    Seeds are never paired. Where they correlate this is cautious: at r = 0.3 and ten seeds, 2.2 % of equal methods
    are told apart. To pair where their scores seem to correlate (p < 0.05) would not be: the rows it takes are those
    whose spread came out small, and of them 20 % are told apart where seeds have nothing in common, so that with
    Holm's correction over ten environments 6.1 % of studies err (six seeds: 6.6 %) for Welch's 4.3 %.
    """
    if test not in get_args(Test):
        raise ValueError(f"no test named {test!r}. Known: {', '.join(get_args(Test))}")
    rows = summary(outcomes)
    if not any(row.label == against for row in rows):
        known = ", ".join(dict.fromkeys(row.label for row in rows)) or "none"
        raise ValueError(f"no row is labelled {against!r} to compare with. Known: {known}")
    others = [(row, reference_of(row, rows, against)) for row in rows if row.label != against]
    return _corrected([_compared(row, reference, test) for row, reference in others if reference is not None])


def reference_of(row: Row, rows: Sequence[Row], label: str) -> Row | None:
    """The row labelled so of the same agent and environment: the one of the same axes and density, or the only one.

    None where there is none, and where there are several of which none has the row's density: which is meant, nobody
    can say, as of a dense row beside a method at two densities.
    """
    if row.label == label:
        return row
    known = [one for one in rows if (one.label, one.agent, one.env) == (label, row.agent, row.env)]
    same = [one for one in known if one.axes == row.axes] if len(known) > 1 else known
    if known and not same:
        raise ValueError(
            f"{len(known)} rows are labelled {label!r} for {row.agent} on {row.env}, and 0 of them have the axes "
            f"{dict(row.axes)} of {row.label}; one must: give only the outcomes of one reference"
        )
    near = [one for one in same if one.density == row.density] if len(same) > 1 else same
    return near[0] if near else None


def reference_label(rows: Sequence[Row]) -> str | None:
    """The first label that is dense in all of its rows: without a density, and with all weights as trained."""
    sparse = {row.label for row in rows if row.density is not None or (row.realised or 1.0) < 1.0}
    return next((row.label for row in rows if row.label not in sparse), None)


def scores_by_seed(outcomes: Iterable[Outcome]) -> dict[int, float]:
    """Scores of the runs that have one, by seed."""
    return {run.seed: score(run) for run in outcomes if standing(run) == "done"}


def _compared(row: Row, reference: Row, test: Test) -> Comparison:
    a, b = (sorted(score(run) for run in side.finished) for side in (row, reference))
    known = min(len(a), len(b)) > 1
    found = difference(a, b) if known else Difference(NAN, NAN, NAN, NAN, paired=False)
    if known and test == "permutation":
        found = replace(found, p=permutation(a, b))
    return Comparison(
        row=row,
        reference=reference,
        difference=found,
        adjusted=NAN,
        better=float(probability_of_improvement([a], [b], resamples=1).point) if known else NAN,
        failed=row.failed + row.diverged,
        reference_failed=reference.failed + reference.diverged,
    )


def _corrected(made: Sequence[Comparison]) -> list[Comparison]:
    families: dict[tuple[object, ...], list[int]] = {}
    for place, one in enumerate(made):
        key = (one.row.agent, one.row.label, one.row.density, tuple(sorted(one.row.axes.items())))
        families.setdefault(key, []).append(place)
    p = np.array([one.difference.p for one in made])
    adjusted = np.full(len(made), np.nan)
    for places in families.values():
        adjusted[places] = holm(np.nan_to_num(p[places], nan=1.0))
    adjusted[np.isnan(p)] = np.nan
    return [replace(one, adjusted=float(value)) for one, value in zip(made, adjusted, strict=True)]
