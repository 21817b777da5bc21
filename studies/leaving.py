"""Being told to leave: a run hears SIGTERM, SIGINT, SIGUSR1 and the end of its runner, and goes at its next rest."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Final

WATCHED: Final = "SPARSITY_RUNNER"
"""Set to `stdin` for a run whose standard input ends when its runner does."""
PATIENCE: Final = 15.0
"""Seconds that an episode has to end once the run is told to leave; then it goes back to its last checkpoint."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Leave(BaseException):
    """The run leaves now, by exit code `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Notice:
    """Listens while it is entered. The second signal, or one outside of training, ends the run at once."""

    def __init__(self) -> None:
        self.code = 0
        """128 and the number of the signal that was heard; 0 before."""
        self.patient = False
        """Whether a rest will come at which the state can be saved."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Notice:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._told) for number in SIGNALS}
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._over)
        if os.environ.get(WATCHED) == "stdin":
            threading.Thread(target=_until_the_runner_is_gone, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _told(self, number: int, frame: FrameType | None) -> None:
        again, self.code = bool(self.code), self.code or 128 + number
        if again or not self.patient:
            raise Leave(self.code)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _over(self, number: int, frame: FrameType | None) -> None:
        raise Leave(self.code)


def _until_the_runner_is_gone() -> None:
    with contextlib.suppress(OSError, ValueError):
        while os.read(sys.stdin.fileno(), 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
