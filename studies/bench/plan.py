"""What is measured: groups of contestants that share a setting, and how long that will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

KINDS: Final = {
    "dense": "ours, dense",
    "masked": "ours, masked",
    "sparse": "ours, sparse",
    "autograd": "ours, sparse, autograd",
    "sbx": "SBX",
    "sb3": "SB3",
}
"""Contestants by their word on the command line. `autograd` is `sparse` with the losses in plain torch."""
OURS: Final = ("dense", "masked", "sparse", "autograd")
WITH_DENSITY: Final = ("masked", "sparse", "autograd")
LAYER: Final = "layer"
"""A process that runs passes over one layer, sparse and dense: no contestant, but measured as they are."""
CHOICE: Final = "choice"
"""Another, that runs a sparse layer as it is and filled up, for `--calibrate`."""
PEERS: Final = ("sbx", "sb3")
"""Dense agents as others ship them, the faster first: ratios are to the first that is there."""
START_SECONDS: Final = dict.fromkeys((*OURS, "sb3", LAYER, CHOICE), 4.0) | {"sbx": 15.0}
"""To import, build and warm up, on one core of 2024. XLA compiles."""


LAYER_SECONDS: Final = 0.5
"""A turn of all passes over a layer."""
PAPER_WIDTH: Final = 256
PAPER_BATCH: Final = 100
"""Of Sokar et al. 2022."""


class Contestant(NamedTuple):
    """One agent in one process. `density` is of the hidden layers; none where all is there, or the method says it."""

    kind: str
    density: float | None = None

    @property
    def name(self) -> str:
        return KINDS.get(self.kind, self.kind) + ("" if self.density is None else f", {self.density:g}")


@dataclass(frozen=True)
class Setting:
    """What the contestants of a group share."""

    width: int
    batch: int
    threads: int = 1
    method: str = "static"
    published: bool = False
    """The paper's setting: DS as its text has it, its densities and learning rate. Else ERK, events every 1,000."""
    env: str = "HalfCheetah-v5"
    agent: str = "td3"

    @property
    def learning_rate(self) -> float:
        return 1e-3 if self.published else 3e-4

    @property
    def title(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        paper = ", as in Sokar et al. 2022: DS, lambdas 7 and 64, learning rate 1e-3" if self.published else ""
        agent = "" if self.agent == "td3" else f"{self.agent.upper()}, "
        return f"{agent}width {self.width}, batch {self.batch}, {threads}{paper}"


@dataclass(frozen=True)
class Group:
    """A setting and who runs under it."""

    setting: Setting
    contestants: tuple[Contestant, ...]


@dataclass(frozen=True)
class Plan:
    """All groups, how many blocks each contestant runs, how long a block is, and on which cores.

    `layers` are those of the table of kernels: in each a process that runs passes over one layer.
    """

    groups: tuple[Group, ...]
    repeats: int
    cores: tuple[int, ...] = ()
    """The first is used first; none where the system binds no process."""
    block_seconds: float = 0.25
    notes: tuple[str, ...] = ()
    layers: tuple[Group, ...] = ()
    steps: bool = True
    """Whether whole steps are measured too, not updates alone."""

    @property
    def minutes(self) -> float:
        """Expected: starts, and blocks of updates and of steps, the discarded first ones included."""
        contestants = [one for group in self.groups for one in group.contestants]
        blocks = 2 * (self.repeats + 1) * len(contestants)
        layers = (START_SECONDS[LAYER] + LAYER_SECONDS * (self.repeats + 1)) * len(self.layers)
        return (sum(START_SECONDS[one.kind] for one in contestants) + blocks * self.block_seconds + layers) / 60

    @property
    def gigabytes(self) -> float:
        """Expected: all contestants of a group are there at a time, half a gigabyte each, of libraries most of all."""
        return 0.5 * max(len(group.contestants) for group in self.groups)

    def told(self) -> list[str]:
        """The plan in lines, for who waits for it."""
        contestants = sum(len(group.contestants) for group in self.groups)
        where = f"on core {self.cores[0]}" if self.cores else "bound to no core"
        return [
            f"plan: {contestants} contestants in {len(self.groups)} groups, {self.repeats} blocks each of updates and "
            f"of steps, {self.block_seconds:g} s a block, {where}: about {max(1, round(self.minutes))} min, "
            f"{self.gigabytes:.0f} GB of memory",
            *(f"  {group.setting.title}: {len(group.contestants)} contestants" for group in self.groups),
            *(f"note: {note}" for note in self.notes),
        ]


def groups(
    *,
    widths: Sequence[int],
    batches: Sequence[int],
    threads: Sequence[int],
    densities: Sequence[float],
    kinds: Sequence[str],
    method: str,
    published: bool,
    agent: str = "td3",
) -> tuple[Group, ...]:
    """Every width with every batch size on the fewest threads, then the paper's setting, then the other threads.

    Those take the largest batch alone, as the smallest gain least from threads and the whole must fit a coffee break.
    """
    members = tuple(
        Contestant(kind, density) for kind in kinds for density in (densities if kind in WITH_DENSITY else (None,))
    )
    fewest, *more = sorted(threads)
    made = [Group(Setting(width, batch, fewest, method, agent=agent), members) for width in widths for batch in batches]
    if published and agent == "td3":
        made.append(
            Group(Setting(PAPER_WIDTH, PAPER_BATCH, fewest, "ds", published=True), tuple(map(Contestant, kinds)))
        )
    made += [Group(Setting(width, max(batches), n, method, agent=agent), members) for n in more for width in widths]
    return tuple(made)


def layer_groups(widths: Sequence[int], batches: Sequence[int]) -> tuple[Group, ...]:
    """One layer of every width at every batch size, on one thread: the kernels have no more."""
    return tuple(Group(Setting(width, batch), (Contestant(LAYER),)) for width in widths for batch in batches)
