"""Study files with random mutations, hostile names, and no way from a file to code (RELIABILITY.md, section 5)."""

from __future__ import annotations

import ast
import copy
import datetime
import json
import math
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import ENV, FILE, REGISTRY, TABLES

from sparsity import Method
from studies import flags
from studies.cli import StudyRun
from studies.options import Options
from studies.problems import BadInput
from studies.read import CATALOGUE, KEYS, read_file, study_from
from studies.runner import plan
from studies.store import Store
from studies.study import Study

RICH = f"""\
question = "Wer wächst, gewinnt?"
agents = ["td3", "sac"]
envs = ["{ENV}", "Pendulum-v1"]
seeds = [0, 7]
steps = 120
warmup = 50
random_episodes = 1
densities = [0.5, {{ actor = 0.1, critic = 0.9 }}]
preset = "ds-td3"
replay = {{ part = "uniform", capacity = 1000 }}
wrappers = ["noise_features", {{ part = "noise_features", share = 0.5 }}]
execution = "masked"

[all]
allocation = "erk"
schedule = {{ every = 20, fraction = 0.05 }}

[methods]
"Dense" = "dense"
"DS, slower" = {{ base = "ds", schedule = {{ every = 40 }}, readmit = true }}
"RigL" = {{ base = "rigl", actor = {{ base = "dense" }}, density = 0.3 }}
"SNFS" = {{ base = "snfs", traces = [{{ part = "momentum", beta = 0.5 }}] }}

[axes]
hidden = [[8, 8], [16]]
tau = [0.01, 0.1]

[settings.td3]
batch_size = 8
[settings.sac]
batch_size = 8
"""
FIELDS = (*Method.__dataclass_fields__, "density")
PARTS = REGISTRY.entry("method", "dense").value.parts()
BASES = (FILE, FILE, FILE, RICH, *(path.read_text() for path in sorted(CATALOGUE.glob("*.toml"))))
TOKEN = re.compile(r"\"[^\"\n]*\"|[\w.-]+|\s+|.", re.DOTALL)
NASTY = (
    *("nan", "inf", "-inf", "true", "-1", "0", "1e6", "1_000_000_000_000_000_000_000", "0o17", "010", f"1{'0' * 400}"),
    *("1979-05-27", "07:32:00", "[]", "{}", "''", '"\\u0000"', '"\\u001b[31m"', "'../../x'", "'antigravity:X-v0'"),
    *("[[", "]]", "[", "]", "{", "}", "=", ".", ",", "#", "\n", '"', "'''", "[all]\n", "[methods.x]\n", "[[axes]]\n"),
    *("base", "density", "sedes", "sparsity", "part = 5", "x = 1\n", "actor", "network = 'shrunk'", "\ufeff", "\r"),
)


VALUES: tuple[Any, ...] = (
    *(
        0,
        1,
        -1,
        2,
        0.5,
        1.5,
        95,
        1e6,
        10**15,
        10**400,
        math.nan,
        math.inf,
        True,
        False,
        "",
        "x",
        "../../x",
        "set",
        "dense",
    ),
    *("random", "periodic", "set\0", "\x1b[31m", "antigravity:X-v0", ENV, "CartPole-v1", "td3", "auto", "ds-td3"),
    *([], [[]], [1], [0, 0], ["set"], ["td3", "td3"], {}, {"part": "periodic"}, {"part": 5}, {"base": "set"}),
    *({"every": 5}, {"actor": 0.5}, {"x": {"y": 1}}, [{"part": "momentum"}], datetime.date(1979, 5, 27)),
)
NAMES = (
    *KEYS,
    *FIELDS,
    "base",
    "actor",
    "critic",
    "hidden",
    "td3",
    "sac",
    "part",
    "every",
    "sedes",
    "",
    "a.b",
    "\x1b",
    "x",
)


@st.composite
def retold(draw: st.DrawFn) -> bytes:
    """A valid study with one to four of its values or keys changed, taken out or added, at any depth, as TOML."""
    tables = copy.deepcopy(tomllib.loads(draw(st.sampled_from(BASES))))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = tables
        while True:
            inner = [each for each in (place.values() if isinstance(place, dict) else place) if _open(each)]
            if not inner or draw(st.integers(0, 2)) == 0:
                break
            place = draw(st.sampled_from(inner))
        where: Any = draw(st.sampled_from([*place] if isinstance(place, dict) else range(len(place))))
        value = copy.deepcopy(draw(st.sampled_from(VALUES)))
        match draw(st.sampled_from(("value", "value", "out", "key"))):
            case "value":
                place[where] = value
            case "out":
                del place[where]
            case "key" if isinstance(place, dict):
                place[draw(st.sampled_from(NAMES))] = place.pop(where) if draw(st.booleans()) else value
        if not tables:
            break
    return as_toml(tables).encode()


