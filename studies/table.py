"""The table of a study: sparsity against return, as text, Markdown, LaTeX, HTML or CSV.

A block for each environment (and agent, and value of the study's further axes); in it dense first, then
falling density, the random policy last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, get_args

from studies.formats import FALLEN, Block, Cells, Sheet, comma_separated, html, latex, markdown, text
from studies.outcome import Outcome
from studies.problems import clean
from studies.reported import Reported, score_of
from studies.statistics import NO_BASELINE, Baseline, Interval, RandomPolicy, Row, random_policy, summary, tally
from studies.words import ABSENT, RANDOM, busy, clock_of, evaluations, number

Format = Literal["text", "markdown", "latex", "html", "csv"]

HEAD: Final[Cells] = (
    *("method", "density", "kept %", "parameters", "FLOPs", "return", "reported", "LCA", "reported LCA"),
    *("n", "seconds"),
)


def table(
    outcomes: Iterable[Outcome],
    baseline: Baseline = NO_BASELINE,
    *,
    format: Format = "text",  # noqa: A002 - the name that users type
    title: str = "",
    seconds: bool = True,
    reported: Reported | None = None,
) -> str:
    """Density, weights kept, parameters and FLOPs against return with its 95 % interval, a line for each row.

    Whatever the store holds gives a table: unfinished and failed runs are counted in it. `seconds=False`
    leaves out the time, the one column that differs between equal studies. What a publication `reported` stands beside
    the rows and environments that it is of. CSV carries every number at full precision, the statistic's name in each
    line, and no title.
    """
    known = get_args(Format)
    if format not in known:
        raise ValueError(f"no table format named {format!r}. Known: {', '.join(known)}")
    found = blocks(summary(outcomes, baseline), baseline)
    if format == "csv":
        return comma_separated(found, seconds, reported)
    return WRITERS[format](sheet(found, title=title, seconds=seconds, reported=reported))


def blocks(rows: Sequence[Row], baseline: Baseline = NO_BASELINE) -> list[Block]:
    """Rows by (agent, env, axes) in order of first appearance; inside dense first, then falling density."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.agent, row.env, tuple(sorted(row.axes.items()))), []).append(row)
    return [
        (heading(group[0]), sorted(group, key=_by_density), random_policy(group[0].env, baseline))
        for group in groups.values()
    ]


def heading(row: Row | Outcome) -> str:
    """Where a row belongs: "HalfCheetah-v5, td3, hidden = 256"."""
    axes = [f"{clean(name)} = {clean(value)}" for name, value in sorted(row.axes.items())]
    return ", ".join([*filter(None, (clean(row.env), clean(row.agent))), *axes])


def notes(rows: Sequence[Row]) -> list[str]:
    """Sentences that belong beside the numbers: how a return is made, which statistic, how many runs."""
    kinds = {row.score.kind for row in rows}
    means = [
        *(["mean and 95 % t-interval over seeds (n < 10)"] if "mean, 95 % t" in kinds else []),
        *(["IQM and 95 % bootstrap interval over seeds (n >= 10)"] if "IQM, 95 % bootstrap" in kinds else []),
        *(["the number itself where n = 1"] if "one seed" in kinds else []),
    ]
    said = [f"Return: {evaluations(rows)}{'; ' if means else ''}{', '.join(means)}."]
    if any(row.with_failures for row in rows):
        said.append("Failed as random: the same, failed and diverged runs scored as the random policy.")
    counted = tally(rows)
    return [*said, f"Runs: n = {counted}." if "of" in counted else f"Runs: n = {counted} of {counted}."]


def _by_density(row: Row) -> float:
    return -math.inf if row.density is None else -row.density


def _decimals(rows: Sequence[Row], policy: RandomPolicy | None) -> int:
    """As many as give a block's largest return three significant digits."""
    points = [row.score.point for row in rows if row.done] + ([policy.mean] if policy else [])
    largest = max(map(abs, points), default=0.0)
    return min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 0


