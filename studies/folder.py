"""Runs that others made, a folder at a time: which run a file is, its path says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from studies.outcome import Outcome
from studies.problems import BadInput
from studies.readers import NO_AXES, from_evaluations, from_monitor, natural

LAYOUT: Final = "{label}/{env}/seed_{seed}/evaluations.npz"
"""Where `read_runs` looks inside a folder that is given without a pattern."""
NEEDED: Final = ("label", "env", "seed")
OWN: Final = (*NEEDED, "agent", "density")
"""Names in a pattern that are fields of an outcome; any other is an axis."""
NAME: Final = r"\{([A-Za-z_][A-Za-z_0-9]*)\}"


def read_runs(
    pattern: Path | str,
    *,
    every: int | None = None,
    label: str | None = None,
    env: str | None = None,
    seed: int | None = None,
    agent: str | None = None,
    density: float | None = None,
    axes: Mapping[str, str] = NO_AXES,
) -> list[Outcome]:
    """The runs of a folder, from `logs/{label}/{env}/seed_{seed}/evaluations.npz` or a like pattern, by path.

    `{label}`, `{env}`, `{seed}`, `{agent}` and `{density}` ("dense" for None) are an outcome's fields, any other name
    is an axis, `*` is any text; what the path does not say is given by keyword. A folder alone is read by `LAYOUT`.
    `*.monitor.csv` are read with `every`, those of a folder as one run. A run's folder without its file is `missing`,
    so that a run that fell early is counted. BadInput names the first file that does not fit the pattern.
    """
    layout = _layout(pattern)
    named = {"label": label, "env": env, "seed": seed, "agent": agent, "density": density}
    fixed = {name: value for name, value in named.items() if value is not None}
    _check(layout, [*fixed], [*axes], every)
    runs: dict[tuple[object, ...], tuple[Path, Outcome]] = {}
    for path, files, said in _found(layout):
        run = _read(files, _place(path, said, fixed, axes), every, layout.parts[-1])
        key = (run.label, run.agent, run.env, run.density, run.seed, *sorted(run.axes.items()))
        if key in runs:
            both = f"{path} and {runs[key][0]} are both {run.label}, {run.env}, seed {run.seed}"
            raise BadInput(f"{both}, but a run is one file: move one away, or let the pattern name what differs")
        runs[key] = path, run
    return [run for _, run in runs.values()]


@dataclass(frozen=True)
class _Layout:
    """A pattern: the folder in which it begins, and its parts below that, the file's name last."""

    root: Path
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.root.joinpath(*self.parts))


def _layout(pattern: Path | str) -> _Layout:
    parts = Path(pattern).parts if re.search(r"[{}*]", str(pattern)) else Path(pattern, LAYOUT).parts
    begin = next(index for index, part in enumerate(parts) if re.search(r"[{}*]", part))
    layout = _Layout(Path(*parts[:begin]), parts[begin:])
    if re.search(r"[{}]", re.sub(NAME, "", "/".join(layout.parts))):
        raise BadInput(f"{pattern} has a brace that is not around a name: write {{label}}, {{env}}, {{seed}}")
    if not layout.root.is_dir():
        raise BadInput(f"{layout.root} is no folder: give the folder of your runs, or a pattern that begins with it")
    return layout


def _check(layout: _Layout, fixed: Sequence[str], axes: Sequence[str], every: int | None) -> None:
    """Refuse what no file could mend."""
    named, last = re.findall(NAME, "/".join(layout.parts)), layout.parts[-1]
    twice = [name for name in (*fixed, *axes) if name in named or (name in fixed and name in axes)]
    absent = [name for name in NEEDED if name not in (*named, *fixed)]
    if twice:
        raise BadInput(f"{twice[0]} is given twice, but must be once, by {layout} or by keyword: leave one out")
    if absent:
        raise BadInput(f"{layout} does not say the {absent[0]}: put {{{absent[0]}}} into it, or give {absent[0]}=")
    if not last.endswith((".npz", "monitor.csv")):
        raise BadInput(f"{layout} must end in .npz (EvalCallback) or monitor.csv (Monitor): add the name of the files")
    if last.endswith(".npz") != (every is None):
        raise BadInput(f"{layout} with every={every}: monitor.csv needs every=1000 or the like, .npz takes none")


