"""Being told to leave: a run hears SIGTERM, SIGINT, SIGUSR1 and the end of its runner, and goes at its next rest."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Final

WATCHED: Final = "SPARSITY_RUNNER"
"""Set to `stdin` for a run whose standard input ends when its runner does."""
PATIENCE: Final = 15.0
"""Seconds that an episode has to end once the run is told to leave; then it goes back to its last checkpoint."""
LAST: Final = PATIENCE + 5.0
"""Seconds after the end of its runner in which a run leaves by itself, or it hangs where no signal is heard."""
ONCE: Final = 1.0
"""Seconds within which two signals are one: what stops a machine tells the run and its runner, which tells it again."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Leave(BaseException):
    """The run leaves now, by exit code `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Notice:
    """Listens while it is entered. A second signal, or one before there is a state to save, ends the run at once."""

    def __init__(self) -> None:
        self.code = 0
        """128 and the number of the signal that was heard; 0 before."""
        self.patient = False
        """Whether a rest, or the end, will come at which the state can be saved."""
        self._first = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Notice:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._told) for number in SIGNALS}
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._over)
        if os.environ.get(WATCHED) == "stdin":
            threading.Thread(target=self._until_the_runner_is_gone, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            # Whoever was told leaves now, and by the exit code that says so.
            signal.signal(number, signal.SIG_IGN if self.code else handler)

    def _told(self, number: int, frame: FrameType | None) -> None:
        again = bool(self.code)
        if again and time.monotonic() - self._first < ONCE:
            return
        if not again:
            self.code, self._first = 128 + number, time.monotonic()
        if again or not self.patient:
            raise Leave(self.code)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _over(self, number: int, frame: FrameType | None) -> None:
        raise Leave(self.code)

    def _until_the_runner_is_gone(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 4096):
                pass
        if not self.code:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST)
        os.kill(os.getpid(), signal.SIGKILL)
