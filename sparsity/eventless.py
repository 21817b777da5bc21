"""Plans too short for their method: its topology is to change, and no change falls into them."""

from __future__ import annotations

from registry import Registry
from sparsity.method import Method
from sparsity.timetable import MOST_ASKED, Timetable

_NOMINAL = 0.5
"""The density of methods that have none of their own: whether a budget moves does not hang on it."""


def rewires(method: Method) -> bool:
    """Whether a method says that its topology changes, be it by swaps or by a budget."""
    return method.sparse and (method.schedule.name, method.budget.name) != ("never", "constant")


def is_eventless(method: Method, registry: Registry, total: int, *, most: int = MOST_ASKED) -> bool:
    """Whether a method rewires, but not within `total` updates; see `Timetable.has_event` for `most`."""
    if not rewires(method):
        return False
    timetable = Timetable(
        registry.bind("schedule", method.schedule),
        registry.bind("budget", method.budget),
        stride=1,
        total=total,
        densities={},
        density=method.allocation.settings.get("density") or _NOMINAL,
    )
    return not timetable.has_event(most)


def eventless_advice(method: Method, total: int, whose: str = "the topology") -> str:
    """What is wrong with an eventless plan of a resolved method, and what to do."""
    every = method.schedule.settings.get("every")
    chosen = method.budget if method.schedule.name == "never" else method.schedule
    period = f"every {every:,} updates" if every and every > total else f"by {chosen}"
    other = f"schedule={{'every': {max(1, total // 10)}}}" if every else "settings that fit"
    return (
        f"{whose} would change {period}, and no change falls into the {total:,} that are planned: choose {other}, say "
        "total=... if more will come, or take the method 'static'"
    )
