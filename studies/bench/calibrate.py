"""`sparsity bench --calibrate`: measure where sparse arithmetic overtakes dense, and write it into the package.

Runs read the table (`sparsity.execution.crossover`) and never a clock. It is measured with the means of the bench:
contestants in processes of their own, in turns.
"""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import sparsity.execution
from rl.files import write_atomically
from studies.bench.layer import CHOICE_DENSITIES
from studies.bench.plan import CHOICE, Contestant, Group, Plan, Setting
from studies.bench.race import measure
from studies.bench.results import GroupResult, ratio
from studies.bench.words import CALIBRATED_BATCHES, CALIBRATED_WIDTHS
from studies.problems import BadInput

TABLE: Final = Path(sparsity.execution.__path__[0]) / "crossover.py"
DENSITIES: Final = (0.95, 0.8, 0.65, 0.5, 0.35, 0.2)
"""Of the hidden layers, where a sparse update is measured against a masked one."""
CAP: Final = 0.95
"""Above it nothing is worth an index."""
EXPAND_BATCH: Final = 256
EXPAND_BLOCK: Final = 0.05
"""Seconds of a block of passes over one layer."""

Pays = dict[tuple[int, int], float]
Expand = dict[int, float]
Say = Callable[[str], None]


def calibrate(plan: Plan, say: Say, show: Say = print, table: Path = TABLE) -> None:
    """Measure both tables and rewrite the file, which stays as it was if anything fails.

    BadInput if its folder cannot be written to, or a contestant fails.
    """
    if not os.access(table.parent, os.W_OK):
        raise BadInput(
            f"--calibrate writes {table}, and that folder is not yours to write to: calibrate in an environment of "
            "your own, or as who installed the package"
        )
    before = table.read_text()
    show("before:\n" + _said(before))
    try:
        expand = {width: expanding(width, plan, say) for width in CALIBRATED_WIDTHS}
        # In force while the other is measured: contestants read the file.
        write_atomically(table, rewritten(before, EXPAND_FROM=expand).encode())
        pays = {(w, b): paying(w, b, plan, say) for w in CALIBRATED_WIDTHS for b in CALIBRATED_BATCHES}
        write_atomically(table, rewritten(before, EXPAND_FROM=expand, PAYS_BELOW=pays).encode())
    except BaseException:
        write_atomically(table, before.encode())
        raise
    show("after:\n" + _said(table.read_text()))
    show(str(table))


def expanding(width: int, plan: Plan, say: Say) -> float:
    """The density from which one layer of sparse execution is faster filled up."""
    say(f"one layer of width {width}, batch {EXPAND_BATCH}, as it is and filled up")
    group = Group(Setting(width, EXPAND_BATCH), (Contestant(CHOICE),))
    [one] = _measured(group, plan, EXPAND_BLOCK, say).measured
    return crossing(
        {d: ratio(one.seconds[f"expanded {d:g}"], one.seconds[f"sparse {d:g}"]).repeats for d in CHOICE_DENSITIES}, say
    )


def paying(width: int, batch: int, plan: Plan, say: Say) -> float:
    """The density of hidden layers below which a sparse update is faster than a masked one."""
    say(f"updates of width {width}, batch {batch}, sparse and masked")
    contestants = (Contestant("masked", 0.5), *(Contestant("sparse", density) for density in DENSITIES))
    result = _measured(Group(Setting(width, batch), contestants), plan, plan.block_seconds, say)
    masked, *others = result.measured
    return crossing(
        {
            float(o.contestant.density or 1): ratio(masked.seconds["update"], o.seconds["update"]).repeats
            for o in others
        },
        say,
    )


def _measured(group: Group, plan: Plan, block_seconds: float, say: Say) -> GroupResult:
    """Updates alone. BadInput if one of them was lost."""
    quiet: Say = lambda line: None  # noqa: E731
    result = measure(group, Plan((), plan.repeats, plan.cores, block_seconds, steps=False), quiet)
    for one in result.measured:
        if one.problem:
            raise BadInput(f"nothing was calibrated: {one.contestant.name} failed: {one.problem}")
    return result


def crossing(gains: Mapping[float, Sequence[float]], say: Say = lambda line: None) -> float:
    """The density at which the median gain, times as fast as the dense way, falls to 1 from the sparse side.

    `gains` has median, least and greatest by density. Between two densities both logarithms are taken to lie on a line.
    0 where it pays nowhere, at most 0.95.
    """
    points = [(density, gains[density][0]) for density in sorted(gains)]
    say("  " + ", ".join(f"{d:g}: {m:.2f} [{low:.2f}, {high:.2f}]" for d, (m, low, high) in sorted(gains.items())))
    if points[0][1] <= 1:
        return 0.0
    for (sparse, gain), (denser, less) in pairwise(points):
        if less <= 1:
            along = math.log(gain) / (math.log(gain) - math.log(less))
            return min(CAP, round(sparse * math.exp(along * math.log(denser / sparse)), 2))
    return CAP


def rewritten(source: str, **tables: Mapping[Any, float]) -> str:
    """The source with these dictionaries in place of those of the same names, and everything else as it is."""
    old = {name: ast.get_source_segment(source, value) for name, value in _tables(source).items()}
    for name, table in tables.items():
        source = source.replace(f" = {old[name]}", f" = {_literal(table)}", 1)
    return source


def _tables(source: str) -> dict[str, ast.expr]:
    """The annotated assignments of a source."""
    return {
        node.target.id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }


def _literal(table: Mapping[Any, float]) -> str:
    """As ruff formats it: a line for each of many entries, few on one line."""
    entries = [f"{key!r}: {round(value, 2)!r}" for key, value in table.items()]
    if all(isinstance(key, int) for key in table):
        return "{" + ", ".join(entries) + "}"
    return "{\n" + "".join(f"    {entry},\n" for entry in entries) + "}"


def _said(source: str) -> str:
    """The tables of a source, a line each."""
    return "\n".join(
        f"  {name}: " + ", ".join(f"{key} {value:g}" for key, value in ast.literal_eval(table).items())
        for name, table in _tables(source).items()
    )
