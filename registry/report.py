"""What a check of a part found: each problem with its case, what came, what was expected, and where to look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

from registry.entry import Entry
from registry.hookspecs import Kind
from registry.tables import Registry


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a part from conforming to its kind."""

    topic: str
    """Of which a report needs one example only: the second teaches nothing new."""
    said: str
    """What came, as the end of a sentence that begins with the part: "gave 3 scores that are not finite"."""
    expected: str = ""
    """What should have come: "it must give ..."."""
    advice: str = ""
    case: str = ""
    shown: Mapping[str, str] = field(default_factory=dict)
    """The inputs of that case, small, by name."""
    where: str = ""
    """`file.py:12`, where that is known better than by the part's own place."""

    @property
    def sentence(self) -> str:
        """All but the inputs, in one line."""
        expected = f"; {self.expected}" if self.expected else ""
        case = f" (asked with: {self.case})" if self.case else ""
        return f"{self.said}{expected}{case}{f': {self.advice}' if self.advice else ''}"


@dataclass(frozen=True)
class Report:
    """What a check made of one part."""

    kind: Kind
    name: str
    where: str
    tried: str
    """How much was asked: "18 cases"."""
    problems: tuple[Problem, ...] = ()

    def __str__(self) -> str:
        """A verdict in a line, and under it every problem with all that helps to mend it."""
        head = f"{self.kind.name} {self.name}: "
        if not self.problems:
            return f"{head}conforms ({self.tried})"
        count = len(self.problems)
        lines = [f"{head}{count} problem{'s' if count > 1 else ''} ({self.tried})"]
        return "\n".join(lines + [line for problem in self.problems for line in _told(problem, self.where)])


def _told(problem: Problem, where: str) -> list[str]:
    labelled = {
        "expected": problem.expected,
        "case": problem.case,
        **problem.shown,
        "to mend": problem.advice,
        "where": problem.where or where,
    }
    wide = max(len(label) for label in labelled)
    first, *more = problem.said.splitlines() or [""]
    kept = [f"      {label:{wide}}  {text}" for label, text in labelled.items() if text]
    return [f"  - it {first}", *(f"    {line}" for line in more), *kept]


def once(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The first problem of every topic."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.topic, problem)
    return tuple(first.values())


def demand_conforming(
    plugin: ModuleType,
    kinds: Iterable[str],
    examine: Callable[[Entry, Registry], Report],
    registry: Registry | None = None,
) -> None:
    """AssertionError with the reports of a plugin's parts that do not conform. ValueError if it has none of `kinds`."""
    registry = registry or Registry(installed=False)
    registry.load_module(plugin.__name__)
    brought = registry.brought_by(plugin)
    mine = [entry for entry in brought if entry.kind.name in kinds]
    if not mine:
        others = ", ".join(f"{entry.kind.name} {entry.name}" for entry in brought) or "no part at all"
        raise ValueError(
            f"{plugin.__name__} has no part of the kinds that are checked here ({', '.join(kinds)}), but {others}: "
            "sparsity.check serves those of sparsity, rl.check agents, replays and wrappers, studies.check all"
        )
    failed = [report for entry in mine if (report := examine(entry, registry)).problems]
    if failed:
        raise AssertionError("\n".join(map(str, failed)))
