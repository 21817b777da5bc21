"""When a network's topology changes, and how many connections it is to have: schedule and budget, read together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from registry import Bound, Part

MOST_ASKED = 10_000
"""Steps at which a timetable is asked whether anything will happen: a tenth of a second at most."""


class Due(NamedTuple):
    """Of one optimiser step: the fraction to swap in it, and the network's density from it on."""

    fraction: float
    density: float


class Timetable:
    """Of a network whose weights end at `densities`, `density` over all of them.

    `stride` is how many steps of the method's clock an optimiser step stands for, `total` how many are planned.
    """

    def __init__(
        self,
        schedule: Bound,
        budget: Bound,
        *,
        stride: int,
        total: int | None,
        densities: Mapping[str, float],
        density: float,
    ) -> None:
        self._schedule, self._budget, self._stride, self.total = schedule, budget, stride, total
        self._densities, self.density = densities, density

    def clock(self, optimiser_step: int) -> range:
        """The steps on the method's clock that this optimiser step stands for."""
        return range((optimiser_step - 1) * self._stride + 1, optimiser_step * self._stride + 1)

    def at(self, optimiser_step: int) -> Due:
        """Over the steps that passed, the largest fraction and the last budget; in the last step the final one."""
        steps = self.clock(optimiser_step)
        fraction = max(map(self._fraction, steps))
        if not 0 <= fraction <= 1:
            raise ValueError(f"{_named(self._schedule)} gave {fraction!r}: a fraction lies in [0, 1]")
        if self.total is not None and self.clock(optimiser_step + 1)[-1] > self.total:
            return Due(fraction, self.budget(max(self.total, steps[-1])))
        return Due(fraction, self.budget(steps[-1]))

    def _fraction(self, step: int) -> float:
        before = self.budget(step - 1) if self._schedule.asks("density") else None
        fraction: float = self._schedule(step=step, total=self.total, density=before, final=self.density)
        return fraction

    def budget(self, step: int) -> float:
        """The network's density from a step of the clock on."""
        density: float = self._budget(step=step, total=self.total, density=self.density)
        if not 0 < density <= 1:
            raise ValueError(f"{_named(self._budget)} gave {density!r}: a density lies in (0, 1]")
        return density

    def has_event(self, most: int = MOST_ASKED) -> bool:
        """Whether a planned step swaps or changes the budget.

        So it is taken to be where nobody planned, where no answer comes of `most` steps, and where a part raises: it
        will say so itself.
        """
        if self.total is None:
            return True
        try:
            start = self.budget(0)
            for asked, step in enumerate(self._telling(int(self.total) // self._stride)):
                due = self.at(step) if asked < most else None
                if due is None or due.fraction > 0 or due.density != start:
                    return True
        except Exception:
            return True
        return False

    def _telling(self, last: int) -> Iterator[int]:
        """The optimiser steps to ask, up to the last: with a period and no foreign part, one a period."""
        every, phase = (self._schedule.settings.get(name) for name in ("every", "phase"))
        swaps = range(1, last * self._stride + 1)
        if every and self._schedule.entry.origin.in_tree and self._budget.entry.origin.in_tree:
            swaps = swaps[(phase or every) - 1 :: every]
        if last:
            yield last  # Our budgets never return to where they were: what they change shows in the end.
        yield from (-(-step // self._stride) for step in swaps)

    def goals(self, density: float, final: Mapping[str, Tensor], sizes: Mapping[str, int]) -> list[Tensor]:
        """Connections a member of every weight while the network's budget stands at `density`.

        Above the final density a layer lies on the line between its `final` count and its size, so that it only falls
        while the budget falls; below it all layers lose the same share.
        """
        if density >= self.density:
            open_ = (density - self.density) / (1 - self.density) if self.density < 1 else 0.0
            return [n + torch.floor(open_ * (sizes[name] - n).double() + 1e-9).long() for name, n in final.items()]
        cut = 1 - density / self.density
        return [n - torch.floor(cut * n.double() + 1e-9).long() for n in final.values()]

    def layer_density(self, name: str, density: float) -> float:
        """Of one weight, while the network's budget stands at `density`."""
        final = self._densities[name]
        if density >= self.density:
            return 1 - (1 - density) / (1 - self.density) * (1 - final) if self.density < 1 else 1.0
        return final * density / self.density


def _named(part: Bound) -> Part:
    return Part(part.entry.name, part.settings)
