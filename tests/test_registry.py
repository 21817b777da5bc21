"""What is registered, by whom, and what becomes of plugins that are broken."""

from __future__ import annotations

import hashlib
import runpy
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from registry import PartError, Registry, hookimpl, part
from registry.sample import sample_settings

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"
GOOD = """
from registry import hookimpl

def {name}(weight):
    \"\"\"|w|.\"\"\"
    return weight.abs()

@hookimpl
def register_prune(register):
    register({name})
"""


# A plugin of this module's own, for the tests of settings.


def wanted(weight: Any, *, heat: float) -> Any:
    """One setting without a default."""


def varied(
    weight: Any,
    *,
    heat: float = 0.1,
    every: int = 10,
    until: float | int = 1.0,
    sign: Literal["plus", "minus"] = "plus",
    widths: tuple[int, ...] = (8,),
    on: bool = False,
    layers: Mapping[str, float] | None = None,
) -> Any:
    """Settings of every type."""


@hookimpl
def register_prune(register: Callable[..., object]) -> None:
    register(wanted)
    register(varied)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(installed=False)


@pytest.fixture(scope="module")
def own() -> Registry:
    return Registry((__name__,), installed=False)


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a plugin file."""

    def write(text: str) -> Path:
        path = tmp_path / "plugin.py"
        path.write_text(textwrap.dedent(text))
        return path

    return write


@contextmanager
def refused(*says: str) -> Iterator[None]:
    """A PartError must come that says all of this."""
    with pytest.raises(PartError) as caught:
        yield
    for text in says:
        assert text in str(caught.value)


Install = Callable[..., None]


def lay_out(site: Path, distribution: str, points: Mapping[str, str], version: str = "1.0") -> None:
    """Write what an installer leaves of a distribution."""
    folder = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    lines = [f"{name} = {target}" for name, target in points.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[sparsity]", *lines, ""]))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with its modules into a folder on sys.path, and forgets the modules afterwards."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    known = set(sys.modules)

    def lay(distribution: str, points: Mapping[str, str], version: str = "1.0", **modules: str) -> None:
        for name, text in modules.items():
            (site / f"{name}.py").write_text(textwrap.dedent(text))
        lay_out(site, distribution, points, version)

    yield lay
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def example_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package as an editable install leaves it: metadata in one folder, the module where it stands."""
    site = tmp_path_factory.mktemp("example")
    lay_out(site, "warm", {"warm": "warm"}, "0.1.0")
    return site


# Look-ups.


def test_every_in_tree_part_is_registered_without_a_problem(registry: Registry) -> None:
    assert registry.problems == []
    assert {"magnitude", "half_per_sign"} <= set(registry.names("prune"))
    assert {"dense", "set", "rigl", "ds"} <= set(registry.names("method"))


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known(registry: Registry) -> None:
    with refused("no prune named 'magnitud'. Did you mean 'magnitude'? Known: magnitude, "):
        registry.entry("prune", "magnitud")
    with refused("no kind named 'prun'. Did you mean 'prune'? Known: eligible, "):
        registry.entry("prun", "magnitude")
    with refused("no prune named 'zzz'. Known: "):
        registry.bind("prune", part("zzz"))


def test_every_part_says_in_a_line_what_it_does(registry: Registry) -> None:
    entries = [entry for kind in ("prune", "grow", "schedule", "method", "agent") for entry in registry.entries(kind)]
    assert [entry.name for entry in entries if not entry.summary] == []


# Settings.


def test_a_missing_setting_is_named_with_its_type(own: Registry) -> None:
    with refused("prune 'wanted' needs a value for 'heat' (a number)"):
        own.bind("prune", part("wanted"))
    assert own.entry("prune", "wanted").check({}, partial=True) == {}


def test_an_unknown_setting_is_answered_with_the_nearest(own: Registry) -> None:
    with refused("has no setting 'evry'. Did you mean 'every'? Settings: heat, every"):
        own.bind("prune", part("varied", evry=3))


