"""Curves over seeds that change at steps of their own: counts of connections from event to event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from studies.figures.page import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST: Final = 400
"""Points of a line; of those that change more often, so many evenly spread."""
SPREAD: Final = "Lines: mean over seeds; bands: from the lowest to the highest."


class Stairs(NamedTuple):
    """What a number is from each step on, until the next; the first step is 0."""

    steps: NDArray[np.int64]
    heights: NDArray[np.float64]

    def at(self, steps: ArrayLike) -> NDArray[np.float64]:
        """The heights at these steps."""
        return self.heights[np.searchsorted(self.steps, steps, side="right") - 1]


class Spread(NamedTuple):
    """Seeds together: the lowest, the mean and the highest at each step."""

    steps: NDArray[np.int64]
    low: NDArray[np.float64]
    mean: NDArray[np.float64]
    high: NDArray[np.float64]


def spread(seeds: Sequence[Stairs], end: int) -> Spread:
    """Over all steps at which one of them changes, and the end."""
    steps = np.unique(np.concatenate([*(one.steps for one in seeds), [end]]))
    if len(steps) > MOST:
        steps = steps[np.linspace(0, len(steps) - 1, MOST).round().astype(int)]
    heights = np.stack([one.at(steps) for one in seeds])
    return Spread(steps, heights.min(axis=0), heights.mean(axis=0), heights.max(axis=0))


def draw_spread(ax: Axes, of: Spread, look: Look, unit: float, stagger: float, *, stairs: bool = True) -> None:
    """A line with about six markers, staggered to keep lines on top of each other apart; a band where seeds differ."""
    x = of.steps / unit
    if np.any(of.high > of.low):
        step: Literal["post"] | None = "post" if stairs else None
        ax.fill_between(x, of.low, of.high, step=step, color=look.colour, alpha=0.18, linewidth=0, zorder=0)
    places = np.linspace(0, of.steps[-1], 6, endpoint=False) + stagger * of.steps[-1] / 6
    marks = np.unique(np.searchsorted(of.steps, places, side="right") - 1)
    ax.plot(
        x,
        of.mean,
        color=look.colour,
        linestyle=look.dashes,
        marker=look.marker,
        markevery=marks.tolist(),
        markeredgewidth=0,
        drawstyle="steps-post" if stairs else "default",
        zorder=3,
    )
