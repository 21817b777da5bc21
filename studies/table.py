"""The table of a study: sparsity against return, as text, Markdown, LaTeX or CSV.

A block for each environment (and agent, and value of the study's further axes); in it dense first, then
falling density, the random policy last. Labels come from study files that others may have written: each
format escapes its own specials.
"""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

from studies.outcome import Outcome
from studies.statistics import (
    NO_BASELINE,
    Baseline,
    Interval,
    RandomPolicy,
    Row,
    random_policy,
    summary,
    tally,
    window,
)

Format = Literal["text", "markdown", "latex", "csv"]
Cells = tuple[str, ...]
Block = tuple[str, list[Row], RandomPolicy | None]
"""Heading, rows, and the random policy of the block's environment."""

HEAD: Final[Cells] = ("method", "density", "kept %", "parameters", "FLOPs", "return", "LCA", "n", "seconds")
LEFT: Final = ("method", "n")
RANDOM: Final = "random policy"
FALLEN: Final = "  failed as random"
ABSENT: Final = "-"
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
    if format not in WRITERS:
        raise ValueError(f"no table format named {format!r}. Known: {', '.join(WRITERS)}")
    rows = summary(outcomes, baseline)
    return WRITERS[format](blocks(rows, baseline), clean(title), seconds)


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
    return ", ".join([clean(row.env), clean(row.agent), *axes])


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


def evaluations(rows: Sequence[Row]) -> str:
    """What a return is: "mean of a run's last 10 of 201 evaluations", or the rule if curves differ."""
    counts = sorted({len(run.returns) for row in rows for run in row.finished})
    if len(counts) == 1:
        return f"mean of a run's last {window(counts[0])} of {counts[0]} evaluations"
    rule = "mean of a run's last max(1, min(10, m // 10)) of m evaluations"
    return f"{rule}, m = {counts[0]} to {counts[-1]}" if counts else rule


def clean(text: str) -> str:
    """Text without control, format and surrogate characters; white space of any kind becomes one space."""
    spaced = " ".join(text.split())
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")).strip()


def shorten(text: str, width: int) -> str:
    """Text of at most `width` characters; the middle goes, for variants of a method differ at the end."""
    tail = (width - 2) // 2
    return text if len(text) <= width else f"{text[: width - 2 - tail]}..{text[-tail:]}"


def number(value: float | None, decimals: int = 0) -> str:
    """1,234.5; exponents from 1e9 on; "-" for what is not known; never a negative zero."""
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:.3e}" if abs(value) >= 1e9 else f"{round(value, decimals) + 0.0:,.{decimals}f}"


def _by_density(row: Row) -> float:
    return -math.inf if row.density is None else -row.density


def _decimals(block: Block) -> int:
    """As many as give the block's largest return three significant digits."""
    _, rows, policy = block
    points = [row.score.point for row in rows if row.done] + ([policy.mean] if policy else [])
    largest = max(map(abs, points), default=0.0)
    return min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 0


def _bounded(interval: Interval, decimals: int) -> str:
    point = number(interval.point, decimals)
    if math.isnan(interval.low):
        return point
    return f"{point} [{number(interval.low, decimals)}, {number(interval.high, decimals)}]"


def _lines(block: Block) -> list[Cells]:
    """The block's cells as text, not yet escaped, in the order of HEAD."""
    _, rows, policy = block
    digits = _decimals(block)
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


def _legend(blocks: Sequence[Block], seconds: bool) -> list[str]:
    """The notes, and what the columns mean."""
    columns = "kept %: active share of all weights. FLOPs: of training, dense = 1."
    area = "LCA: mean of all evaluations, step 0 included."
    policy = " Random policy: mean ± standard error over episodes." if any(p for *_, p in blocks) else ""
    timing = " seconds: median a run." if seconds else ""
    every = [row for _, rows, _ in blocks for row in rows]
    return [*notes(every), f"{columns} {area}{timing}{policy}"]


def _kept(cells: Cells, seconds: bool) -> Cells:
    return cells if seconds else cells[:-1]


# Text -------------------------------------------------------------------------------------------------------