@pytest.mark.parametrize(
    ("setting", "given", "kept"),
    [
        ("every", 1e6, 1_000_000),
        ("every", 7, 7),
        ("heat", 1, 1.0),
        ("until", 1, 1),
        ("until", 1.0, 1.0),
        ("until", 500.0, 500.0),
        ("sign", "minus", "minus"),
        ("widths", [64, 32.0], (64, 32)),
        ("on", True, True),
        ("layers", {"head.weight": 1}, {"head.weight": 1.0}),
        ("layers", None, None),
    ],
)
def test_a_setting_is_kept_as_its_type(own: Registry, setting: str, given: object, kept: object) -> None:
    value = own.resolve("prune", part("varied", **{setting: given})).settings[setting]
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("setting", "given", "says"),
    [
        ("heat", True, "must be a number, not True"),
        ("heat", "0.1", "must be a number, not '0.1'"),
        ("heat", float("nan"), "must be a number, not nan"),
        ("heat", float("inf"), "must be a number, not inf"),
        ("heat", None, "must be a number, not None"),
        ("every", "x", "must be a whole number, not 'x'"),
        ("every", 2.5, "must be a whole number, not 2.5"),
        ("every", float("nan"), "must be a whole number, not nan"),
        ("every", False, "must be a whole number, not False"),
        ("until", True, "must be a number or a whole number, not True"),
        ("sign", "plsu", "must be one of 'plus', 'minus', not 'plsu'"),
        ("widths", 64, "must be a list, each a whole number, not 64"),
        ("widths", [64, "x"], "must be a list, each a whole number"),
        ("on", 1, "must be true or false, not 1"),
        ("layers", {"head.weight": "all"}, "must be a table, each value a number or none"),
        ("layers", [0.5], "must be a table, each value a number or none"),
    ],
)
def test_a_setting_of_the_wrong_type_is_refused(own: Registry, setting: str, given: object, says: str) -> None:
    with refused(f"prune 'varied': {setting} {says}"):
        own.bind("prune", part("varied", **{setting: given}))


def test_sample_settings_fit_their_part(registry: Registry, own: Registry) -> None:
    for entry in [*own.entries("prune"), *registry.entries("allocation"), *registry.entries("agent")]:
        entry.check(sample_settings(entry))


# Plugins that cannot be used. The file is left out whole, whatever else it brings.

