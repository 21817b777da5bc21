"""A table as Markdown, LaTeX and CSV; each format escapes its own specials.

Markdown and LaTeX write a sheet, whose cells are already text; CSV writes the rows' own numbers, at full
precision.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from studies.problems import clean
from studies.statistics import Interval, RandomPolicy, Row
from studies.words import ABSENT, RANDOM, evaluations

Cells = tuple[str, ...]
Block = tuple[str, list[Row], RandomPolicy | None]
"""Heading, rows, and the random policy of the block's environment."""

LEFT: Final = ("method", "settings", "n")
"""Columns of text; those of numbers are set to the right."""
FALLEN: Final = "  failed as random"


@dataclass(frozen=True)
class Sheet:
    """A table in words, not yet escaped: title, names of columns, heading and lines by block, notes below."""

    title: str
    head: Cells
    blocks: Sequence[tuple[str, Sequence[Cells]]]
    notes: Sequence[str]


# Markdown ---------------------------------------------------------------------------------------------------


def markdown(sheet: Sheet) -> str:
    """A table under each block's heading; one without lines where there is no block."""
    head = [f"| {' | '.join(sheet.head)} |"]
    head += ["|" + "|".join(":---" if name in LEFT else "---:" for name in sheet.head) + "|"]
    parts = [f"**{in_markdown(sheet.title)}**", ""] if sheet.title else []
    if not sheet.blocks:
        parts += [*head, ""]
    for heading, lines in sheet.blocks:
        parts += [f"**{in_markdown(heading)}**", "", *head, *map(_markdown_row, lines), ""]
    return "\n".join([*parts, *(f"{note}  " for note in sheet.notes)]) + "\n"


def _markdown_row(cells: Cells) -> str:
    """Only the method's name is foreign text; the other cells are ours."""
    return f"| {' | '.join((in_markdown(cells[0]), *cells[1:]))} |"


def in_markdown(text: str) -> str:
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


def latex(sheet: Sheet) -> str:
    """One tabular, a block under each rule, what is said as its caption; needs the booktabs package."""
    sentences = [*([f"{sheet.title.rstrip('.')}."] if sheet.title else []), *sheet.notes]
    columns = "".join("l" if name in LEFT else "r" for name in sheet.head)
    parts = [r"\begin{table}", r"\centering", rf"\caption{{{_in_latex(' '.join(sentences))}}}"]
    parts += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _tex_row(map(_in_latex, sheet.head))]
    for heading, lines in sheet.blocks:
        parts += [r"\midrule", rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{{_in_latex(heading)}}}}} \\"]
        parts += [_tex_row(_tex_cells(line)) for line in lines]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _tex_cells(cells: Cells) -> list[str]:
    first = r"\quad " + _in_latex(cells[0].strip()) if cells[0] == FALLEN else _in_latex(cells[0])
    return [first, *("--" if cell == ABSENT else _in_latex(cell).replace("-", "$-$") for cell in cells[1:])]


def _tex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _in_latex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)


# CSV --------------------------------------------------------------------------------------------------------

_NONE: Final = Interval(math.nan, math.nan, math.nan, "no seed")
_EMPTY: Final = Row("", "", "", None, {}, 0, 0, 0, 0, 0, _NONE, _NONE, None, None, None, None, None, ())


def comma_separated(blocks: Sequence[Block], seconds: bool) -> str:
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
    writer.writerow([in_csv(name) for name in names])
    writer.writerows([in_csv(line.get(name)) for name in names] for line in lines)
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


def in_csv(value: object) -> str:
    """Numbers as they are, text that a spreadsheet would run as a formula behind an apostrophe."""
    if isinstance(value, str):
        text = clean(value)
        formula = unicodedata.normalize("NFKC", text).startswith(("=", "+", "-", "@"))
        return f"'{text}" if formula else text
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)
