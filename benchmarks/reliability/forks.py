"""Processes that are forked from one that has torch imported already, which takes over a second."""

from __future__ import annotations

import os
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 60.0
"""Seconds after which a child that says nothing counts as stuck."""
RAISED: Final = 98
"""Exit code of a child whose work raised; what it raised is on its pipe."""


class Child:
    """A forked process at some work, and the lines that it wrote to its pipe.

    The work gets `say`, which sends one line; the process ends when it returns. Use it by `with`: at the end it is
    killed if it still lives.
    """

    def __init__(self, work: Callable[[Callable[[str], None]], None]) -> None:
        self.patience = PATIENCE
        self._read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of forks beside threads, Python's and JAX's: none of ours holds a lock.
            self.pid = os.fork()
        if self.pid == 0:
            _work(work, write)
        os.close(write)
        self.lines: list[str] = []
        self.code: int | None = None
        """As of `os.waitstatus_to_exitcode`, once it ended."""
        self._rest = b""

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            self.kill()
        os.close(self._read)

    def hear(self, count: int) -> bool:
        """Wait until it has said so many lines; False if it ended before."""
        while len(self.lines) < count:
            if not self._listen():
                return False
        return True

    def kill(self, after: float = 0.0) -> None:
        """SIGKILL in so many seconds; then what it had said is in `lines`."""
        time.sleep(after)  # Not a loop until then: it would take the core on which the child just spoke.
        os.kill(self.pid, signal.SIGKILL)
        self.patience = PATIENCE
        self.end()

    def end(self) -> int:
        """Its exit code, when it ended by itself."""
        while self._listen():
            pass
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def _listen(self) -> bool:
        """Take what is on the pipe; False at its end."""
        if not select.select([self._read], [], [], self.patience)[0]:
            raise TimeoutError(f"a child said nothing for {self.patience:.1f} s after {self.lines[-1:]}")
        piece = os.read(self._read, 2**16)
        *whole, self._rest = (self._rest + piece).split(b"\n")
        self.lines += [line.decode() for line in whole]
        return bool(piece)


def _work(work: Callable[[Callable[[str], None]], None], pipe: int) -> None:
    """In the child: never back into the caller's code."""

    def say(line: str) -> None:
        os.write(pipe, f"{line}\n".encode())

    code = 0
    try:
        work(say)
    except BaseException:
        code = RAISED
        say(traceback.format_exc().replace("\n", " | "))
    finally:
        os._exit(code)