BAD = {
    "P1 a misspelt hook": (
        "@hookimpl\ndef register_prun(register): ...",
        "unknown hook 'register_prun'. Did you mean 'register_prune'?",
    ),
    "P1 a hook misspelt at its beginning": ("@hookimpl\ndef regster_prune(register): ...", "regster_prune"),
    "P2 a hook that asks for more": ("@hookimpl\ndef register_born(register, colour): ...", "colour"),
    "P3 a hook that raises": ("@hookimpl\ndef register_born(register): raise OSError('no disk')", "OSError: no disk"),
    "P8 a hook that calls wrongly": ("@hookimpl\ndef register_born(register): register()", "TypeError"),
    "P9 a hook that leaves": ("import sys\n@hookimpl\ndef register_born(register): sys.exit(3)", "SystemExit: 3"),
    "P9 a module that leaves": ("raise SystemExit('bye')", "SystemExit: bye"),
    "P12 a class": ("class hot: ...\n@hookimpl\ndef register_born(register): register(hot)", "must be a function"),
    "P12 an instance": (
        "@hookimpl\ndef register_born(register): register(object(), name='hot')",
        "born 'hot' must be a function",
    ),
    "P12 a string": ("@hookimpl\ndef register_born(register): register('hot')", "born 'hot'"),
    "P12 nothing": ("@hookimpl\ndef register_born(register): register(None)", "born None"),
    "P12 a lambda": ("@hookimpl\ndef register_born(register): register(lambda grad: grad)", "born '<lambda>'"),
    "P12 a function as a method": (
        "@hookimpl\ndef register_method(register): register(cold)",
        "method 'cold' must be a Method, not <function cold",
    ),
    "*args": ("def hot(*args): ...\n@hookimpl\ndef register_born(register): register(hot)", "*args in its signature"),
    "**kwargs": ("def hot(**more): ...\n@hookimpl\ndef register_born(register): register(hot)", "**more in its"),
    "a setting without annotation": (
        "def hot(grad, *, heat=1): ...\n@hookimpl\ndef register_born(register): register(hot)",
        "born 'hot': setting 'heat' has no annotation",
    ),
    "an input with a default": (
        "def hot(grad, heat=1): ...\n@hookimpl\ndef register_born(register): register(hot)",
        "input 'heat' has a default: put `*` before it",
    ),
    "an unknown input": (
        "def hot(wieght): ...\n@hookimpl\ndef register_grow(register): register(hot)",
        "grow 'hot' asks for 'wieght', which nothing feeds. Did you mean 'weight'?",
    ),
    "an input of another kind": (
        "def hot(step): ...\n@hookimpl\ndef register_grow(register): register(hot)",
        "grow 'hot' asks for 'step', which nothing feeds",
    ),
    "a name with blanks": (
        "@hookimpl\ndef register_born(register): register(cold, name='ice cold')",
        "born 'ice cold': a name is",
    ),
    "an unknown fact": (
        "@hookimpl\ndef register_born(register): register(cold, window=3)",
        "register for a born takes no 'window'",
    ),
    "one name twice": (
        "@hookimpl\ndef register_grow(register):\n    register(cold)\n    register(cold)",
        "registers grow 'cold' twice",
    ),
    "an annotation of nothing": (
        "def hot(grad: Unheard): ...\n@hookimpl\ndef register_born(register): register(hot)",
        "Unheard",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_plugin_is_left_out_whole_with_its_reason(fault: str, plugin: Callable[[str], Path]) -> None:
    text, says = BAD[fault]
    head = "from registry import hookimpl\ndef cold(grad): ...\n"
    first = "@hookimpl\ndef register_prune(register): register(cold)\n"
    registry = Registry((), installed=False)
    with refused(says):
        registry.load_file(plugin(head + first + text))
    assert registry.names("prune") == registry.names("born") == registry.names("grow") == []
    registry.load_file(plugin(GOOD.format(name="cold")))
    assert registry.names("prune") == ["cold"]


def test_a_plugin_asks_for_the_traces_that_it_brings(plugin: Callable[[str], Path]) -> None:
    registry = Registry((), installed=False)
    registry.load_file(
        plugin("""
        from registry import hookimpl
        def drift(trace, weight): return trace + weight
        def least_drift(drift): return drift.abs()
        @hookimpl
        def register_trace(register): register(drift, window=3)
        @hookimpl
        def register_prune(register): register(least_drift)
        """)
    )
    assert registry.entry("prune", "least_drift").inputs == ("drift",)
    assert registry.entry("trace", "drift").facts == {"window": 3}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "def register_prune(register): register(misdeclared)",
            "the default of setting 'heat' must be a number, not 'hot'",
        ),
        ("def register_trace(register): register(summed, window=0)", "window is a whole number of optimiser steps"),
        ("def register_trace(register): register(summed, name='weight')", "a trace cannot be named 'weight'"),
        ("def register_prune(register): register(typed)", "the annotation of a setting cannot be read"),
        ("def regster_prune(register): register(typed)", "Did you mean 'register_prune'?"),
    ],
)
def test_a_declaration_that_cannot_hold_is_refused(plugin: Callable[[str], Path], line: str, says: str) -> None:
    path = plugin(f"""
        from __future__ import annotations
        from registry import hookimpl
        def misdeclared(weight, *, heat: float = "hot"): return weight
        def summed(trace, grad): return trace + grad
        def typed(weight, *, heat: flaot = 1.0): return weight
        @hookimpl
        {line}
        """)
    with refused(says):
        Registry((), installed=False).load_file(path)


def test_only_settings_need_annotations_that_can_be_read(plugin: Callable[[str], Path]) -> None:
    registry = Registry((), installed=False)
    registry.load_file(
        plugin("""
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from registry import hookimpl
        if TYPE_CHECKING:
            from torch import Tensor
        def warm(weight: Tensor, *, heat: float = 0.1) -> Tensor: return weight
        @hookimpl
        def register_prune(register): register(warm)
        """)
    )
    assert registry.names("prune") == ["warm"]


def test_a_file_may_hold_dataclasses_and_be_called_like_a_module(tmp_path: Path) -> None:
    import random

    path = tmp_path / "random.py"
    path.write_text(
        textwrap.dedent("""
        from __future__ import annotations
        from dataclasses import dataclass
        from registry import hookimpl
        @dataclass
        class Heat:
            value: float = 0.1
        def warm(weight): return weight.abs() * Heat().value
        @hookimpl
        def register_prune(register): register(warm)
        """)
    )
    registry = Registry((), installed=False)
    registry.load_file(path)
    assert registry.names("prune") == ["warm"]
    assert sys.modules["random"] is random


