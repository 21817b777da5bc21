"""The table of a study: sparsity against return, as text, Markdown, LaTeX or CSV.

A block for each environment (and agent, and value of the study's further axes); in it dense first, then
falling density, the random policy last.
"""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, get_args

from studies.formats import FALLEN, LEFT, Block, Cells, Sheet, comma_separated, latex, markdown
from studies.outcome import Outcome
from studies.problems import clean
from studies.statistics import NO_BASELINE, Baseline, Interval, RandomPolicy, Row, random_policy, summary, tally
from studies.words import ABSENT, RANDOM, evaluations, number, shorten

Format = Literal["text", "markdown", "latex", "csv"]

HEAD: Final[Cells] = ("method", "density", "kept %", "parameters", "FLOPs", "return", "LCA", "n", "seconds")
TEXT_WIDTH: Final = 100
LABEL_WIDTH: Final = 28


def table(
    outcomes: Iterable[Outcome],
    baseline: Baseline = NO_BASELINE,
    *,
    format: Format = "text",  # noqa: A002 - the name that users type
    title: str = "",
    seconds: bool = True,
) -> str:
    """Density, weights kept, parameters and FLOPs against return with its 95 % interval, a line for each row.

    Whatever the store holds gives a table: unfinished and failed runs are counted in it. `seconds=False`
    leaves out wall-clock time, the one column that differs between equal studies. CSV carries every number at
    full precision, the statistic's name in each line, and no title.
    """
    known = get_args(Format)
    if format not in known:
        raise ValueError(f"no table format named {format!r}. Known: {', '.join(known)}")
    found = blocks(summary(outcomes, baseline), baseline)
    if format == "csv":
        return comma_separated(found, seconds)
    return WRITERS[format](_sheet(found, clean(title), seconds))


def blocks(rows: Sequence[Row], baseline: Baseline = NO_BASELINE) -> list[Block]:
    """Rows by (agent, env, axes) in order of first appearance; inside dense first, then falling density."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.agent, row.env, tuple(sorted(row.axes.items()))), []).append(row)
    return [
        (heading(group[0]), sorted(group, key=_by_density), random_policy(group[0].env, baseline))
        for group in groups.values()
    ]


def heading(row: Row) -> str:
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


def _lines(rows: Sequence[Row], policy: RandomPolicy | None) -> list[Cells]:
    """A block's cells as text, not yet escaped, in the order of HEAD."""
    digits = _decimals(rows, policy)
    lines: list[Cells] = []
    for row in rows:
        density = ABSENT if row.density is None else f"{row.density:g}"
        kept = number(None if row.realised is None else 100 * row.realised, 1)
        size = (density, kept, number(row.parameters), number(row.flops, 3))
        points = (_bounded(row.score, digits), number(row.area.point, digits))
        lines.append((clean(row.label), *size, *points, tally([row]), number(row.seconds)))
        if row.with_failures:
            count = str(row.planned - row.unfinished)
            lines.append((FALLEN, "", "", "", "", _bounded(row.with_failures, digits), "", count, ""))
    if policy:
        error = "" if math.isnan(policy.error) else f" ± {number(policy.error, digits)}"
        mean = f"{number(policy.mean, digits)}{error}"
        lines.append((RANDOM, "", "", "", "", mean, "", f"{policy.episodes} episodes", ""))
    return lines


def _sheet(blocks: Sequence[Block], title: str, seconds: bool) -> Sheet:
    """The blocks in words, the column of seconds only where it is asked for."""
    columns = len(HEAD) if seconds else HEAD.index("seconds")
    shown = [(where, [line[:columns] for line in _lines(rows, policy)]) for where, rows, policy in blocks]
    return Sheet(title, HEAD[:columns], shown, _legend(blocks, seconds))


def _legend(blocks: Sequence[Block], seconds: bool) -> list[str]:
    """The notes, and what the columns mean."""
    columns = "kept %: active share of all weights. FLOPs: of training, dense = 1."
    policy = " Random policy: mean ± standard error over episodes." if any(p for *_, p in blocks) else ""
    timing = " seconds: median a run." if seconds else ""
    every = [row for _, rows, _ in blocks for row in rows]
    return [*notes(every), f"{columns} LCA: mean of all evaluations, {_start(every)}.{timing}{policy}"]


def _start(rows: Sequence[Row]) -> str:
    """Whether the first evaluation, of an agent that has learnt nothing, is in the mean; others' runs have none."""
    at_zero = {run.steps[0] == 0 for row in rows for run in row.finished}
    if len(at_zero) > 1:
        return "step 0 included in some runs only, which are not comparable in it"
    return "none at step 0" if at_zero == {False} else "step 0 included"


# Text -------------------------------------------------------------------------------------------------------


def _text(sheet: Sheet) -> str:
    """For a terminal: one head, a block under each rule, and the notes under the last."""
    shown = [(where, [_plain(line) for line in lines]) for where, lines in sheet.blocks]
    every = [sheet.head, *(line for _, lines in shown for line in lines)]
    widths = [max(map(_columns, column)) for column in zip(*every, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    parts = [*([sheet.title] if sheet.title else []), rule, _aligned(sheet.head, sheet.head, widths)]
    for where, lines in shown:
        parts += [rule, where, *(_aligned(line, sheet.head, widths) for line in lines)]
    parts.append(rule)
    for note in sheet.notes:
        parts += textwrap.wrap(note.replace("±", "+-"), TEXT_WIDTH)
    return "\n".join(parts) + "\n"


def _plain(cells: Cells) -> Cells:
    return (shorten(cells[0], LABEL_WIDTH), *(cell.replace("±", "+-") for cell in cells[1:]))


def _columns(text: str) -> int:
    """Terminal columns: wide characters take two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)


def _aligned(cells: Cells, head: Cells, widths: Sequence[int]) -> str:
    padded = []
    for name, cell, width in zip(head, cells, widths, strict=True):
        space = " " * (width - _columns(cell))
        padded.append(cell + space if name in LEFT else space + cell)
    return "  ".join(padded).rstrip()


WRITERS: Final[Mapping[str, Callable[[Sheet], str]]] = {"text": _text, "markdown": markdown, "latex": latex}
