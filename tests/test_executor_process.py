"""A run's process is heard and ended, however it behaves; here it is a few lines of Python."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from studies.executors.local import local
from studies.executors.process import Child, Job, carry_out
from studies.rounds import Jobs

WARNED = "import os, signal, sys; print('UserWarning: old', file=sys.stderr, flush=True); "


def records(code: str, stall_after: float = 0.0) -> list[Mapping[str, Any]]:
    """What is reported of a process that runs this."""
    heard: list[Mapping[str, Any]] = []
    carry_out(Job("a", (sys.executable, "-S", "-c", code), stall_after), lambda _, record: heard.append(record))
    return heard


@pytest.mark.parametrize(
    ("code", "ended", "cause"),
    [
        (WARNED + "os.kill(os.getpid(), signal.SIGKILL)", -9, "was killed by signal 9 (SIGKILL), as happens when"),
        (WARNED + "os.kill(os.getpid(), signal.SIGSEGV)", -11, "was killed by signal 11 (SIGSEGV)"),
        (WARNED + "os._exit(7)", 7, "ended with exit code 7 and left no result"),
        (WARNED + "sys.exit(143)", 143, "was told to leave by signal 15"),
        (WARNED + "raise ValueError('kaputt')", 1, "ValueError: kaputt"),
        ("import os; os._exit(1)", 1, "ended with exit code 1 and left no result"),
    ],
)
def test_the_last_line_of_a_cause_says_what_ended_a_run_and_no_warning_of_before(
    code: str, ended: int, cause: str
) -> None:
    *_, last = records(code)
    assert last["ended"] == ended
    assert last["cause"].splitlines()[-1].startswith(cause)
    assert not code.startswith(WARNED) or last["cause"].startswith("UserWarning: old")


def test_words_of_others_in_the_output_are_not_taken_for_the_runs() -> None:
    """Environments and plugins print what they like, JSON too."""
    others = (
        '{"step": "ten", "steps": 20}',
        '{"step": 10}',
        '{"step": 10, "loss": 0.5}',
        '{"ended": 0, "cause": ""}',
        '{"note": 3}',
        "[1]",
        "{",
    )
    said = ['{"step": 3, "steps": 9, "return": NaN}', '{"note": "goes on"}']
    code = f"for line in {[*others, *said]!r}: print(line)"
    step, note, end = records(code)
    assert (step["step"], step["steps"]) == (3, 9)
    assert note == {"note": "goes on"}
    assert end == {"ended": 0, "cause": ""}


@pytest.mark.parametrize("end", ["pass", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_a_run_leaves_behind_does_not_keep_its_end_from_being_heard(end: str) -> None:
    """A simulator of its own, say, that holds the other end of the output."""
    started = time.monotonic()
    code = f"import os, signal, sys, time\npid = os.fork()\nif not pid: time.sleep(60)\nprint(pid, flush=True)\n{end}"
    job = Job("a", (sys.executable, "-S", "-c", code))
    heard: list[Mapping[str, Any]] = []
    carry_out(job, lambda _, record: heard.append(record))
    assert heard[-1]["ended"] == (0 if end == "pass" else -signal.SIGKILL)
    assert time.monotonic() - started < 20


def test_a_run_without_a_new_step_is_killed_though_it_talks() -> None:
    code = 'import time\nwhile True: print(\'{"step": 5, "steps": 9}\', flush=True); time.sleep(0.05)'
    *_, last = records(code, stall_after=0.5)
    assert last["ended"] == -signal.SIGKILL
    assert last["cause"] == "stalled: no new step in 0.5 s after step 5"


def test_a_job_that_comes_with_the_end_of_another_is_taken_while_a_third_is_at_work(tmp_path: Path) -> None:
    """Runs wait for their donors, and workers for runs: neither for the end of a round."""
    slow = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'late')!r}): time.sleep(0.02)"
    codes = {"donor": "", "slow": slow, "late": f"open({str(tmp_path / 'late')!r}, 'w')"}
    ready, ended = ["slow", "donor"], []

    def take() -> Job | None:
        return Job(name := ready.pop(), (sys.executable, "-S", "-c", codes[name])) if ready else None

    def report(run_id: str, record: Mapping[str, Any]) -> None:
        ended.append((run_id, record["ended"]))
        if run_id == "donor":
            ready.append("late")

    local(Jobs(take), report, workers=3)
    assert ended == [("donor", 0), ("late", 0), ("slow", 0)]


def test_an_interrupt_while_runs_are_told_to_leave_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the command would wait for the end of every run that had not been told yet."""

    def interrupted(_: Child) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Child, "stop", interrupted)
    jobs = [Job(name, (sys.executable, "-S", "-c", "import time; time.sleep(60)")) for name in "ab"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.monotonic()
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            local(jobs, lambda *_: None, workers=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 20
