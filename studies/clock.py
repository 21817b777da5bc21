"""What a run took: on the wall and on the CPU, its evaluations apart."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any


class Clock:
    """Counts a run's seconds from its making on, and goes on counting from a saved state.

    What was done twice, as a process was killed after its last checkpoint, counts once: that is what the run takes, not
    what its interruptions cost.
    """

    def __init__(self) -> None:
        self._began = (time.monotonic(), time.process_time())
        self._before, self._training_before = (0.0, 0.0), (0.0, 0.0)
        self._spent = (0.0, 0.0)
        self._at: list[list[float]] = []

    def evaluated(self, spent: tuple[float, float]) -> None:
        """An evaluation has come; this process has spent so many seconds on them."""
        self._spent = spent
        self._at.append([round(seconds, 3) for seconds in self._training()])

    def _here(self) -> tuple[float, float]:
        """Seconds of this process."""
        return time.monotonic() - self._began[0], time.process_time() - self._began[1]

    def _now(self) -> tuple[float, float]:
        wall, cpu = self._here()
        return self._before[0] + wall, self._before[1] + cpu

    def _training(self) -> tuple[float, float]:
        wall, cpu = self._here()
        return self._training_before[0] + wall - self._spent[0], self._training_before[1] + cpu - self._spent[1]

    def told(self) -> dict[str, Any]:
        """`seconds` and `cpu_seconds` of all, and of training alone, a number for each evaluation.

        The time on the CPU is that of the process with its threads; on a busy machine it is the fairer of the two.
        """
        wall, cpu = self._now()
        return {
            "seconds": wall,
            "cpu_seconds": cpu,
            "training_seconds": [at[0] for at in self._at],
            "training_cpu_seconds": [at[1] for at in self._at],
        }

    def state_dict(self) -> dict[str, Any]:
        return {"all": list(self._now()), "training": list(self._training()), "at": [list(at) for at in self._at]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._began = (time.monotonic(), time.process_time())
        self._before, self._training_before = tuple(state["all"]), tuple(state["training"])
        self._at = [list(at) for at in state["at"]]
