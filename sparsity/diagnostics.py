"""What masks tell of a topology: how much it changed, what it has explored, which units it has cut off.

Masks are shaped like the weight, `(*, out, in, *kernel)` with a population in front; True where active.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sparsity.event import Event
from sparsity.sparsifier import Sparsifier

Measures = dict[str, float]


def jaccard(one: Tensor, other: Tensor) -> float:
    """|A and B| / |A or B|; 1 where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def churn(before: Tensor, after: Tensor) -> float:
    """1 - |A and B| / |A or B|: how much of a topology is another one now, 0 for nothing."""
    return 1 - jaccard(before, after)


def explored(ever: Tensor) -> float:
    """R_s = |union of all masks so far| / N: the in-time over-parameterization rate (Liu et al. 2021, Eq. 3)."""
    return float(ever.double().mean())


def cut_off(mask: Tensor) -> tuple[float, float]:
    """Share of units that nothing enters (fan-in 0), and of inputs that go nowhere (fan-out 0).

    Of a mask `(*, out, in)`. A unit that nothing enters puts out its bias.
    """
    return float((~mask.any(dim=-1)).double().mean()), float((~mask.any(dim=-2)).double().mean())


def overlap(target: Tensor, online: Tensor) -> float:
    """Share of a slow copy's connections that are online connections; 1 where it has none."""
    there = int(target.sum())
    return int((target & online).sum()) / there if there else 1.0


class Watch:
    """Follows a sparsifier from now on: give it each event by `heard`, and ask with `look`.

    It keeps three masks a sparse weight, as truth values.
    """

    def __init__(self, sparsifier: Sparsifier) -> None:
        self._sparsifier = sparsifier
        self._now = sparsifier.masks
        self._seen = dict(self._now)
        self._ever = {name: mask.clone() for name, mask in self._now.items()}
        self._start()

    def _start(self) -> None:
        zeros = dict.fromkeys(self._now, 0)
        self._grown, self._regrown, self._left, self._readmitted = ({**zeros} for _ in range(4))

    def heard(self, event: Event) -> None:
        """Take note of an event that has taken place."""
        new = self._sparsifier.masks
        for change in event.layers:
            name = change.name
            grown = new[name] & ~self._now[name]
            self._grown[name] += int(grown.sum())
            self._regrown[name] += int((grown & self._ever[name]).sum())
            self._left[name] += change.dropped + change.readmitted
            self._readmitted[name] += change.readmitted
            self._ever[name] |= new[name]
        self._now = new

    def look(self) -> dict[str, Measures]:
        """Measures by weight; churn and shares are since the last look, and left out where nothing grew or left.

        `density`, `explored` (R_s), `churn`, `regrown` (of what grew, the share that had been active before),
        `readmitted` (of what was dropped, the share that came back in the same event), `dead_in` and `dead_out`
        (`cut_off`), and where there is a slow copy `target_overlap` and `target_jaccard`.
        """
        targets = self._sparsifier.target_masks()
        told = {name: self._look(name, targets) for name in self._now}
        self._seen = dict(self._now)
        self._start()
        return told

    def state_dict(self) -> dict[str, Any]:
        """All that was seen: masks, and counts since the last look."""
        masks = {"now": self._now, "seen": self._seen, "ever": self._ever}
        counts = {"grown": self._grown, "regrown": self._regrown, "left": self._left, "readmitted": self._readmitted}
        return {what: dict(kept) for what, kept in (masks | counts).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, of a watch on an equal sparsifier."""
        self._now, self._seen, self._ever = (
            {name: mask.clone() for name, mask in state[what].items()} for what in ("now", "seen", "ever")
        )
        self._grown, self._regrown, self._left, self._readmitted = (
            dict(state[what]) for what in ("grown", "regrown", "left", "readmitted")
        )

    def _look(self, name: str, targets: Mapping[str, Tensor]) -> Measures:
        mask = self._now[name]
        dead_in, dead_out = cut_off(mask if mask.dim() <= 3 else mask.flatten(1))
        measures = {
            "density": float(mask.double().mean()),
            "explored": explored(self._ever[name]),
            "churn": churn(self._seen[name], mask),
            "dead_in": dead_in,
            "dead_out": dead_out,
        }
        if self._grown[name]:
            measures["regrown"] = self._regrown[name] / self._grown[name]
        if self._left[name]:
            measures["readmitted"] = self._readmitted[name] / self._left[name]
        if name in targets:
            measures["target_overlap"] = overlap(targets[name], mask)
            measures["target_jaccard"] = jaccard(targets[name], mask)
        return measures
