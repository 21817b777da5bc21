"""`sparsity bench`: say the plan, run it, print the tables, keep everything in a folder."""

from __future__ import annotations

import json
import platform
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from registry import default_registry
from rl.files import write_atomically
from studies.bench.drawing import draw
from studies.bench.plan import Plan
from studies.bench.race import measure
from studies.bench.results import Results
from studies.bench.sections import SECTIONS, page, speed_of
from studies.world import world

PEERS: Final = ("numba", "stable_baselines3", "sbx-rl", "jax", "jaxlib")
"""Versions that decide the times beside those of a run's world."""


LAYER_BLOCK: Final = 0.03
"""Seconds of a block of passes over one layer: there are many kinds."""


def bench(plan: Plan, folder: Path, show: Callable[[str], None] = print) -> Results:
    """Measure all groups; bench.json after each, and at the end bench.md and the figure, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for line in plan.told():
        _tell(line)
    results = Results([], _about(plan), _machine())
    for index, group in enumerate(plan.groups, start=1):
        _tell(f"group {index} of {len(plan.groups)}: {group.setting.title}")
        results.groups.append(measure(group, plan, _tell))
        show(speed_of(results.groups[-1]) + "\n")
        _keep(results, folder)
    for group in plan.layers:
        _tell(f"kernels: a layer of {group.setting.title}")
        results.layers.append(measure(group, replace(plan, block_seconds=LAYER_BLOCK), _tell))
        _keep(results, folder)
    write_atomically(folder / "bench.md", page(results).encode())
    for section in SECTIONS[1:]:  # The first was shown group by group.
        if text := section(results):
            show(text + "\n")
    for path in (folder / "bench.json", folder / "bench.md", *draw(results, folder / "update-time")):
        show(str(path))
    return results


def _keep(results: Results, folder: Path) -> None:
    write_atomically(folder / "bench.json", (json.dumps(results.as_json(), indent=1) + "\n").encode())


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _about(plan: Plan) -> dict[str, Any]:
    said = {key: value for key, value in asdict(plan).items() if key not in ("groups", "layers", "steps")}
    return said | {"cores": list(plan.cores), "notes": list(plan.notes)}


def _machine() -> dict[str, Any]:
    """The world as runs record it, the processor's name, and the versions of the others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here = world(default_registry(), "cpu")
    del here["threads"]  # Those of this process, which measures nothing.
    return here | {"processor": _processor()} | {name: _version(name) for name in PEERS}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
