"""What a part asks for and can be told, read from its signature; and settings checked against it."""

from __future__ import annotations

import difflib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Rational, Real
from typing import Any, Literal, Union, get_args, get_origin


class PartError(ValueError):
    """A part, a plugin or a setting that cannot be used. The message says what to do about it."""


@dataclass(frozen=True)
class Setting:
    """One keyword-only parameter of a part."""

    name: str
    type: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    def __str__(self) -> str:
        shown = self.type.__name__ if isinstance(self.type, type) else str(self.type).replace("typing.", "")
        return f"{self.name}: {shown}" if self.required else f"{self.name}: {shown} = {self.default!r}"


_OTHERS_SAY: Mapping[str, tuple[str, ...]] = {
    "sparsity": ("density", "densities"),
    "sparsities": ("densities",),
    "lr": ("learning_rate",),
    "gamma": ("discount",),
    "buffer_size": ("capacity", "replay"),
    "learning_starts": ("warmup",),
    "total_timesteps": ("steps",),
    "delta": ("every",),
    "delta_t": ("every",),
}
"""Words of other libraries and papers, and ours for them."""


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """ "Did you mean 'magnitude'? " for a name close to a known one or meaning it elsewhere, else nothing."""
    known = list(known)
    said = difflib.get_close_matches(name, _OTHERS_SAY, n=1, cutoff=0.85)
    meant = [word for other in said for word in _OTHERS_SAY[other] if word in known]
    if meant and said[0].startswith("sparsit"):
        return f"Did you mean {meant[0]!r}, the share that stays: 1 - sparsity? "
    close = meant or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}? " if close else ""


def read_signature(function: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[Setting, ...]]:
    """Inputs (parameters before `*`) and settings (keyword-only ones) of a part's function."""
    parameters = inspect.signature(function).parameters
    hints = _setting_types(function, parameters)
    inputs, settings = [], []
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PartError(f"{parameter} in its signature: inputs and settings must be named one by one")
        if parameter.kind is parameter.KEYWORD_ONLY:
            if name not in hints:
                raise PartError(f"setting {name!r} has no annotation: write, say, `{name}: float = 0.1`")
            if parameter.default is not parameter.empty:
                fit(parameter.default, hints[name], f"the default of setting {name!r}")
            settings.append(Setting(name, hints[name], parameter.default))
        elif parameter.default is not parameter.empty:
            raise PartError(f"input {name!r} has a default: put `*` before it, if it is a setting")
        else:
            inputs.append(name)
    return tuple(inputs), tuple(settings)


def _setting_types(function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Types of the settings alone: what an input is annotated with may be known to type checkers only."""
    written = {
        name: parameter.annotation
        for name, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.annotation is not parameter.empty
    }
    holder = types.SimpleNamespace(__annotations__=written)
    try:
        return typing.get_type_hints(holder, getattr(inspect.unwrap(function), "__globals__", {}))
    except Exception as error:
        raise PartError(f"the annotation of a setting cannot be read: {error}") from error


def check_settings(
    what: str, known: tuple[Setting, ...], given: Mapping[str, Any], *, partial: bool = False
) -> dict[str, Any]:
    """All settings with defaults written out. `what` names the part in errors; `partial` lets some be missing."""
    by_name = {setting.name: setting for setting in known}
    for name in given:
        if name not in by_name:
            takes = ", ".join(by_name) or "none"
            raise PartError(f"{what} has no setting {name!r}. {nearest(name, by_name)}Settings: {takes}")
    settings = {}
    for name, setting in by_name.items():
        if name in given:
            settings[name] = fit(given[name], setting.type, f"{what}: {name}")
        elif not setting.required:
            settings[name] = setting.default
        elif not partial:
            raise PartError(f"{what} needs a value for {name!r} ({in_words(setting.type)})")
    return settings


def fit(value: Any, type_: Any, where: str) -> Any:
    """`value` as `type_`: whole floats pass as int, ints as float, lists as tuples; anything else is an error."""
    fitted, fits = _try(value, type_)
    if not fits:
        raise PartError(f"{where} must be {in_words(type_)}, not {value!r}")
    return fitted


def in_words(type_: Any) -> str:
    """A type as it is told to a user: "a whole number", "a number or none", "a list, each a whole number"."""
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, types.UnionType):
        return " or ".join(in_words(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin is tuple:
        return f"a list, each {in_words(arguments[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"a table, each value {in_words(arguments[1])}"
    return _WORDS.get(type_, getattr(type_, "__name__", str(type_)))


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "none"}


def _try(value: Any, type_: Any) -> tuple[Any, bool]:
    value = _plain(value)
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, types.UnionType):
        # The value's own type first: `until = 1.0` is a share and `until = 1` a count.
        own_first = sorted(arguments, key=lambda a: a is not type(value))
        tries = [_try(value, a) for a in own_first]
        return next((t for t in tries if t[1]), (value, False))
    if origin is Literal:
        return value, any(value == a and type(value) is type(a) for a in arguments)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return value, False
        items = [_try(item, arguments[0]) for item in value]
        return tuple(item for item, _ in items), all(ok for _, ok in items)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return value, False
        pairs = {key: _try(item, arguments[1]) for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, all(ok for _, ok in pairs.values())
    return _try_plain(value, type_)


def _plain(value: Any) -> Any:
    """Numbers of other libraries, such as NumPy's, as Python's own: whoever reads a setting later knows no others."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    if isinstance(value, Integral):
        return int(value)
    return value if isinstance(value, Rational) else float(value)


def _try_plain(value: Any, type_: Any) -> tuple[Any, bool]:
    if isinstance(value, bool) or type_ is bool:
        return value, type_ is bool and isinstance(value, bool)
    if type_ is float:
        # Compared, not converted: a whole number may be larger than any float.
        number = isinstance(value, int | float) and abs(value) <= sys.float_info.max
        return (float(value), True) if number else (value, False)
    if type_ is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return (int(value), True) if whole else (value, False)
    if type_ is type(None):
        return value, value is None
    return value, isinstance(value, type_)
