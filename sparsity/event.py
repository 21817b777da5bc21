"""What a sparsifier reports: densities of layers, and what an event changed. Counts take all members together."""

from __future__ import annotations

from typing import NamedTuple


class LayerDensity(NamedTuple):
    """A sparse weight, and how many of its connections are active."""

    name: str
    shape: tuple[int, ...]
    active: int
    size: int

    @property
    def density(self) -> float:
        return self.active / self.size


class LayerChange(NamedTuple):
    """What an event did to one weight."""

    name: str
    active: int
    dropped: int
    grown: int
    readmitted: int
    """Dropped and regrown in the same event: survivors, counted neither as dropped nor as grown."""
    zeros: int
    """Active weights that were exactly zero before the event. Magnitude drops them first."""


class Event(NamedTuple):
    """One change of topology. `step` is on the method's clock: agent updates or optimiser steps, counted from 1."""

    step: int
    layers: tuple[LayerChange, ...]
