"""Kills during saves: a child saves generation after generation and dies by SIGKILL at a random moment.

What must hold whenever it dies: the newest generation is whole, is that of the last save that had returned or of the
one under way, and is exactly the state of its step; as many generations as are kept are whole; and nothing that is not
whole has the name of a generation.
"""

from __future__ import annotations

import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.reliability.forks import Child
from benchmarks.reliability.ledger import Outcome
from studies.attempts import generations
from studies.checkpoints import KEPT, Checkpoints, newest, read

CHAIN: Final = 10
"""Kills one after the other, each of an attempt that goes on from what the ones before left. A chain has its seed."""
SIZES: Final[dict[str, Any]] = {"LARGE": 2048, "CHUNK": 4096}


@contextmanager
def small_chunks() -> Iterator[None]:
    """Chunks of a few kilobytes: many files a save, and saves that take milliseconds."""
    with patch.multiple("studies.checkpoints", **SIZES):
        yield


def state(step: int) -> dict[str, Any]:
    """Of a step: large rows that only grow, a large tensor that is new each time, zeros, small tensors and a log."""
    draw = torch.Generator().manual_seed(step)
    return {
        "rows": torch.arange(3000 + 700 * step, dtype=torch.float32),
        "weights": torch.randn(1500, generator=draw),
        "free": torch.zeros(2500),
        "small": [torch.full((7,), step), np.random.default_rng(step).random(3)],
        "log": b"".join(b"%d,%d\n" % (line, line**2) for line in range(20 * step)),
        "step": step,
    }


def equal(one: Any, other: Any) -> bool:
    """Whether two states hold the same values of the same types."""
    if type(one) is not type(other):
        return False
    match one:
        case dict():
            return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
        case list():
            return len(one) == len(other) and all(map(equal, one, other))
        case torch.Tensor():
            return one.dtype == other.dtype and torch.equal(one, other)
        case np.ndarray():
            return bool(one.dtype == other.dtype and np.array_equal(one, other))
    return bool(one == other)


def problems(folders: Sequence[Path], returned: Sequence[int], begun: int, *, tidy: bool = True) -> list[str]:
    """What is wrong with folders, the latest first, in which those saves returned and the one of `begun` may have not.

    `tidy`: nothing that is not whole may have the name of a generation and be as new as what is loaded.
    """
    loaded, complaints = newest(folders)
    found = list(complaints) if tidy else []
    allowed = {max(returned, default=None), begun}
    step = None if loaded is None else loaded.about["step"]
    if step not in allowed:
        found.append(f"loaded step {step}, not one of {allowed}: {complaints}")
    if loaded is not None and not equal(loaded.state, state(loaded.about["step"])):
        found.append(f"the state loaded for step {step} is another")
    whole = sum(_is_whole(generation) for folder in folders for generation in generations(folder))
    if whole < min(KEPT, len(returned)):
        found.append(f"{whole} generations are whole after {len(returned)} saves")
    return found


def _is_whole(generation: Path) -> bool:
    try:
        return equal(read(generation).state, state(int(generation.name)))
    except (OSError, ValueError):
        return False


def kills(count: int, seed: int, place: Path | None = None) -> Outcome:
    """So many SIGKILLs during saves, in a folder of the temporary ones unless a place is given."""
    notes: list[str] = []
    with tempfile.TemporaryDirectory(dir=place) as folder, small_chunks():
        typical = _typical(Path(folder) / "typical")
        for start in range(0, count, CHAIN):
            chain, root = seed + start // CHAIN, Path(folder) / str(start)
            found = _chain(root, chain, min(CHAIN, count - start), typical)
            replay = f"python -m benchmarks.reliability saves --count {CHAIN} --seed {chain} --no-ledger"
            notes += [f"{each}\n    replay: {replay}" for each in found]
            shutil.rmtree(root, ignore_errors=True)
    return Outcome(len(notes), notes)


def _chain(root: Path, seed: int, count: int, typical: float) -> list[str]:
    """Attempts in folders of their own, each killed, each borrowing of those before; a line for each with problems."""
    draw, notes = np.random.default_rng(seed), []
    returned: list[int] = []
    folders: list[Path] = []
    first = 1
    for number in range(1, count + 1):
        folders = [root / str(number), *folders]
        whole_saves, after = int(draw.integers(0, 4)), float(draw.uniform(0.0, 1.1 * typical))
        with Child(partial(_saving, folders[0], folders[1:], first)) as child:
            if child.hear(1 + 2 * whole_saves):
                child.kill(after)
            else:
                child.end()
        said = [line.partition(" ")[::2] for line in child.lines]
        returned += [int(step) for word, step in said if word == "returned"]
        begun = max(int(step) for word, step in said if word == "begins")
        found = problems(folders, returned, begun)
        found += [] if child.code == -signal.SIGKILL else [f"it ended by itself: {child.lines[-1]}"]
        if found:
            notes.append(f"kill {number}, {after * 1e6:.0f} us into the save of step {begun}: {'; '.join(found)}")
        loaded, _ = newest(folders)
        first = 1 if loaded is None else loaded.about["step"] + 1
        # What the next attempt goes on from stands; a save that was whole but had not returned counts as returned.
        returned = [step for step in returned if step < first - 1] + ([first - 1] if loaded else [])
    return notes


def _saving(folder: Path, lenders: Sequence[Path], first: int, say: Callable[[str], None], saves: int = 10**9) -> None:
    """Save one generation after another, telling when each begins and when it returned."""
    checkpoints = Checkpoints(folder, lenders)
    for step in range(first, first + saves):
        value = state(step)
        say(f"begins {step}")
        checkpoints.save(value, {}, step)
        say(f"returned {step}")


def _typical(folder: Path) -> float:
    """Seconds that a save takes, of a few that nobody disturbs."""
    heard: list[float] = []
    with Child(partial(_saving, folder, (), 1, saves=7)) as child:
        while child.hear(len(heard) + 1):
            heard.append(time.perf_counter())
    return statistics.median(end - start for start, end in zip(heard[::2], heard[1::2], strict=True))
