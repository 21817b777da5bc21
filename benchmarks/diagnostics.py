"""What `--diagnostics` costs: a look at each event, and at each evaluation a pass through every network and its ranks.

    OMP_NUM_THREADS=1 python -m benchmarks.diagnostics

TD3 of HalfCheetah sizes under SET, in both executions. Medians in milliseconds, and the share of a run's time that the
paper's rhythm makes of them: events every 1,000 updates, evaluations every 5,000.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from registry import default_registry, part
from rl.replay import uniform
from sparsity import SET, Event
from studies.account import Account
from studies.build import build_agent
from studies.contents import Run
from studies.diagnostics import Diagnostics

SIZES: Final = (17, 6)
EVERY: Final = 1_000
EVALUATIONS: Final = 5_000
REPEATS: Final = 20


def median(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Milliseconds of a call."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds)


def measured(execution: Any, density: float) -> tuple[float, float, float]:
    """An update, a look at one event of one network, and a measurement."""
    registry = default_registry()
    method = replace(SET, allocation=part("erk", density=density)).resolved(registry)
    chosen = registry.resolve("agent", part("td3"))
    run = Run("HalfCheetah-v5", chosen, {"critic": method, "actor": method}, 0, 10**6, 0, EVALUATIONS, 1,
              execution=execution)  # fmt: skip
    agent, full = build_agent(run, SIZES, registry)
    replay, draw = uniform(*SIZES, capacity=10_000), np.random.default_rng(0)
    for _ in range(5_000):
        before, after = draw.normal(size=(2, SIZES[0]))
        replay.add(before, draw.uniform(-1, 1, SIZES[1]), float(draw.normal()), False, False, after)
    batch = replay.sample(256, draw, device=torch.device("cpu"), dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        account = Account(agent, run, registry, Path(folder))
        looking = Diagnostics(Path(folder), agent, account, replay, 0)
        for _ in range(20):
            agent.update(batch)
        update = median(lambda: agent.update(batch), 100)
        watch, change = looking._watches["critic"], account.sparsifiers["critic"].densities()
        event = Event(1, tuple(_nothing(layer) for layer in change))
        look = median(lambda: watch.heard(event))
        measure = median(lambda: looking.measure(0, 1, account.result(full, 1)))
        looking.close()
        account.close()
    return update, look, measure


def _nothing(layer: Any) -> Any:
    from sparsity import LayerChange

    return LayerChange(layer.name, layer.active, 0, 0, 0, 0)


def main() -> None:
    """Print a line for each execution and density."""
    print(f"{'execution':<10} {'density':>7} {'update':>8} {'look':>8} {'measure':>8} {'of the run':>11}")
    for execution in ("masked", "sparse"):
        for density in (0.5, 0.1):
            update, look, measure = measured(execution, density)
            share = (2 * look / EVERY + measure / EVALUATIONS) / update
            print(f"{execution:<10} {density:>7g} {update:>8.2f} {look:>8.2f} {measure:>8.1f} {100 * share:>10.2f}%")


if __name__ == "__main__":
    main()
