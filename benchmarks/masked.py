"""What masked execution costs: milliseconds per TD3 update, dense against sparse methods, interleaved in one process.

    OMP_NUM_THREADS=1 python -m benchmarks.masked --repeats 15

HalfCheetah sizes (17 observations, 6 actions). The median over repeats of blocks of updates, and the range of the ratio
to the dense agent's block of the same repeat: timings drift with the machine, ratios do less. Rewirings fall into the
blocks as often as a study has them (every 1,000 updates).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.random import SeedSequence

from registry import default_registry, part
from rl import Batch, td3
from sparsity import DENSE, DS, RIGL, SET, STATIC, Method, Sparsifier

ERK = part("erk", density=0.1)
METHODS = {
    "dense": DENSE,
    "static": replace(STATIC, allocation=ERK),
    "set": replace(SET, allocation=ERK),
    "rigl": replace(RIGL, allocation=ERK, eligible=part("hidden"), schedule=part("cosine", every=1000)),
    "ds": replace(DS, allocation=ERK),
}


class Bench:
    """An agent under a method, and a batch to update it on."""

    def __init__(self, method: Method, batch_size: int) -> None:
        self.agent = td3(17, 6, 0, torch.device("cpu"), torch.float32, batch_size=batch_size)
        for learner in self.agent.learners():
            if method.sparse:
                Sparsifier(learner, method, seed=SeedSequence(0), total=1_000_000)
        draw = np.random.default_rng(0)
        shapes = ((17,), (6,), (), (17,), ())
        self.batch = Batch(*(torch.tensor(draw.normal(size=(batch_size, *s)), dtype=torch.float32) for s in shapes))
        self.batch = self.batch._replace(terminated=torch.zeros(batch_size))

    def milliseconds(self, updates: int) -> float:
        """Per update, over a block."""
        started = time.perf_counter()
        for _ in range(updates):
            self.agent.update(self.batch)
        return 1000 * (time.perf_counter() - started) / updates


def main() -> None:
    """Print the table for both batch sizes."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=15)
    arguments.add_argument("--updates", type=int, default=100, help="updates a block")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    default_registry()
    for batch_size in (100, 256):
        benches = {name: Bench(method, batch_size) for name, method in METHODS.items()}
        for bench in benches.values():
            bench.milliseconds(20)
        times: dict[str, list[float]] = {name: [] for name in benches}
        for _ in range(given.repeats):
            for name, bench in benches.items():
                times[name].append(bench.milliseconds(given.updates))
        print(f"batch {batch_size}: ms per update (median), ratio to dense (median, range)")
        for name, taken in times.items():
            ratios = np.array(taken) / np.array(times["dense"])
            spread = f"({ratios.min():.2f} ... {ratios.max():.2f})"
            print(f"  {name:8}{np.median(taken):7.2f}   {np.median(ratios):.2f} {spread}")


if __name__ == "__main__":
    main()
