"""Saves that are killed, fail, lose power, rot or find the disk full: what was there before is there still, and found.

Each harness gives a list of what was wrong, which is empty, and is not for a writer with a bug planted in it.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults import DIED, DIES, ERRORS, STOPS, Dead, Full, Nth, Recorder, lay, mutated, power_cuts, watched

from benchmarks.reliability import ledger
from benchmarks.reliability.flips import flips, run_files
from benchmarks.reliability.forks import Child
from benchmarks.reliability.saves import kills, problems, small_chunks, state
from registry import part
from rl.files import make_folder, sync, write_atomically
from studies import checkpoints
from studies.attempts import attempts, begin, generations, publish
from studies.checkpoints import CHUNKS, MANIFEST, STATE, Checkpoints, newest
from studies.contents import Run
from studies.problems import BadInput
from studies.sealed import read_sealed, write_sealed
from studies.store import STUDY, Damaged, Store
from studies.study import Cell, Study

SEED = 20_261


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of syncs need not reach a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_chunks():
        yield


RUN = "00" * 8


# Planted bugs: functions of the writer, and what their source says instead.

Change = tuple[str, str]
IN_PLACE: list[Change] = [
    ('f"{step:012d}.tmp"', 'f"{step:012d}"'),
    ("        _remove(self._folder / name)\n        os.replace(temporary, self._folder / name)\n", ""),
]
FILES = "        for file, content in files.items():\n            write_atomically(temporary / file, content)\n"
SEALED = "        write_sealed(temporary / MANIFEST, listed)\n"
CLEAR = "        _remove(self._folder / name)\n"
SAVE, SWEEP = Checkpoints.save, Checkpoints._sweep
BUGS: dict[str, tuple[Any, list[Change]]] = {
    "written in place": (SAVE, IN_PLACE),
    "manifest first": (SAVE, [*IN_PLACE, (FILES, ""), (SEALED, SEALED + FILES)]),
    "removed, then renamed": (SAVE, [(CLEAR, "        [_remove(old) for old in generations(self._folder)]\n")]),
    "old one deleted early": (SAVE, [(CLEAR, "        [_remove(old) for old in generations(self._folder)[:-1]]\n")]),
    "chunks swept early": (SWEEP, [("set().union(*self._chunks.values())", "self._chunks[max(self._chunks)]")]),
    "files not synced": (write_atomically, [("os.fsync(file.fileno())", "pass")]),
    "folders not synced": (sync, [("os.fsync(opened)", "pass")]),
    "move not synced": (SAVE, [("        sync(self._folder)\n", "")]),
    "links not synced": (SAVE, [("        sync(self._folder / CHUNKS)\n", "")]),
    "loans not synced": (Checkpoints._keep, [("sync(lent)", "pass")]),
    "logs not synced": (publish, [("sync(entry)", "pass")]),
    "new folders not synced": (make_folder, [("    sync(folder.parent)\n", "")]),
    "hashes not checked": (checkpoints._checked, [("hashlib.sha256(content).hexdigest() != digest", "False")]),
}


@contextmanager
def planted(bug: str) -> Iterator[None]:
    function, changes = BUGS[bug]
    with mutated(function, *changes):
        yield


# C1: kills


def test_a_kill_during_a_save_loses_no_generation(place: Path) -> None:
    assert kills(60, SEED, place).notes == []


@pytest.mark.reliability
def test_two_hundred_kills_on_a_disk_lose_no_generation(tmp_path: Path) -> None:
    assert kills(200, 2 * SEED, tmp_path).notes == []


@pytest.mark.parametrize("bug", ["written in place", "manifest first", "removed, then renamed", "chunks swept early"])
def test_kills_find_a_bug(place: Path, bug: str) -> None:
    with planted(bug):
        assert any(kills(20, SEED + more, place).failures for more in range(8)), "where kills fall is chance"


# C2: every operation fails once


@dataclass(frozen=True)
class Scene:
    """Something written, with what must hold when it was cut short."""

    lay_out: Callable[[Path], Any]
    write: Callable[[Path, Any], Any]
    """In the process that laid out, with what that gave."""
    found: Callable[[Path, bool], list[str]]
    """What is wrong afterwards, whether or not it returned."""
    go_on: Callable[[Path, Any], list[str]]
    """The same process does it again; what is wrong then."""
    restart: Callable[[Path], list[str]]
    """Another process does."""


def an_attempt(root: Path) -> Checkpoints:
    """With three saves behind it."""
    attempt = Checkpoints(root / "2")
    for step in (1, 2, 3):
        attempt.save(state(step), {}, step)
    return attempt


def an_attempt_with_leftovers(root: Path) -> Checkpoints:
    attempt = an_attempt(root)
    shutil.copytree(root / "2" / f"{3:012d}", root / "2" / f"{4:012d}.tmp")
    (root / "2" / CHUNKS / ".abc.0123.tmp").write_bytes(b"half")
    return attempt


def a_second_attempt(root: Path) -> Checkpoints:
    """Whose folder is not there yet."""
    first = Checkpoints(root / "1")
    for step in (1, 2, 3):
        first.save(state(step), {}, step)
    return Checkpoints(root / "2", [root / "1"])


def a_save(root: Path, attempt: Checkpoints) -> None:
    attempt.save(state(4), {}, 4)


def saves_found(root: Path, done: bool) -> list[str]:
    return problems([root / "2", root / "1"], [1, 2, 3, 4] if done else [1, 2, 3], 4)


def a_later_save(root: Path, attempt: Checkpoints) -> list[str]:
    """Of the same attempt, which sweeps what an earlier one could not."""
    for step in (4, 5):
        attempt.save(state(step), {}, step)
    return problems([root / "2", root / "1"], [1, 2, 3, 4, 5], 5) + left_over(root / "2")


def another_attempt(root: Path) -> list[str]:
    Checkpoints(root / "3", [root / "2", root / "1"]).save(state(6), {}, 6)
    return problems([root / "3", root / "2", root / "1"], [1, 2, 3, 6], 6)


def left_over(folder: Path) -> list[str]:
    """What is in a folder of generations beside the newest two and their chunks, or is missing there."""
    kept = generations(folder)[-2:]
    names = {CHUNKS} | {each.name for each in kept}
    names |= {f"{each.name}/{name}" for each in kept for name in (MANIFEST, STATE, checkpoints.TENSORS)}
    names |= {f"{CHUNKS}/{digest}" for each in kept for digest in read_sealed(each / MANIFEST)["chunks"]}
    return sorted({str(path.relative_to(folder)) for path in folder.rglob("*")} ^ names)


def saving(lay_out: Callable[[Path], Checkpoints]) -> Scene:
    return Scene(lay_out, a_save, saves_found, a_later_save, another_attempt)


OF_TWO = Study("small", ("td3",), ("none",), range(2), 10, {})
CELLS_OF_TWO = [
    Cell("SET", 0.5, {}, Run("none", part("td3"), {}, seed, steps=10, warmup=0, eval_every=10, episodes=1))
    for seed in (0, 1)
]


def a_run_that_failed(root: Path) -> list[str]:
    """Once, and then left all its files."""
    store = Store(root)
    attempt = begin(store.run_folder(RUN))
    store.fail(RUN, "first")
    return run_files(attempt.folder)


def finish(root: Path, files: list[str]) -> None:
    """By the attempt that is there, or by another if that has lost some of its files."""
    store = Store(root)
    folder = store.run_folder(RUN)
    if store.is_finished(RUN):
        return
    attempt = attempts(folder)[-1]
    if not all((attempt.folder / name).is_file() for name in files):
        attempt = begin(folder)
        run_files(attempt.folder)
    store.finish(attempt, files)


def fail(root: Path, files: list[str]) -> None:
    Store(root).fail(RUN, "second")


def run_found(root: Path, allowed: Sequence[tuple[str, str]]) -> list[str]:
    store = Store(root)
    stands, found = store.status(RUN), store.verify(RUN)
    found += [] if stands in allowed else [f"it stands as {stands}"]
    if stands[0] == "done":
        place = store.run_folder(RUN)
        run_files(place, lambda path, was: None if path.read_bytes() == was else found.append(str(path)))
    return found


def finish_found(root: Path, done: bool) -> list[str]:
    return run_found(root, [("done", "")] if done else [("done", ""), ("failed", "first"), ("missing", "")])


def fail_found(root: Path, done: bool) -> list[str]:
    return run_found(root, [("failed", "second")] if done else [("failed", "first"), ("failed", "second")])


def a_study(root: Path) -> None:
    Store(root).save_study(OF_TWO, CELLS_OF_TWO[:1], "seeds = 1\n")


def a_study_grows(root: Path, nothing: None = None) -> None:
    Store(root).save_study(OF_TWO, CELLS_OF_TWO, "seeds = 2\n")


def study_found(root: Path, done: bool) -> list[str]:
    """Between its two files the list is the old one, and `verify` says that the study's file is another."""
    store = Store(root)
    listed, (_, named) = store.cells("small"), store.verify_study("small")
    text = (store.study_folder("small") / STUDY).read_text()
    match (text, len(listed), len(named)):
        case ("seeds = 2\n", 2, 0):
            return []
        case ("seeds = 1\n", 1, 0) | ("seeds = 2\n", 1, 1) if not done:
            return []
    return [f"{text!r} with {len(listed)} runs, and verify names {named}"]


