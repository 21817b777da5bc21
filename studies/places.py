"""A row's words, and what of them holds for one agent or at one density alone: settings that were tuned there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry import PartError, nearest

Settings = Mapping[str, Mapping[str, Any]]
"""Of agents, by their names, as under a study's [settings]."""


@dataclass(frozen=True)
class RowWords:
    """What a row says: of its method, of the agents' settings, and in `at` what it says of some places alone."""

    method: Any
    """As `studies.spec.choose` reads it."""
    settings: Settings = field(default_factory=dict)
    at: tuple[Mapping[str, Any], ...] = ()

    def here(self, agent: str, density: Any) -> list[Mapping[str, Any]]:
        """The entries of `at` that hold for an agent at a density of the study, in order.

        PartError if a row has entries and none of them holds: it would be tuned in some places and not in this one.
        """
        found = [entry for entry in self.at if _holds(entry, agent, density)]
        if self.at and not found:
            where = f"{agent}{'' if density is None else f' at density {density}'}"
            raise PartError(f"at: no entry holds for {where}: give one, or leave that out of the study")
        return found

    def own_settings(self, agent: str, entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """What a row sets of an agent, and then what each of those entries sets over it."""
        return [self.settings.get(agent, {}), *(entry.get("settings", {}).get(agent, {}) for entry in entries)]


def read_row(words: Any, agents: Sequence[str]) -> RowWords:
    """A row's words by what they are about. PartError for `settings` and `at` of another shape, or of no agent."""
    if not isinstance(words, Mapping):
        return RowWords(words)
    method = {key: value for key, value in words.items() if key not in ("settings", "at")}
    at = words.get("at", [])
    if not isinstance(at, list) or not all(isinstance(entry, Mapping) for entry in at):
        raise PartError(f"at must be a list of tables with `agent`, `density` and what holds there, not {at!r}")
    for entry in at:
        _check_agents([entry["agent"]] if "agent" in entry else [], agents, "at: agent")
        _settings(entry, agents)
        if isinstance(entry.get("allocation"), Mapping) and "density" in entry["allocation"]:
            raise PartError("at: allocation: density is where an entry holds; a row sets its own outside `at`")
    return RowWords(method, _settings(words, agents), tuple(at))


def of_method(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry says of the method."""
    return {key: value for key, value in entry.items() if key not in ("agent", "density", "settings")}


def _settings(words: Mapping[str, Any], agents: Sequence[str]) -> Settings:
    settings = words.get("settings", {})
    if not isinstance(settings, Mapping) or not all(isinstance(own, Mapping) for own in settings.values()):
        raise PartError(f"settings must be a table of tables by agent, {{ td3 = {{ ... }} }}, not {settings!r}")
    _check_agents(settings, agents, "settings")
    return settings


def _check_agents(named: Sequence[Any] | Mapping[str, Any], agents: Sequence[str], where: str) -> None:
    for agent in named:
        if agent not in agents:
            close = nearest(str(agent), agents)
            raise PartError(f"{where}: the study has no agent {agent!r}. {close}Agents: {', '.join(agents)}")


def _holds(entry: Mapping[str, Any], agent: str, density: Any) -> bool:
    return entry.get("agent", agent) == agent and ("density" not in entry or entry["density"] == density)
