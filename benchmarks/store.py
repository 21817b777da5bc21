"""How long it takes to see how a large study stands, and to check every byte of it.

    OMP_NUM_THREADS=1 python -m benchmarks.store --runs 10000

Lays out finished runs whose files have the sizes of short real ones (weights left out), with the store's own code, then
times `status` and `verify` from their first import to the last line, each in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from studies.attempts import begin
from studies.contents import canonical
from studies.files import sha256
from studies.sealed import write_sealed
from studies.store import CELLS, CONTENTS, EVALUATIONS, RESULT, STUDY, TOPOLOGY, WORLD, Store


def lay_out(store: Store, runs: int) -> None:
    """A study named `large`."""
    folder, cells = store.study_folder("large"), []
    result: dict[str, Any] = {"status": "done", "cause": "", "layers": {}, "realised_density": 0.5}
    for number in range(runs):
        run_id = f"{number:016x}"
        place = store.run_folder(run_id)
        place.mkdir(parents=True)
        sizes = {CONTENTS: 1500, EVALUATIONS: 2000, TOPOLOGY: 8000, "training.csv": 20_000, WORLD: 500}
        for name, size in sizes.items():
            (place / name).write_bytes(b"x" * size)
        (place / RESULT).write_text(canonical(result))
        store.finish(begin(place), [*list(sizes)[1:], RESULT])
        row = {"run": run_id, "label": "SET", "agent": "td3", "env": "HalfCheetah-v5", "density": 0.5, "seed": number}
        cells.append({**row, "axes": {}})
    folder.mkdir(parents=True)
    (folder / STUDY).write_text("")
    write_sealed(folder / CELLS, {"cells": cells, "study": sha256(folder / STUDY)})


def seconds(*words: str) -> float:
    """Of a command, whole."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "studies", *words], stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--runs", type=int, default=10_000)
    said = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        lay_out(store, said.runs)
        empty = min(seconds("study", "list", "--store", f"{folder}/nothing") for _ in range(3))
        for command in ("status", "verify"):
            whole = min(seconds("study", command, "large", "--store", folder) for _ in range(3))
            print(f"{command:8} of {said.runs:,} runs: {whole:.2f} s, {empty:.2f} s of it to start Python")


if __name__ == "__main__":
    main()