def _text(blocks: Sequence[Block], title: str, seconds: bool) -> str:
    head = _kept(HEAD, seconds)
    shown = [[_plain(_kept(line, seconds)) for line in _lines(block)] for block in blocks]
    every = [head, *(line for lines in shown for line in lines)]
    widths = [max(map(_columns, column)) for column in zip(*every, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    parts = [*([title] if title else []), rule, _aligned(head, widths)]
    for (where, *_), lines in zip(blocks, shown, strict=True):
        parts += [rule, where, *(_aligned(line, widths) for line in lines)]
    for note in _legend(blocks, seconds):
        parts += [
            *([rule] if note.startswith("Return:") else []),
            *textwrap.wrap(note.replace("±", "+-"), TEXT_WIDTH),
        ]
    return "\n".join(parts) + "\n"


def _plain(cells: Cells) -> Cells:
    return (shorten(cells[0], LABEL_WIDTH), *(cell.replace("±", "+-") for cell in cells[1:]))


def _columns(text: str) -> int:
    """Terminal columns: wide characters take two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)


def _aligned(cells: Cells, widths: Sequence[int]) -> str:
    padded = []
    for name, cell, width in zip(HEAD, cells, widths, strict=False):
        space = " " * (width - _columns(cell))
        padded.append(cell + space if name in LEFT else space + cell)
    return "  ".join(padded).rstrip()


# Markdown ---------------------------------------------------------------------------------------------------


def _markdown(blocks: Sequence[Block], title: str, seconds: bool) -> str:
    head = _kept(HEAD, seconds)
    ruler = "|" + "|".join(":---" if name in LEFT else "---:" for name in head) + "|"
    parts = [f"**{_in_markdown(title)}**", ""] if title else []
    if not blocks:
        parts += [f"| {' | '.join(head)} |", ruler, ""]
    for block in blocks:
        parts += [f"**{_in_markdown(block[0])}**", "", f"| {' | '.join(head)} |", ruler]
        parts += [_markdown_row(_kept(line, seconds)) for line in _lines(block)] + [""]
    return "\n".join([*parts, *(f"{note}  " for note in _legend(blocks, seconds))]) + "\n"


def _markdown_row(cells: Cells) -> str:
    """Only the method's name is foreign text; the other cells are ours."""
    return f"| {' | '.join((_in_markdown(cells[0]), *cells[1:]))} |"


def _in_markdown(text: str) -> str:
    """No character of a label makes a cell, a link, emphasis or HTML."""
    escaped = re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# LaTeX ------------------------------------------------------------------------------------------------------

_TEX: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    # Right after a row's end TeX reads these two as its optional argument and its star.
    "[": "{[}",
    "*": "{*}",
}


def _latex(blocks: Sequence[Block], title: str, seconds: bool) -> str:
    """Needs the booktabs package; one tabular, a block under each rule."""
    head = _kept(HEAD, seconds)
    sentences = [*([f"{title.rstrip('.')}."] if title else []), *_legend(blocks, seconds)]
    columns = "".join("l" if name in LEFT else "r" for name in head)
    parts = [r"\begin{table}", r"\centering", rf"\caption{{{_in_latex(' '.join(sentences))}}}"]
    parts += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _tex_row(map(_in_latex, head))]
    for block in blocks:
        parts += [r"\midrule", rf"\multicolumn{{{len(head)}}}{{l}}{{\emph{{{_in_latex(block[0])}}}}} \\"]
        parts += [_tex_row(_tex_cells(_kept(line, seconds))) for line in _lines(block)]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _tex_cells(cells: Cells) -> list[str]:
    first = r"\quad " + _in_latex(cells[0].strip()) if cells[0] == FALLEN else _in_latex(cells[0])
    return [first, *("--" if cell == ABSENT else _in_latex(cell).replace("-", "$-$") for cell in cells[1:])]


def _tex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _in_latex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)


# CSV --------------------------------------------------------------------------------------------------------


def _csv(blocks: Sequence[Block], _title: str, seconds: bool) -> str:
    """One header, one line a row, empty where a number is not known; an axis is a column `axis NAME`."""
    axes = list(dict.fromkeys(name for _, rows, _ in blocks for row in rows for name in row.axes))
    lines: list[dict[str, object]] = []
    for _, rows, policy in blocks:
        lines += [_where(row, axes) | _record(row, seconds) for row in rows]
        if policy:
            lines.append(_where(rows[0], axes) | _policy(policy))
    nobody = dict.fromkeys(("agent", "env", *(f"axis {clean(name)}" for name in axes)))
    names = list(nobody | _record(_EMPTY, seconds) | {"standard_error": None, "episodes": None})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_in_csv(name) for name in names])
    writer.writerows([_in_csv(line.get(name)) for name in names] for line in lines)
    return out.getvalue()


def _where(row: Row, axes: Iterable[str]) -> dict[str, object]:
    return {"agent": row.agent, "env": row.env} | {f"axis {clean(name)}": row.axes.get(name) for name in axes}


def _record(row: Row, seconds: bool) -> dict[str, object]:
    return {
        "method": row.label,
        "density": row.density,
        "realised_density": row.realised,
        "parameters": row.parameters,
        "flops_ratio": row.flops,
        **_spread("return", row.score),
        "statistic": row.score.kind,
        "return_of": evaluations([row]),
        **_spread("return_failed_as_random", row.with_failures),
        **_spread("lca", row.area),
        **{name: getattr(row, name) for name in ("planned", "done", "failed", "diverged", "unfinished")},
        **({"seconds_median": row.seconds} if seconds else {}),
    }


def _spread(name: str, interval: Interval | None) -> dict[str, object]:
    if interval is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: interval.point, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _policy(policy: RandomPolicy) -> dict[str, object]:
    how = {"method": RANDOM, "statistic": "mean, standard error over episodes"}
    return how | {"return": policy.mean, "standard_error": policy.error, "episodes": policy.episodes}


def _in_csv(value: object) -> str:
    """Numbers as they are, text that a spreadsheet would run as a formula behind an apostrophe."""
    if isinstance(value, str):
        text = clean(value)
        formula = unicodedata.normalize("NFKC", text).startswith(("=", "+", "-", "@"))
        return f"'{text}" if formula else text
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


_NONE: Final = Interval(math.nan, math.nan, math.nan, "no seed")
_EMPTY: Final = Row("", "", "", None, {}, 0, 0, 0, 0, 0, _NONE, _NONE, None, None, None, None, None, ())
WRITERS: Final[dict[str, Callable[[Sequence[Block], str, bool], str]]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
}
