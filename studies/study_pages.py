"""The page of the studies that we ship, written from their files: `python -m studies.study_pages docs/studies.md`.

What is known of a question is the comment at the head of its file.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from registry import Registry
from rl.files import write_atomically
from studies.read import CATALOGUE, study_from
from studies.reported import SOURCE, still_reported
from studies.runner import hours
from studies.scales import FULL, scaled

INTRODUCTION: Final = """\
# Studies

The questions that come with this project, each a file of `studies/catalogue`: those of Sokar et al. (2022) with the
settings of the paper, and our own. A study runs by its name, `sparsity study run NAME`; given again it goes on where
it stopped. `sparsity study list` shows them, `sparsity study run NAME --dry-run` what one would cost.

Most have a second size: `--scale small` takes minutes, shows that everything runs and what the tables look like, and
is no evidence of anything. A scale is a table `[scales.small]` in the file, of any name, whose keys take the place of
the study's; tables are merged by key, and flags come last: `--scale small --seeds 3`. The study keeps its name, and
the store keeps it as it ran: without `--scale` a stored study goes on at the scale that it has. To have both sizes in
one store, give one of them a name, as in `--scale full --name paper-td3-full`; `full` is the file as it stands.

Numbers that a publication reported stand in the file too, under `[reported]`: a `source`, and for each environment
and row `return`, `spread` and `lca` (the mean of all evaluations). They are no part of any run. Environments carry
them that are the same task as the publication's: HalfCheetah-v5, Walker2d-v4 and Hopper-v4, and neither Ant-v5 nor
Humanoid-v5.

Runs count each seed, the random policy on each environment, and donors. Hours are of one core at 5 ms an update, as
`--dry-run --workers 1` reckons; divide by the workers. Sparse rows take less.
"""


def page(registry: Registry) -> str:
    """All studies of the catalogue, in Markdown."""
    paths = sorted(CATALOGUE.glob("*.toml"), key=lambda path: (not path.stem.startswith("paper-"), path.stem))
    sections = ["\n".join(_section(path, registry)) for path in paths]
    return "\n".join([INTRODUCTION, *sections])


def _section(path: Path, registry: Registry) -> Iterator[str]:
    text = path.read_text()
    tables = tomllib.loads(text)
    yield from (f"## {path.stem}", "", tables["question"], "")
    if known := _head(text):
        yield from (known, "")
    yield f"- Rows: {'; '.join(tables['methods'])}."
    if "densities" in tables:
        yield f"- Densities: {', '.join(map(str, tables['densities']))}."
    yield f"- Settings: {_settings(tables)}."
    yield from (
        "",
        "| scale | environments | seeds | steps | runs | hours | command |",
        "|:---|:---|---:|---:|---:|---:|:---|",
    )
    yield from (_size(path.stem, scale, tables, registry) for scale in [FULL, *tables.get("scales", ())])
    yield ""
    if "reported" in tables:
        yield from _reported(tables["reported"])


def _head(text: str) -> str:
    """The comment at the head of a file, as a paragraph."""
    return " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), text.splitlines()))


def _settings(tables: Mapping[str, Any]) -> str:
    preset = [f"preset `{tables['preset']}`"] if "preset" in tables else [", ".join(tables["agents"])]
    return " and ".join([*preset, *(["what all rows share"] if "all" in tables else [])])


def _size(name: str, scale: str, tables: Mapping[str, Any], registry: Registry) -> str:
    study = study_from(still_reported(scaled(tables, scale), tables, registry), registry, name=name)
    cells = study.cells(registry)
    runs = {run.id: run for cell in cells for run in (cell.run, cell.run.donor) if run}.values()
    command = f"sparsity study run {name}" + (f" --scale {scale}" if scale != FULL else "")
    numbers = f"{len(study.seeds)} | {study.steps:,} | {len(runs)} | {hours(runs)}"
    return f"| {scale} | {', '.join(study.envs)} | {numbers} | `{command}` |"


def _reported(words: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"Reported: {words[SOURCE]}.", "")
    yield from ("| environment | row | return | LCA |", "|:---|:---|---:|---:|")
    for env, rows in words.items():
        for row, score in rows.items() if env != SOURCE else ():
            spread = f" ± {score['spread']:,.2f}" if "spread" in score else ""
            area = f"{score['lca']:,.1f}" if "lca" in score else ""
            yield f"| {env} | {row} | {score['return']:,.2f}{spread} | {area} |"
    yield ""


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]), page(Registry(installed=False)).encode())