def _bounded(interval: Interval, decimals: int) -> str:
    point = number(interval.point, decimals)
    if math.isnan(interval.low):
        return point
    return f"{point} [{number(interval.low, decimals)}, {number(interval.high, decimals)}]"


def _lines(rows: Sequence[Row], policy: RandomPolicy | None, reported: Reported | None) -> list[Cells]:
    """A block's cells as text, not yet escaped, in the order of HEAD."""
    digits = _decimals(rows, policy)
    lines: list[Cells] = []
    for row in rows:
        density = ABSENT if row.density is None else f"{row.density:g}"
        kept = number(None if row.realised is None else 100 * row.realised, 1)
        size = (density, kept, number(row.parameters), number(row.flops, 3))
        theirs, area = _reported(row, reported, digits)
        points = (_bounded(row.score, digits), theirs, number(row.area.point, digits), area)
        lines.append((clean(row.label), *size, *points, tally([row]), number(row.seconds)))
        if row.with_failures:
            count = str(row.planned - row.unfinished)
            lines.append((FALLEN, "", "", "", "", _bounded(row.with_failures, digits), "", "", "", count, ""))
    if policy:
        mean = _give_or_take(policy.mean, None if math.isnan(policy.error) else policy.error, digits)
        lines.append((RANDOM, "", "", "", "", mean, "", "", "", f"{policy.episodes} episodes", ""))
    return lines


def _reported(row: Row, reported: Reported | None, digits: int) -> tuple[str, str]:
    """Return and LCA that were reported of the row's method in its environment; empty where none were."""
    found = score_of(row, reported)
    if found is None:
        return "", ""
    return _give_or_take(found.mean, found.spread, digits), "" if found.area is None else number(found.area, digits)


def _give_or_take(mean: float, spread: float | None, digits: int) -> str:
    return number(mean, digits) + ("" if spread is None else f" ± {number(spread, digits)}")


def sheet(blocks: Sequence[Block], *, title: str = "", seconds: bool = True, reported: Reported | None = None) -> Sheet:
    """The blocks in words: seconds only where they are asked for, what was reported only where it is of a row."""
    shown = [(where, _lines(rows, policy, reported)) for where, rows, policy in blocks]
    empty = {name for place, name in enumerate(HEAD) if not any(line[place] for _, lines in shown for line in lines)}
    left_out = (empty & {"reported", "reported LCA"}) | (set() if seconds else {"seconds"})
    keep = [place for place, name in enumerate(HEAD) if name not in left_out]
    every = [row for _, rows, _ in blocks for row in rows]
    source = [f"Reported: {clean(reported.source)}."] if reported and "reported" not in left_out else []
    return Sheet(
        clean(title),
        tuple(HEAD[place] for place in keep),
        [(where, [tuple(line[place] for place in keep) for line in lines]) for where, lines in shown],
        [*_legend(blocks, seconds), *source, *(busy(every) if seconds else [])],
    )


def _legend(blocks: Sequence[Block], seconds: bool) -> list[str]:
    """The notes, and what the columns mean."""
    columns = "kept %: active share of all weights. FLOPs: of training, dense = 1."
    policy = " Random policy: mean ± standard error over episodes." if any(p for *_, p in blocks) else ""
    every = [row for _, rows, _ in blocks for row in rows]
    timing = f" seconds: median a run, {clock_of(every)}." if seconds else ""
    return [*notes(every), f"{columns} LCA: mean of all evaluations, {_start(every)}.{timing}{policy}"]


def _start(rows: Sequence[Row]) -> str:
    """Whether the first evaluation, of an agent that has learnt nothing, is in the mean; others' runs have none."""
    at_zero = {run.steps[0] == 0 for row in rows for run in row.finished}
    if len(at_zero) > 1:
        return "step 0 included in some runs only, which are not comparable in it"
    return "none at step 0" if at_zero == {False} else "step 0 included"


WRITERS: Final[Mapping[str, Callable[[Sheet], str]]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "html": html,
}
