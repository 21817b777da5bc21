"""A page for each method, written from the registry: what it does, its formulas, settings and departures.

`python -m studies.pages FOLDER` writes them all, and an index.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

from registry import Entry, Part, Registry
from rl.files import write_atomically
from sparsity import Method
from sparsity.execution.choice import needs_dense

PHASES: Final = {
    "eligible": "which weights may be sparse",
    "allocation": "how dense each layer is",
    "initial": "the first topology",
    "weights": "the first values",
    "prune": "who leaves: the lowest",
    "grow": "who enters: the highest",
    "born": "with which value",
    "spread": "where growth goes",
    "schedule": "how much is swapped, when",
    "budget": "how many there are, when",
    "target": "what a slow copy keeps",
    "moments": "the optimiser's moments",
}
"""The fields that are parts, in words."""

CHOICES: Final = {
    ("readmit", True): "What an event drops may grow back in it, and then keeps its value and its moments.",
    ("readmit", False): "What an event drops does not grow back in it.",
    ("scope", "network"): "The cut to the budget ranks the whole network at once.",
    ("swap_scope", "network"): "The swap chooses over the whole network at once.",
    ("optimizer_sees", "dense"): "The optimiser sees dense gradients: absent connections gather moments.",
    ("event", "instead_of_step"): "An event takes the place of the gradient step of its network, biases included.",
    ("clock", "optimizer"): "The schedule counts the network's own optimiser steps.",
}
"""What the other fields mean where they matter."""


def method_page(entry: Entry, registry: Registry) -> str:
    """The page of one method, in Markdown."""
    method: Method = entry.value
    lines = [f"# {entry.name}", "", entry.summary, "", *_source(entry)]
    if method.network == "shrunk":
        lines += [_SHRUNK, ""]
    elif method.sparse:
        lines += [*_parts(method.resolved(registry), registry), *_choices(method, registry)]
    departures = entry.facts.get("departures", ())
    if departures:
        lines += ["## What it does otherwise than its authors", "", *(f"- {each}" for each in departures), ""]
    return "\n".join([*lines, *_use(entry.name, method)])


def index(registry: Registry) -> str:
    """All methods in a table."""
    entries = registry.entries("method")
    rows = [f"| [{e.name}]({e.name}.md) | {e.facts.get('year', '')} | {cell(e.summary)} |" for e in entries]
    return "\n".join(
        ["# Methods", "", *_INDEX, "", "| method | year | what it does |", "| --- | --- | --- |", *rows, ""]
    )


def cited(entry: Entry) -> str:
    """Source and year; nothing where there is none."""
    source, year = entry.facts.get("source", ""), entry.facts.get("year")
    return f"{source} ({year})" if year else source


def _source(entry: Entry) -> list[str]:
    return [f"Source: {cited(entry)}.", ""] if cited(entry) else []


def _parts(method: Method, registry: Registry) -> Iterator[str]:
    yield from ("| phase | part | formula or effect | settings |", "| --- | --- | --- | --- |")
    chosen = [*method.parts().items(), *(("trace", trace) for trace in _traces(method, registry))]
    for kind, choice in chosen:
        if kind in _idle(method):
            continue
        summary = cell(registry.entry(kind, choice.name).summary)
        settings = ", ".join(f"{name} = {shown_value(value)}" for name, value in choice.settings.items())
        yield f"| {PHASES.get(kind, 'what it remembers')} | `{choice.name}` | {summary} | {settings} |"
    yield ""


def _idle(method: Method) -> tuple[str, ...]:
    """Phases that never come: where nothing is swapped only a budget moves connections, and most only take."""
    if method.schedule.name != "never":
        return ()
    return {"constant": ("prune", "grow", "born", "spread"), "grow": ()}.get(method.budget.name, _GROWING)


def _traces(method: Method, registry: Registry) -> list[Part]:
    asked = {name for kind, part in method.parts().items() for name in registry.entry(kind, part.name).inputs}
    own = {trace.name: trace for trace in method.traces}
    names = sorted(asked & set(registry.names("trace")))
    return [registry.resolve("trace", own.get(name, Part(name))) for name in names]


def _choices(method: Method, registry: Registry) -> Iterator[str]:
    told = [CHOICES.get((f.name, getattr(method, f.name))) for f in fields(method) if f.name not in PHASES]
    moves = method.schedule.name != "never" or method.budget.name != "constant"
    yield from (f"- {each}" for each in told if each and (moves or "event" not in each.lower()))
    reason = needs_dense(method, registry)
    yield f"- Execution: masked only, as {reason}." if reason else "- Execution: masked or truly sparse."
    yield ""


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def _use(name: str, method: Method) -> list[str]:
    compared = [other for other in ("dense", "static", name) if other != name] + [name]
    densities = " --densities 0.5,0.1" if method.sparse or method.network == "shrunk" else ""
    command = f"sparsity study run --methods {','.join(dict.fromkeys(compared))} --envs HalfCheetah-v5{densities}"
    lines = [f"{command} --seeds 5 --steps 100000", f"sparsity parts method {name}"]
    return ["## Use", "", "<!-- dry -->", "```bash", *lines, "```", ""]


def shown_value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(list(value) if isinstance(value, tuple) else value)


_GROWING: Final = ("grow", "born", "spread")
_SHRUNK: Final = (
    "All hidden layers of a network are narrowed by one factor until it has no more parameters than the sparse one of "
    "its eligible weights and allocation."
)
_INDEX: Final = (
    "Each follows its paper's text. Where the released code does otherwise, that is a row of its own, `..._released`.",
    "Densities and schedules are defaults that a study or a preset changes; comparisons share them by `[all]`.",
)


def write(folder: Path, registry: Registry) -> None:
    """All pages and the index; nothing else may stand in that folder."""
    pages = {"README": index(registry)} | {e.name: method_page(e, registry) for e in registry.entries("method")}
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        write_atomically(folder / f"{name}.md", text.encode())


if __name__ == "__main__":
    write(Path(sys.argv[1]), Registry(installed=False))
