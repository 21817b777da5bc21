"""Runners and their runs in processes of their own, which die, hang, are stopped and told to leave in every way.

Processes are forked from a warm one, as importing torch takes longer than a tiny run.
"""

from __future__ import annotations

import csv
import ctypes
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from lab import FILE, REGISTRY, Answer, Lab, a_run, run_here

from benchmarks.reliability import runners, runs
from benchmarks.reliability.forks import Child
from studies import world
from studies.attempts import attempts
from studies.checkpoints import newest
from studies.cli import main
from studies.contents import Run
from studies.executors.process import GRACE
from studies.keeping import Keeper
from studies.rounds import HELD
from studies.run import main as carry_out_run
from studies.store import Held, Store

BAD = """\
import faulthandler, os, resource, signal, sys, time
from pathlib import Path

import gymnasium

from registry import hookimpl

PLACE = Path({place!r})
calls, poisoned = 0, False


def deep(n):
    return deep(n + 1) + 1


def memory():
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    return bytearray(2**34)


def nan():
    global poisoned
    poisoned = True


FAULTS = {{
    "raise": lambda: 1 / 0,
    "nan": nan,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGSEGV)),
    "leave": lambda: os._exit(7),
    "exit": lambda: sys.exit(5),
    "memory": memory,
    "deep": lambda: deep(0),
    "hang": lambda: time.sleep(100),
}}


def bad(noise, *, fault: str = "raise", times: int = 1000):
    global calls
    calls += 1
    if calls == 10 and "SPARSITY_RUNNER" in os.environ:  # Not when the study is looked through before it begins.
        tries = PLACE / f"tries-{{fault}}"
        with open(tries, "a") as file:
            file.write(".")
        if len(tries.read_text()) <= times:
            FAULTS[fault]()
    return noise


class Poisoned(gymnasium.Wrapper):
    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return observation, float("nan") if poisoned else reward, *rest


def mine(env):
    return Poisoned(env)


@hookimpl
def register_grow(register):
    register(bad)


@hookimpl
def register_wrapper(register):
    register(mine)
"""

PLAIN = 'wrappers = ["mine"]\n' + FILE.replace("every = 20", "every = 5")


@pytest.fixture(scope="module")
def warm() -> Iterator[None]:
    """Runs are forked from a process that has done one: what is imported at the first update takes seconds, too."""
    with tempfile.TemporaryDirectory() as folder:
        store, run = Store(folder), a_run(random_episodes=0)
        store.prepare(run)
        assert run_here(folder, run.id, "--no-plugins").code == 0
    with runners.ready():
        yield


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is one: what is at stake here is processes, and every save syncs a dozen files."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="runner-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def lab(place: Path, warm: None) -> Lab:
    return Lab(place)


def row(fault: str, times: int = 1000) -> str:
    return f'{fault} = {{ base = "set", grow = {{ part = "bad", fault = "{fault}", times = {times} }} }}\n'


def command(lab: Lab, rows: str, *words: object, seeds: int = 1, steps: int = 300, name: str = "out") -> Child:
    """`sparsity study run` at work, in a process of its own; what it says goes to a file of that name."""
    plugin = lab.file(BAD.format(place=str(lab.folder)), "bad.py")
    text = PLAIN.replace("seeds = 1", f"seeds = {seeds}").replace("steps = 120", f"steps = {steps}")
    study = lab.file(text.replace('"SET" = { base = "set" }\n', rows))
    given = [study, "--plugin", plugin, "--no-plugins", "--store", lab.store, "--checkpoint-every", 0.2, *words]

    def work(say: Callable[[str], None]) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open(lab.folder / name, "w") as out, redirect_stdout(out), redirect_stderr(out):
            try:
                with patch("studies.plot.plot_study", lambda *_, **__: []):
                    main(["study", "run", *map(str, given)])
            except SystemExit as left:
                out.flush()
                os._exit(int(left.code or 0))

    return Child(work)


def said(lab: Lab, name: str = "out") -> str:
    return (lab.folder / name).read_text()


def tries(lab: Lab, fault: str) -> int:
    return len((lab.folder / f"tries-{fault}").read_text())