def storing(lay_out: Callable[[Path], Any], write: Callable[[Path, Any], Any], found: Any) -> Scene:
    def restart(root: Path) -> list[str]:
        write(root, run_files(root, lambda path, content: None))
        return list(found(root, True))

    return Scene(lay_out, write, found, lambda root, laid: restart(root), restart)


SCENES = {
    "a later save": saving(an_attempt),
    "a save over leftovers": saving(an_attempt_with_leftovers),
    "a first save": saving(a_second_attempt),
    "finish": storing(a_run_that_failed, finish, finish_found),
    "fail": storing(a_run_that_failed, fail, fail_found),
    "save_study": storing(a_study, a_study_grows, study_found),
}


def each_operation(scene: Scene, place: Path, how: Callable[[int], int], *, enough: int = 10**9) -> list[str]:
    """What went wrong when the k-th operation failed by `how(k)`, for every k, until so much was found."""
    wrong: list[str] = []
    for at in itertools.count(1):
        root, fault = Path(tempfile.mkdtemp(dir=place)), Nth(at, how(at))
        found = (failed if fault.how > 0 else died)(scene, root, fault)
        shutil.rmtree(root)
        if found is None or len(wrong) >= enough:
            break
        wrong += [f"{errno.errorcode.get(fault.how, 'death')} at operation {at}, {fault.hit}: {each}" for each in found]
    return wrong


