"""Names for interchangeable parts: what is registered, by whom, and what each part asks for."""

from registry.entry import Bound, Entry, Origin
from registry.hookspecs import KINDS, Kind, hookimpl
from registry.part import Part, part
from registry.signature import PartError, Setting, nearest
from registry.tables import Registry, default_registry, use_registry

__all__ = [
    "KINDS",
    "Bound",
    "Entry",
    "Kind",
    "Origin",
    "Part",
    "PartError",
    "Registry",
    "Setting",
    "default_registry",
    "hookimpl",
    "nearest",
    "part",
    "use_registry",
]
