"""Plugins that are there: what each brings, which are installed, and why one cannot be used."""

from __future__ import annotations

from importlib import metadata

from registry import Entry, PartError, Registry
from registry.hooks import nothing_registered
from registry.hookspecs import PROJECT
from studies.problems import BadInput


def points() -> list[metadata.EntryPoint]:
    """The entry points of all installed plugins, by name."""
    return sorted(metadata.entry_points(group=PROJECT), key=lambda point: point.name)


def brought(target: str, plugin: object, registry: Registry) -> list[Entry]:
    """The parts of a plugin that was named as `target`; BadInput if there is none."""
    entries = registry.brought_by(plugin)
    if not entries:
        raise BadInput(f"{target} {nothing_registered(plugin)}")
    return entries


def plugin_list(registry: Registry) -> str:
    """One plugin after the other, its parts below it."""
    lines = [line for point in points() for line in _told(point, registry)]
    return "\n".join(lines or ["no plugin is installed: `sparsity plugin new NAME` writes one"])


def _told(point: metadata.EntryPoint, registry: Registry) -> list[str]:
    maker = f"{point.dist.name} {point.dist.version}" if point.dist else "no distribution"
    head = f"{point.name}  [{maker}]"
    try:
        plugin = registry.load_point(point)
    except PartError as error:
        return [head, f"  {error}"]
    entries = registry.brought_by(plugin)
    return [head, *([f"  {e.kind.name} {e.name}  {e.summary}" for e in entries] or [f"  {nothing_registered(plugin)}"])]
