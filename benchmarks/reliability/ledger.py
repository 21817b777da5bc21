"""The ledger: a row for every slice of a harness that was run, and what all rows say of the rate of failures."""

from __future__ import annotations

import csv
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import torch
from scipy.stats import binomtest

from benchmarks.marks import put

LEDGER: Final = Path(__file__).with_name("ledger.csv")
PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- ledger -->\n", "\n<!-- /ledger -->"
COLUMNS: Final = ("date", "commit", "harness", "count", "failures", "seed", "seconds", "python", "torch")
DIRTY: Final = "-dirty"
"""Ends the commit of a row that was made with changes that no commit holds."""


class Outcome(NamedTuple):
    """What a slice of a harness found."""

    failures: int
    notes: list[str]
    """Of each failure, what was wrong and how to replay it."""


Harness = Callable[[int, int], Outcome]
"""So many trials, and the seed that draws them."""


def upper(failures: int, count: int) -> float:
    """Upper 95 % limit of the rate of failures (Clopper and Pearson 1934, one-sided); about 3 / count without any."""
    return float(binomtest(failures, count, alternative="less").proportion_ci(0.95, "exact").high)


def row(commit: str, harness: str, count: int, failures: int, seed: int, seconds: float) -> dict[str, str]:
    """A slice that ended now, here."""
    values = (
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        *(commit, harness, count, failures, seed, f"{seconds:.0f}"),
        *(platform.python_version(), torch.__version__),
    )
    return dict(zip(COLUMNS, map(str, values), strict=True))


def append(made: Mapping[str, str], path: Path = LEDGER) -> None:
    """Add a row; the file is made by its first."""
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(made)


def rows(path: Path = LEDGER) -> list[dict[str, str]]:
    """All rows, the oldest first."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def totals(made: Iterable[Mapping[str, str]]) -> str:
    """A row a harness. `since`: trials after the last slice with a failure, which was mended; the rate is of them.

    `uncommitted`: those of all trials whose code no commit holds.
    """
    head = ("harness", "trials", "failures", "since", "rate at 95 %", "uncommitted", "last")
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    by_harness: dict[str, list[Mapping[str, str]]] = {}
    for each in made:
        by_harness.setdefault(each["harness"], []).append(each)
    for harness, slices in sorted(by_harness.items()):
        count, failures = (sum(int(each[key]) for each in slices) for key in ("count", "failures"))
        dirty = sum(int(each["count"]) for each in slices if each["commit"].endswith(DIRTY))
        since = 0
        for each in slices:
            since = 0 if int(each["failures"]) else since + int(each["count"])
        rate = f"< {upper(0, since):.2%}" if since else "unknown"
        cells = (harness, f"{count:,}", f"{failures:,}", f"{since:,}", rate, f"{dirty:,}")
        lines.append("| " + " | ".join((*cells, max(each["date"] for each in slices))) + " |")
    return "\n".join(lines)


def publish(page: Path = PAGE) -> None:
    """Put the totals where the page has its place for them."""
    put(page, BEGIN, totals(rows()), END)


def commit() -> str:
    """Hash of the commit that the code here is of, marked if it is not quite. The ledger itself is no code."""
    found = _git("rev-parse", "--short=12", "HEAD")
    return found + (DIRTY if _git("status", "--porcelain", "--", ":/", f":(exclude){LEDGER}") else "")


def _git(*words: str) -> str:
    command = ["git", "-C", str(LEDGER.parent), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
