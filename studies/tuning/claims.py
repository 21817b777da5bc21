"""How many seeds a claim needs, from what tuning showed of the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from studies.power import pooled_deviation, seeds_needed, upper_deviation
from studies.statistics import Baseline, random_policy
from studies.tuning.chosen import Tuned

SHARES: Final = (0.05, 0.1, 0.2)
"""Differences that one may want to claim, of what the reference row has over the random policy."""

Needed = tuple[int | None, int | None]
"""Seeds a side by the deviation that was seen, and by its upper 80 % bound; None is over 100,000."""


@dataclass(frozen=True)
class Claim:
    """Two rows as tuned, on one environment: how far apart they were, and the seeds that such differences need."""

    row: Tuned
    reference: Tuned
    env: str
    difference: float
    """Mean of the row less that of the reference, over the tuning seeds: of chosen settings, so a hopeful one."""
    deviation: float
    """Over seeds, pooled over both rows."""
    df: int
    shares: Mapping[float, Needed]
    """By share of what the reference has over the random policy; empty where it has nothing."""
    seen: Needed


def claims(tuned: Sequence[Tuned], reference: str, baseline: Baseline) -> list[Claim]:
    """Every row against the one of that label, of its agent and density, where two runs of a kind tell a deviation."""
    pairs = [(row, other) for row in tuned if row.label != reference for other in _references(row, tuned, reference)]
    return [claim for row, other in pairs for claim in _claims(row, other, baseline)]


def _references(row: Tuned, tuned: Sequence[Tuned], label: str) -> list[Tuned]:
    known = [each for each in tuned if (each.label, each.agent) == (label, row.agent)]
    return [each for each in known if len(known) == 1 or each.density == row.density]


def _claims(row: Tuned, reference: Tuned, baseline: Baseline) -> Iterator[Claim]:
    if row.chosen is None or reference.chosen is None:
        return
    for env in row.chosen.runs:
        mine, theirs = row.chosen.finished(env), reference.chosen.finished(env)
        deviation, df = pooled_deviation(mine, theirs)
        if not df:
            continue
        policy, difference = random_policy(env, baseline), float(np.mean(mine) - np.mean(theirs))
        gained = float(np.mean(theirs)) - policy.mean if policy else math.nan
        shares = {share: _needed(share * gained, deviation, df) for share in SHARES} if gained > 0 else {}
        yield Claim(row, reference, env, difference, deviation, df, shares, _needed(difference, deviation, df))


def _needed(difference: float, deviation: float, df: int) -> Needed:
    return seeds_needed(difference, deviation), seeds_needed(difference, upper_deviation(deviation, df))