def failed(scene: Scene, root: Path, fault: Nth) -> list[str] | None:
    """What went wrong when an operation failed and the process went on; None if there are not so many operations."""
    laid, error = scene.lay_out(root), None
    try:
        with watched(root, fault):
            scene.write(root, laid)
    except OSError as raised:
        error = raised
    if fault.hit is None:
        return None
    found = [] if error is None or (error.errno == fault.how and error.filename) else [f"it says {error!r}"]
    return found + scene.found(root, error is None) + scene.go_on(root, laid) + scene.restart(root)


def died(scene: Scene, root: Path, fault: Nth) -> list[str] | None:
    """What went wrong when the process died at an operation; None if there are not so many."""
    laid = scene.lay_out(root)

    def writing(say: Callable[[str], None] = print) -> None:
        with watched(root, fault):
            scene.write(root, laid)

    if fault.how == DIES:
        with Child(writing) as child:
            code = child.end()
        if code == 0:
            return None
        found = [] if code == DIED else [f"it ended with {code}: {child.lines}"]
        return found + scene.found(root, False) + scene.restart(root)
    try:
        writing()
    except Dead:
        return scene.found(root, False) + scene.restart(root)
    return None


def in_turn(at: int) -> int:
    """One errno an operation."""
    return ERRORS[at % len(ERRORS)]


@pytest.mark.parametrize("how", [in_turn, lambda at: STOPS], ids=["fails", "stops"])
@pytest.mark.parametrize("scene", SCENES)
def test_every_file_operation_may_fail_once(place: Path, scene: str, how: Callable[[int], int]) -> None:
    assert each_operation(SCENES[scene], place, how) == []


@pytest.mark.parametrize("scene", ["finish", "fail", "save_study"])
def test_the_process_may_die_at_every_file_operation(place: Path, scene: str) -> None:
    assert each_operation(SCENES[scene], place, lambda at: DIES) == []


