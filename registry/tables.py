"""Name -> part, with provenance: what is registered, by whom, and which plugins could not be used."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy

from registry.hookspecs import KINDS, PROJECT, Hooks, Kind
from registry.part import Part
from registry.signature import PartError, Setting, check_settings, nearest, read_signature

DEFAULT_PLUGINS = (
    "sparsity.trace",
    "sparsity.eligible",
    "sparsity.allocation",
    "sparsity.initial",
    "sparsity.prune",
    "sparsity.grow",
    "sparsity.born",
    "sparsity.spread",
    "sparsity.schedule",
    "sparsity.budget",
    "sparsity.target",
    "sparsity.moments",
    "sparsity.values",
    "sparsity.published",
    "rl.td3",
    "rl.ddpg",
    "rl.sac",
    "rl.random_policy",
    "rl.replay",
    "rl.asking_replays",
    "rl.wrappers",
    "studies.papers",
    "studies.loggers",
    "studies.loggers.tensorboard",
    "studies.loggers.wandb",
    "studies.executors.local",
    "studies.executors.ray",
    "studies.executors.slurm",
)
"""The in-tree parts, loaded from strings on first look-up: they have no privileged path, and no import cycle."""


@dataclass(frozen=True)
class Origin:
    """Where a part came from."""

    plugin: str
    """Module name, entry point, or file."""
    distribution: str = ""
    """Name and version of the installed distribution, if there is one."""
    in_tree: bool = False
    file: str = ""
    """The plugin's own source file."""

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution})" if self.distribution else self.plugin


@dataclass(frozen=True)
class Entry:
    """A registered part: its function (or row), what it asks for, and where it came from."""

    kind: Kind
    name: str
    value: Any
    inputs: tuple[str, ...]
    settings: tuple[Setting, ...]
    origin: Origin
    facts: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """The first line of its documentation: formula or effect, then the source."""
        text = self.facts.get("about") or inspect.getdoc(self.value) or ""
        return text.strip().split("\n")[0]

    @property
    def module(self) -> str:
        """The module that its function, or its row's class, stands in."""
        return str(getattr(self.value, "__module__", ""))

    @property
    def source_hash(self) -> str | None:
        """SHA-256 of the source of a foreign part: its file, or every file of the package that it stands in.

        None for our own, which the results version covers. PartError where there is no source.
        """
        if self.origin.in_tree:
            return None
        file = inspect.getsourcefile(inspect.unwrap(self.value)) if callable(self.value) else self.origin.file
        if not file or not Path(file).is_file():
            raise PartError(f"{self.kind.name} {self.name!r} of {self.origin} has no source file that a run could name")
        package = sys.modules.get(self.module.split(".")[0])
        roots = [Path(folder) for folder in getattr(package, "__path__", ())]
        files = sorted(path for root in roots for path in root.rglob("*.py")) or [Path(file)]
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()

    def check(self, settings: Mapping[str, Any], *, partial: bool = False) -> dict[str, Any]:
        """Settings with defaults written out, or a PartError."""
        return check_settings(f"{self.kind.name} {self.name!r}", self.settings, settings, partial=partial)


@dataclass(frozen=True)
class Bound:
    """A part with its settings: called with inputs by name, it takes those that it asks for."""

    entry: Entry
    settings: Mapping[str, Any]

    def asks(self, name: str) -> bool:
        return name in self.entry.inputs

    def __call__(self, **given: Any) -> Any:
        return self.entry.value(*(given[name] for name in self.entry.inputs), **self.settings)


