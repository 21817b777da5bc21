"""From TOML, a catalogue name or flags to a validated Study. All problems are found before anything is written."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as checked

from registry import PartError, Registry, nearest
from sparsity.allocation import check_density
from studies.problems import BadInput, clean
from studies.reported import misreported
from studies.scales import misscaled
from studies.study import Study
from studies.tuning.asked import read_tune

CATALOGUE = Path(__file__).parent / "catalogue"
LARGEST_FILE = 1_000_000
"""Bytes. A study file is written by hand."""
DEEPEST = 20
"""Levels of tables and lists; a study needs six."""
MOST_ROWS = 1000
"""Rows that are looked at once a problem is found."""
MOST_TOLD = 50
"""Problems of one file. Who made more has not misspelt something."""
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_DOTTED = re.compile(rf"(?<![\w-])(?:{_PART}[ \t]*+\.[ \t]*+){{{DEEPEST}}}")
"""A dotted key that is too deep. tomllib takes minutes over a long one, so it is looked for before."""


def _whole(value: Any) -> Any:
    """`steps = 1e6` is a float to TOML and a whole number to everybody else."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Words = dict[str, Any]


@checked(config=ConfigDict(extra="forbid", strict=True))
class StudyFile:
    """The schema of a study file. Tables of methods are read later, against the registry."""

    agents: list[str]
    envs: list[str]
    seeds: Whole | list[Whole]
    steps: Whole
    methods: dict[str, str | Words]
    name: str | None = None
    question: str = ""
    densities: list[float | int | dict[str, float]] = ()  # type: ignore[assignment]
    all: Words = None  # type: ignore[assignment]
    axes: dict[str, list[Any]] = None  # type: ignore[assignment]
    settings: dict[str, Words] = None  # type: ignore[assignment]
    warmup: Whole = 1000
    donor: Whole = 0
    eval_every: Whole | None = None
    episodes: Whole = 5
    random_episodes: Whole = 30
    replay: str | Words = "uniform"
    wrappers: list[str | Words] = ()  # type: ignore[assignment]
    execution: str = "auto"
    device: str = "cpu"
    preset: str | None = None
    reported: Words = None  # type: ignore[assignment]
    scales: dict[str, Words] = None  # type: ignore[assignment]
    tune: Words | None = None
    """How settings were, or are to be, chosen: no part of any run."""


KEYS = tuple(f.name for f in fields(StudyFile))

_SHAPES = {
    **dict.fromkeys(("agents", "envs"), "a list of names"),
    **dict.fromkeys(("name", "question", "execution", "device", "preset"), "text"),
    **dict.fromkeys(("steps", "warmup", "donor", "eval_every", "episodes", "random_episodes"), "a whole number"),
    **dict.fromkeys(("all", "settings", "tune"), "a table"),
    "seeds": "a whole number (how many: 5) or a list of them (which: [0, 1, 2])",
    "densities": "a list of numbers in (0, 1], or of tables by learner",
    "methods": "a table of rows, each a method's name or a table with `base`",
    "axes": "a table of lists",
    "reported": "a table with `source`, and a table of rows for each environment",
    "scales": "a table of tables, [scales.small], whose keys are those of a study",
    "replay": "a name, or a table with `part`",
    "wrappers": "a list of names, or of tables with `part`",
}
"""What a key holds, in words."""


def find(name: str, store: Path, *, scale: str | None = None) -> tuple[Path, str]:
    """The file that a study's name means, and the name that it has if it gives none.

    A path if it has `.toml` or `/`, else first the store, then the catalogue. A stored study has the one scale that it
    was run at, so that who names a `scale` means the catalogue's.
    """
    if name.endswith(".toml") or "/" in name:
        return Path(name), Path(name).stem
    kept, shipped = store / "studies" / name / "study.toml", CATALOGUE / f"{name}.toml"
    for candidate in (shipped,) if scale is not None else (kept, shipped):
        if candidate.is_file():
            return candidate, name
    if kept.is_file():
        raise BadInput(
            f"the study {name!r} of the store has the scale that it was run at: leave --scale {scale} out to go on "
            f"with it, or give the file that it came from, {name}.toml"
        )
    stored = {p.parent.name for p in store.glob("studies/*/study.toml")}
    known = sorted({p.stem for p in CATALOGUE.glob("*.toml")} | stored)
    beside = Path(f"{name}.toml")
    close = f"Did you mean the file {clean(str(beside))}? " if beside.is_file() else nearest(name, known)
    raise BadInput(f"no study named {name!r}. {close}Known: {', '.join(known)}; or give a file, x.toml")