def test_the_source_of_a_package_is_all_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "heated"
    package.mkdir()
    (package / "help.py").write_text("FACTOR = 2")
    (package / "__init__.py").write_text(
        "from registry import hookimpl\nfrom heated.help import FACTOR\n"
        "def warm(weight): return weight * FACTOR\n"
        "@hookimpl\ndef register_prune(register): register(warm)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry((), installed=False)
    registry.load_module("heated")
    before = registry.entry("prune", "warm").source_hash
    (package / "help.py").write_text("FACTOR = 3")
    assert registry.entry("prune", "warm").source_hash != before
    for name in ("heated", "heated.help"):
        monkeypatch.delitem(sys.modules, name)


def test_a_refused_file_leaves_nothing_behind(plugin: Callable[[str], Path]) -> None:
    registry = Registry(installed=False)
    path = plugin("""
        from registry import hookimpl
        def magnitude(weight): return weight
        def other(weight): return weight
        @hookimpl
        def register_prune(register):
            register(other)
            register(magnitude)
        """)
    for _ in range(2):
        with refused("prune 'magnitude' is claimed by sparsity.prune and by"):
            registry.load_file(path)
    assert registry.entry("prune", "magnitude").origin.in_tree
    assert "other" not in registry.names("prune")


# Files.


def test_a_file_that_is_missing_or_no_python_is_refused(tmp_path: Path) -> None:
    registry = Registry((), installed=False)
    (tmp_path / "notes.txt").write_text("prune more")
    (tmp_path / "broken.py").write_text("def warm(:\n")
    (tmp_path / "binary.py").write_bytes(b"\x00\xff\x00")
    (tmp_path / "lost.py").write_text("import no_such_module_anywhere")
    for name, says in {
        "absent.py": "does not exist",
        "": "is a folder",
        "notes.txt": "is not a Python file: its name must end in .py",
        "broken.py": "cannot be loaded: SyntaxError",
        "binary.py": "cannot be loaded",
        "lost.py": "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module_anywhere'",
    }.items():
        with refused(says):
            registry.load_file(tmp_path / name)
    assert registry.problems == []


def test_a_file_loaded_twice_counts_once(plugin: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = plugin(GOOD.format(name="calm"))
    registry = Registry((), installed=False)
    registry.load_file(path)
    monkeypatch.chdir(path.parent)
    registry.load_file(path.name)
    assert registry.names("prune") == ["calm"]


def test_a_file_that_claims_a_taken_name_is_refused_naming_both(plugin: Callable[[str], Path]) -> None:
    registry = Registry(("sparsity.prune",), installed=False)
    path = plugin(GOOD.format(name="magnitude"))
    with refused(f"prune 'magnitude' is claimed by sparsity.prune and by {path}: rename one"):
        registry.load_file(path)


def test_a_foreign_part_has_the_hash_of_its_file_and_an_in_tree_part_none(plugin: Callable[[str], Path]) -> None:
    registry = Registry(("sparsity.prune",), installed=False)
    path = plugin(GOOD.format(name="calm"))
    registry.load_file(path)
    assert registry.entry("prune", "calm").source_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert registry.entry("prune", "magnitude").source_hash is None


# Installed distributions.


def test_an_installed_part_knows_its_distribution(install: Install) -> None:
    install("hot-things", {"hot": "hot_module"}, "2.3", hot_module=GOOD.format(name="hot"))
    entry = Registry((), installed=True).entry("prune", "hot")
    assert str(entry.origin) == "hot (hot-things 2.3)"
    assert not entry.origin.in_tree
    assert entry.source_hash is not None


def test_a_broken_installed_plugin_is_a_warning_and_the_others_go_on(install: Install) -> None:
    install("a-lost", {"lost": "lost_module"}, lost_module="import no_such_module_anywhere")
    install("b-leaving", {"leaving": "leaving_module"}, leaving_module="raise SystemExit(1)")
    install("c-absent", {"absent": "absent_module"})
    install("d-typo", {"typo": "typo_module"}, typo_module=GOOD.format(name="x").replace("_prune", "_prun"))
    install("z-good", {"good": "good_module"}, good_module=GOOD.format(name="good"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        registry = Registry(())
    assert registry.names("prune") == ["good"]
    told = [str(warning.message) for warning in caught]
    for says in (
        "set aside: plugin 'lost' of a-lost 1.0: ModuleNotFoundError",
        "set aside: plugin 'leaving' of b-leaving 1.0: SystemExit: 1",
        "set aside: plugin 'absent' of c-absent 1.0: ModuleNotFoundError",
        "set aside: plugin 'typo' of d-typo 1.0: unknown hook 'register_prun'. Did you mean 'register_prune'?",
    ):
        assert sum(text.startswith(says) for text in told) == 1, says
    assert len(registry.problems) == 4


def test_asking_for_a_part_of_a_broken_plugin_tells_its_reason(install: Install) -> None:
    install("a-lost", {"lost": "lost_module"}, lost_module="import no_such_module_anywhere")
    with pytest.warns(UserWarning, match="set aside"):
        registry = Registry(("sparsity.prune",))
    with refused("no prune named 'lost'", "set aside: plugin 'lost' of a-lost 1.0"):
        registry.entry("prune", "lost")


def test_two_distributions_with_one_entry_point_are_both_set_aside(install: Install) -> None:
    install("maker-a", {"twin": "twin_a"}, twin_a=GOOD.format(name="first"))
    install("maker-b", {"twin": "twin_b"}, "2.0", twin_b=GOOD.format(name="second"))
    install("maker-c", {"good": "good_module"}, good_module=GOOD.format(name="good"))
    with pytest.warns(UserWarning, match="'twin' is claimed by maker-a 1.0 and by maker-b 2.0: uninstall one"):
        registry = Registry(())
    assert registry.names("prune") == ["good"]


def test_a_part_name_claimed_twice_is_an_error_for_whoever_asks_for_it(install: Install) -> None:
    install("maker-a", {"a": "module_a"}, module_a=GOOD.format(name="hot"))
    install("maker-b", {"b": "module_b"}, module_b=GOOD.format(name="hot"))
    install("maker-c", {"c": "module_c"}, module_c=GOOD.format(name="magnitude"))
    registry = Registry(("sparsity.prune",))
    assert len(registry.problems) == 2
    with refused("prune 'hot' is claimed by a (maker-a 1.0) and by b (maker-b 1.0): rename one"):
        registry.entry("prune", "hot")
    with refused("prune 'magnitude' is claimed by sparsity.prune and by c (maker-c 1.0)"):
        registry.entry("prune", "magnitude")
    assert registry.entry("prune", "saliency").origin.in_tree


def test_a_property_that_raises_stops_nothing(install: Install) -> None:
    text = """
    class Plugin:
        @property
        def settings(self):
            raise RuntimeError("touched")

        @hookimpl
        def register_prune(self, register):
            register(calm)

    plugin = Plugin()
    """
    head = "from registry import hookimpl\ndef calm(weight): ...\n"
    install("odd", {"odd": "odd_module:plugin"}, odd_module=head + textwrap.dedent(text))
    registry = Registry(())
    assert registry.problems == []
    assert registry.names("prune") == ["calm"]


def test_without_installed_plugins_none_is_imported(install: Install) -> None:
    install("loud", {"loud": "loud_module"}, loud_module="raise AssertionError")
    assert Registry((), installed=False).problems == []
    assert "loud_module" not in sys.modules


# The example package.


@pytest.fixture
def example(example_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(example_site))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield EXAMPLE
    sys.modules.pop("warm", None)


def test_the_example_is_found_through_its_entry_point(example: Path) -> None:
    registry = Registry()
    entry = registry.entry("prune", "warm")
    assert str(entry.origin) == "warm (warm 0.1.0)"
    assert entry.summary == "|w| + heat u: magnitude pruning that sometimes spares the small."
    assert entry.inputs == ("weight", "noise")
    assert registry.resolve("prune", part("warm")).settings == {"heat": 0.1}
    assert entry.source_hash == hashlib.sha256((example / "warm.py").read_bytes()).hexdigest()


def test_the_example_declares_what_is_laid_out_here(example: Path) -> None:
    import tomllib

    project = tomllib.loads((example / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["version"]) == ("warm", "0.1.0")
    assert project["entry-points"] == {"sparsity": {"warm": "warm"}}


def test_an_installed_plugin_named_as_a_file_too_counts_once(example: Path) -> None:
    registry = Registry()
    registry.load_file(example / "warm.py")
    assert registry.problems == []
    assert registry.names("prune").count("warm") == 1


def test_the_tests_of_the_example_pass(example: Path) -> None:
    tests = {
        name: f for name, f in runpy.run_path(str(example / "tests" / "test_warm.py")).items() if name[:5] == "test_"
    }
    assert len(tests) == 2
    for test in tests.values():
        test()
