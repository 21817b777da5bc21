"""What can be run, by name. A harness is added here, and gets a command and rows of the ledger with it."""

from __future__ import annotations

from typing import Final

from benchmarks.reliability import flips, runners, runs, saves
from benchmarks.reliability.ledger import Harness

HARNESSES: Final[dict[str, Harness]] = {
    "flips": flips.flips,
    "runners": runners.kills,
    "runs": runs.kills,
    "saves": saves.kills,
}