def read_file(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. BadInput with the file and line for what is not TOML, or is nested too deep."""
    where = clean(str(path))
    try:
        if path.is_dir():
            raise BadInput(f"{where} is a folder; a study is a .toml file")
        if path.stat().st_size > LARGEST_FILE:
            raise BadInput(f"{where} has over {LARGEST_FILE} bytes; a study file is written by hand")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"study file {where} does not exist") from None
    except UnicodeDecodeError:
        raise BadInput(f"{where} is not text in UTF-8") from None
    except OSError as error:
        raise BadInput(f"{where}: {error.strerror}") from None
    too_deep = f"{where}: tables or lists nested over {DEEPEST} deep; a study needs six levels at most"
    if _DOTTED.search(text):
        raise BadInput(too_deep)
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise BadInput(too_deep) from None
    except ValueError as error:  # Also of a number with thousands of digits, which is no TOMLDecodeError.
        raise BadInput(f"{where}: not TOML: {error}{_advice(str(error), text.splitlines())}") from None
    if not tables:
        raise BadInput(f"{where} is empty: a study needs {', '.join(KEYS[:5])}")
    if _deeper(tables, DEEPEST):
        raise BadInput(too_deep)
    return tables


def _deeper(value: Any, levels: int) -> bool:
    """Whether tables and lists are nested in more than so many levels."""
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(_deeper(v, levels - 1) for v in (value.values() if isinstance(value, dict) else value))


def _advice(error: str, lines: list[str]) -> str:
    """What to do about a line that is not TOML: where its key stands already, or what it may hold."""
    found = re.search(r"at line (\d+)", error)
    if found is None:
        return ""
    number = int(found[1])
    line = lines[number - 1] if number <= len(lines) else ""
    key = _key_of(line)
    if "overwrite" in error or "twice" in error:
        earlier = (n for n in range(number - 1, 0, -1) if _key_of(lines[n - 1]) == key)
        first = next(earlier, None) if key else None
        return f": {key!r} stands on line {first} and again on line {number}" if first is not None else ""
    advice = [f"{key} is {_SHAPES[key]}"] if key in _SHAPES else []
    advice += ["numbers have no leading 0"] if re.search(r"(?<![\w.\"'])0\d", line) else []
    advice += ["text stands in quotes"] if "Invalid value" in error else []
    return "".join(f"; {each}" for each in advice)


def _key_of(line: str) -> str:
    """The key that a line gives a value, or the table that it opens in brackets; else nothing."""
    header = re.match(r"\s*(\[\[?[^\[\],=]+\]\]?)\s*(#|$)", line)
    given = re.match(r"\s*([^=\[\]{},]+?)\s*=", line)
    found = header or given
    return re.sub(r"[\"'\s]", "", found[1]) if found else ""


def study_from(
    tables: Mapping[str, Any], registry: Registry, *, name: str, where: str = "study", text: str = ""
) -> Study:
    """A validated study. `name` is used if the tables give none; `text` lets problems name their line."""
    tables = _with_preset(dict(tables), registry)
    try:
        file = StudyFile(**tables)
    except ValidationError as error:
        errors = error.errors()
        found = [_problem(e, tables, where, text) for e in errors[:MOST_TOLD]]
        found += [f"{where}: {len(errors) - MOST_TOLD:,} more problems"] if len(errors) > MOST_TOLD else []
        raise BadInput(*dict.fromkeys(found)) from None
    problems = []
    if isinstance(file.seeds, int) and not 1 <= file.seeds <= 2**32:
        problems.append(f"{where}{_line('seeds', text)}: seeds: how many must lie in 1 ... 2**32, not {file.seeds}")
        file.seeds = 1
    seeds = range(file.seeds) if isinstance(file.seeds, int) else tuple(file.seeds)
    densities: list[Any] = []
    for density in file.densities:
        shares = density if isinstance(density, Mapping) else {"": density}
        wrong = [problem for share in shares.values() if (problem := _no_density(share))]
        problems += [f"{where}{_line('densities', text)}: densities: {problem}" for problem in wrong]
        if not wrong:  # Else every row would tell it again.
            densities.append(dict(density) if isinstance(density, Mapping) else float(density))
    if file.execution not in ("auto", "masked", "sparse"):
        problems.append(f"{where}: execution must be 'auto', 'masked' or 'sparse', not {file.execution!r}")
    if file.execution == "sparse" and file.device != "cpu":
        problems.append(f"{where}: sparse execution runs on the CPU, not on {file.device!r}: choose 'masked'")
    if file.device != "cpu" and not re.fullmatch(r"cuda(:\d+)?", file.device):
        problems.append(f"{where}: device must be 'cpu', 'cuda' or 'cuda:N', not {file.device!r}")
    chosen = name if file.name is None else file.name
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", chosen):
        problems.append(f"{where}: a study's name is 1 to 100 of A-Z a-z 0-9 . _ -, not {clean(chosen)!r}")
    problems += _unknown_agents(file, registry, where) + _mistuned(file, seeds, where)
    problems += [f"{where}{_line('scales', text)}: {problem}" for problem in misscaled(file.scales or {}, KEYS)]
    problems += [
        f"{where}{_line('reported', text)}: [reported]: {problem}"
        for problem in (misreported(file.reported, file.methods, file.envs) if file.reported is not None else ())
    ]
    study = Study(
        name=chosen,
        question=file.question,
        agents=tuple(file.agents),
        envs=tuple(file.envs),
        seeds=seeds,
        steps=file.steps,
        densities=tuple(densities),
        all=file.all or {},
        methods=file.methods,
        axes={key: tuple(values) for key, values in (file.axes or {}).items()},
        settings=file.settings or {},
        warmup=file.warmup,
        donor=file.donor,
        eval_every=file.eval_every,
        episodes=file.episodes,
        random_episodes=file.random_episodes,
        replay=file.replay,
        wrappers=tuple(file.wrappers),
        execution=file.execution,  # type: ignore[arg-type]
        device=file.device,
        preset=file.preset,
    )
    problems += [f"{where}{_line(key, text)}: {key}: {problem}" for key, problem in study.misnumbered()]
    if problems:
        raise BadInput(*problems, *_further(study, registry))
    return study


def _no_density(share: float) -> str:
    """What is wrong with a number as a density; nothing if it is one."""
    try:
        check_density(float(share))
    except OverflowError:
        return "density is the share of weights that stays, in (0, 1], not a number of hundreds of digits"
    except ValueError as error:
        return str(error)
    return ""


def _further(study: Study, registry: Registry) -> list[str]:
    """What is wrong with environments and rows too, so that mending one problem does not uncover the next."""
    from rl.environment import EnvironmentRefused, check

    problems: list[str] = []
    for env in dict.fromkeys(study.envs):
        try:
            check(env)
        except EnvironmentRefused as error:
            problems.append(f"envs: {error}")
    one = replace(study, seeds=study.seeds[:1])  # Seeds make no difference to a row, and there may be billions.
    try:
        one.cells(registry) if not study.misnumbered() and one.rows() <= MOST_ROWS else None
    except BadInput as bad:
        problems += bad.problems
    return problems


def _with_preset(tables: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """A preset's run and agent settings, under those of the file and the flags."""
    name = tables.get("preset")
    if not isinstance(name, str):
        return tables
    try:
        preset = registry.entry("preset", name).value
    except PartError as error:
        raise BadInput(str(error)) from None
    if "envs" in tables:
        tables = {**tables, "envs": environments(tables["envs"], name, registry)}
    own = tables.get("settings") or {}
    mine = own.get(preset.agent, {}) if isinstance(own, Mapping) else None
    if not isinstance(mine, Mapping):
        return {"agents": [preset.agent], **preset.run, **tables}  # What is no table is refused as such.
    settings = {**own, preset.agent: {**preset.settings, **mine}}
    return {"agents": [preset.agent], **preset.run, **tables, "settings": settings}


def environments(envs: Any, preset: Any, registry: Registry) -> Any:
    """The environments that run for those that a file names under a preset. What is no list of names stays as it is."""
    if preset not in registry.names("preset") or not isinstance(envs, list):
        return envs
    return registry.entry("preset", preset).value.environments(envs) if all(isinstance(e, str) for e in envs) else envs


def _unknown_agents(file: Any, registry: Registry, where: str) -> list[str]:
    problems = []
    for agent in file.agents:
        try:
            registry.entry("agent", agent)
        except PartError as error:
            problems.append(f"{where}: agents: {error}")
    for agent in () if problems else file.settings or {}:
        if agent not in file.agents:
            problems.append(
                f"{where}: [settings.{agent}]: the study has no agent {agent!r}. "
                f"{nearest(agent, file.agents)}Agents: {', '.join(file.agents)}"
            )
    return problems


def _mistuned(file: Any, seeds: Sequence[int], where: str) -> list[str]:
    """What is wrong with [tune]: above all, that a study reports a seed by which its settings were chosen."""
    try:
        read_tune(file.tune or {}, seeds if file.tune else ())
    except BadInput as bad:
        return [f"{where}: {problem}" for problem in bad.problems]
    return []


def _problem(error: Any, tables: Mapping[str, Any], where: str, text: str) -> str:
    """One of pydantic's errors as a line: where, what was read, what is allowed."""
    key = str(error["loc"][0])
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{where}{_line(key, text)}: unknown key {key!r}. {nearest(key, KEYS)}Allowed: {', '.join(KEYS)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: {key!r} is missing: {_SHAPES[key]}"
    return f"{where}{_line(key, text)}: {key} must be {_SHAPES[key]}, not {tables[key]!r}"


def _line(key: str, text: str) -> str:
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(rf"\s*\[?\s*\"?{re.escape(key)}\"?\s*[\]=.]", line):
            return f":{number}"
    return ""
