"""The page of hooks, written from the registry and the kit's examples: `python -m studies.kit.page docs/hooks.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from registry import KINDS, Kind
from registry.meanings import FACTS, inputs_of
from registry.meanings import KINDS as MEANINGS
from rl.files import write_atomically
from studies.kit.package import module_text, templates

EXAMPLES: Final = {
    "eligible": "largest",
    "allocation": "open_mouth",
    "initial": "even_units",
    "weights": "norm_kept",
    "prune": "warm",
    "grow": "drawn",
    "born": "downhill",
    "spread": "by_room",
    "schedule": "doubling",
    "budget": "straight",
    "target": "lingering",
    "moments": "half_warm",
    "trace": "steady_sign",
    "method": "half_rigl",
    "agent": "settling",
    "replay": "recent",
    "wrapper": "sticky",
    "preset": "small_batches",
    "executor": "polite",
    "logger": "json_lines",
}
"""What the example of a kind is called."""


def page() -> str:
    """The whole page, in Markdown."""
    sections = ["\n".join(_section(kind)) for kind in KINDS.values()]
    return templates().get_template("hooks.md.j2").render(sections="\n".join(sections))


def _section(kind: Kind) -> Iterator[str]:
    meaning, name = MEANINGS[kind.name], EXAMPLES[kind.name]
    yield from (f"## {kind.name}", "", f"`register_{kind.name}`. {meaning.purpose}", "")
    yield from (f"- Called: {_begun(meaning.called)}", f"- Gives: {meaning.gives}.")
    yield from (f"- `register` also takes `{fact}`: {FACTS[fact]}." for fact in kind.facts)
    yield ""
    if inputs := inputs_of(kind):
        yield from ("| it may ask for | what that is |", "| --- | --- |")
        yield from (f"| {_named(each)} | {text.replace('|', '&#124;')} |" for each, text in inputs.items())
    else:
        yield "It asks for nothing."
    yield from ("", f"Save this as `{name}.py`:", "", "```python", module_text(kind.name, name).rstrip(), "```", "")


def _begun(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _named(name: str) -> str:
    return name if name == "any trace" else f"`{name}`"


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]), page().encode())
