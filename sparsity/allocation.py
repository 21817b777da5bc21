"""How the density is spread over the layers. Shapes are those of one member: `(out, in, *kernel)`.

Every allocation gives a density in (0, 1] for each weight; `counts` turns densities into exact numbers of connections.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

from registry import hookimpl, nearest

Shapes = Mapping[str, tuple[int, ...]]
Densities = dict[str, float]


def uniform(shapes: Shapes, *, density: float = 0.5) -> Densities:
    """d_l = d: the same density in every layer."""
    check_density(density)
    return dict.fromkeys(shapes, density)


def er(shapes: Shapes, *, density: float = 0.5) -> Densities:
    """d_l ~ (out + in) / (out in), met as a budget: Erdos-Renyi (Mocanu et al. 2018, Eq. 3). Kernels do not count."""
    return _budgeted({name: sum(s[:2]) / math.prod(s[:2]) for name, s in shapes.items()}, shapes, density)


def erk(shapes: Shapes, *, density: float = 0.5, power: float = 1.0) -> Densities:
    """d_l ~ (sum(shape) / prod(shape))^power, met as a budget: Erdos-Renyi-kernel (Evci et al. 2020, section 3)."""
    raw = {name: (sum(s) / math.prod(s)) ** power for name, s in shapes.items()}
    return _budgeted(raw, shapes, density)


def lambdas(shapes: Shapes, *, first: float = 7.0, rest: float = 64.0, density: float | None = None) -> Densities:
    """p_l = lambda_l (out + in) / (out in), capped at 1: Sokar et al. 2022, Eq. 1.

    `first` is the lambda of the first layer and `rest` that of the others. With a density, one factor scales all
    lambdas until the network has that density. Without, a p over 1 is a dense layer, and a warning says so.
    """
    if first <= 0 or rest <= 0:
        raise ValueError(f"lambdas must be positive, not first = {first} and rest = {rest}")
    chosen = [first, *[rest] * (len(shapes) - 1)][: len(shapes)]
    raw = {name: factor * sum(s) / math.prod(s) for factor, (name, s) in zip(chosen, shapes.items(), strict=True)}
    if density is not None:
        return _budgeted(raw, shapes, density)
    for name, p in raw.items():
        if p > 1:
            warnings.warn(
                f"lambdas: layer {name} {shapes[name]} would need p = {p:.3f} and is dense; "
                "choose a density instead, lambdas do not carry over between input sizes",
                stacklevel=2,
            )
    return {name: min(1.0, p) for name, p in raw.items()}


def explicit(shapes: Shapes, *, layers: Mapping[str, float]) -> Densities:
    """d_l as given, layer by layer: `layers = { "hidden.0.weight" = 0.4 }`. Layers not named are dense."""
    for name, density in layers.items():
        if name not in shapes:
            raise ValueError(f"no eligible layer {name!r}. {nearest(name, shapes)}Layers: {', '.join(shapes)}")
        check_density(density)
    return {name: layers.get(name, 1.0) for name in shapes}


def check_density(density: float) -> None:
    """Raise ValueError unless 0 < density <= 1."""
    if 0 < density <= 1:
        return
    meant = ""
    if 1 < density <= 100:
        meant = f": did you mean {density / 100:g} (keep {density:g} %) or {1 - density / 100:g} (prune {density:g} %)?"
    raise ValueError(f"density is the share of weights that stays, in (0, 1], not {density:g}{meant}")


def counts(shapes: Shapes, densities: Mapping[str, float]) -> dict[str, int]:
    """Exact numbers of connections a layer, by largest remainder: they sum to round(sum of d_l N_l), a half upwards."""
    quotas = {name: densities[name] * math.prod(shapes[name]) for name in shapes}
    whole = {name: math.floor(quota + 1e-9) for name, quota in quotas.items()}
    left = math.floor(math.fsum(quotas.values()) + 0.5 + 1e-9) - sum(whole.values())
    by_remainder = sorted(quotas, key=lambda name: whole[name] - quotas[name])
    for name in by_remainder[: max(0, left)]:
        whole[name] += 1
    for name, count in whole.items():
        if count < 1:
            raise ValueError(
                f"density {densities[name]:.3g} leaves no connection in layer {name} {shapes[name]}; "
                "choose a higher density or another allocation"
            )
    return whole


def _budgeted(raw: Mapping[str, float], shapes: Shapes, density: float) -> Densities:
    """min(1, eps raw_l), with eps such that sum of d_l N_l = d sum of N_l; layers at 1 leave the equation."""
    check_density(density)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    budget = density * sum(sizes.values())
    full: set[str] = set()
    while True:
        free = [name for name in shapes if name not in full]
        if not free:
            return dict.fromkeys(shapes, 1.0)
        eps = (budget - sum(sizes[n] for n in full)) / math.fsum(raw[n] * sizes[n] for n in free)
        over = {name for name in free if eps * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in full else eps * raw[name] for name in shapes}
        full |= over


@hookimpl
def register_allocation(register: Callable[..., object]) -> None:
    for allocation in (uniform, er, erk, lambdas, explicit):
        register(allocation)
