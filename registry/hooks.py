"""Hooks that pluggy would pass by in silence: misspelt, not marked, of another version; and what to do about each."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pluggy

from registry.hookspecs import KINDS, PROJECT
from registry.place import place, raised_at
from registry.register import at
from registry.signature import PartError, nearest

KNOWN: Final = tuple(f"register_{kind}" for kind in KINDS)
_MARK: Final = f"{PROJECT}_impl"


def check_hooks(plugin: object) -> None:
    """PartError for a function of the plugin that is to be a hook, and that nobody would call, or not so."""
    for name, function in _functions(plugin):
        marked = getattr(function, _MARK, None)
        if marked is None:
            _check_unmarked(name, function, plugin)
        elif not marked.get("optionalhook"):
            _check_marked(marked.get("specname") or name, function, plugin)


def nothing_registered(plugin: object) -> str:
    """Why a plugin has no parts, and how it gets some, as the end of a sentence."""
    called = [name for name, function in _functions(plugin) if hasattr(function, _MARK)]
    if called:
        return f"registers no part: {' and '.join(called)} never came to register(part)"
    for name, function in _functions(plugin):
        meant = _meant(name)
        if meant:
            return f"registers no part: {name} is no hook. {meant}Mark it @hookimpl{at(place(function))}"
    return (
        "registers no part: it needs a function register_<kind>(register), marked @hookimpl, which registers parts. "
        f"Kinds: {', '.join(KINDS)}"
    )


def said(error: BaseException, file: str | Path = "") -> str:
    """An error while a plugin was loaded, with the line of its file."""
    if isinstance(error, PartError):
        return str(error)
    if isinstance(error, pluggy.PluginValidationError):
        return str(error).splitlines()[-1]
    if isinstance(error, SyntaxError):
        line = f": {error.text.strip()}" if error.text else ""
        return f"{type(error).__name__}: {error.msg}{line}{at(raised_at(error, file))}"
    return f"{type(error).__name__}: {error}{at(raised_at(error, file))}{_on_import(error)}"


def _on_import(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f": install {error.name}, or mend its name" if error.name else ""
    found = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error))
    if not isinstance(error, ImportError) or not found or found[2] not in sys.modules:
        return ""
    return f": {nearest(found[1], dir(sys.modules[found[2]]))}".rstrip(" :")


def _functions(plugin: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions of a plugin that are marked, or whose names begin as hooks do. Properties are left alone."""
    for name in dir(plugin):
        value = inspect.getattr_static(plugin, name, None)
        value = getattr(value, "__func__", value)
        if inspect.isfunction(value) and (hasattr(value, _MARK) or name.startswith("register_")):
            yield name, value


def _meant(name: str) -> str:
    """The hook that a name is close to, told by its kind alone, as all of them begin alike."""
    if not name.startswith("register_"):
        return nearest(name, KNOWN)
    return nearest(name.removeprefix("register_"), KINDS).replace("mean '", "mean 'register_")


def _check_unmarked(name: str, function: Callable[..., Any], plugin: object) -> None:
    own = function.__module__ == getattr(plugin, "__name__", function.__module__)
    if name in KNOWN and own:
        raise PartError(
            f"{name} is not marked, so that nobody would call it: put @hookimpl on the line before it "
            f"(from registry import hookimpl){at(place(function))}"
        )


def _check_marked(name: str, function: Callable[..., Any], plugin: object) -> None:
    where = at(place(function))
    if name not in KNOWN:
        raise PartError(
            f"unknown hook {name!r}. {_meant(name)}Known: {', '.join(KNOWN)}. One of a newer sparsity-rl needs "
            f"that; @hookimpl(optionalhook=True) lets older ones pass it by{where}"
        )
    taken = list(inspect.signature(function).parameters)
    taken = taken if inspect.ismodule(plugin) else [each for each in taken if each != "self"]
    if taken != ["register"]:
        raise PartError(
            f"{name} takes `register` and nothing else, not ({', '.join(taken)}): def {name}(register){where}"
        )
