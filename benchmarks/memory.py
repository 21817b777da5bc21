"""What truly sparse training holds in memory, its construction included, beside what dense training would hold.

    OMP_NUM_THREADS=1 python -m benchmarks.memory

TD3 of HalfCheetah sizes in sparse execution, each case in a process of its own: construction, updates without an event,
updates with one, and a copy of its state. Megabytes are peaks of resident memory beyond what the process had when all
was imported and compiled and a tiny agent had gone through the same. What a phase let go is given back to the system
before the next, so that each shows its own. Only Linux tells the peak of a phase.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from registry import default_registry, part
from rl import Batch
from sparsity import DS, RIGL, SET, Method
from studies.build import attach, build_agent
from studies.contents import Run
from studies.stored import stored

SIZES: Final = (17, 6)
BATCH: Final = 256
UPDATES: Final = 12
EVERY: Final = 6
"""Updates between events. The first one of Adam's has no moments yet, and the target follows in every second."""
METHODS: Final = {
    "set": replace(SET, schedule=part("periodic", fraction=0.3, every=EVERY)),
    "rigl": replace(RIGL, eligible=part("hidden"), schedule=part("periodic", fraction=0.3, every=EVERY)),
    "ds": replace(DS, initial=part("random"), schedule=part("periodic", fraction=0.05, every=EVERY)),
}
PHASES: Final = ("construction", "updates", "events", "state")
MB: Final = 1e6


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that any operation of torch makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, Tensor) and one.layout == torch.strided:
                self.numbers = max(self.numbers, one.untyped_storage().nbytes() // one.element_size())
        return out


class Peaks:
    """Peak of resident memory in each phase, in bytes, and what was resident before it."""

    def __init__(self) -> None:
        self.peak: dict[str, int] = {}
        self.beyond: dict[str, int] = {}
        """Above what the phase found."""
        self._base = _settled()

    @contextmanager
    def phase(self, name: Callable[[], str]) -> Iterator[None]:
        """What happens in here belongs to a phase, whose name may be known only at its end."""
        before = _settled()
        yield
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.peak[name()] = max(self.peak.get(name(), 0), peak - self._base)
        self.beyond[name()] = max(self.beyond.get(name(), 0), peak - before)


def _settled() -> int:
    """Resident bytes after what is free went back to the system, from where the peak is counted anew."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # The peak begins at what is resident now.
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def a_run(width: int, density: float, method: str) -> Run:
    """Hidden layers at that density by ERK, everything else as the method has it."""
    sparse = replace(METHODS[method], eligible=part("hidden"), allocation=part("erk", density=density))
    hidden = (width, width)
    methods: dict[str, Method] = {name: sparse.resolved(default_registry()) for name in ("critic", "actor")}
    agent = default_registry().resolve("agent", part("td3", actor_hidden=hidden, critic_hidden=hidden))
    return Run("none", agent, methods, 0, 1_000, 0, 100, 1, execution="sparse")


def a_batch() -> Batch:
    draw = torch.Generator().manual_seed(0)
    observation, action, reward, following = (
        torch.randn(BATCH, *shape, generator=draw) for shape in ((SIZES[0],), (SIZES[1],), (), (SIZES[0],))
    )
    return Batch(observation, action.clamp(-1, 1), reward, following, torch.zeros(BATCH))


def trained(run: Run) -> dict[str, Any]:
    """Peaks of all phases of a short training, and what is held at its end."""
    registry, batch, heard = default_registry(), a_batch(), []
    peaks, largest = Peaks(), Largest()
    with largest, peaks.phase(lambda: "construction"):
        agent, full = build_agent(run, SIZES, registry)
        sparsifiers = attach(agent, run, registry, lambda name, event: heard.append(name))
    for _ in range(UPDATES):
        heard.clear()
        with largest, peaks.phase(lambda: "events" if heard else "updates"):
            agent.update(batch)
    with largest, peaks.phase(lambda: "state"):
        state = [agent.state_dict(), *(each.state_dict() for each in sparsifiers.values())]
    del state
    held = stored(agent.learners(), list(sparsifiers.values()))
    parameters = {learner.name: learner.module.parameters() for learner in agent.learners()}
    layers = [layer.size for each in sparsifiers.values() for layer in each.densities()]
    return {
        "peak": peaks.peak,
        "beyond": peaks.beyond,
        "held": sum(held.values()) + 4 * sum(p.numel() for each in parameters.values() for p in each),
        # Parameters, two moments, a target and gradients.
        "dense": 5 * 4 * sum(size.parameters for size in full.values()),
        "layer": 4 * max(layers),
        "largest": largest.numbers / max(layers),
    }


def one(width: int, density: float, method: str) -> dict[str, Any]:
    """In this process: a tiny agent first, so that what is compiled and loaded counts as imported."""
    torch.set_num_threads(1)
    trained(a_run(32, 0.3, method))
    return trained(a_run(width, density, method))


def row(width: int, density: float, method: str, found: dict[str, Any]) -> str:
    peak, layer = max(found["peak"].values()), found["layer"]
    cells = [
        *(f"{width}", f"{density:g}", method),
        *(f"{found['peak'][phase] / MB:.0f}" for phase in PHASES),
        *(f"{found['held'] / MB:.1f}", f"{peak / found['held']:.1f}"),
        *(f"{found['dense'] / MB:.0f}", f"{peak / found['dense']:.2f}"),
        f"{layer / MB:.0f}",
        *(f"{found['beyond'][phase] / layer:.2f}" for phase in PHASES),
        f"{found['largest']:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD: Final = [
    *("width", "density", "method", *(f"{phase}, MB" for phase in PHASES)),
    *("connections, MB", "peak, x connections", "dense, MB", "peak, x dense", "one dense layer, MB"),
    *(f"{phase}, dense layers beyond" for phase in PHASES),
    "largest tensor, x one layer",
]
READING: Final = """\
`connections`: values, moments, target, gradient and index, at the end. `dense`: parameters, two moments, target and
gradients of the same agent without a gap, which masked execution holds too, beside masks. `dense layers beyond`: the
phase's peak above what it found, in the bytes of the largest layer in float32, its members together. `largest tensor`:
numbers of the largest that torch made; up to 1, no dense tensor of more than one layer ever existed."""


def main() -> None:
    """Print the table, a row a case as it is measured."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--widths", type=int, nargs="+", default=[1024, 2048, 4096])
    arguments.add_argument("--densities", type=float, nargs="+", default=[0.01, 0.1])
    arguments.add_argument("--methods", choices=METHODS, nargs="+", default=list(METHODS))
    arguments.add_argument("--one", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if sys.platform != "linux":
        sys.exit("error: only Linux tells the peak memory of a phase")
    if given.one:
        print(json.dumps(one(*json.loads(given.one))))
        return
    print("| " + " | ".join(HEAD) + " |\n" + "|" + " --- |" * len(HEAD), flush=True)
    for width in given.widths:
        for density in given.densities:
            for method in given.methods:
                command = [sys.executable, "-m", "benchmarks.memory", "--one", json.dumps([width, density, method])]
                found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                print(row(width, density, method, json.loads(found)), flush=True)
    print("\n" + READING)


if __name__ == "__main__":
    main()
