"""The largest of a slow copy, cut in linear time: no sort, exactly k, ties to the lower place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsity.execution.kernels import compiled

_BINS = 4096


@compiled
def _cut(bits: Any, segments: Any, k: Any, shift: Any, sign: Any) -> int:
    """Zero all numbers in the segments but the k largest magnitudes; more than k if some are equal: the surplus.

    `bits` are the numbers' bits, `sign` masks the sign off, and `shift` leaves 12 bits: magnitudes order as their bits.
    A histogram of the leading bits finds the bin in which the k-th lies, so that only that bin is looked at closely.
    """
    counts = np.zeros(_BINS, np.int64)
    nonzero = 0
    for begin, end in segments:
        for i in range(begin, end):
            magnitude = bits[i] & sign
            nonzero += magnitude != 0
            counts[magnitude >> shift] += 1
    if nonzero <= k:
        return 0
    above, chosen = 0, _BINS - 1
    while above + counts[chosen] < k:
        above += counts[chosen]
        chosen -= 1
    close, found = np.empty(counts[chosen], bits.dtype), 0
    for begin, end in segments:
        for i in range(begin, end):
            magnitude = bits[i] & sign
            if magnitude >> shift == chosen:
                close[found] = magnitude
                found += 1
    close.sort()
    threshold = close[found - (k - above)] if k > above else bits.dtype.type(0)
    kept = 0
    for begin, end in segments:
        for i in range(begin, end):
            magnitude = bits[i] & sign
            if magnitude < threshold or k == 0:
                bits[i] = 0
            elif magnitude > 0:
                kept += 1
    return kept - k


def keep_largest(
    numbers: NDArray[Any], segments: NDArray[np.int64], places: Sequence[NDArray[np.int64]], k: int
) -> None:
    """Keep the k largest magnitudes of `numbers` in the segments (rows of begin, end), and zero the others.

    `places` has the places in the full layer of each segment's numbers: of equal magnitudes the lower places stay.
    """
    wide = numbers.dtype == np.float64
    bits = numbers.view(np.uint64 if wide else np.uint32)
    kind = bits.dtype.type
    surplus = _cut(bits, segments, k, kind(52 if wide else 19), kind(2 ** (63 if wide else 31) - 1))
    if surplus <= 0:
        return
    where = np.concatenate([np.arange(begin, end) for begin, end in segments])
    magnitudes = np.abs(numbers[where])
    smallest = magnitudes[magnitudes > 0].min()
    tied = where[magnitudes == smallest]
    by_place = np.argsort(np.concatenate(places)[magnitudes == smallest], kind="stable")
    numbers[tied[by_place[len(tied) - surplus :]]] = 0
