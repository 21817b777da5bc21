"""How a study is carried out: nothing here changes what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Care:
    """What becomes of runs that stop: the words of the command line, and their defaults everywhere."""

    retries: int = 2
    """How often a run is tried again that was killed, or hung; one that raised an error is not."""
    stall_after: float = 1800.0
    """Seconds without a new step after which a run counts as hung; 0 is never."""
    checkpoint_every: float = 60.0
    """Seconds between two checkpoints of a run, at least; they take a twentieth of its time at most."""
    allow_drift: bool = False
    """Go on from checkpoints that were made with other versions or on another kind of machine; rows are marked."""
    keep_buffers: bool = False
    """Keep the last checkpoints of finished runs, replay buffers with them."""
    no_wait: bool = False
    """Leave runs to the runner that holds them, instead of waiting for it."""


@dataclass(frozen=True, kw_only=True)
class Options(Care):
    """How to carry a study out."""

    workers: int = 0
    """Runs at a time; 0 is one a core."""
    executor: str = "local"
    executor_settings: Mapping[str, Any] = field(default_factory=dict)
    loggers: Sequence[str] = ()
    diagnostics: bool = False
    """Let every run write its diagnostics."""
    replace: bool = False
    """Let the study take the place of a stored one of its name; finished runs stay."""
    plugins: Sequence[Path] = ()
    no_plugins: bool = False
    allow_env_import: bool = False
    yes: bool = False
