"""Pages of Markdown as a reader uses them: commands to give, files to save, and comments that steer what a test does.

On the lines directly before a block of bash an HTML comment may say

- `<!-- run: WORDS -->`: WORDS are added to every command of the block that trains, to make it tiny; a flag among them
  takes the place of the command's own;
- `<!-- dry -->`: the same with `--dry-run`;
- `<!-- first: COMMAND -->`: a command that a reader has given long ago, given before the block;
- `<!-- not run: REASON -->`: the block is left out.

A line of text that ends with "Save this as `name`:" makes a file of the block that follows it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TRAINS = (("train",), ("study", "run"), ("study", "tune"))
"""Commands of `sparsity` that carry runs out."""


REPEATED = {"--set", "--plugin", "--logger"}
"""Flags that add to each other."""


class BrokenPage(ValueError):
    """A page whose steering makes no sense. The message names its line."""


@dataclass(frozen=True)
class File:
    """A file that the page asks its reader to save."""

    line: int
    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line to give to a shell, and where it stands in the page, counted from 1."""

    line: int
    text: str


@dataclass
class Block:
    """A fenced block and what is said about it."""

    line: int
    language: str
    lines: list[str] = field(default_factory=list)
    steering: list[str] = field(default_factory=list)
    saved_as: str = ""

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def not_run(self) -> str:
        """Why it is left out; else nothing."""
        return next((said.partition(":")[2].strip() for said in self.steering if said.startswith("not run")), "")


def blocks(text: str) -> Iterator[Block]:
    """Every fenced block of a page with the comments directly before it."""
    block, fence, said, name = None, "", list[str](), ""
    for number, line in enumerate(text.split("\n"), 1):
        mark = re.match(r"\s*(`{3,})\s*(\S*)", line)
        if block is not None and mark and mark[1].startswith(fence) and not mark[2]:
            yield block
            block, said, name = None, [], ""
        elif block is not None:
            block.lines.append(line)
        elif mark:
            fence = mark[1]
            block = Block(number, mark[2], steering=[_checked(each, number) for each in said], saved_as=name)
        elif comment := re.fullmatch(r"\s*<!--\s*(.*?)\s*-->\s*", line):
            said.append(comment[1])
        elif line.strip():
            said, saved = [], re.search(r"[Ss]ave this as `([^`]+)`:$", line.strip())
            name = saved[1] if saved else ""
        else:
            said = []
    if block is not None:
        raise BrokenPage(f"line {block.line}: the block has no end")


def python_of(text: str) -> list[str]:
    """The blocks of Python on a page."""
    return [block.text for block in blocks(text) if block.language == "python"]


def _checked(said: str, line: int) -> str:
    word, _, rest = said.partition(":")
    if word in ("run", "first", "not run") and not rest.strip():
        needs = {"run": "words to add", "first": "a command", "not run": "a reason"}[word]
        raise BrokenPage(f"line {line}: `<!-- {said} -->` needs {needs} after a colon")
    return said


def steps(text: str) -> Iterator[File | Command]:
    """What a reader does with a page, from top to bottom."""
    for block in blocks(text):
        if block.saved_as:
            yield File(block.line, block.saved_as, block.text)
        elif block.language == "bash" and not block.not_run:
            for said in block.steering:
                if said.startswith("first:"):
                    yield Command(block.line, said.partition(":")[2].strip())
            for line, command in _whole_lines(block):
                yield Command(line, steered(command, block.steering))


def _whole_lines(block: Block) -> Iterator[tuple[int, str]]:
    """Lines of a block, those that end with a backslash together with the next."""
    begun, start = "", 0
    for number, line in enumerate(block.lines, block.line + 1):
        start = start or number
        begun += line.rstrip().removesuffix("\\")
        if not line.rstrip().endswith("\\"):
            if begun.strip() and not begun.strip().startswith("#"):
                yield start, begun.strip()
            begun, start = "", 0


def steered(command: str, steering: list[str]) -> str:
    """The command with what the comments add to it, if it is one that trains."""
    added = [said.partition(":")[2].strip() for said in steering if said.startswith("run:")]
    added += ["--dry-run" for said in steering if said == "dry"]
    if not added or not trains(command):
        return command
    bare = re.sub(r"(?:^|\s)#.*$", "", command)
    for flag in set(re.findall(r"(?<!\S)--[a-z-]+", " ".join(added))) - REPEATED:
        bare = re.sub(rf"\s{flag}[\s=]+\S+", "", bare)
    return f"{bare.rstrip()} {' '.join(added)}"


def trains(command: str) -> bool:
    """Whether a line is a command of `sparsity` that carries runs out."""
    words = words_of(command)
    return words[:1] == ["sparsity"] and any(tuple(words[1 : 1 + len(each)]) == each for each in TRAINS)


def words_of(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def extras(text: str) -> set[str]:
    """Extras of this project that a page tells its reader to install: of `'sparsity-rl[sb3]'` and of `-e '.[dev]'`."""
    named = re.findall(r"(?:sparsity-rl|\.)\[([a-z0-9,-]+)\]", text)
    return {extra for each in named for extra in each.split(",")}


def pages(root: Path) -> list[Path]:
    """The pages of the repository that readers follow."""
    found = [root / "README.md", *(root / "docs").rglob("*.md")]
    return sorted(path for path in found if not {"_build", "parts"} & set(path.relative_to(root).parts[:2]))