@pytest.mark.reliability
@pytest.mark.parametrize("how", [*ERRORS, DIES], ids=lambda how: errno.errorcode.get(how, "dies"))
@pytest.mark.parametrize("scene", SCENES)
def test_every_file_operation_may_fail_once_in_every_way(place: Path, scene: str, how: int) -> None:
    assert each_operation(SCENES[scene], place, lambda at: how) == []


@pytest.mark.parametrize(
    "bug",
    ["written in place", "manifest first", "removed, then renamed", "old one deleted early", "chunks swept early"],
)
def test_failing_operations_find_a_bug(place: Path, bug: str) -> None:
    with planted(bug):
        assert each_operation(SCENES["a later save"], place, lambda at: STOPS, enough=1) != []


# C2, reading


def test_a_read_that_fails_is_told(place: Path) -> None:
    """Whatever the operation and the errno: the newest generation, or a complaint about what was passed over."""
    an_attempt(place)
    for at in itertools.count(1):
        fault = Nth(at, in_turn(at))
        with watched(place, fault):
            loaded, complaints = newest([place / "2"])
        if fault.hit is None:
            break
        assert complaints, fault.hit
        assert os.strerror(in_turn(at)) in complaints[0]
        assert loaded is None or loaded.about["step"] in (2, 3)
    assert at > 10


# C3: power cuts


def save_cuts(place: Path, *, pairs: bool = False, saves: int = 3) -> Iterator[str]:
    """An attempt in a new folder, which borrows from one that is on the disk."""
    root = made(place / "real")
    first = Checkpoints(root / "1")
    for step in (1, 2):
        first.save(state(step), {}, step)
    recorder = Recorder(root)
    attempt = Checkpoints(root / "more" / "2", [root / "1"])
    with watched(root, recorder):
        for step in range(3, 3 + saves):
            attempt.save(state(step), {}, step)
            recorder.returned(step)

    def wrong(found: Path, returned: list[int]) -> list[str]:
        return problems([found / "more" / "2", found / "1"], [1, 2, *returned], 3 + len(returned), tidy=False)

    return cuts(recorder, place, wrong, pairs)


def borrowing_cuts(place: Path, *, pairs: bool = False) -> Iterator[str]:
    """An attempt that borrows from a folder which was copied there, and of which nothing was synced."""
    Checkpoints(place / "made").save(state(1), {}, 1)
    recorder = Recorder(made(place / "real"))
    with watched(recorder.root, recorder):
        for path in sorted((place / "made").rglob("*")):
            copy = recorder.root / "1" / path.relative_to(place / "made")
            if path.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                plainly(copy, path.read_bytes())
        made(recorder.root / "2")
        sync(recorder.root)
        Checkpoints(recorder.root / "2", [recorder.root / "1"]).save(state(2), {}, 2)
        recorder.returned(2)

    def wrong(found: Path, returned: list[int]) -> list[str]:
        return problems([found / "2"], returned, 2, tidy=False) if returned else []

    return cuts(recorder, place, wrong, pairs)


def finish_cuts(place: Path, *, pairs: bool = False) -> Iterator[str]:
    """A run whose files were written in plain ways before it was declared finished."""
    recorder = Recorder(made(place / "real"))
    store = Store(recorder.root)
    with watched(recorder.root, recorder):
        store.prepare(CELLS_OF_TWO[0].run)
        folder = store.run_folder(CELLS_OF_TWO[0].run.id)
        attempt = begin(folder)
        store.finish(attempt, run_files(attempt.folder, plainly))
        recorder.returned(folder.name)

    def wrong(found: Path, returned: list[str]) -> list[str]:
        stands = [(Store(found).status(run_id), Store(found).verify(run_id)) for run_id in returned]
        return [f"it stands as {each}" for each in stands if each != (("done", ""), [])]

    return cuts(recorder, place, wrong, pairs)


