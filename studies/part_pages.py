"""A page for each kind of part, written from the registry: what a part may ask for, and every part with its settings.

`python -m studies.part_pages FOLDER` writes them all; the site does so when it is built.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from registry import KINDS, Entry, Kind, Registry
from registry.signature import Setting, in_words
from rl.files import write_atomically
from studies.pages import cell, shown_value

ELSEWHERE: Final = ("method",)
"""Kinds whose parts have a page each."""


def kind_page(kind: Kind, registry: Registry) -> str:
    """All parts of a kind, in Markdown."""
    lines = [f"# {kind.name}", "", _what(kind), ""]
    for entry in registry.entries(kind.name):
        lines += [f"## {entry.name}", "", *(_row(entry) if kind.row else _function(entry))]
    return "\n".join(lines)


def _what(kind: Kind) -> str:
    if kind.row:
        return f"A row of data: {kind.gives}. A plugin registers one by `register_{kind.name}`."
    asked = [*(f"`{name}`" for name in kind.inputs), *(["any trace"] if kind.traces else [])]
    return (
        f"A function that may ask for {', '.join(asked)}, and gives {kind.gives}. "
        f"A plugin registers one by `register_{kind.name}`."
    )


def _function(entry: Entry) -> Iterator[str]:
    yield from ("```python", f"{entry.name}{signature(entry)}", "```", "", *_text(entry), "")
    if entry.settings:
        yield from ("| setting | what it may be | default |", "| --- | --- | --- |")
        yield from map(_setting, entry.settings)
        yield ""
    path = f"{entry.module.replace('.', '/')}.py"
    yield from (f"Source: [`{path}`](../../{path}).", "")


def _row(entry: Entry) -> Iterator[str]:
    yield from (*_text(entry), "", "| field | value |", "| --- | --- |")
    yield from (f"| `{field}` | {cell(f'`{value}`')} |" for field, value in vars(entry.value).items())
    yield ""


def signature(entry: Entry) -> str:
    """Inputs and settings by name, without their annotations: those stand in the table."""
    inputs = list(entry.inputs)
    settings = [s.name if s.required else f"{s.name}={s.default!r}" for s in entry.settings]
    return f"({', '.join([*inputs, *(['*'] if settings else []), *settings])})"


def _text(entry: Entry) -> Iterator[str]:
    text = entry.facts.get("about") or inspect.getdoc(entry.value) or "No documentation."
    for line in text.split("\n"):
        yield line.replace("*", "\\*") if "`" not in line else line


def _setting(setting: Setting) -> str:
    default = "must be given" if setting.required else f"`{shown_value(setting.default)}`"
    return f"| `{setting.name}` | {cell(in_words(setting.type))} | {cell(default)} |"


def write(folder: Path, registry: Registry) -> None:
    """All pages; nothing else may stand in that folder. A page that is as it was is left alone."""
    pages = {name: kind_page(kind, registry) for name, kind in KINDS.items() if name not in ELSEWHERE}
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text() != text:
            write_atomically(path, text.encode())


if __name__ == "__main__":
    write(Path(sys.argv[1]), Registry(installed=False))