def _found(layout: _Layout) -> Iterator[tuple[Path, list[Path], dict[str, str]]]:
    """Every run, in natural order: where it is, its files (none where they are due), and what its path says."""
    some = False
    for folder, names in sorted(_walk(layout.root), key=lambda one: natural(one[0])):
        groups: dict[tuple[str, ...], list[Path]] = {}
        for file in sorted((folder / name for name in names if _is_named(name, layout)), key=natural):
            groups.setdefault(tuple(_said(file, layout.parts, layout).values()), []).append(file)
        for files in groups.values():
            yield files[0], files, _said(files[0], layout.parts, layout)
        if not groups and _is_of_a_run(folder, layout):
            yield folder, [], _said(folder, layout.parts[:-1], layout)
        some |= bool(groups)
    if not some:
        raise BadInput(f"{layout.root} holds no {layout.parts[-1]}: give the folder of your runs, or another pattern")


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder and the names in it, through links too; an unreadable one is refused, since it may hold runs."""
    for at, folders, names in os.walk(root, onerror=_refuse, followlinks=True):
        here = Path(at).resolve()
        folders[:] = [name for name in folders if not here.is_relative_to((here / name).resolve())]
        yield Path(at), names


def _refuse(error: OSError) -> None:
    raise BadInput(f"{error.filename} cannot be read ({error.strerror}), but may hold runs: mend its permissions")


def _is_named(name: str, layout: _Layout) -> bool:
    """Whether a file is meant by the pattern's last part, whatever stands in place of a name."""
    return re.fullmatch(_expression(re.sub(NAME, "*", layout.parts[-1])), name) is not None


def _is_of_a_run(folder: Path, layout: _Layout) -> bool:
    """Whether a run's file is due in a folder: it fits, and folders alone say which run."""
    *above, last = layout.parts
    text = folder.relative_to(layout.root).as_posix()
    return "{seed}" in "/".join(above) and "{" not in last and bool(re.fullmatch(_expression("/".join(above)), text))


def _said(path: Path, parts: Sequence[str], layout: _Layout) -> dict[str, str]:
    """What a path says of a run, by name; BadInput where it does not fit the pattern, or fits it in two ways."""
    text = path.relative_to(layout.root).as_posix()
    # Of all ways to fit, the greedy and the lazy one are the extremes: where they agree there is no other.
    ways = [re.fullmatch(_expression("/".join(parts), lazy), text) for lazy in ("", "?")]
    greedy, lazy = ways
    if not greedy or not lazy:
        raise BadInput(f"{path} does not fit {layout}, as every file of its name must: move it, or mend the pattern")
    if greedy.groups() != lazy.groups():
        both = " and as ".join(", ".join(way.groups()) for way in (lazy, greedy))
        raise BadInput(f"{path} fits {layout} as {both}, but must in one way: give each name a folder of its own")
    return greedy.groupdict()


def _expression(pattern: str, lazy: str = "") -> str:
    """The pattern as a regular expression; a name that stands in it again must say the same."""
    made, met = "", set[str]()
    for literal, name, star in re.findall(rf"([^{{*]+)|{NAME}|(\*)", pattern):
        if star:
            made += f"([^/]*{lazy})"
        elif literal:
            made += re.escape(literal)
        else:
            some = "[0-9]" if name == "seed" else "[^/]"
            made += f"(?P={name})" if name in met else f"(?P<{name}>{some}+{lazy})"
            met.add(name)
    return made


def _place(path: Path, said: Mapping[str, str], fixed: Mapping[str, Any], axes: Mapping[str, str]) -> dict[str, Any]:
    """The fields of an outcome that say which run it is."""
    place = {"agent": "", "density": None, **fixed}
    place |= {name: value for name, value in said.items() if name in OWN}
    if "density" in said:
        place["density"] = _density(path, said["density"])
    further = {name: value for name, value in said.items() if name not in OWN}
    return {**place, "seed": int(place["seed"]), "axes": {**axes, **further}}


def _density(path: Path, text: str) -> float | None:
    if text == "dense":
        return None
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share <= 1:
        said = f"{path} says density {text}"
        raise BadInput(f"{said}, which must be in (0, 1] or dense: rename its folder, or mend the pattern")
    return share


def _read(files: Sequence[Path], place: Mapping[str, Any], every: int | None, name: str) -> Outcome:
    if not files:
        return Outcome(**place, status="missing", note=f"its folder has no {name}")
    if every is not None:
        return from_monitor(files, every=every, **place)
    if len(files) > 1:
        raise BadInput(
            f"{files[0]} and {files[1]} are of one run, which is one .npz: let the pattern name what differs"
        )
    return from_evaluations(files[0], **place)
