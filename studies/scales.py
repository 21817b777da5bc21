"""One study at several sizes: `[scales.small]` in a study file has what takes the place of its keys at that size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from registry import nearest
from studies.problems import BadInput

FULL: Final = "full"
"""The study as its file stands."""
KEPT: Final = ("name", "scales")
"""Keys that no scale changes."""


def scaled(tables: Mapping[str, Any], scale: str | None) -> dict[str, Any]:
    """The tables of a study file at one of its scales. BadInput if it has none of that name.

    Tables are merged by key, to the bottom. One that names its `part` or its `base` says all of it: it takes the place
    of the whole. What is wrong with the scales themselves is told with the rest of the file.
    """
    if scale is None or scale == FULL:
        return dict(tables)
    scales = tables.get("scales")
    scales = scales if isinstance(scales, Mapping) else {}
    if scale not in scales:
        known = [FULL, *scales]
        raise BadInput(f"the study has no scale {scale!r}. {nearest(scale, known)}Scales: {', '.join(known)}")
    over = scales[scale]
    laid = dict(tables)
    for key, value in over.items() if isinstance(over, Mapping) else ():
        if key not in KEPT:
            names = ("part", "base", "part") if key == "methods" else ("part",)
            laid[key] = _laid(tables[key], value, names) if key in tables else value
    return laid


def misscaled(scales: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """What is wrong with the scales of a study file, chosen or not: keys that a study does not have."""
    allowed = [key for key in keys if key not in KEPT]
    problems = []
    for scale, words in scales.items():
        if scale == FULL:
            problems.append(f"[scales.{FULL}]: {FULL!r} is the study as its file stands: give the scale another name")
        problems += [
            f"[scales.{scale}]: unknown key {key!r}. {nearest(key, allowed)}Allowed: {', '.join(allowed)}"
            for key in words
            if key not in allowed
        ]
    return problems


def _laid(under: Any, over: Any, names: tuple[str, ...]) -> Any:
    """`over` laid over `under`, the value of a key.

    `names`: the word by which a table of this level, and of the levels below, says what it is a table of.
    """
    word, *below = names
    if isinstance(under, str) and isinstance(over, Mapping):
        under = {word: under}  # A bare name is the table that says no more than it.
    if not isinstance(under, Mapping) or not isinstance(over, Mapping) or isinstance(over.get(word), str):
        return over
    deeper = tuple(below) or names
    return {
        **under,
        **{key: _laid(under[key], words, deeper) if key in under else words for key, words in over.items()},
    }
