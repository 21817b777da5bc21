"""When a run saves its state, and from what it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from studies.attempts import Attempt, attempts, clear
from studies.checkpoints import Checkpoints, Loaded, newest
from studies.underway import Underway
from studies.world import drift

PAUSE: Final = 19.0
"""Times what a checkpoint cost that the run works before the next: they take a twentieth of its time at most."""


class Drifted(RuntimeError):
    """A checkpoint from another world: going on from it would not give the bytes that the run promises."""


def last(attempt: Attempt, world: Mapping[str, Any], *, allow_drift: bool) -> tuple[Loaded | None, list[str]]:
    """What an attempt goes on from, and what is to be said of it. Drifted if that was made in another world."""
    earlier = [each.checkpoints for each in attempts(attempt.run_folder) if each.number < attempt.number]
    loaded, told = newest(earlier[::-1])
    if loaded is None:
        return None, [*told, *(["no checkpoint is whole: the run begins anew"] if told else [])]
    run_id = attempt.run_folder.name
    if loaded.about["run"] != run_id:
        told.append(f"checkpoint {loaded.folder} is of run {loaded.about['run']}, not {run_id}: the run begins anew")
        return None, told
    changed = drift(loaded.about["world"], world)
    if changed and not allow_drift:
        raise Drifted(
            f"the checkpoint at step {loaded.about['step']} was made with {changed}: go on all the same, its row "
            f"marked (--allow-drift), or delete {attempt.folder.parent} to begin anew"
        )
    told.append(f"goes on from step {loaded.about['step']:,}{f', although {changed}' if changed else ''}")
    return loaded, told


class Keeper:
    """Saves the state of one attempt when an episode has ended, not more often than every `every` seconds.

    Earlier attempts are deleted once two checkpoints of this one stand.
    """

    def __init__(self, attempt: Attempt, about: Mapping[str, Any], *, every: float, lender: Loaded | None) -> None:
        self._attempt, self._about, self._every = attempt, dict(about), every
        self._checkpoints = Checkpoints(attempt.checkpoints, [lender.folder.parent] if lender else [])
        self._saved, self._last, self._cost = 0, time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._last >= max(self._every, PAUSE * self._cost)

    def save(self, underway: Underway) -> None:
        """A checkpoint now. Superseded, and nothing is written, if a later attempt has begun."""
        self._attempt.demand_latest()
        started = time.monotonic()
        self._checkpoints.save(underway.state_dict(), self._about, underway.step)
        self._saved += 1
        if self._saved == 2:
            clear(self._attempt.run_folder, before=self._attempt)
        self._last = time.monotonic()
        self._cost = self._last - started
