"""Digits of 28 x 28 pixels, drawn on the spot, learnt by convolutions and linear layers with a few of their weights.

python examples/classification.py                  # about 35 seconds of one core
python examples/classification.py --density 0.01 --rows dense rigl
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from torch import Tensor, nn

from sparsity import Sparsifier, attach

ROWS: dict[str, dict[str, Any]] = {
    "dense": {"method": "dense"},
    "static": {"method": "static", "eligible": "all"},
    "set": {"method": "set", "eligible": "all", "schedule": {"every": 25}},
    "rigl": {"method": "rigl", "schedule": {"every": 25}},
    "gmp": {"method": "gmp", "budget": {"every": 25}},
}


@dataclass
class Args:
    rows: tuple[str, ...] = tuple(ROWS)
    density: float = 0.05
    steps: int = 400
    seeds: int = 3
    samples: int = 3000
    """Of the training set."""
    noise: float = 0.3
    """Standard deviation of the noise on pixels between 0 and 1."""


FONTS = [
    FontProperties(family=family, weight=weight, style=style)
    for family in ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono")
    for weight in ("normal", "bold")
    for style in ("normal", "oblique")
]
PIXELS = np.stack(np.meshgrid(np.arange(28), np.arange(28)), axis=-1).reshape(-1, 2)


def draw(digit: int, random: np.random.Generator) -> np.ndarray:
    """A digit in some font, turned, sheared, stretched and shifted a little."""
    outline = TextPath((0, 0), str(digit), size=20, prop=FONTS[random.integers(len(FONTS))])
    middle = outline.get_extents().get_points().mean(0)
    bend = Affine2D().translate(*-middle).scale(*random.uniform(0.8, 1.2, 2))
    bend = bend.rotate(random.normal(0, 0.2)).skew(random.normal(0, 0.2), 0).translate(*random.uniform(11, 16, 2))
    loops = [Path(loop).contains_points(PIXELS) for loop in outline.transformed(bend).to_polygons()]
    inside: np.ndarray = np.logical_xor.reduce(loops)  # A loop within a loop is a hole.
    return inside.reshape(28, 28)[::-1]


@cache
def digits(samples: int, seed: int, noise: float) -> tuple[Tensor, Tensor]:
    """Images `(samples, 1, 28, 28)` with noise on every pixel, and which digits they are."""
    random = np.random.default_rng(seed)
    labels = random.integers(10, size=samples)
    images = np.stack([draw(label, random) for label in labels])[:, None]
    noisy = images + noise * random.standard_normal(images.shape)
    return torch.tensor(noisy, dtype=torch.float32), torch.tensor(labels)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def train(row: str, seed: int, args: Args) -> tuple[nn.Module, Sparsifier, float]:
    """The trained network, its sparsifier, and the share of test images that it takes for another digit."""
    torch.manual_seed(seed)
    (images, labels), (unseen, truth) = digits(args.samples, 0, args.noise), digits(1000, 1, args.noise)
    module = network()
    adam = torch.optim.Adam(module.parameters(), lr=2e-3)
    density = None if row == "dense" else args.density
    sparsifier = attach(module, adam, density=density, total=args.steps, seed=seed, **ROWS[row])  # All there is to it.
    for _ in range(args.steps):
        batch = torch.randint(len(images), (64,))
        adam.zero_grad()
        nn.functional.cross_entropy(module(images[batch]), labels[batch]).backward()
        adam.step()
    with torch.no_grad():
        wrong = (module(unseen).argmax(1) != truth).float().mean()
    return module, sparsifier, float(wrong)


def weights(sparsifier: Sparsifier) -> int:
    """Connections, those that are zero by chance among them; no biases."""
    dense = sum(left.size for left in sparsifier.left_dense.values())
    return dense + sum(layer.active for layer in sparsifier.densities())


def main(args: Args) -> None:
    print(f"wrong digits on the test set after {args.steps} steps, {args.seeds} seeds: mean and deviation\n")
    print(f"{'row':<12}{'weights':>10}{'error, %':>10}{'+-':>8}")
    for row in args.rows:
        runs = [train(row, seed, args) for seed in range(args.seeds)]
        errors = [100 * wrong for _, _, wrong in runs]
        spread = stdev(errors) if len(errors) > 1 else float("nan")
        print(f"{row:<12}{weights(runs[0][1]):>10,}{mean(errors):>10.1f}{spread:>8.1f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Args))
