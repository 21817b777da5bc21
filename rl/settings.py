"""Refusal of settings out of range, in one sentence."""


def demand(allowed: bool, what: str, given: object, range_: str) -> None:
    """ValueError unless `allowed`: what was given, and what may be. NaN fails every comparison."""
    if not allowed:
        raise ValueError(f"{what} is {given!r}; it must be {range_}")
