"""Runs as a runner starts them, but forked from a warm process: importing torch alone takes longer than a tiny run.

The zygote has everything imported and no threads. It listens on a socket, forks a process for each command that comes,
with the pipes that come along, and tells how it ended. `Popen` stands in for `subprocess.Popen` in a runner.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from benchmarks.reliability.forks import Child
from studies.executors import process
from studies.run import main


class Popen:
    """What a runner needs of `subprocess.Popen`: pipes, signals, the end."""

    def __init__(self, command: Sequence[str], *, stderr: Any, env: Mapping[str, str], **how: Any) -> None:
        assert how == {"stdin": -1, "stdout": -1, "text": True, "start_new_session": True}, how
        (takes, self._gives), (hears, says) = os.pipe(), os.pipe()
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(os.environ["ZYGOTE"])
        words = json.dumps({"words": command[list(command).index("studies.run") + 1 :], "env": dict(env)}).encode()
        self._line.sendall(len(words).to_bytes(4, "big"))
        socket.send_fds(self._line, [words], [takes, says, stderr.fileno()])
        os.close(takes)
        os.close(says)
        self.stdin, self.stdout = os.fdopen(self._gives, "w"), os.fdopen(hears)
        self.pid, self.returncode = int.from_bytes(self._line.recv(4), "big"), None
        self._hearing = threading.Lock()

    def poll(self) -> int | None:
        if self._hearing.acquire(blocking=False):  # Else another thread waits.
            try:
                if self.returncode is None and select.select([self._line], [], [], 0)[0]:
                    self._hear()
            finally:
                self._hearing.release()
        return self.returncode

    def wait(self) -> int:
        with self._hearing:
            if self.returncode is None:
                self._hear()
        return self.returncode

    def _hear(self) -> None:
        self.returncode = int.from_bytes(self._line.recv(4), "big", signed=True)
        self._line.close()

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


SUBPROCESS = SimpleNamespace(Popen=Popen, PIPE=subprocess.PIPE)


@contextmanager
def zygote(folder: Path, prepare: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Runners that are forked meanwhile start their runs as forks of a process in which `prepare` was called."""
    place = str(folder / "zygote")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen(64)
    with Child(lambda say: _serve(listening, prepare)):
        listening.close()
        with patch.dict(os.environ, {"ZYGOTE": place}), patch.object(process, "subprocess", SUBPROCESS):
            yield


def _serve(listening: socket.socket, prepare: Callable[[], Any]) -> None:
    prepare()
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    lines: dict[int, socket.socket] = {}
    while True:
        for ready in select.select([listening, ended], [], [])[0]:
            if ready == ended:
                os.read(ended, 4096)
                _bury(lines)
            else:
                line, _ = listening.accept()
                with suppress(OSError, ValueError):  # Of a runner that was killed in the midst of asking.
                    _start(line, lines, listening)


def _bury(lines: dict[int, socket.socket]) -> None:
    """Tell of every process that has ended."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            line = lines.pop(found[0])
            with suppress(OSError):  # Its runner is gone.
                line.sendall(os.waitstatus_to_exitcode(found[1]).to_bytes(4, "big", signed=True))
            line.close()


def _start(line: socket.socket, lines: dict[int, socket.socket], listening: socket.socket) -> None:
    size = int.from_bytes(line.recv(4), "big")
    words, pipes, _, _ = socket.recv_fds(line, size, 3)
    while len(words) < size:
        words += line.recv(size - len(words))
    told = json.loads(words)
    pid = os.fork()
    if pid == 0:
        listening.close()
        for other in (line, *lines.values()):
            other.close()
        _run(told, pipes)
    lines[pid] = line
    for each in pipes:
        os.close(each)
    line.sendall(pid.to_bytes(4, "big"))


def _run(told: Mapping[str, Any], pipes: Sequence[int]) -> None:
    """In the new process: never back."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for number, pipe in enumerate(pipes):
            os.dup2(pipe, number)
            os.close(pipe)
        os.environ.clear()
        os.environ.update(told["env"])
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        code = main(told["words"])
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)
