"""Settings to try a part with: its defaults, and a value of the right type where it has none."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from registry.entry import Entry

_PLAIN = {float: 0.5, int: 1, bool: False, str: "sample"}


def sample_settings(entry: Entry) -> dict[str, Any]:
    """All settings of a part: defaults where there are any, else `sample` of the type."""
    return {s.name: sample(s.type) if s.required else s.default for s in entry.settings}


def sample(type_: Any) -> Any:
    """Some value of a setting's type: 0.5, 1, False, the first of a choice, a list of one, an empty table."""
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, types.UnionType):
        return sample(arguments[0])
    if origin is Literal:
        return arguments[0]
    if origin is tuple:
        return (sample(arguments[0]),)
    if origin is not None and issubclass(origin, Mapping):
        return {}
    return _PLAIN.get(type_)
