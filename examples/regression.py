"""Regression with a twentieth of the weights: 64 inputs, of which a teacher reads twelve. Which method finds them?

python examples/regression.py                      # about 20 seconds on one core
python examples/regression.py --density 0.02 --rows dense rigl
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from sparsity import Sparsifier, attach

ROWS: dict[str, dict[str, Any]] = {
    "dense": {"method": "dense"},
    "static": {"method": "static", "eligible": "all"},
    "set": {"method": "set", "eligible": "all", "schedule": {"every": 50}},
    "rigl": {"method": "rigl", "schedule": {"every": 50}},
}


@dataclass
class Args:
    rows: tuple[str, ...] = tuple(ROWS)
    density: float = 0.05
    steps: int = 1500
    seeds: int = 3
    width: int = 128
    samples: int = 2000
    """Of the training set; a small one, so that weights which are of no use do harm."""


def teacher(seed: int) -> Callable[[Tensor], Tensor]:
    """Eight tanh units, each of which reads three of the first twelve inputs."""
    draw = torch.Generator().manual_seed(seed)
    reads = torch.stack([torch.randperm(12, generator=draw)[:3] for _ in range(8)])
    weights, signs = 2 * torch.randn(8, 3, generator=draw), torch.randn(8, generator=draw)
    return lambda x: torch.tanh((x[:, reads] * weights).sum(-1)) @ signs


def data(seed: int, samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs and answers, with noise to train on, without to be tested on."""
    draw, truth = torch.Generator().manual_seed(1000 + seed), teacher(seed)
    x, x_test = torch.randn(samples, 64, generator=draw), torch.randn(5000, 64, generator=draw)
    return x, truth(x) + 0.3 * torch.randn(samples, generator=draw), x_test, truth(x_test)


def train(row: str, seed: int, args: Args) -> tuple[nn.Module, Sparsifier, float]:
    """The trained network, its sparsifier, and the share of the variance that it leaves unexplained."""
    torch.manual_seed(seed)
    x, y, x_test, y_test = data(seed, args.samples)
    network = nn.Sequential(
        nn.Linear(64, args.width), nn.ReLU(), nn.Linear(args.width, args.width), nn.ReLU(), nn.Linear(args.width, 1)
    )
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    density = None if row == "dense" else args.density
    sparsifier = attach(network, adam, density=density, total=args.steps, seed=seed, **ROWS[row])  # All there is to it.
    for _ in range(args.steps):
        batch = torch.randint(len(x), (128,))
        adam.zero_grad()
        (network(x[batch]).squeeze(1) - y[batch]).square().mean().backward()
        adam.step()
    with torch.no_grad():
        left = (network(x_test).squeeze(1) - y_test).square().mean() / y_test.var()
    return network, sparsifier, float(left)


def weights(sparsifier: Sparsifier) -> int:
    """Connections, those that are zero by chance among them; no biases."""
    dense = sum(left.size for left in sparsifier.left_dense.values())
    return dense + sum(layer.active for layer in sparsifier.densities())


def main(args: Args) -> None:
    print(f"unexplained variance on the test set after {args.steps} steps, {args.seeds} seeds: mean and deviation\n")
    print(f"{'row':<12}{'weights':>10}{'error':>10}{'+-':>8}")
    for row in args.rows:
        runs = [train(row, seed, args) for seed in range(args.seeds)]
        errors = [error for _, _, error in runs]
        spread = stdev(errors) if len(errors) > 1 else float("nan")
        print(f"{row:<12}{weights(runs[0][1]):>10,}{mean(errors):>10.3f}{spread:>8.3f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Args))