def wait_for(condition: Callable[[], Any], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


# D2, D7, D8: runs that die or hang

CAUSES = {
    "kill": (2, "was killed by signal 9 (SIGKILL)"),
    "segfault": (2, "was killed by signal 11 (SIGSEGV)"),
    "leave": (1, "ended with exit code 7 and left no result"),
    "exit": (1, "a part left the process by SystemExit(5)"),
    "memory": (1, "MemoryError"),
    "deep": (1, "RecursionError"),
}


def test_a_run_that_dies_has_failed_for_a_cause_in_words_and_its_siblings_finish(lab: Lab) -> None:
    with command(lab, 'SET = "set"\n' + "".join(map(row, CAUSES)), "--retries", "1") as study:
        study.patience = 100.0
        assert study.end() == 1, said(lab)
    status = lab("study", "status", "study").out
    assert "2 done, 6 failed" in status, "the random policy is a run, too"
    for fault, (times, cause) in CAUSES.items():
        [line] = [line for line in status.splitlines() if f"failed: {fault} seed" in line]
        assert cause in line
        assert tries(lab, fault) == times, fault
        assert (f"{fault} 0.5 InvertedPendulum-v5 seed 0: {cause}" in said(lab)) == (times == 2)
    assert said(lab).count("tries again (1 of 1)") == 2
    assert "Traceback" not in said(lab)


def test_a_hung_run_is_killed_and_tried_again_and_it_is_said(lab: Lab) -> None:
    with command(lab, row("hang", times=1), "--stall-after", "4", "--retries", "1") as study:
        study.patience = 100.0
        assert study.end() == 0, said(lab)
    assert "stalled: no new step in 4 s after step" in said(lab)
    assert "tries again (1 of 1)" in said(lab)
    assert tries(lab, "hang") == 2


def test_of_a_study_with_bad_runs_all_the_good_ones_finish(lab: Lab) -> None:
    good = [f"{name} = '{name}'\n" for name in ("set", "static", "rigl", "snfs", "ds", "itop_set", "mest", "ne")]
    bad = [row("raise"), row("nan"), row("hang"), row("kill")]
    with command(lab, "".join(good + bad), "--retries", "1", "--stall-after", "4", seeds=2) as study:
        study.patience = 200.0
        assert study.end() == 1, said(lab)
    assert "Runs: n = 16 of 24" in said(lab), said(lab)
    assert "6 failed" in said(lab)
    assert "2 diverged" in said(lab)
    markdown = (lab.store / "studies" / "study" / "table.md").read_text()
    assert "Runs: n = 16 of 24" in markdown
    done, damaged = Store(lab.store).verify_study("study")
    assert (done, damaged) == (16 + 2 + 1, []), "those that diverged and the random policy have a result"


# D3: claims


def claims(store: Store, count: int, say: Callable[[str], None], stale_after: float = 0.0) -> None:
    """Claim a run so many times, and count it in a file that two at a time would miscount."""
    folder = store.run_folder("a")
    while count:
        with suppress(Held), store.claim("a", stale_after=stale_after):
            inside = os.open(folder / "inside", os.O_CREAT | os.O_EXCL)
            total = int((folder / "total").read_text())
            (folder / "total").write_text(str(total + 1))
            os.close(inside)
            os.unlink(folder / "inside")
            count -= 1


def eight(store: Store, count: int, stale_after: float = 0.0) -> None:
    folder = store.run_folder("a")
    (folder / "total").write_text("0")
    children = [Child(partial(claims, store, count, stale_after=stale_after)) for _ in range(8)]
    try:
        assert [child.end() for child in children] == [0] * 8, [child.lines for child in children]
    finally:
        for child in children:
            child.__exit__()
    assert int((folder / "total").read_text()) == 8 * count


def a_place(place: Path) -> Store:
    store = Store(place)
    store.run_folder("a").mkdir(parents=True)
    return store


def test_eight_processes_never_hold_a_run_at_once(place: Path) -> None:
    eight(a_place(place), 60)


@pytest.mark.reliability
def test_four_thousand_claims_are_one_at_a_time(place: Path) -> None:
    eight(a_place(place), 500)


def test_one_of_many_takes_over_from_a_holder_that_stopped(place: Path) -> None:
    store = a_place(place)

    def stop(say: Callable[[str], None]) -> None:
        with store.claim("a") as beat:
            say("held")
            os.kill(os.getpid(), signal.SIGSTOP)
            with pytest.raises(Held, match="taken over"):
                beat()

    with Child(stop) as holder:
        holder.hear(1)
        with pytest.raises(Held, match=f"process {holder.pid}"), store.claim("a", stale_after=100):
            pass
        time.sleep(1.1)
        eight(store, 10, stale_after=1.0)
        os.kill(holder.pid, signal.SIGCONT)
        assert holder.end() == 0, holder.lines


# D4: zombies


def at_work(
    store: Store, run: Run, say: Callable[[str], None], *words: str, stop: str = "", often: float = 0.1
) -> None:
    """A run in this process; `stop` says where it is stopped, once."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    save, finish, load = Keeper.save, Store.finish, Store.load_run
    waits = {stop}

    def reached(where: str) -> None:
        say(where)
        if where in waits:
            waits.discard(where)
            os.kill(os.getpid(), signal.SIGSTOP)

    def saving(keeper: Keeper, underway: Any) -> None:
        save(keeper, underway)
        reached("saved")

    def finishing(*given: Any, **more: Any) -> None:
        reached("finishing")
        finish(*given, **more)

    def beginning(*given: Any) -> Run:
        reached("beginning")
        return load(*given)

    with (
        patch.object(Keeper, "save", saving),
        patch.object(Store, "finish", finishing),
        patch.object(Store, "load_run", beginning),
        redirect_stderr(open(store.root / f"err-{os.getpid()}", "w")),
    ):
        code = carry_out_run([str(store.root), run.id, "--no-plugins", f"--checkpoint-every={often}", *words])
        sys.stderr.flush()
    os._exit(code)


def zombie(place: Path, where: str, kind: int) -> None:
    store, run = Store(place), runs.a_run(kind)
    store.prepare(run)
    with Child(partial(at_work, store, run, stop=where)) as dead:
        wait_for(lambda: os.waitid(os.P_PID, dead.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT), 60)
        time.sleep(1.1)
        with Child(partial(at_work, store, run)) as early:
            assert early.end() == HELD
        with Child(lambda say: at_work(store, run, say, "--stall-after=1")) as other:
            assert other.end() == 0, other.lines
        folder = store.run_folder(run.id)
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        os.kill(dead.pid, signal.SIGCONT)
        assert dead.end() == HELD, dead.lines
        told = (store.root / f"err-{dead.pid}").read_text()
        assert "taken over" in told or "superseded" in told
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert not runs.ended_wrong(store, run, runs.undisturbed(kind))


@pytest.mark.parametrize("where", ["beginning", "saved", "finishing"])
def test_a_run_that_comes_back_from_the_dead_changes_nothing(place: Path, warm: None, where: str) -> None:
    zombie(place, where, 0)


@pytest.mark.reliability
@pytest.mark.parametrize("where", ["beginning", "saved", "finishing"])
@pytest.mark.parametrize("kind", range(1, len(runs.KINDS)))
def test_runs_of_all_kinds_that_come_back_change_nothing(place: Path, warm: None, where: str, kind: int) -> None:
    zombie(place, where, kind)


# D5, D6: told to leave


def test_runs_leave_and_have_saved_when_their_runner_is_killed(lab: Lab) -> None:
    store = Store(lab.store)
    with command(lab, 'SET = "set"\n', "--workers", "2", seeds=2, steps=100_000) as study:
        wait_for(lambda: len(list(lab.store.glob("runs/*/attempts/*/checkpoint/*/manifest.json"))) >= 2, 60)
        ids = [cell["run"] for cell in store.cells("study")]
        study.kill()
    wait_for(lambda: not any(map(store.holder, ids)), 10)
    left = [attempts(store.run_folder(run_id)) for run_id in ids]
    assert [each[0].record()["by"] for each in left if each] == ["Leave: 143"] * 2
    assert all(newest([each[0].checkpoints])[0] for each in left if each)
    assert not list(lab.store.glob("runs/*/failure.json"))


def long() -> Run:
    return a_run(steps=200_000, eval_every=200_000, episodes=1)


@pytest.mark.parametrize(
    ("told", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)], ids=["term", "int", "usr1"]
)
def test_a_run_that_is_told_to_leave_saves_where_it_is(place: Path, warm: None, told: int, code: int) -> None:
    store, run = Store(place), long()
    store.prepare(run)
    with Child(partial(at_work, store, run, often=1000.0)) as child:
        child.hear(1)
        wait_for(lambda: lines_of(store, run) > 2, 60)
        started = time.monotonic()
        os.kill(child.pid, told)
        time.sleep(0.02)
        os.kill(child.pid, told)  # A machine that shuts down tells the run, and the runner, which tells it too.
        assert child.end() == code, child.lines
        assert time.monotonic() - started < GRACE
    attempt = attempts(store.run_folder(run.id))[-1]
    loaded, complaints = newest([attempt.checkpoints])
    assert loaded is not None
    assert not complaints
    assert loaded.about["step"] > 0
    assert attempt.record()["by"] == f"Leave: {code}"


def lines_of(store: Store, run: Run) -> int:
    """Episodes so far."""
    return sum(path.read_text().count("episode_return") for path in store.root.glob("runs/*/attempts/*/training.csv"))


def slowly(store: Store, run: Run, say: Callable[[str], None], seconds: float) -> None:
    """At work; from the second generation on, a save takes so long between its files and its manifest."""
    from studies import checkpoints

    write, saves = checkpoints.write_sealed, iter([0.0])

    def slow(*given: Any) -> None:
        if wait := next(saves, seconds):
            say("in the midst")
            until = time.monotonic() + wait
            while time.monotonic() < until:
                time.sleep(0.01)
        write(*given)

    with patch.object(checkpoints, "write_sealed", slow):
        at_work(store, run, say, often=0.0)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1], ids=["term", "int", "usr1"])
def test_a_signal_during_a_save_lets_it_end(place: Path, warm: None, told: int) -> None:
    store, run = Store(place), long()
    store.prepare(run)
    with Child(partial(slowly, store, run, seconds=0.3)) as child:
        wait_for(lambda: child._listen() and "in the midst" in child.lines, 60)
        os.kill(child.pid, told)
        assert child.end() == 128 + told
    loaded, complaints = newest([attempts(store.run_folder(run.id))[-1].checkpoints])
    assert not complaints
    assert loaded is not None
    assert child.lines[-1] == "saved"


def test_a_second_signal_leaves_at_once_and_what_was_saved_is_whole(place: Path, warm: None) -> None:
    store, run = Store(place), long()
    store.prepare(run)
    with Child(partial(slowly, store, run, seconds=60.0)) as child:
        wait_for(lambda: child._listen() and "in the midst" in child.lines, 60)
        os.kill(child.pid, signal.SIGTERM)
        time.sleep(1.2)
        started = time.monotonic()
        os.kill(child.pid, signal.SIGTERM)
        assert child.end() == 143
        assert time.monotonic() - started < 5
    loaded, complaints = newest([attempts(store.run_folder(run.id))[-1].checkpoints])
    assert not complaints
    assert loaded is not None


def test_a_run_that_is_told_to_leave_in_its_last_moments_finishes(place: Path, warm: None) -> None:
    """What is left takes a moment; what was trained since the last checkpoint would be thrown away."""
    store, run = Store(place), runs.a_run(0)
    store.prepare(run)
    with Child(partial(at_work, store, run, stop="finishing", often=1000.0)) as child:
        wait_for(lambda: os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT), 60)
        os.kill(child.pid, signal.SIGTERM)
        os.kill(child.pid, signal.SIGCONT)
        assert child.end() == 0
    assert not runs.ended_wrong(store, run, runs.undisturbed(0))


def test_a_run_that_hangs_where_no_signal_is_heard_does_not_outlive_its_runner(place: Path, warm: None) -> None:
    """In a library that waits for a lock of its own, say."""
    store, run = Store(place), long()
    store.prepare(run)
    stdin, runner = os.pipe()

    def hung(say: Callable[[str], None]) -> None:
        os.close(runner)
        os.dup2(stdin, 0)
        sys.stdin = os.fdopen(0)
        locked = ctypes.create_string_buffer(64)
        library = ctypes.CDLL(None)
        library.pthread_mutex_lock(locked)

        def saving(*_: Any) -> None:
            say("hangs")
            library.pthread_mutex_lock(locked)

        with (
            patch("studies.leaving.LAST", 1.0),
            patch.dict(os.environ, {"SPARSITY_RUNNER": "stdin"}),
            patch.object(Keeper, "save", saving),
        ):
            at_work(store, run, say, often=0.0)

    with Child(hung) as child:
        wait_for(lambda: child._listen() and "hangs" in child.lines, 60)
        started = time.monotonic()
        os.close(runner)
        assert child.end() == -signal.SIGKILL
        assert time.monotonic() - started < 10
    os.close(stdin)


@pytest.mark.parametrize(("told", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"])
def test_a_second_interrupt_of_the_command_leaves_at_once(lab: Lab, told: int, code: int) -> None:
    """Its run hangs in the midst of an episode, and would be waited for."""
    with command(lab, row("hang"), "--workers", "1") as study:
        wait_for(lambda: (lab.folder / "tries-hang").exists(), 60)
        os.kill(study.pid, told)
        time.sleep(1.5)
        started = time.monotonic()
        os.kill(study.pid, told)
        assert study.end() == code, said(lab)
        assert time.monotonic() - started < 5
    assert "Traceback" not in said(lab)
    store = Store(lab.store)
    assert not any(store.holder(cell["run"]) for cell in store.cells("study"))
    assert not list(lab.store.glob("runs/*/failure.json"))


# Two commands


def test_two_commands_share_a_study_and_come_to_one_table(lab: Lab) -> None:
    rows = 'SET = "set"\nRigL = "rigl"\n'
    with command(lab, rows, seeds=3) as one, command(lab, rows, seeds=3, name="other") as two:
        assert (one.end(), two.end()) == (0, 0), said(lab) + said(lab, "other")
    assert said(lab).partition("----")[2] == said(lab, "other").partition("----")[2] != ""
    assert Store(lab.store).verify_study("study") == (7, [])
    count = [len(attempts(folder)) for folder in lab.store.glob("runs/*")]
    assert count == [1] * 7, "none was begun twice"


def test_a_command_that_does_not_wait_leaves_runs_to_their_holder(lab: Lab) -> None:
    with command(lab, row("hang"), "--workers", "1") as study:
        wait_for(lambda: (lab.folder / "tries-hang").exists(), 60)
        with command(lab, row("hang"), "--no-wait", name="other") as second:
            assert second.end() == 3, said(lab, "other")
        assert "held by another runner" in said(lab, "other")
        os.kill(holder(lab), signal.SIGKILL)
        study.kill()


def holder(lab: Lab) -> int:
    """The process of the only run that is held."""
    store = Store(lab.store)
    [told] = filter(None, (store.holder(cell["run"]) for cell in store.cells("study")))
    return int(told.split()[1])


# B7: another world


@pytest.fixture(scope="module")
def begun(warm: None) -> Iterator[Lab]:
    """A study whose run of SET was killed when it had saved; the others are finished."""
    with tempfile.TemporaryDirectory(prefix="begun-") as folder:
        lab = Lab(Path(folder))
        assert shown(lab, 'SET = "set"\nRigL = "rigl"\n').code == 0
        run = lab.folder_of("SET", name="study")
        (run / "manifest.json").unlink()

        def dies(say: Callable[[str], None]) -> None:
            with patch("studies.store.Store.finish", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)):
                run_there = Store(lab.store).load_run(run.name)
                at_work(Store(lab.store), run_there, say, str(lab.folder / "bad.py"), often=0.0)

        with Child(dies) as child:
            assert child.end() == -signal.SIGKILL, child.lines
        yield lab


def shown(lab: Lab, rows: str, *words: str) -> Answer:
    """The command, its runs carried out in this process, and no figures."""
    text = PLAIN.replace('"SET" = { base = "set" }\n', rows)
    plugin = lab.file(BAD.format(place=str(lab.folder)), "bad.py")
    with patch("studies.plot.plot_study", lambda *_, **__: []):
        return lab.study(text, "--plugin", plugin, *words)


def elsewhere(key: str) -> Any:
    """As if this machine had another of that."""
    return patch("studies.run.world", lambda *given: world.world(*given) | {key: "other"})


@pytest.mark.parametrize("key", world.SAME)
def test_a_run_goes_on_in_another_world_only_if_that_is_allowed(begun: Lab, key: str) -> None:
    run = begun.folder_of("SET", name="study")
    with elsewhere(key):
        answer = run_here(str(begun.store), run.name, "--no-plugins", str(begun.folder / "bad.py"))
    assert answer.code == 1
    [line] = answer.err.splitlines()
    assert f"{key.replace('_', ' ')} {1 if key == 'threads' else world.world(REGISTRY, 'cpu')[key]}, now other" in line
    assert "--allow-drift" in line
    assert f"or delete {run / 'attempts'} to begin anew" in line
    assert not (run / "manifest.json").exists()


def test_a_run_that_went_on_in_another_world_is_marked_in_every_table(begun: Lab) -> None:
    rows = 'SET = "set"\nRigL = "rigl"\n'
    with elsewhere("torch"):
        refused = shown(begun, rows)
        assert refused.code == 1
        assert "--allow-drift" in refused.err
        allowed = shown(begun, rows, "--allow-drift")
    assert allowed.code == 0, allowed.err
    assert "although torch" in allowed.err
    mark = f"torch {world.world(REGISTRY, 'cpu')['torch']}, now other"
    kept = json.loads((begun.folder_of("SET", name="study") / "world.json").read_text())
    assert kept["drift"] == mark
    for form in ("text", "markdown", "latex"):
        table = begun("study", "table", "study", "--format", form).out
        marked, _, others = (
            table.replace("{[}", "[").partition("drift = ")[2].partition("\n")[2].partition("InvertedPendulum")
        )
        assert f"drift = {mark}" in table
        assert "SET" in marked
        assert "RigL" in others
        assert "SET" not in others
    marks = csv.DictReader(begun("study", "table", "study", "--format", "csv").out.splitlines())
    assert {row["method"]: row["axis drift"] for row in marks} == {"SET": mark, "RigL": "", "random policy": ""}
