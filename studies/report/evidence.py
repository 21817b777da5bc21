"""A study's results written into a page of Markdown, between its markers, from a store that stands beside it.

`python -m studies.report.evidence README.md results readme --clock cpu` writes the findings, the table and the figures
of the study `readme` of the store `results` between `<!-- results -->` and `<!-- /results -->`. Figures are kept in
`results/figures`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import tyro
from tyro.conf import Positional

from rl.files import write_atomically
from studies.formats import in_markdown
from studies.outcome import Clock, Outcome, by_clock
from studies.outcomes import collect
from studies.plot import FIGURES
from studies.report.findings import findings
from studies.statistics import Baseline
from studies.store import Store
from studies.table import table

BEGIN: Final = "<!-- results -->"
END: Final = "<!-- /results -->"
FIGURES_SHOWN: Final = ("learning-curves-by-time", "return-against-seconds")


def results(store: Store, name: str, *, clock: Clock = "wall", figures: str = "") -> str:
    """What stands between the markers: findings, table, links to figures in that folder."""
    return _results(*_gathered(store, name, clock), figures)


def _gathered(store: Store, name: str, clock: Clock) -> tuple[list[Outcome], Baseline]:
    measured, baseline = collect(store, name)
    return by_clock(measured, clock), baseline


def _results(outcomes: Sequence[Outcome], baseline: Baseline, figures: str) -> str:
    said = "\n".join(f"- {in_markdown(sentence)}" for sentence in findings(outcomes, baseline))
    shown = table(outcomes, baseline, format="markdown")
    links = "\n\n".join(f"![{stem.replace('-', ' ').capitalize()}]({figures}/{stem}.png)" for stem in FIGURES_SHOWN)
    return f"{said}\n\n{shown.strip()}\n\n{links}\n"


def with_results(page: str, text: str) -> str:
    """The page with this text between its markers. ValueError for a page that lacks one."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"the page has no {BEGIN} ... {END}: write both where the results belong")
    return f"{before}{BEGIN}\n{text}{END}{after}"


def _draw(outcomes: Sequence[Outcome], baseline: Baseline, folder: Path) -> None:
    """The figures that the page shows, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as drawn:
        for stem in FIGURES_SHOWN:
            FIGURES[stem](outcomes, baseline, Path(drawn) / stem)
            shutil.copyfile(Path(drawn) / f"{stem}.png", folder / f"{stem}.png")


@dataclass(frozen=True)
class Words:
    """What the command takes."""

    page: Positional[Path]
    store: Positional[Path]
    name: Positional[str]
    clock: Annotated[Clock, tyro.conf.arg(help="Seconds by the wall clock or of the CPU's time.")] = "wall"


def main(arguments: Sequence[str]) -> None:
    """Draw the figures, then write the page."""
    words = tyro.cli(Words, args=arguments, prog="python -m studies.report.evidence")
    folder = words.store / "figures"
    link = Path(os.path.relpath(folder, words.page.parent)).as_posix()
    outcomes, baseline = _gathered(Store(words.store), words.name, words.clock)
    page = with_results(words.page.read_text(), _results(outcomes, baseline, link))
    _draw(outcomes, baseline, folder)
    write_atomically(words.page, page.encode())


if __name__ == "__main__":
    main(sys.argv[1:])
