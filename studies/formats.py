"""A table as text, Markdown, LaTeX, HTML and CSV; each format escapes its own specials.

All but CSV write a sheet, whose cells are already text; CSV writes the rows' own numbers, at full precision.
"""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from studies.problems import clean
from studies.reported import Reported, score_of
from studies.statistics import Interval, RandomPolicy, Row
from studies.words import ABSENT, RANDOM, clock_of, evaluations, shorten

if TYPE_CHECKING:
    from jinja2 import Template

Cells = tuple[str, ...]
Block = tuple[str, list[Row], RandomPolicy | None]
"""Heading, rows, and the random policy of the block's environment."""

LEFT: Final[Cells] = ("method", "settings", "n", "row")
"""Columns of text; those of numbers are set to the right."""
FALLEN: Final = "  failed as random"
TEXT_WIDTH: Final = 100
LABEL_WIDTH: Final = 28


@dataclass(frozen=True)
class Sheet:
    """A table in words, not yet escaped: title, names of columns, heading and lines by block, notes below."""

    title: str
    head: Cells
    blocks: Sequence[tuple[str, Sequence[Cells]]]
    notes: Sequence[str]
    left: Cells = LEFT
    """Columns of text."""


# Text -------------------------------------------------------------------------------------------------------


def text(sheet: Sheet) -> str:
    """For a terminal: one head, a block under each rule, and the notes under the last; a wide table is not broken."""
    shown = [(where, [_plain(line) for line in lines]) for where, lines in sheet.blocks]
    every = [sheet.head, *(line for _, lines in shown for line in lines)]
    widths = [max(map(_columns, column)) for column in zip(*every, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    parts = [*([sheet.title] if sheet.title else []), rule, _aligned(sheet, sheet.head, widths)]
    for where, lines in shown:
        parts += [rule, *([where] if where else []), *(_aligned(sheet, line, widths) for line in lines)]
    parts += [rule] if sheet.blocks and sheet.notes else []
    for note in sheet.notes:
        parts += textwrap.wrap(note.replace("±", "+-"), TEXT_WIDTH)
    return "\n".join(parts) + "\n"


def _plain(cells: Cells) -> Cells:
    return (shorten(cells[0], LABEL_WIDTH), *(cell.replace("±", "+-") for cell in cells[1:]))


def _columns(text: str) -> int:
    """Terminal columns: wide characters take two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)


def _aligned(sheet: Sheet, cells: Cells, widths: Sequence[int]) -> str:
    padded = []
    for name, cell, width in zip(sheet.head, cells, widths, strict=True):
        space = " " * (width - _columns(cell))
        padded.append(cell + space if name in sheet.left else space + cell)
    return "  ".join(padded).rstrip()


# Markdown ---------------------------------------------------------------------------------------------------


def markdown(sheet: Sheet) -> str:
    """A table under each block's heading; one without lines where there is no block."""
    head = [f"| {' | '.join(sheet.head)} |"]
    head += ["|" + "|".join(":---" if name in sheet.left else "---:" for name in sheet.head) + "|"]
    parts = [f"**{in_markdown(sheet.title)}**", ""] if sheet.title else []
    if not sheet.blocks:
        parts += [*head, ""]
    for heading, lines in sheet.blocks:
        parts += [f"**{in_markdown(heading)}**", ""] if heading else []
        parts += [*head, *map(_markdown_row, lines), ""]
    return "\n".join([*parts, *(f"{in_markdown(note)}  " for note in sheet.notes)]) + "\n"


def _markdown_row(cells: Cells) -> str:
    """Of the cells only the method's name is foreign text; the others are ours."""
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
    columns = "".join("l" if name in sheet.left else "r" for name in sheet.head)
    parts = [r"\begin{table}", r"\centering", rf"\caption{{{_in_latex(' '.join(sentences))}}}"]
    parts += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _tex_row(map(_in_latex, sheet.head))]
    for heading, lines in sheet.blocks:
        parts += [r"\midrule"]
        parts += [rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{{_in_latex(heading)}}}}} \\"] if heading else []
        parts += [_tex_row(_tex_cells(line)) for line in lines]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _tex_cells(cells: Cells) -> list[str]:
    first = r"\quad " + _in_latex(cells[0].strip()) if cells[0] == FALLEN else _in_latex(cells[0])
    return [first, *("--" if cell == ABSENT else _in_latex(cell).replace("-", "$-$") for cell in cells[1:])]


def _tex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _in_latex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)


# HTML -------------------------------------------------------------------------------------------------------


def html(sheet: Sheet) -> str:
    """A page with the table, whole in itself: titles and labels are escaped by the template."""
    return template("table.html").render(sheet=sheet, fallen=FALLEN, absent=ABSENT)


def template(name: str) -> Template:
    """A template of ours, which escapes whatever it is given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("studies", "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.get_template(name)


# CSV --------------------------------------------------------------------------------------------------------

_NONE: Final = Interval(math.nan, math.nan, math.nan, "no seed")
_EMPTY: Final = Row("", "", "", None, {}, 0, 0, 0, 0, 0, _NONE, _NONE, None, None, None, None, None, ())


def comma_separated(blocks: Sequence[Block], seconds: bool, reported: Reported | None = None) -> str:
    """One header, one line a row, empty where a number is not known; an axis is a column `axis NAME`."""
    axes = list(dict.fromkeys(name for _, rows, _ in blocks for row in rows for name in row.axes))
    lines: list[dict[str, object]] = []
    for _, rows, policy in blocks:
        lines += [_where(row, axes) | _record(row, seconds, reported) for row in rows]
        if policy:
            lines.append(_where(rows[0], axes) | _policy(policy))
    nobody = dict.fromkeys(("agent", "env", *(f"axis {clean(name)}" for name in axes)))
    names = list(nobody | _record(_EMPTY, seconds, reported) | {"standard_error": None, "episodes": None})
    return csv_text(names, ([line.get(name) for name in names] for line in lines))


def csv_text(head: Iterable[object], lines: Iterable[Iterable[object]]) -> str:
    """A header and its lines, every cell escaped."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(map(in_csv, line) for line in (head, *lines))
    return out.getvalue()


def _where(row: Row, axes: Iterable[str]) -> dict[str, object]:
    return {"agent": row.agent, "env": row.env} | {f"axis {clean(name)}": row.axes.get(name) for name in axes}


def _record(row: Row, seconds: bool, reported: Reported | None) -> dict[str, object]:
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
        **({"seconds_median": row.seconds, "clock": clock_of([row])} if seconds else {}),
        **(_reported(row, reported) if reported else {}),
    }


def _reported(row: Row, reported: Reported) -> dict[str, object]:
    found = score_of(row, reported)
    numbers = (None, None, None) if found is None else (found.mean, found.spread, found.area)
    return dict(zip(("reported_return", "reported_spread", "reported_lca"), numbers, strict=True))


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
