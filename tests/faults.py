"""File operations that fail, and power cuts: the calls that the writers make are watched below one folder.

A watcher gets each operation before it is done, and the way to do it. `Nth` lets one of them fail or the process die
there; `Full` is a disk with so many bytes; `Recorder` notes what was done, from which `power_cuts` makes every folder
that could be found after a power cut (Pillai et al. 2014, "All File Systems Are Not Created Equal").
"""

from __future__ import annotations

import errno
import inspect
import io
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple
from unittest.mock import patch

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES)
DIES, STOPS = -1, -2
"""Instead of an errno: the process ends there, or is held there for good."""
DIED = 99
"""Exit code of a process that died at an operation."""


class Operation(NamedTuple):
    """One call. `open` is any opening, `create` that of a new or emptied file."""

    kind: str
    path: Path
    other: Path | None = None
    """Where a replace or a link leads to."""
    data: bytes = b""

    def error(self, number: int) -> OSError:
        """As the system raises it: what is done to an open file names no path."""
        if self.kind in ("write", "fsync"):
            return OSError(number, os.strerror(number))
        return OSError(number, os.strerror(number), str(self.path))


Watcher = Callable[[Operation, Callable[[], Any]], Any]


class _File:
    """A file opened for writing, whose writes are watched."""

    def __init__(self, file: Any, path: Path, watcher: Watcher) -> None:
        self._file, self._path, self._watcher = file, path, watcher

    def write(self, content: Any) -> Any:
        data = content.encode() if isinstance(content, str) else bytes(content)
        return self._watcher(Operation("write", self._path, data=data), lambda: self._file.write(content))

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def watched(root: Path, watcher: Watcher) -> Iterator[None]:
    """Within, every operation on a path below the folder goes through the watcher."""
    opened: dict[int, Path] = {}

    def place(target: Any, folder: int | None = None) -> Path | None:
        if isinstance(target, int):
            return opened.get(target)
        base = opened.get(folder, Path("/nowhere")) if folder is not None else Path.cwd()
        path = base / os.fsdecode(target)
        return path if path.is_relative_to(root) else None

    def watch(kind: str, path: Path | None, do: Callable[[], Any], other: Path | None = None) -> Any:
        return do() if path is None else watcher(Operation(kind, path, other), do)

    def a_file(real: Callable[..., Any]) -> Callable[..., Any]:
        def opening(file: Any, mode: str = "r", *more: Any, **words: Any) -> Any:
            path = place(file)
            made = watch("create" if "w" in mode else "open", path, lambda: real(file, mode, *more, **words))
            if path is None:
                return made
            opened[made.fileno()] = path
            return _File(made, path, watcher) if "w" in mode else made

        return opening

    def a_descriptor(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = place(path, dir_fd)
        made: int = watch("open", where, lambda: real["open"](path, flags, mode, dir_fd=dir_fd))
        opened.pop(made, None)
        if where is not None:
            opened[made] = where
        return made

    def one(kind: str) -> Callable[..., Any]:
        def call(path: Any = ".", *more: Any, dir_fd: int | None = None, **words: Any) -> Any:
            words |= {} if dir_fd is None else {"dir_fd": dir_fd}
            return watch(kind, place(path, dir_fd), lambda: real[kind](path, *more, **words))

        return call

    def two(kind: str) -> Callable[..., Any]:
        def call(source: Any, target: Any, **words: Any) -> Any:
            where = place(target)
            return watch(kind, where and place(source), lambda: real[kind](source, target, **words), where)

        return call

    ones = ("fsync", "mkdir", "unlink", "rmdir", "listdir", "scandir")
    twos = ("replace", "rename", "link")
    real = {name: getattr(os, name) for name in ("open", *ones, *twos)}
    with ExitStack() as stack:
        stack.enter_context(patch("builtins.open", a_file(open)))
        stack.enter_context(patch("io.open", a_file(io.open)))
        stack.enter_context(patch("os.open", a_descriptor))
        for kind in ones:
            stack.enter_context(patch(f"os.{kind}", one(kind)))
        for kind in twos:
            stack.enter_context(patch(f"os.{kind}", two(kind)))
        yield


class Dead(BaseException):
    """The process would have died here, and does nothing any more."""


class Nth:
    """The operation of that number, counted from 1, fails: with an errno, or so that nothing can be done after it.

    For `DIES` the process is gone at once; for `STOPS` whatever it tries from there on raises Dead.
    """

    def __init__(self, at: int, how: int) -> None:
        self.at, self.how, self._count = at, how, 0
        self.hit: Operation | None = None

    def __call__(self, operation: Operation, do: Callable[[], Any]) -> Any:
        self._count += 1
        if self._count == self.at:
            self.hit = operation
            if self.how == DIES:
                os._exit(DIED)
            if self.how != STOPS:
                raise operation.error(self.how)
        if self.hit is not None and self.how == STOPS:
            raise Dead
        return do()


class Full:
    """A disk that takes so many bytes, and then nothing."""

    def __init__(self, size: int) -> None:
        self.left = size

    def __call__(self, operation: Operation, do: Callable[[], Any]) -> Any:
        if operation.kind == "write":
            self.left -= len(operation.data)
        if self.left < 0 and operation.kind in ("write", "create", "mkdir", "link"):
            raise operation.error(errno.ENOSPC)
        return do()


# Power cuts


class Change(NamedTuple):
    """What an operation did to a node: to the names of a folder or to the bytes of a file; or it was synced."""

    node: int
    names: Mapping[str, int | None] | None = None
    data: bytes | None = None
    """What was added; an empty one empties the file."""
    returned: Any = None
    """Not an operation at all, but the word that something had returned."""

    @property
    def lasting(self) -> bool:
        return self.names is None and self.data is None


Node = bytes | dict[str, int]
Tree = dict[str, bytes | None]
"""Contents by path below the root, None for folders."""


class Recorder:
    """The changes made below a folder, whose state at the start counts as on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base: dict[int, Node] = {}
        self.log: list[Change] = []
        self._scan(root, {})
        self._now = {node: dict(value) if isinstance(value, dict) else value for node, value in self.base.items()}

    def _scan(self, path: Path, known: dict[int, int]) -> int:
        number = path.stat().st_ino
        if number in known:
            return known[number]
        node = known[number] = len(known)
        self.base[node] = {} if path.is_dir() else path.read_bytes()
        if path.is_dir():
            self.base[node] = {each.name: self._scan(each, known) for each in sorted(path.iterdir())}
        return node

    def __call__(self, operation: Operation, do: Callable[[], Any]) -> Any:
        result = do()
        for change in self._changes(operation):
            self.log.append(change)
            _apply(self._now, change)
        return result

    def returned(self, word: Any) -> None:
        """Note that something had returned by now, whose effect must last."""
        self.log.append(Change(0, returned=word))

    def _changes(self, operation: Operation) -> list[Change]:
        path, other = operation.path, operation.other
        match operation.kind:
            case "create" if (node := self._node(path)) is not None:
                return [Change(node, data=b"")]
            case "create":
                return [Change(self._node(path.parent), names={path.name: self._made(b"")})]
            case "mkdir":
                return [Change(self._node(path.parent), names={path.name: self._made({})})]
            case "write":
                return [Change(self._node(path), data=operation.data)]
            case "fsync":
                return [Change(self._node(path))]
            case "unlink" | "rmdir":
                return [Change(self._node(path.parent), names={path.name: None})]
            case "replace" | "rename" if other is not None:
                if other.parent != path.parent:  # Worse than any disk: one folder may last without the other.
                    moved = Change(self._node(other.parent), names={other.name: self._node(path)})
                    return [moved, Change(self._node(path.parent), names={path.name: None})]
                return [Change(self._node(path.parent), names={path.name: None, other.name: self._node(path)})]
            case "link" if other is not None:
                return [Change(self._node(other.parent), names={other.name: self._node(path)})]
        return []

    def _made(self, value: Node) -> int:
        """A new node, which every later state starts with: whether it can be reached is up to the names."""
        node = len(self.base)
        self.base[node] = value
        self._now[node] = dict(value) if isinstance(value, dict) else value
        return node

    def _node(self, path: Path) -> Any:
        node: int | None = 0
        for name in path.relative_to(self.root).parts:
            folder = self._now[node] if node is not None else b""
            node = folder.get(name) if isinstance(folder, dict) else None
        return node


def _apply(nodes: dict[int, Node], change: Change) -> None:
    value = nodes[change.node]
    if change.names is not None and isinstance(value, dict):
        for name, node in change.names.items():
            value.pop(name, None)
            if node is not None:
                value[name] = node
    if change.data is not None and isinstance(value, bytes):
        nodes[change.node] = value + change.data if change.data else b""


class Cut(NamedTuple):
    """A power cut: after so many changes, of which those of these numbers were lost."""

    after: int
    lost: tuple[int, ...]
    tree: Tree
    returned: list[Any]
    """What had returned by then."""


def power_cuts(recorder: Recorder, pairs: bool = False) -> Iterator[Cut]:
    """Every folder that could be found: after each change, losing none, each, all or all but each of the unsynced.

    With `pairs` any two as well. A folder that was found already, after as many returns, is left out.
    """
    seen: set[int] = set()
    for after in range(len(recorder.log) + 1):
        returned = [change.returned for change in recorder.log[:after] if change.returned is not None]
        unsynced = _unsynced(recorder.log[:after])
        lost = [(), tuple(unsynced), *((one,) for one in unsynced)]
        lost += [tuple(other for other in unsynced if other != one) for one in unsynced]
        lost += combinations(unsynced, 2) if pairs else []
        for each in lost:
            tree = _tree(recorder, after, set(each))
            key = hash((len(returned), *sorted(tree.items(), key=lambda item: item[0])))
            if key not in seen:
                seen.add(key)
                yield Cut(after, each, tree, returned)


def _unsynced(log: list[Change]) -> list[int]:
    """Numbers of the changes that nothing later made last."""
    waiting: dict[int, list[int]] = {}
    for number, change in enumerate(log):
        if not change.lasting:
            waiting.setdefault(change.node, []).append(number)
        elif change.returned is None:
            waiting.pop(change.node, None)
    return sorted(number for numbers in waiting.values() for number in numbers)


def _tree(recorder: Recorder, after: int, lost: set[int]) -> Tree:
    nodes = {node: dict(value) if isinstance(value, dict) else value for node, value in recorder.base.items()}
    for number, change in enumerate(recorder.log[:after]):
        if number not in lost:
            _apply(nodes, change)
    found: Tree = {}

    def walk(place: str, names: dict[str, int]) -> None:
        for name, node in names.items():
            value = nodes[node]
            found[place + name] = None if isinstance(value, dict) else value
            if isinstance(value, dict):
                walk(f"{place}{name}/", value)

    root = nodes[0]
    assert isinstance(root, dict)
    walk("", root)
    return found


def lay(tree: Tree, root: Path) -> None:
    """Write a folder that could be found."""
    for path, content in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            (root / path).mkdir(exist_ok=True)
        else:
            (root / path).write_bytes(content)


# Planted bugs


@contextmanager
def mutated(function: FunctionType, *changes: tuple[str, str]) -> Iterator[None]:
    """A function whose source is another in places, each of which it has once; whoever imported it gets the bug."""
    source = inspect.getsource(function)
    for old, new in changes:
        assert source.count(old) == 1, f"{function.__qualname__} has {old!r} {source.count(old)} times"
        source = source.replace(old, new)
    names: dict[str, Any] = {}
    exec(f"from __future__ import annotations\n{textwrap.dedent(source)}", function.__globals__, names)
    kept, function.__code__ = function.__code__, names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = kept