class Registry:
    """All parts known to this process. A broken plugin is set aside with its reason; the others go on."""

    def __init__(self, plugins: Iterable[str] = DEFAULT_PLUGINS, *, installed: bool = True) -> None:
        self.problems: list[str] = []
        self._claims: dict[tuple[str, str], list[Entry]] = {}
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(Hooks)
        for name in plugins:
            self._admit(importlib.import_module(name), Origin(name, in_tree=True))
        if installed:
            self._load_installed()

    def load_file(self, path: str | Path) -> None:
        """Load a plugin from a Python file. Any problem with it is a PartError: whoever names a file wants it."""
        path = Path(path)
        if not path.is_file():
            raise PartError(f"plugin file {str(path)!r} {'is a folder' if path.is_dir() else 'does not exist'}")
        if path.resolve() in self._files():
            return
        # A name of its own: a plugin called random.py is not to stand in for the module of that name.
        private = f"plugin_{hashlib.sha256(bytes(path.resolve())).hexdigest()[:8]}_{path.stem}"
        spec = importlib.util.spec_from_file_location(private, path.resolve())
        if spec is None or spec.loader is None:
            raise PartError(f"plugin file {str(path)!r} is not a Python file: its name must end in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # Dataclasses look their module up while it is being executed.
        try:
            spec.loader.exec_module(module)
            self._admit(module, Origin(str(path)), named=True)
        except (Exception, SystemExit) as error:
            del sys.modules[spec.name]
            raise PartError(f"plugin {str(path)!r} cannot be loaded: {_said(error)}") from error

    def load_module(self, name: str) -> None:
        """Load a plugin that can be imported, unless it is here already. Any problem with it is a PartError."""
        try:
            module = importlib.import_module(name)
            if not self._manager.is_registered(module):
                self._admit(module, Origin(name), named=True)
        except (Exception, SystemExit) as error:
            raise PartError(f"plugin {name!r} cannot be loaded: {_said(error)}") from error

    def entries(self, kind: str) -> list[Entry]:
        """The parts of one kind, in the order in which they were registered."""
        return [claims[0] for (of, _), claims in self._claims.items() if of == kind]

    def names(self, kind: str) -> list[str]:
        """The names of the parts of one kind."""
        return [entry.name for entry in self.entries(kind)]

    def entry(self, kind: str, name: str) -> Entry:
        """The part of that name; unknown and doubly claimed names are errors."""
        if kind not in KINDS:
            raise PartError(f"no kind named {kind!r}. {nearest(kind, KINDS)}Known: {', '.join(KINDS)}")
        if not isinstance(name, str):  # A study file may say anything.
            raise PartError(f"the name of a {kind} is text, not {name!r}. Known: {', '.join(self.names(kind))}")
        claims = self._claims.get((kind, name), [])
        if len(claims) > 1:
            raise PartError(_doubled(claims))
        if not claims:
            known = self.names(kind)
            broken = "".join(f"\n  a plugin that was set aside: {problem}" for problem in self.problems)
            raise PartError(
                f"no {kind} named {name!r}. {nearest(name, known)}Known: {', '.join(known) or 'none'}{broken}"
            )
        return claims[0]

    def resolve(self, kind: str, chosen: Part) -> Part:
        """The same choice with all defaults written out."""
        return Part(chosen.name, self.entry(kind, chosen.name).check(chosen.settings))

    def bind(self, kind: str, chosen: Part) -> Bound:
        """The chosen function with its settings, to be called with inputs by name."""
        entry = self.entry(kind, chosen.name)
        return Bound(entry, entry.check(chosen.settings))

    def _files(self) -> set[Path]:
        files = (getattr(plugin, "__file__", None) for plugin in self._manager.get_plugins())
        return {Path(file).resolve() for file in files if file}

    def _load_installed(self) -> None:
        points = sorted(metadata.entry_points(group=PROJECT), key=lambda point: (point.name, str(point.dist)))
        by_name: dict[str, list[metadata.EntryPoint]] = {}
        for point in points:
            by_name.setdefault(point.name, []).append(point)
        for name, same in by_name.items():
            makers = sorted({_distribution(point) for point in same})
            if len(makers) > 1:
                self._set_aside(f"entry point {name!r} is claimed by {' and by '.join(makers)}: uninstall one")
                continue
            try:
                self._admit(same[0].load(), Origin(name, makers[0]))
            except (Exception, SystemExit) as error:
                self._set_aside(f"plugin {name!r} of {makers[0]}: {_said(error)}")

    def _set_aside(self, problem: str) -> None:
        self.problems.append(problem)
        warnings.warn(f"set aside: {problem}", stacklevel=2)

    def _admit(self, plugin: object, origin: Origin, *, named: bool = False) -> None:
        """Register a plugin and collect its parts; if anything is wrong with it, none of them enters.

        A name that is taken is wrong of a plugin that somebody `named`; of one that merely is installed it is a problem
        that only concerns those who use the name.
        """
        origin = replace(origin, file=str(getattr(plugin, "__file__", "") or ""))
        name = self._manager.register(plugin, origin.plugin)
        try:
            entries = self._collect(plugin, origin)
            self._check_hooks(plugin)
            self._check_inputs(entries)
            self._check_names(entries, named)
        except BaseException:
            self._manager.unregister(name=name)
            raise
        for entry in entries:
            claims = self._claims.setdefault((entry.kind.name, entry.name), [])
            claims.append(entry)
            if len(claims) > 1:
                self.problems.append(_doubled(claims))

    def _collect(self, plugin: object, origin: Origin) -> list[Entry]:
        entries: list[Entry] = []
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        for kind in KINDS.values():
            hook = self._manager.subset_hook_caller(f"register_{kind.name}", remove_plugins=others)
            hook(register=_Register(kind, origin, entries))
        seen: set[tuple[str, str]] = set()
        for entry in entries:
            key = (entry.kind.name, entry.name)
            if key in seen:
                raise PartError(f"{origin} registers {entry.kind.name} {entry.name!r} twice")
            seen.add(key)
        return entries

    def _check_hooks(self, plugin: object) -> None:
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            known = [f"register_{kind}" for kind in KINDS]
            marked = (name for name, value in vars(plugin).items() if hasattr(value, f"{PROJECT}_impl"))
            for hook in (name for name in marked if name not in known):
                raise PartError(f"unknown hook {hook!r}. {nearest(hook, known)}Known: {', '.join(known)}") from None
            raise

    def _check_names(self, entries: list[Entry], named: bool) -> None:
        for entry in entries:
            claims = self._claims.get((entry.kind.name, entry.name), [])
            if named and claims:
                raise PartError(_doubled([*claims, entry]))

    def _check_inputs(self, entries: list[Entry]) -> None:
        traces = {*self.names("trace"), *(entry.name for entry in entries if entry.kind.name == "trace")}
        for entry in entries:
            if entry.kind.row:
                continue
            known = {*entry.kind.inputs, *(traces if entry.kind.traces else ())}
            for name in entry.inputs:
                if name not in known:
                    raise PartError(
                        f"{entry.kind.name} {entry.name!r} asks for {name!r}, which nothing feeds. "
                        f"{nearest(name, known)}Inputs: {', '.join(sorted(known))}; settings stand after `*`"
                    )


class _Register:
    """The callable handed to a plugin's hook."""

    def __init__(self, kind: Kind, origin: Origin, entries: list[Entry]) -> None:
        self._kind, self._origin, self._entries = kind, origin, entries

    def __call__(self, value: Any, *, name: str | None = None, about: str = "", **facts: Any) -> Any:
        kind = self._kind
        self._check_facts(facts)
        if not kind.row and not inspect.isfunction(value):
            raise PartError(f"{kind.name} {name or value!r} must be a function, not {value!r}")
        chosen = name or str(getattr(value, "__name__", ""))
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,60}", chosen):
            raise PartError(
                f"{kind.name} {chosen or value!r}: a name is lower-case letters, digits, _ and -, a letter first"
            )
        inputs, settings = self._read(value, chosen)
        facts = {**facts, "about": about} if about else facts
        self._entries.append(Entry(kind, chosen, value, inputs, settings, self._origin, facts))
        return value

    def _read(self, value: Any, name: str) -> tuple[tuple[str, ...], tuple[Setting, ...]]:
        kind = self._kind
        if kind.row:
            here = f"{type(value).__module__}:{type(value).__qualname__}"
            if here != kind.row:
                raise PartError(f"{kind.name} {name!r} must be a {kind.row.split(':')[1]}, not {value!r}")
            return (), ()
        if kind.name == "trace" and name in kind.inputs:
            raise PartError(f"a trace cannot be named {name!r}: that is an input of its own")
        try:
            return read_signature(value)
        except PartError as error:
            raise PartError(f"{kind.name} {name!r}: {error}") from error

    def _check_facts(self, facts: Mapping[str, Any]) -> None:
        for fact in facts:
            if fact not in self._kind.facts:
                raise PartError(f"register for a {self._kind.name} takes no {fact!r}")
        window = facts.get("window", 1)
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise PartError(f"window is a whole number of optimiser steps before an event, at least 1, not {window!r}")


def _doubled(claims: list[Entry]) -> str:
    first = claims[0]
    makers = " and by ".join(str(entry.origin) for entry in claims)
    return f"{first.kind.name} {first.name!r} is claimed by {makers}: rename one of the two"


def _distribution(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def _said(error: BaseException) -> str:
    if isinstance(error, pluggy.PluginValidationError):
        hook = re.search(r"hook '(\w+)'", str(error))
        return f"{hook[1] if hook else 'a hook'} takes `register` and nothing else: {str(error).splitlines()[-1]}"
    return str(error) if isinstance(error, PartError) else f"{type(error).__name__}: {error}"


_default: Registry | None = None


def default_registry() -> Registry:
    """The process's registry: in-tree parts and installed plugins, loaded on first use."""
    global _default
    if _default is None:
        _default = Registry()
    return _default


def use_registry(registry: Registry | None) -> None:
    """Replace the process's registry; None forgets it, to be loaded anew."""
    global _default
    _default = registry
