"""From the flags of `sparsity bench` to a plan. Flags that cannot be served are refused, all of them at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from studies.bench.plan import KINDS, PAPER_BATCH, PAPER_WIDTH, Plan, groups, layer_groups
from studies.flags import number
from studies.problems import BadInput, clean

if TYPE_CHECKING:
    from studies import cli

DENSITIES: Final = (0.5, 0.2, 0.1, 0.05, 0.02)
WIDTHS: Final = (256, 1024)
BATCHES: Final = (100, 256)
THREADS: Final = (1, 2)
REPEATS: Final = 7
QUICK_REPEATS: Final = 3
CALIBRATED_WIDTHS: Final = (64, 256, 1024)
CALIBRATED_BATCHES: Final = (100, 256)


def available_cores() -> tuple[int, ...]:
    """Cores that this process may use; none where the system does not say (macOS)."""
    return tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else ()


def plan(command: cli.Bench, available: Sequence[int]) -> Plan:
    """What the flags ask for, on the cores that there are. BadInput with every problem at once."""
    problems: list[str] = []
    quick = command.quick
    widths = _numbers("--widths", command.widths, (256,) if quick else WIDTHS, _count, "units from 1 up", problems)
    batches = _numbers("--batches", command.batches, (256,) if quick else BATCHES, _count, "sizes from 1 up", problems)
    densities = _numbers(
        "--densities",
        command.densities,
        DENSITIES,
        lambda d: 0 < d < 1,
        "between 0 and 1 (dense has its row)",
        problems,
    )
    threads = _numbers("--threads", command.threads, (1,) if quick else THREADS, _count, "numbers from 1 up", problems)
    if command.repeats is not None and command.repeats < 1:
        problems.append(f"--repeats takes a number of blocks from 1 up, not {command.repeats}")
    kinds = _kinds(command.contestants, problems)
    cores = _cores(command.core, available, problems)
    if command.out.exists() and not command.out.is_dir():
        problems.append(f"--out: {clean(str(command.out))} is a file; name a folder")
    few = [n for n in threads if available and n > len(available)]
    if few and (command.threads is not None or len(few) == len(threads)):
        problems.append(f"--threads: this process may use {len(available)} cores, so not {max(few):g} threads")
    if problems:
        raise BadInput(*problems)
    notes = [f"no rows for {n:g} threads: this process may use {len(available)} core" for n in few]
    notes += (
        [] if cores else ["this system binds no process to a core: the numbers are noisier, and XLA takes all cores"]
    )
    made = groups(
        widths=[int(width) for width in widths],
        batches=[int(batch) for batch in batches],
        threads=[int(n) for n in threads if n not in few],
        densities=densities,
        kinds=kinds,
        method=command.method,
        published=PAPER_WIDTH in widths and PAPER_BATCH in batches,
        agent=command.agent,
    )
    layers = layer_groups([int(width) for width in widths], [int(batch) for batch in batches])
    return Plan(made, _repeats(command), cores, notes=tuple(notes), layers=layers if "sparse" in kinds else ())


def calibration(command: cli.Bench, available: Sequence[int]) -> Plan:
    """How often and on which core to calibrate; what it measures is not for flags to say."""
    problems: list[str] = []
    for flag in ("widths", "batches", "densities", "threads", "contestants"):
        if getattr(command, flag) is not None:
            problems.append(f"--calibrate measures what the table holds: leave --{flag} out")
    if command.repeats is not None and command.repeats < 1:
        problems.append(f"--repeats takes a number of blocks from 1 up, not {command.repeats}")
    cores = _cores(command.core, available, problems)
    if problems:
        raise BadInput(*problems)
    return Plan((), _repeats(command), cores)


def _repeats(command: cli.Bench) -> int:
    return command.repeats or (QUICK_REPEATS if command.quick else REPEATS)


def _numbers(
    flag: str,
    text: str | None,
    default: Sequence[float],
    allowed: Callable[[float], bool],
    said: str,
    problems: list[str],
) -> list[float]:
    if text is None:
        return list(default)
    try:
        values = [number(piece, flag) for piece in _pieces(text)]
    except BadInput as error:
        problems.extend(error.problems)
        return list(default)
    refused = [f"{value:g}" for value in values if not allowed(value)]
    if refused or not values:
        problems.append(f"{flag} takes {said}, not {', '.join(refused) or 'nothing'}")
        return list(default)
    return list(dict.fromkeys(values))


def _kinds(text: str | None, problems: list[str]) -> list[str]:
    given = list(KINDS) if text is None else _pieces(text)
    unknown = [clean(kind) for kind in given if kind not in KINDS]
    if unknown or not given:
        problems.append(f"--contestants: no {', '.join(map(repr, unknown)) or 'name'}. Known: {', '.join(KINDS)}")
    return [kind for kind in KINDS if kind in given]


def _cores(core: int | None, available: Sequence[int], problems: list[str]) -> tuple[int, ...]:
    """The available cores, the wished one first; by default the last, as systems serve interrupts on the first."""
    if core is None:
        return tuple(reversed(available))
    if core not in available:
        known = ", ".join(map(str, available)) or "none, as this system binds no process"
        problems.append(f"--core: {core} cannot be used here. Known: {known}")
        return ()
    return (core, *(other for other in available if other != core))


def _pieces(text: str) -> list[str]:
    return [piece.strip() for piece in text.split(",") if piece.strip()]


def _count(value: float) -> bool:
    return value >= 1 and value == int(value)