def _open(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def as_toml(tables: Mapping[str, Any]) -> str:
    """Tables as TOML with an inline table for every table within."""
    return "".join(f"{_text(key)} = {_inline(value)}\n" for key, value in tables.items())


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)} = {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else str(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid study file after up to three mutations of its tokens, then up to two of its bytes.

    Half of them put a word for a word, a text for a text or a number for a number, so that files stay TOML.
    """
    tokens = TOKEN.findall(draw(st.sampled_from(BASES)))
    others = [*NASTY, *dict.fromkeys(tokens)]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(tokens) - 1)) if tokens else 0
        match draw(st.sampled_from((*["alike"] * 6, "replace", "insert", "delete", "double", "swap"))):
            case "alike":
                at = draw(st.sampled_from([i for i, token in enumerate(tokens) if _class(token)] or [at]))
                alike = [token for token in others if tokens and _class(token) == _class(tokens[at])]
                tokens[at : at + 1] = [draw(st.sampled_from(alike or others))]
            case "replace":
                tokens[at : at + 1] = [draw(st.sampled_from(others))]
            case "insert":
                tokens.insert(at, draw(st.sampled_from(others)))
            case "delete":
                del tokens[at : at + draw(st.integers(1, 4))]
            case "double":
                tokens[at:at] = tokens[at : at + draw(st.integers(1, 30))]
            case "swap":
                other = draw(st.integers(0, len(tokens) - 1)) if tokens else 0
                tokens[at : at + 1], tokens[other : other + 1] = tokens[other : other + 1], tokens[at : at + 1]
    data = bytearray("".join(tokens).encode())
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("flip", "insert", "delete", "cut"))):
            case "flip":
                data[at : at + 1] = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1])
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=3))
            case "delete":
                del data[at : at + draw(st.integers(1, 20))]
            case "cut":
                del data[at:]
    return bytes(data)


def _class(token: str) -> str:
    """ "number", "text" or "word"; nothing for signs and white space."""
    if re.match(r"[-+]?(\d|nan|inf)|true|false", token):
        return "number"
    return "text" if token[0] in "\"'" else "word" if token[0].isalpha() else ""


# What a study file may hold, written down a second time.


def unknown(tables: Mapping[str, Any]) -> list[str]:
    """Keys anywhere in the tables of an accepted study that mean nothing."""
    agents = tables.get("agents", ["td3", "sac", "ddpg"])
    learners = {"actor", "critic"}
    found = [key for key in tables if key not in KEYS]
    for key, words in (tables.get("all") or {}).items():
        found += [] if key in FIELDS else [f"all.{key}"]
        found += _unknown_settings(key, words) if key in PARTS else []
    for label, row in tables["methods"].items():
        found += [f"{label}.{key}" for key in _unknown_in_row(row, learners)]
    known = {setting.name for agent in agents for setting in REGISTRY.entry("agent", agent).settings} | {"hidden"}
    found += [key for words in (tables.get("settings") or {}).values() for key in words if key not in known]
    found += [
        key for key in tables.get("axes") or {} if key not in {*known, *FIELDS, "steps", "warmup", "episodes", "donor"}
    ]
    for density in tables.get("densities", ()):
        found += [key for key in density if key not in learners] if isinstance(density, Mapping) else []
    for kind, choices in (("replay", [tables.get("replay")]), ("wrapper", tables.get("wrappers", []))):
        found += [key for words in choices for key in _unknown_settings(kind, words)]
    return found


def _unknown_in_row(row: Any, learners: set[str]) -> Iterator[str]:
    for key, words in row.items() if isinstance(row, Mapping) else ():
        if key in learners:
            yield from _unknown_in_row(words, set())
        elif key not in {*FIELDS, "base"}:
            yield key
        elif key in PARTS:
            yield from _unknown_settings(key, words)
        elif key == "traces":
            yield from (name for trace in words for name in _unknown_settings("trace", trace))


def _unknown_settings(kind: str, words: Any) -> list[str]:
    """Of a table with `part` what that part does not know; without, what no part of its kind knows."""
    if not isinstance(words, Mapping):
        return []
    named = [REGISTRY.entry(kind, words["part"])] if "part" in words else REGISTRY.entries(kind)
    known = {setting.name for entry in named for setting in entry.settings} | {"part"}
    return [f"{kind}.{name}" for name in words if name not in known]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sedes": 1}, "sedes"),
        ({"all": {"eligibel": "hidden"}}, "all.eligibel"),
        ({"all": {"schedule": {"evry": 1}}}, "schedule.evry"),
        ({"methods": {"A": {"base": "set", "gorw": "x"}}}, "A.gorw"),
        ({"methods": {"A": {"base": "set", "actor": {"grwo": "x"}}}}, "A.grwo"),
        ({"methods": {"A": {"base": "set", "schedule": {"part": "periodic", "evry": 1}}}}, "A.schedule.evry"),
        ({"settings": {"td3": {"bach_size": 1}}}, "bach_size"),
        ({"axes": {"hiden": [[8]]}}, "hiden"),
        ({"densities": [{"atcor": 0.5}]}, "atcor"),
        ({"wrappers": [{"part": "noise_features", "shaer": 0.5}]}, "wrapper.shaer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_judge_of_the_fuzz_sees_a_misspelt_key_anywhere(changes: dict[str, Any], key: str) -> None:
    assert unknown(TABLES) == []
    assert unknown(TABLES | changes) == [key]


def judge(data: bytes, folder: Path) -> str:
    """Read, check, expand and plan a study: "refused", or what it was accepted as. Anything else raises."""
    path = folder / "study.toml"
    path.write_bytes(data)
    try:
        tables = read_file(path)
        said = flags.setup(StudyRun(), tables.get("agents", []), tables.get("settings"))
        flags.setup(StudyRun(hidden="8,8", set=("td3.tau=0.1",)), tables.get("agents", []), tables.get("settings"))
        tables |= said
        study = study_from(tables, REGISTRY, name="study", where="study.toml", text=data.decode("utf-8-sig"))
        if study.rows() > 2000:
            return "large"
        cells = study.cells(REGISTRY)
        assert unknown(tables) == [], "an unknown key was accepted"
        assert cells
        flags.toml(tables)
        if not _small(study):
            return "accepted"
        made = plan(study, Store(folder / "store"), REGISTRY, Options(workers=1))
    except BadInput as bad:
        return "not TOML" if "not TOML" in str(bad) else "refused" if all(bad.problems) else "refused without a word"
    assert made.runs
    return "planned"


def _small(study: Study) -> bool:
    """What is built in a moment: plans make every network once."""
    cells = study.cells(REGISTRY)
    widths = [
        width for cell in cells for name, of in cell.run.agent.settings.items() if "_hidden" in name for width in of
    ]
    rows = {(cell.label, cell.run.env) for cell in cells}
    return max(widths, default=0) <= 64 and len(widths) <= 4 * len(cells) and len(rows) <= 4 and study.steps <= 10_000


def fuzz(examples: int) -> None:
    came_to: dict[str, int] = {}

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=examples <= 200
    )
    @given(st.one_of(retold(), mutated()))
    def one(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as name:
            how = judge(data, Path(name))
            assert [path.name for path in Path(name).iterdir()] == ["study.toml"], "nothing is written"
        came_to[how] = came_to.get(how, 0) + 1

    one()
    print(came_to)
    assert "refused without a word" not in came_to
    assert came_to["refused"] > examples / 10
    assert came_to["planned"] + came_to["accepted"] > examples / 20, "mutations leave some files good"


@pytest.mark.filterwarnings("ignore:.*runs in its place|the paper's")
def test_a_mutated_study_file_is_a_plan_or_refused() -> None:
    fuzz(200)


@pytest.mark.reliability
@pytest.mark.filterwarnings("ignore:.*runs in its place|the paper's")
def test_thousands_of_mutated_study_files_are_plans_or_refused() -> None:
    fuzz(5000)


# Names


def _names() -> st.SearchStrategy[str]:
    """Anything, and what has led out of a folder before."""
    ways = st.sampled_from(
        ("..", "../", "/", "//", "./", "\\", "..\\", "%2e%2e%2f", "%252e", "~", "~root", "C:", "CON", "\0")
    )
    more = st.sampled_from(
        ("\n", "\r", " ", ".", "-", "\x1b[2J", "\u202e", "\ufeff", "\U0001f600", "\udcff", "x" * 300, "ok")
    )
    return st.one_of(st.text(), st.lists(st.one_of(ways, more, st.text(max_size=3)), max_size=6).map("".join))


def held_together(name: str, folder: Path) -> bool:
    """Give a study this name, and its rows: whether it was taken. Nothing may be written outside of the store."""
    store, outside = Store(folder / "a" / "b" / "store"), sorted(folder.parent.iterdir())
    tables = {**TABLES, "name": name, "methods": {name: "set"}}
    taken = True
    try:
        study = study_from(tables, REGISTRY, name="study")
    except BadInput:
        taken, study = False, study_from({**tables, "name": "study"}, REGISTRY, name="study")
    cells = study.cells(REGISTRY)
    store.save_study(study, cells, flags.toml({**tables, "name": study.name}) if _encodes(name) else "")
    for cell in cells:
        store.prepare(cell.run)
    for looked in (store.cells, store.verify_study):
        if name != study.name:
            with pytest.raises((BadInput, OSError)):  # A name of 300 letters is refused by the file system.
                looked(name)
    written = [path.relative_to(folder).parts for path in folder.rglob("*") if not path.is_dir()]
    assert {parts[:3] for parts in written} == {("a", "b", "store")}
    assert {parts[3:5] for parts in written} == {("studies", study.name), ("runs", cells[0].run.id)}
    assert sorted(folder.parent.iterdir()) == outside
    return taken


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def hostile_names(examples: int) -> None:
    taken = []

    @settings(max_examples=examples, deadline=None, derandomize=examples <= 300)
    @given(_names())
    def one(name: str) -> None:
        with tempfile.TemporaryDirectory() as holder:
            (Path(holder) / "folder").mkdir()
            if held_together(name, Path(holder) / "folder"):
                taken.append(name)

    one()
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name) for name in taken)


def test_a_hostile_name_writes_nothing_outside_of_the_store() -> None:
    hostile_names(300)


@pytest.mark.reliability
def test_thousands_of_hostile_names_write_nothing_outside_of_the_store() -> None:
    hostile_names(10_000)


# Code

FORBIDDEN = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml", "jsonpickle"}
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
METHODS = {
    "torch.load",
    "torch.hub",
    "np.fromregex",
    "pd.read_pickle",
    "os.system",
    "os.popen",
    "importlib.import_module",
}
IMPORTS = ("registry/tables.py", "studies/bench/peers.py")
"""Plugins are code, and are imported by name; the bench tries whether its contestants are installed."""


def ways_to_code(source: str, path: str = "") -> list[str]:
    """What in a module could run what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [f"import {name}" for name in names if name.split(".")[0] in FORBIDDEN]
        if isinstance(node, ast.Attribute) and ast.unparse(node) in METHODS:
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            found += [name] if name in CALLS else []
            loads = name in ("np.load", "numpy.load") and words.get("allow_pickle") != "False"
            found += [f"{name} with pickles"] if loads or words.get("allow_pickle") == "True" else []
            found += [f"{name} by a shell"] if words.get("shell") == "True" else []
    return [each for each in found if not (path in IMPORTS and each == "importlib.import_module")]


def test_no_file_is_a_way_to_code() -> None:
    root = Path(__file__).parents[1]
    modules = [path for package in ("registry", "sparsity", "rl", "studies") for path in (root / package).rglob("*.py")]
    assert len(modules) > 100
    found = {
        str(path.relative_to(root)): ways_to_code(path.read_text(), str(path.relative_to(root))) for path in modules
    }
    assert {path: ways for path, ways in found.items() if ways} == {}


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from yaml import load", "import dill as d", "torch.load(p)", "x = eval(t)", "exec(t)"),
        *("np.load(p)", "np.load(p, allow_pickle=True)", "run(t, shell=True)", "os.system(t)", "__import__(t)"),
        *("importlib.import_module(t)", "f = torch.load", "numpy.load(p, mmap_mode='r')"),
    ],
)
def test_a_way_to_code_is_seen(line: str) -> None:
    assert ways_to_code(line)
