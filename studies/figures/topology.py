"""Pictures of a topology over time: which connections stay, come and go, and which inputs a network keeps."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from registry import nearest
from studies.figures.curves import unit_of
from studies.figures.networks import where
from studies.figures.page import NothingToDraw, blank, finish, paged, verbatim
from studies.figures.rows import drawable
from studies.figures.survival import NO_RECORD
from studies.outcome import Outcome
from studies.outcomes import collect
from studies.problems import clean
from studies.statistics import Row, summary
from studies.store import Store
from studies.table import blocks
from studies.topologies import Layer, Record, records
from studies.words import named, shorten

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

TIMES: Final = 4
"""Pictures a run, from its start to its end."""
ROWS_A_PAGE: Final = 6
ROW_HEIGHT: Final = 1.15
"""Inches."""
ABSENT, ORIGINAL, GROWN, GONE = range(4)
TONES: Final = ("#ffffff", "#0173b2", "#de8f05", "#cccccc")
"""By those numbers: apart for every kind of colour vision, and in grey from dark to light."""
MEANING: Final = {
    ORIGINAL: "there from the start",
    GROWN: "grown since",
    GONE: "gone since",
    ABSENT: "absent",
}
SHADES: Final = "cividis"
FINE: Final = 100
"""Units or inputs in a picture that a printed page tells apart."""


@dataclass(frozen=True)
class Picture:
    """A layer of one run: its masks `(looks, out, in)` with units by their last fan-in, the largest first."""

    row: Row
    seed: int
    steps: tuple[int, ...]
    masks: NDArray[np.bool_]
    members: int

    @property
    def fan_out(self) -> NDArray[np.float64]:
        """Share of the units that each input is connected to, `(looks, in)`."""
        return np.asarray(self.masks.mean(axis=1))

    @property
    def times(self) -> list[int]:
        """The looks that are shown."""
        last = len(self.steps) - 1
        return sorted({round(last * number / (TIMES - 1)) for number in range(TIMES)})


def topology(
    store: Store, outcomes: Iterable[Outcome], path_stem: Path, *, title: str = "", layer: str | None = None
) -> list[Path]:
    """Masks of one layer at some evaluations, and the fan-out of its inputs; a line a row of the study, its first seed.

    `layer` is a learner and a weight, "critic/hidden.1"; without, the first layer of the actor, or of whichever network
    has one, in which anything is ever absent. Rows in which nothing is are named below. Returns the files written; a
    second page has "-2" after `path_stem`.
    """
    runs = list(outcomes)
    found = records(store, runs)
    if not found:
        raise NothingToDraw(NO_RECORD)
    rows = [row for _, members, _ in blocks(drawable(summary(runs))) for row in members]
    chosen = chosen_layer(found.values(), layer)
    seen = [picture for row in rows if (picture := _picture(row, found, chosen)) is not None]
    pictures = [picture for picture in seen if not picture.masks.all()]
    if not pictures:
        raise NothingToDraw(f"{'/'.join(chosen)} has all its connections in every run")
    shown = [picture.row for picture in pictures]
    full = [picture.row for picture in seen if picture.row not in shown]
    without = [row for row in rows if row.done and row not in shown and row not in full]
    said = [
        _note(chosen, pictures),
        *named("Not shown, for this layer has all its connections", full),
        *named("Without this layer", without),
    ]
    # What began dense would leave the rest of the map dark.
    most = max(float(picture.fan_out[-1].max()) for picture in pictures) or 1.0

    def figure(some: Sequence[Picture]) -> Figure:
        return _figure(some, shown, most, title, said)

    return paged(pictures, ROWS_A_PAGE, figure, path_stem)


def plot_layer(store: Store, name: str, layer: str) -> list[Path]:
    """The topology of one layer of a stored study, beside its other figures."""
    outcomes, _ = collect(store, name)
    file = re.sub(r"[^\w.]+", "-", f"topology-{layer.removesuffix('.weight')}")
    return topology(store, outcomes, store.study_folder(name) / file, title=name, layer=layer)


def chosen_layer(found: Iterable[Record], layer: str | None) -> Layer:
    """The layer of that name. NothingToDraw if no run has it; the message names those that there are."""
    found = list(found)
    layers = list(dict.fromkeys(each for record in found for each in record.shapes))
    known = {f"{learner}/{name.removesuffix('.weight')}": (learner, name) for learner, name in layers}
    if not known:
        raise NothingToDraw("no method has sparse layers")
    if layer is None:
        layers.sort(key=lambda each: each[0] != "actor")
        return next((each for each in layers if not all(_is_full(record, each) for record in found)), layers[0])
    name = layer.removesuffix(".weight")
    if name not in known:
        raise NothingToDraw(f"no sparse layer {layer!r}. {nearest(name, known)}Known: {', '.join(known)}")
    return known[name]


def _is_full(record: Record, layer: Layer) -> bool:
    return layer not in record.shapes or bool(record.masks(layer).all())


def tones(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Of masks `(looks, ...)`: what each connection is at each look, against the first."""
    tone = np.where(masks, np.where(masks[0], ORIGINAL, GROWN), np.where(masks[0], GONE, ABSENT))
    return np.asarray(tone, dtype=np.int64)


