"""`sparsity check`: the conformance suite over the parts of a file, a module or installed plugins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from registry import Entry, PartError, Registry
from registry.hookspecs import PROJECT
from registry.report import Problem
from studies.check import examine
from studies.kit.installed import brought, points
from studies.problems import BadInput


class Checked(NamedTuple):
    """What was found, in words, and how many problems there are."""

    text: str
    problems: int


def check(target: str, registry: Registry) -> Checked:
    """Check the parts of a file, an importable module or an installed plugin; of all installed ones if none is named.

    BadInput or PartError where there is nothing to check.
    """
    plugins = [_plugin(target, registry)] if target else list(_installed(registry))
    found = [_examined(plugin, registry) for plugin in plugins]
    return Checked("\n".join(each.text for each in found), sum(each.problems for each in found))


def _plugin(target: str, registry: Registry) -> list[Entry]:
    if target.endswith(".py") or "/" in target or Path(target).is_dir():
        return brought(target, registry.load_file(_file(Path(target))), registry)
    named = [point for point in points() if target in (point.name, point.dist.name if point.dist else "")]
    if named:
        return [entry for point in named for entry in brought(point.name, registry.load_point(point), registry)]
    try:
        return brought(target, registry.load_module(target), registry)
    except PartError as error:
        raise PartError(f"{error}{_instead(target)}") from error


def _file(path: Path) -> Path:
    """The file that a folder's pyproject.toml names as its plugin; a file as it is."""
    project = path / "pyproject.toml"
    if not path.is_dir() or not project.is_file():
        return path
    import tomllib

    declared = tomllib.loads(project.read_text()).get("project", {}).get("entry-points", {}).get(PROJECT, {})
    modules = [str(value).partition(":")[0].replace(".", "/") for value in declared.values()]
    found = [file for name in modules for file in (path / f"{name}.py", path / "src" / f"{name}.py") if file.is_file()]
    return found[0] if found else path


def _instead(target: str) -> str:
    if Path(f"{target}.py").is_file():
        return f". Did you mean the file {target}.py?"
    known = ", ".join(sorted(point.name for point in points())) or "none"
    return f". A file is named with its ending, {target}.py; installed plugins: {known}"


def _installed(registry: Registry) -> Iterator[list[Entry]]:
    found = points()
    if not found:
        raise BadInput("no plugin is installed: name a plugin, as a file or as a module that can be imported")
    for point in found:
        yield brought(point.name, registry.load_point(point), registry)


def _examined(entries: list[Entry], registry: Registry) -> Checked:
    reports = []
    for entry in entries:
        report = examine(entry, registry)
        try:
            registry.entry(entry.kind.name, entry.name)
        except PartError as error:  # Somebody else claims the name, which only who asks for it is told.
            clash = Problem("name", f"cannot be chosen: {error}")
            report = replace(report, problems=(clash, *report.problems))
        reports.append(report)
    return Checked("\n".join(map(str, reports)), sum(len(report.problems) for report in reports))