def study_cuts(place: Path, *, pairs: bool = False) -> Iterator[str]:
    recorder = Recorder(made(place / "real"))
    with watched(recorder.root, recorder):
        for write in (a_study, a_study_grows):
            write(recorder.root)
            recorder.returned(write.__name__)

    def wrong(found: Path, returned: list[str]) -> list[str]:
        try:
            return study_found(found, len(returned) == 2) if returned else []
        except (BadInput, Damaged) as bad:
            return [str(bad)]

    return cuts(recorder, place, wrong, pairs)


def cuts(recorder: Recorder, place: Path, wrong: Callable[[Path, list[Any]], list[str]], pairs: bool) -> Iterator[str]:
    """What was wrong after each power cut."""
    for number, cut in enumerate(power_cuts(recorder, pairs)):
        lay(cut.tree, made(place / str(number)))
        lost = [recorder.log[each]._replace(data=None) for each in cut.lost]
        for each in wrong(place / str(number), cut.returned):
            yield f"cut after {cut.after}, lost {lost}: {each}"
        shutil.rmtree(place / str(number))


def plainly(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


CUTS = {"saves": save_cuts, "borrowing": borrowing_cuts, "finish": finish_cuts, "study": study_cuts}


@pytest.mark.parametrize("what", CUTS)
def test_what_had_returned_outlives_a_power_cut(place: Path, what: str) -> None:
    assert list(CUTS[what](place)) == []


@pytest.mark.reliability
@pytest.mark.parametrize("what", CUTS)
def test_what_had_returned_outlives_a_power_cut_that_loses_any_two(place: Path, what: str) -> None:
    assert list(CUTS[what](place, pairs=True)) == []


@pytest.mark.parametrize(
    ("bug", "what"),
    [
        *((bug, "saves") for bug in ("files not synced", "folders not synced", "move not synced", "links not synced")),
        *((bug, "finish") for bug in ("logs not synced", "new folders not synced")),
        *((bug, "study") for bug in ("files not synced", "new folders not synced")),
        *[("new folders not synced", "saves"), ("loans not synced", "borrowing")],
    ],
)
def test_power_cuts_find_a_bug(place: Path, bug: str, what: str) -> None:
    with planted(bug):
        assert next(CUTS[what](place), "") != ""


# C5: bit rot


def test_a_turned_bit_is_noticed_and_its_file_named(place: Path) -> None:
    assert flips(100, SEED, place).notes == []


@pytest.mark.reliability
def test_five_hundred_turned_bits_are_noticed(place: Path) -> None:
    assert flips(500, 2 * SEED, place).notes == []


def test_turned_bits_find_a_bug(place: Path) -> None:
    with planted("hashes not checked"):
        assert flips(20, SEED, place).failures > 0


# C6: a full disk


def until_full(folder: Path, freed: Callable[[], Any]) -> list[str]:
    """Five saves, as many as fit. What was wrong then, and when the disk was freed and all five were done."""
    attempt = Checkpoints(folder / "1")
    returned: list[int] = []
    wrong: list[str] = []
    for step in range(1, 6):
        try:
            attempt.save(state(step), {}, step)
        except OSError as error:
            wrong += [] if error.errno == errno.ENOSPC and error.filename else [f"it says {error!r}"]
            wrong += problems([folder / "1"], returned, step)
            break
        returned.append(step)
    freed()
    for step in range(len(returned) + 1, 6):
        attempt.save(state(step), {}, step)
    attempt.save(state(6), {}, 6)
    return wrong + problems([folder / "1"], [1, 2, 3, 4, 5, 6], 6) + left_over(folder / "1")


def a_counted_disk(place: Path, size: int) -> list[str]:
    folder, disk = Path(tempfile.mkdtemp(dir=place)), Full(size)

    def freed() -> None:
        disk.left = 10**9

    with watched(folder, disk):
        return until_full(folder, freed)


def a_small_disk(place: Path, size: int) -> list[str] | None:
    """In a child that mounts it where nobody else sees it. None if it may not."""

    def work(say: Callable[[str], None]) -> None:
        users, mounts = 0x10000000, 0x20000
        ids = os.getuid(), os.getgid()
        if LIBC.unshare(mounts if ids[0] == 0 else mounts | users) != 0:
            return
        if ids[0] != 0:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {ids[0]} 1")
            Path("/proc/self/gid_map").write_text(f"0 {ids[1]} 1")
        if mounted("/", PRIVATE, "") or mounted(str(place), 0, f"size={size}"):
            return
        say("mounted")
        for line in until_full(place, lambda: mounted(str(place), REMOUNT, "size=64m")):
            say(line)

    with Child(work) as child:
        code = child.end()
    if child.lines[:1] != ["mounted"] and code == 0:
        return None
    return child.lines[1:] + ([] if code == 0 else [f"it ended with {code}"])


LIBC = ctypes.CDLL(None, use_errno=True)
PRIVATE, REMOUNT = 0x4000 | 0x40000, 0x20


def mounted(target: str, flags: int, words: str) -> int:
    return int(LIBC.mount(b"tmpfs", target.encode(), b"tmpfs", flags, words.encode()))


NEED = 120_000
"""Bytes, a little more than five saves need."""
DISKS = {"counted": a_counted_disk, "mounted": a_small_disk}


def full_disks(disk: str, place: Path, steps: int) -> list[str]:
    wrong: list[str] = []
    for size in range(4096, NEED, NEED // steps):
        found = DISKS[disk](place, size)
        if found is None:
            pytest.skip("no disks may be mounted here")
        wrong += [f"{size} bytes: {each}" for each in found]
    return wrong


@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
@pytest.mark.parametrize("disk", DISKS)
def test_a_full_disk_leaves_what_was_there(place: Path, disk: str) -> None:
    assert full_disks(disk, place, 10) == []


@pytest.mark.reliability
@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
@pytest.mark.parametrize("disk", DISKS)
def test_forty_full_disks_leave_what_was_there(place: Path, disk: str) -> None:
    assert full_disks(disk, place, 40) == []


# C7: leftovers


def a_copy(folder: Path, name: str, without: str = "nothing") -> Path:
    """Of the newest generation."""
    return Path(shutil.copytree(generations(folder)[-1], folder / name, ignore=shutil.ignore_patterns(without)))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def next_chunk(folder: Path, step: int = 3) -> Path:
    """Where the next save puts a chunk of what is new in it."""
    weights = state(step)["weights"].numpy().tobytes()[: checkpoints.CHUNK]
    return folder / CHUNKS / hashlib.sha256(weights).hexdigest()


NEXT, HIGH = f"{3:012d}", f"{99:012d}"
LEFTOVERS: dict[str, Callable[[Path, Path], Any]] = {
    "an empty temporary folder": lambda folder, outside: (folder / f"{NEXT}.tmp").mkdir(),
    "a whole temporary folder": lambda folder, outside: a_copy(folder, f"{NEXT}.tmp"),
    "a temporary folder of a later step": lambda folder, outside: a_copy(folder, f"{HIGH}.tmp"),
    "a temporary folder without its manifest": lambda folder, outside: a_copy(folder, f"{NEXT}.tmp", MANIFEST),
    "a file named as a temporary folder": lambda folder, outside: (folder / f"{NEXT}.tmp").write_text("x"),
    "a link named as a temporary folder": lambda folder, outside: (folder / f"{NEXT}.tmp").symlink_to(outside),
    "an empty folder of a later step": lambda folder, outside: (folder / HIGH).mkdir(),
    "a later step without its manifest": lambda folder, outside: a_copy(folder, HIGH, MANIFEST),
    "a later step with an empty manifest": lambda folder, outside: emptied(a_copy(folder, HIGH) / MANIFEST),
    "a later step with half a manifest": lambda folder, outside: halved(a_copy(folder, HIGH) / MANIFEST),
    "a later step without its tensors": lambda folder, outside: a_copy(folder, HIGH, checkpoints.TENSORS),
    "a copy named as a later step": lambda folder, outside: a_copy(folder, HIGH),
    "a folder where a manifest should be": lambda folder, outside: (folder / HIGH / MANIFEST / "x").mkdir(parents=True),
    "a manifest of something else": lambda folder, outside: write_sealed(
        made(folder / HIGH) / MANIFEST, {"status": ""}
    ),
    "a link where a manifest should be": lambda folder, outside: (made(folder / HIGH) / MANIFEST).symlink_to(
        folder / f"{2:012d}" / MANIFEST
    ),
    "a file named as a later step": lambda folder, outside: (folder / HIGH).write_text("x"),
    "a file named as the next step": lambda folder, outside: emptied(folder / NEXT),
    "a pipe named as a later step": lambda folder, outside: os.mkfifo(folder / HIGH),
    "a link named as a later step": lambda folder, outside: (folder / HIGH).symlink_to(outside / HIGH),
    "a link named as the next step": lambda folder, outside: (folder / NEXT).symlink_to(outside / HIGH),
    "a link to nowhere": lambda folder, outside: (folder / HIGH).symlink_to(folder / "nowhere"),
    "a link to itself": lambda folder, outside: (folder / HIGH).symlink_to(folder / HIGH),
    "a name in other digits": lambda folder, outside: a_copy(folder, "٩٩"),
    "a name of no digits": lambda folder, outside: a_copy(folder, "²"),
    "a name that is no text": lambda folder, outside: (Path(os.fsdecode(os.fsencode(folder) + b"/\xff"))).mkdir(),
    "foreign files": lambda folder, outside: [(folder / name).write_text("x") for name in (".DS_Store", "notes.txt")],
    "a foreign folder": lambda folder, outside: a_copy(folder, "backup"),
    "a half-written chunk": lambda folder, outside: (folder / CHUNKS / f".{'0' * 64}.012345678901.tmp").write_text("x"),
    "an empty chunk that comes next": lambda folder, outside: emptied(next_chunk(folder)),
    "a folder named as a chunk that comes next": lambda folder, outside: (next_chunk(folder) / "x").mkdir(parents=True),
    "a folder among the chunks": lambda folder, outside: (folder / CHUNKS / "x" / "y").mkdir(parents=True),
    "a link among the chunks": lambda folder, outside: (folder / CHUNKS / "x").symlink_to(outside / CHUNKS),
    "a link named as a chunk that comes next": lambda folder, outside: next_chunk(folder).symlink_to(outside / "file"),
}


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_a_leftover_is_not_chosen_nor_followed_and_goes(place: Path, leftover: str) -> None:
    """By the next save of the same process, and not in the way of an attempt that borrows."""
    folder, outside = place / "1", place / "outside"
    attempt = Checkpoints(folder)
    for step in (1, 2):
        attempt.save(state(step), {}, step)
    Checkpoints(outside).save(state(99), {}, 99)
    (outside / "file").write_text("not ours")
    before = contents(outside)
    LEFTOVERS[leftover](folder, outside)
    assert problems([folder], [1, 2], 2, tidy=False) == []
    Checkpoints(place / "2", [folder]).save(state(3), {}, 3)
    assert problems([place / "2", folder], [1, 2, 3], 3) == []
    attempt.save(state(3), {}, 3)
    assert problems([folder], [1, 2, 3], 3) == []
    assert left_over(folder) == []
    assert contents(outside) == before


def test_a_link_for_the_chunks_is_not_followed(place: Path) -> None:
    (made(place / "outside") / "file").write_text("not ours")
    (made(place / "1") / CHUNKS).symlink_to(place / "outside")
    Checkpoints(place / "1").save(state(1), {}, 1)
    assert contents(place / "outside") == {str(place / "outside" / "file"): b"not ours"}
    assert problems([place / "1"], [1], 1) == []


# The ledger


def test_the_ledger_adds_up(tmp_path: Path) -> None:
    made = [ledger.row("abc", "saves", count, failures, 7, 1.5) for count, failures in ((1000, 0), (2000, 0), (10, 1))]
    for each in made[:2]:
        ledger.append(each, tmp_path / "ledger.csv")
    assert ledger.rows(tmp_path / "ledger.csv") == made[:2]
    assert "| saves | 3,000 | 0 | 3,000 | < 0.10% |" in ledger.totals(made[:2])
    failed = ledger.row("abc", "saves", 500, 2, 7, 1.0)
    assert "| saves | 6,500 | 2 | 3,000 | < 0.10% |" in ledger.totals([*made[:2], failed, *made[:2]])
    assert "| saves | 500 | 2 | 0 | unknown |" in ledger.totals([failed])
    assert ledger.upper(0, 1000) == pytest.approx(3 / 1000, rel=0.01)
    assert ledger.upper(1, 10) == pytest.approx(0.394, abs=1e-3)  # Clopper and Pearson 1934, one-sided.