def _picture(row: Row, found: Mapping[str, Record], layer: Layer) -> Picture | None:
    """Of the first seed that kept this layer, the first member of a population."""
    for run in row.finished:
        record = found.get(run.run)
        if record is not None and layer in record.shapes:
            shape = record.shapes[layer]
            masks = record.masks(layer).reshape(len(record.steps), -1, *_matrix(shape))
            one = masks[:, 0]
            order = np.lexsort((-one[0].sum(axis=1), -one[-1].sum(axis=1)))
            return Picture(row, run.seed, record.steps, one[:, order], masks.shape[1])
    return None


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Units and inputs of a member; the kernels of a convolution are inputs."""
    return (shape[-2], shape[-1]) if len(shape) <= 3 else (shape[0], int(np.prod(shape[1:])))


def _note(layer: Layer, pictures: Sequence[Picture]) -> str:
    first = " of the first of its members" if max(picture.members for picture in pictures) > 1 else ""
    return (
        f"{clean(layer[0])}, {clean(layer[1])}{first}: the mask of one run a row (its first seed, n = 1). Inputs from "
        "top to bottom as they come, units from left to right by their number of connections at the end. "
        "Right: the share of the units that each input is connected to."
    )


def _figure(pictures: Sequence[Picture], rows: Sequence[Row], most: float, title: str, said: Sequence[str]) -> Figure:
    columns = max(len(picture.times) for picture in pictures)
    figure = blank(len(pictures) * ROW_HEIGHT + 0.3 + (0.3 if title else 0.0))
    ratios = [*[1.0] * columns, 1.15]
    grid = figure.subplots(len(pictures), columns + 1, squeeze=False, gridspec_kw={"width_ratios": ratios})
    for down, (picture, axes) in enumerate(zip(pictures, grid, strict=True)):
        new = not down or picture.steps != pictures[down - 1].steps
        last = down + 1 == len(pictures) or picture.steps != pictures[down + 1].steps
        _masks(axes[:-1], picture, new)
        heat = _fan_out(axes[-1], picture, most, last)
        axes[0].set_ylabel(_name(picture, rows), rotation=0, ha="right", va="center", multialignment="right")
    grid[0, -1].set_title("fan-out of inputs", fontsize=8)
    more = "max" if any(float(picture.fan_out.max()) > most for picture in pictures) else "neither"
    bar = figure.colorbar(heat, ax=grid[:, -1].tolist(), aspect=12 * len(pictures), pad=0.03, extend=more)
    bar.set_label("share of the units")
    bar.outline.set_linewidth(0.6)
    finish(figure, title, _entries(), said)
    return figure


def _masks(axes: Sequence[Axes], picture: Picture, new: bool) -> None:
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(tone) for tone in TONES])
    shown = colours[tones(picture.masks[picture.times])]
    for ax in axes[len(picture.times) :]:
        ax.remove()
    # Finer than the page: colours are averaged, for to leave units out would hide some.
    how: Any = "nearest" if max(picture.masks.shape[1:]) <= FINE else "antialiased"
    for ax, time, image in zip(axes, picture.times, shown, strict=False):
        ax.imshow(image.swapaxes(0, 1), aspect="auto", interpolation=how)
        ax.set_xticks([])
        ax.set_yticks([])
        _boxed(ax)
        if new:
            ax.set_title(f"step {picture.steps[time]:,}" if time else "start", fontsize=8)


def _fan_out(ax: Axes, picture: Picture, most: float, last: bool) -> ScalarMappable:
    from matplotlib.ticker import FuncFormatter

    unit, named = unit_of(picture.steps[-1])
    steps = np.array(picture.steps, dtype=np.float64)
    edges = np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]]) / unit
    inputs = np.arange(picture.masks.shape[2] + 1) - 0.5
    heat = ax.pcolormesh(edges, inputs, picture.fan_out.T, cmap=SHADES, vmin=0, vmax=most, rasterized=True)
    ax.set_ylim(inputs[-1], inputs[0])
    ax.yaxis.tick_right()
    ax.locator_params(axis="y", nbins=4, integer=True)
    ax.locator_params(axis="x", nbins=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.tick_params(labelbottom=last)
    ax.set_xlabel(f"steps{named}" if last else "")
    _boxed(ax)
    return heat


def _boxed(ax: Axes) -> None:
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.5)


def _name(picture: Picture, rows: Sequence[Row]) -> str:
    row = picture.row
    parts = [shorten(clean(row.label), 40), where(rows, row, row.density), f"seed {picture.seed}"]
    return "\n".join(line for part in parts for line in textwrap.wrap(verbatim(part), 14))


def _entries() -> dict[str, Artist]:
    from matplotlib.patches import Patch

    edge: dict[str, Any] = {"edgecolor": "0.5", "linewidth": 0.4}
    return {text: Patch(facecolor=TONES[number], **edge) for number, text in MEANING.items()}
