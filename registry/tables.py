"""Name -> part, with provenance: what is registered, by whom, and which plugins could not be used."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pluggy

from registry.entry import Bound, Entry, Origin
from registry.hooks import check_hooks, nothing_registered, said
from registry.hookspecs import KINDS, PROJECT, Hooks
from registry.part import Part
from registry.place import place
from registry.register import Register, at
from registry.signature import PartError, nearest

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

    def load_file(self, path: str | Path) -> object:
        """Load a plugin from a Python file, unless it is here already; its module.

        Any problem with it is a PartError: whoever names a file wants it.
        """
        path = Path(path)
        if not path.is_file():
            raise PartError(f"plugin file {str(path)!r} {'is a folder' if path.is_dir() else 'does not exist'}")
        if (known := self._files().get(path.resolve())) is not None:
            return known
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
            raise PartError(f"plugin {str(path)!r} cannot be loaded: {said(error, path.resolve())}") from error
        if not self.brought_by(module):
            self.problems.append(f"{path} {nothing_registered(module)}")
        return module

    def load_module(self, name: str) -> object:
        """Load a plugin that can be imported, unless it is here already; its module. Any problem is a PartError."""
        try:
            module = importlib.import_module(name)
            if not self._manager.is_registered(module):
                self._admit(module, Origin(name), named=True)
        except (Exception, SystemExit) as error:
            raise PartError(f"plugin {name!r} cannot be loaded: {said(error, _file_of(name))}") from error
        return module

    def load_point(self, point: metadata.EntryPoint) -> object:
        """Load a plugin by its entry point, unless it is here already; what the point names. Any problem is a
        PartError."""
        try:
            plugin = point.load()
            if not self._manager.is_registered(plugin):
                self._admit(plugin, Origin(point.name, _distribution(point)), named=True)
        except (Exception, SystemExit) as error:
            told = said(error, _file_of(point.module))
            raise PartError(f"plugin {point.name!r} of {_distribution(point)} cannot be loaded: {told}") from error
        return plugin

    def brought_by(self, plugin: object) -> list[Entry]:
        """The parts that a loaded plugin has registered, those too whose name somebody else claims."""
        name = self._manager.get_name(plugin)
        return [entry for claims in self._claims.values() for entry in claims if entry.origin.plugin == name]

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
            close = nearest(name, known)
            own = "" if close else ". One of your own is known once its file is loaded: --plugin FILE"
            raise PartError(f"no {kind} named {name!r}. {close}Known: {', '.join(known) or 'none'}{own}{broken}")
        return claims[0]

    def resolve(self, kind: str, chosen: Part) -> Part:
        """The same choice with all defaults written out."""
        return Part(chosen.name, self.entry(kind, chosen.name).check(chosen.settings))

    def bind(self, kind: str, chosen: Part) -> Bound:
        """The chosen function with its settings, to be called with inputs by name."""
        entry = self.entry(kind, chosen.name)
        return Bound(entry, entry.check(chosen.settings))

    def _files(self) -> dict[Path, object]:
        files = ((getattr(plugin, "__file__", None), plugin) for plugin in self._manager.get_plugins())
        return {Path(file).resolve(): plugin for file, plugin in files if file}

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
                told = said(error, _file_of(same[0].module))
                self._set_aside(f"plugin {name!r} of {makers[0]}: {told}")

    def _set_aside(self, problem: str) -> None:
        self.problems.append(problem)
        warnings.warn(f"set aside: {problem}", stacklevel=2)

    def _admit(self, plugin: object, origin: Origin, *, named: bool = False) -> None:
        """Register a plugin and collect its parts; if anything is wrong with it, none of them enters.

        A name that is taken is wrong of a plugin that somebody `named`; of one that merely is installed it is a problem
        that only concerns those who use the name.
        """
        origin = replace(origin, file=str(getattr(plugin, "__file__", "") or ""))
        check_hooks(plugin)
        name = self._manager.register(plugin, origin.plugin)
        try:
            entries = self._collect(plugin, origin)
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
            hook(register=Register(kind, origin, entries, place(getattr(plugin, f"register_{kind.name}", None))))
        seen: dict[tuple[str, str], Entry] = {}
        for entry in entries:
            first = seen.setdefault((entry.kind.name, entry.name), entry)
            if first is not entry:
                places = " and ".join(dict.fromkeys(filter(None, (place(first.value), place(entry.value)))))
                raise PartError(
                    f"{origin} registers {entry.kind.name} {entry.name!r} twice{f' ({places})' if places else ''}: "
                    "give one of them another name, register(..., name='other')"
                )
        return entries

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
                        f"{nearest(name, known)}Inputs: {', '.join(sorted(known)) or 'none'}; settings stand after `*`"
                        f"{at(place(entry.value))}"
                    )


def _doubled(claims: list[Entry]) -> str:
    first = claims[0]
    makers = " and by ".join(str(entry.origin) for entry in claims)
    return (
        f"{first.kind.name} {first.name!r} is claimed by {makers}: rename one of the two, "
        "register(..., name='other') does, or leave one out: --no-plugins leaves out what is installed"
    )


def _file_of(module: str) -> str:
    """The file that a module would be imported from; "" where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    return str(spec.origin) if spec and spec.origin else ""


def _distribution(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


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
