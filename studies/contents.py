"""A run as a content-addressed fact: everything that decides its results, and the hash of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from registry import Entry, Part, Registry, part
from sparsity import Method

RESULTS_VERSION = 4
"""Raised whenever the same contents would give other results. See "Changes results" in the changelog."""


@dataclass(frozen=True)
class Run:
    """One training run, all settings resolved. Equal contents are the same run: same id, same bytes."""

    env: str
    agent: Part
    methods: Mapping[str, Method]
    """By learner; empty for agents that learn nothing."""
    seed: int
    steps: int
    """Environment steps."""
    warmup: int
    eval_every: int
    episodes: int
    replay: Part = part("uniform", capacity=1_000_000)
    wrappers: tuple[Part, ...] = ()
    execution: Literal["masked", "sparse"] = "masked"
    """How absence is carried out; `auto` is resolved before."""
    device: str = "cpu"
    foreign: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the source of every chosen part that is not ours."""
    donor: Run | None = None
    """The run whose final policy acts in the warm-up, a finished one; None is uniform actions."""

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the contents' canonical JSON."""
        return hashlib.sha256(canonical(self.contents()).encode()).hexdigest()[:16]

    @property
    def updates(self) -> int:
        """Planned agent updates: one an environment step after the warm-up."""
        return max(0, self.steps - self.warmup)

    def contents(self) -> dict[str, Any]:
        """Everything that decides the results, as JSON values. Without a donor there is no word of one."""
        donor = {} if self.donor is None else {"donor": self.donor.contents()}
        return donor | {
            "results": RESULTS_VERSION,
            "env": self.env,
            "agent": part_words(self.agent),
            "methods": {learner: method_words(method) for learner, method in self.methods.items()},
            "seed": self.seed,
            "steps": self.steps,
            "warmup": self.warmup,
            "eval_every": self.eval_every,
            "episodes": self.episodes,
            "replay": part_words(self.replay),
            "wrappers": [part_words(wrapper) for wrapper in self.wrappers],
            "execution": self.execution,
            "device": self.device,
            "foreign": dict(self.foreign),
        }

    @classmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Run:
        """The run that these contents describe. ValueError if another results version wrote them."""
        if contents["results"] != RESULTS_VERSION:
            raise ValueError(f"these contents are of results version {contents['results']}, not {RESULTS_VERSION}")
        fields = {key: contents[key] for key in ("env", "seed", "steps", "warmup", "eval_every", "episodes")}
        return cls(
            **fields,
            agent=part_from(contents["agent"]),
            methods={name: _method_from(words) for name, words in contents["methods"].items()},
            replay=part_from(contents["replay"]),
            wrappers=tuple(part_from(words) for words in contents["wrappers"]),
            execution=contents["execution"],
            device=contents["device"],
            foreign=contents["foreign"],
            donor=cls.from_contents(contents["donor"]) if "donor" in contents else None,
        )


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: equal values are equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def method_words(method: Method) -> dict[str, Any]:
    """A method as JSON values; what cannot matter is left out, so that equal behaviour has one description."""
    if method.eligible.name == "none":
        return {"eligible": {"part": "none"}}
    parts: dict[str, Any] = {name: part_words(choice) for name, choice in method.parts().items()}
    if method.network == "shrunk":
        return {"network": "shrunk", "eligible": parts["eligible"], "allocation": parts["allocation"]}
    plain = ("readmit", "scope", "swap_scope", "optimizer_sees", "event", "clock", "network")
    words = parts | {name: getattr(method, name) for name in plain}
    return words | {"traces": [part_words(trace) for trace in method.traces]}


def _method_from(words: Mapping[str, Any]) -> Method:
    values: dict[str, Any] = {}
    for key, value in words.items():
        if key == "traces":
            values[key] = tuple(part_from(trace) for trace in value)
        else:
            values[key] = part_from(value) if isinstance(value, Mapping) else value
    return replace(Method(), **values)


def part_words(choice: Part) -> dict[str, Any]:
    """A choice as a study file words it: a table with `part`."""
    return {"part": choice.name, **choice.settings}


def part_from(words: Mapping[str, Any]) -> Part:
    """The choice that such a table means."""
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in words.items() if k != "part"}
    return Part(words["part"], settings)


def foreign_sources(run: Run, registry: Registry) -> dict[str, str]:
    """SHA-256 of the source of every chosen part that is not ours, by `kind/name`."""
    entries: list[Entry] = [registry.entry("agent", run.agent.name)]
    entries += [registry.entry("wrapper", wrapper.name) for wrapper in run.wrappers]
    entries += [registry.entry("replay", run.replay.name)] if run.methods else []
    for method in run.methods.values():
        chosen = [registry.entry(kind, choice.name) for kind, choice in method.parts().items()]
        traces = {name for entry in chosen for name in entry.inputs} & set(registry.names("trace"))
        entries += chosen + [registry.entry("trace", name) for name in sorted(traces)]
    hashes = {f"{entry.kind.name}/{entry.name}": entry.source_hash for entry in entries}
    return {key: value for key, value in sorted(hashes.items()) if value is not None}
