"""The page of the command line, written from the commands themselves: `python -m studies.cli_page docs/cli.md`."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from rl.files import write_atomically
from studies import cli
from studies.pages import cell

INTRODUCTION: Final = """\
# The command line

Every command with all that it takes; `sparsity COMMAND --help` says the same. Flags that commands share come first.
What a command writes where, and its exit codes, are on [a page of their own](files.md).
"""

SHARED: Final = {
    cli.Common: ("Stores and plugins", "Nearly every command takes these."),
    cli.Setup: (
        "Setting runs up",
        "Commands that carry runs out take these.",
    ),
}
"""Flags that commands build on, with the heading and the words above them."""


@dataclass(frozen=True)
class Flag:
    """One thing that a command takes."""

    words: str
    """As it is written: `--store FOLDER`, or the metavariable of a positional one."""
    default: str
    meaning: str
    field: str


def page() -> str:
    """All commands, in Markdown."""
    sections = [_section(title, what, own_flags(shared)) for shared, (title, what) in SHARED.items()]
    sections += [_section(f"sparsity {name}", _about(command), own_flags(command)) for name, command in commands()]
    return "\n".join([INTRODUCTION, *sections])


def commands() -> Iterator[tuple[str, type]]:
    """Every command by the words that call it."""
    yield from _commands(cli.Command)


def own_flags(command: type) -> list[Flag]:
    """What a command takes beside what it builds on."""
    others = [shared for shared in SHARED if shared is not command and issubclass(command, shared)]
    known = {field.name for other in others for field in fields(other)}
    return [flag for flag in flags_of(command) if flag.field not in known]


def _about(command: type) -> str:
    links = [f"[{title.lower()}](#{title.lower().replace(' ', '-')})" for title in _titles(command)]
    takes = f" Takes also the flags of {' and of '.join(links)}." if links else ""
    return f"{inspect.getdoc(command) or ''}{takes}"


def _titles(command: type) -> list[str]:
    return [title for shared, (title, _) in SHARED.items() if issubclass(command, shared)]


def _commands(union: Any) -> Iterator[tuple[str, type]]:
    for choice in get_args(union):
        command, *how = get_args(choice)
        (name,) = [config.name for config in how if hasattr(config, "name") and hasattr(config, "is_default")]
        hints = typing.get_type_hints(command, include_extras=True).values()
        inner = next((hint for hint, _ in map(_unwrapped, hints) if _is_group(hint)), None)
        if inner is None:
            yield name, command
        else:
            yield from ((f"{name} {word}", each) for word, each in _commands(inner))


def _is_group(hint: Any) -> bool:
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()
    return bool(members) and all(get_origin(member) is Annotated for member in members)


def flags_of(command: type) -> list[Flag]:
    """What a command takes, positional words first, as tyro reads it."""
    hints = typing.get_type_hints(command, include_extras=True)
    told = _meanings(command)
    found = [_flag(field, hints[field.name], told.get(field.name, "")) for field in fields(command)]
    return sorted(found, key=lambda flag: flag.words.startswith("--"))


def _flag(field: Field[Any], hint: Any, meaning: str) -> Flag:
    type_, how = _unwrapped(hint)
    marks = " ".join(map(str, how))
    names = [name for each in how for name in (getattr(each, "aliases", None) or ())]
    kind = _kind(type_, next((each.metavar for each in how if getattr(each, "metavar", None)), None))
    meaning = meaning or next((each.help for each in how if getattr(each, "help", None)), "")
    if "Positional" in marks:
        words = field.name.upper() if field.default is MISSING else f"[{field.name.upper()}]"
    else:
        own = next((each.name for each in how if getattr(each, "name", None)), field.name.replace("_", "-"))
        words = ", ".join([f"--{own}", *names]) + (f" {kind}" if kind else "")
    again = " May be given again." if "AppendAction" in marks and "again" not in meaning else ""
    return Flag(words, _default(field), meaning + again, field.name)


def _unwrapped(hint: Any) -> tuple[Any, list[Any]]:
    """A type without its annotations, and those: tyro nests them."""
    how: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        how += more
    return hint, how


def _kind(type_: Any, metavar: str | None) -> str:
    if type_ is bool:
        return ""
    if metavar:
        return metavar
    choices = [each for each in (get_args(type_) or (type_,)) if each not in (type(None), Ellipsis)]
    if get_origin(type_) is Literal:
        return " | ".join(choices)
    if get_origin(choices[0]) is Literal:
        return " | ".join(get_args(choices[0]))
    return {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}.get(choices[0], "VALUE")


def _default(field: Field[Any]) -> str:
    untold = field.default is MISSING or field.default is False or field.default in (None, (), "")
    return "" if untold else f"`{field.default}`"


def _meanings(command: type) -> dict[str, str]:
    """The text under each field, of this class and of those that it builds on."""
    told: dict[str, str] = {}
    for owner in reversed(command.__mro__[:-1]):
        body = ast.parse(inspect.getsource(owner)).body[0]
        assert isinstance(body, ast.ClassDef)
        for line, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(after, ast.Expr):
                text = getattr(after.value, "value", "")
                told[line.target.id] = re.sub(r"\s+", " ", str(text)).strip()
    return told


def _section(title: str, what: str, flags: list[Flag]) -> str:
    lines = [f"## {title}", "", *([what, ""] if what else [])]
    if flags:
        lines += ["| flag | default | meaning |", "|:---|:---|:---|"]
        lines += [f"| {cell(f'`{flag.words}`')} | {cell(flag.default)} | {cell(flag.meaning)} |" for flag in flags]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]), page().encode())
