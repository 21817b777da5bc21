"""The topologies of a run at its evaluations: `topologies.safetensors`, written with the diagnostics.

A tensor of packed bits a look, named by its environment step: the masks of all sparse weights, one after the other.
Where nothing has changed since the look before, it is empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rl.files import write_atomically
from sparsity import Sparsifier
from studies.outcome import Outcome
from studies.store import TOPOLOGIES, Store

LOOKS: Final = 30
"""At most so many a run, its start and its end among them ..."""
ROOM: Final = 4_000_000
"""... and fewer where they would take more bytes than this, but for the least."""
LEAST: Final = 5
LAYERS: Final = "layers"
Layer = tuple[str, str]
"""A learner and the name of its weight."""
Bits = NDArray[np.uint8]


class Topologies:
    """Keeps what topologies were: at the start, at evenly spaced evaluations, and at the end.

    An evaluation of a run of `steps` environment steps comes every `eval_every` of them. What is in the folder already
    is gone on with. A look takes a bit a weight: 27 kB for TD3 on HalfCheetah-v5 with 256 units a layer, 800 kB a run.
    """

    def __init__(self, folder: Path, sparsifiers: Mapping[str, Sparsifier], *, steps: int, eval_every: int) -> None:
        self._path, self._sparsifiers = folder / TOPOLOGIES, sparsifiers
        self._steps, self._eval_every = steps, eval_every
        self._stride = stride(steps, eval_every, self._now().nbytes)
        self._looks: dict[str, Bits] = {}
        self._last: Bits | None = None
        if self._path.is_file():
            self._looks = _tensors(self._path)
            self._last = next((bits for bits in reversed(self._looks.values()) if len(bits)), np.zeros(0, np.uint8))
        else:
            self._keep(0)

    def look(self, step: int) -> None:
        """Keep the topologies after `step` environment steps, if this evaluation is one of those that are kept."""
        if step and (step == self._steps or step // self._eval_every % self._stride == 0):
            self._keep(step)

    def _keep(self, step: int) -> None:
        from safetensors.numpy import save

        now = self._now()
        same = self._last is not None and np.array_equal(now, self._last)
        self._looks[f"{step:012d}"] = now[:0] if same else now
        self._last = now
        write_atomically(self._path, save(self._looks, {LAYERS: json.dumps(self._layers())}))

    def _now(self) -> Bits:
        masks = [mask for each in self._sparsifiers.values() for mask in each.masks.values()]
        bits = [np.packbits(mask.cpu().numpy().reshape(-1)) for mask in masks]
        return np.concatenate([np.zeros(0, dtype=np.uint8), *bits])

    def _layers(self) -> list[tuple[str, str, tuple[int, ...]]]:
        return [(who, layer.name, layer.shape) for who, each in self._sparsifiers.items() for layer in each.densities()]


def stride(steps: int, eval_every: int, size: int) -> int:
    """Every so many evaluations are kept, where a look takes `size` bytes."""
    most = max(LEAST, min(LOOKS, ROOM // max(1, size)))
    return max(1, math.ceil(math.ceil(steps / eval_every) / (most - 1)))


@dataclass(frozen=True)
class Record:
    """The topologies that a run kept. Masks are read when they are asked for: a study has many."""

    steps: tuple[int, ...]
    """Environment steps of the looks, from 0 on."""
    shapes: Mapping[Layer, tuple[int, ...]]
    """Of every sparse weight, a population in front; empty for a dense agent."""
    _path: Path

    def masks(self, layer: Layer) -> NDArray[np.bool_]:
        """A weight's masks, `(looks, *shape)`, True where active. ValueError if the file is not what its shapes say."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        starts = np.cumsum([0, *(math.ceil(size / 8) for size in sizes)])
        place = list(self.shapes).index(layer)
        seen: list[NDArray[np.bool_]] = []
        for bits in _tensors(self._path).values():
            if len(bits) not in ((0, starts[-1]) if seen else (starts[-1],)):
                raise ValueError(f"a look at topologies has {len(bits)} bytes where {starts[-1]} are due")
            part = bits[starts[place] : starts[place + 1]]
            seen.append(np.unpackbits(part, count=sizes[place]).astype(bool) if len(bits) else seen[-1])
        return np.stack(seen).reshape(len(seen), *self.shapes[layer])


def read(folder: Path) -> Record:
    """The topologies of a run. FileNotFoundError for a run without diagnostics."""
    from safetensors import safe_open

    path = folder / TOPOLOGIES
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {TOPOLOGIES}: run it with --diagnostics")
    with safe_open(path, framework="np") as file:
        layers, looks = json.loads(file.metadata()[LAYERS]), sorted(map(int, file.keys()))
    shapes = {(learner, name): tuple(shape) for learner, name, shape in layers}
    return Record(tuple(looks), shapes, path)


def _tensors(path: Path) -> dict[str, Any]:
    """In the order of their steps."""
    from safetensors.numpy import load

    return dict(sorted(load(path.read_bytes()).items()))


def records(store: Store, outcomes: Iterable[Outcome]) -> dict[str, Record]:
    """What the finished runs have kept, by their ids; runs without diagnostics are left out."""
    return {run: read(store.run_folder(run)) for run in _kept(store, outcomes)}


def are_kept(store: Store, outcomes: Iterable[Outcome]) -> bool:
    """Whether any finished run has kept its topologies."""
    return any(True for _ in _kept(store, outcomes))


def _kept(store: Store, outcomes: Iterable[Outcome]) -> Iterator[str]:
    done = dict.fromkeys(run.run for run in outcomes if run.status == "done" and run.run)
    # One that was begun with diagnostics and ended without has a file that ends too soon, and does not answer for it.
    return (run for run in done if TOPOLOGIES in store.files(run))
