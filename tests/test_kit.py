"""`sparsity plugin new` writes packages that work, and `sparsity check` and `plugin list` know what is installed."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from lab import ENV, Lab, a_lab, no_figures

from registry import KINDS, PartError, Registry
from rl.check import assert_conforms as assert_rl
from sparsity import SET
from sparsity.check import assert_conforms
from studies.check import assert_conforms as assert_any
from studies.kit import package
from studies.kit.names import Names
from studies.kit.package import files, module_text

lab, quiet = a_lab, no_figures

ROOT = Path(__file__).parents[1]
TINY = (
    *("--envs", ENV, "--steps", "120", "--seeds", "1", "--densities", "0.5", "--eval-every", "60", "--hidden", "8,8"),
    *("--set", "warmup=50", "--set", "episodes=1", "--set", "random_episodes=1", "--set", "td3.batch_size=8"),
)


@pytest.fixture
def here(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The lab's folder as the working one; modules that are imported from it are forgotten afterwards."""
    monkeypatch.chdir(lab.folder)
    known = set(sys.modules)
    yield lab.folder
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(lab.folder)):
            del sys.modules[name]


def written(folder: Path) -> dict[str, str]:
    """The texts of a folder, without what Python has compiled of them."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


# What is written.


def test_the_example_is_what_the_command_writes(lab: Lab, here: Path) -> None:
    """To write it anew: remove examples/plugin, then `sparsity plugin new warm --to examples/plugin`."""
    assert lab("plugin", "new", "warm", "--to", "here").code == 0
    assert written(ROOT / "examples" / "plugin") == written(here / "here")


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_of_every_kind_passes_its_tests_and_has_a_study_that_can_be_planned(
    kind: str, lab: Lab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lab("plugin", "new", f"new-{kind}", "--kind", kind)
    assert made.code == 0, made.err
    folder, module = here / f"new-{kind}", f"new_{kind}"
    assert set(written(folder)) == {
        *("pyproject.toml", "README.md", ".gitignore", "ablation.toml"),
        *(f"{module}.py", f"tests/test_{module}.py"),
    }
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for name, test in runpy.run_path(f"tests/test_{module}.py").items():
        if name.startswith("test_"):
            test(**({"tmp_path": here} if "tmp_path" in test.__code__.co_varnames else {}))
    [command] = set(re.findall(r"^sparsity (study run ablation.toml --plugin .*)$", made_readme(folder), re.MULTILINE))
    planned = lab(*command.split(), "--dry-run")
    assert planned.code == 0, planned.err
    assert module in (folder / "ablation.toml").read_text()


def made_readme(folder: Path) -> str:
    return (folder / "README.md").read_text()


def test_every_sparse_example_takes_part_in_a_run(lab: Lab, here: Path) -> None:
    """Events at every 20th update, all examples that are fields of a method in one study, a row each."""
    kinds = [kind for kind in KINDS if hasattr(SET, kind)]
    for kind in kinds:
        (here / f"own_{kind}.py").write_text(module_text(kind, f"own_{kind}"))
    often = {kind: f'"own_{kind}"' for kind in kinds} | {"schedule": '{ part = "own_schedule", first = 10 }'}
    rows = "\n".join(
        f'"{kind}" = {{ base = "set", {"" if kind == "schedule" else "schedule = { every = 20 }, "}{kind} = {part} }}'
        for kind, part in often.items()
    )
    head = f'agents = ["td3"]\nenvs = ["{ENV}"]\nseeds = 1\nsteps = 120\ndensities = [0.5]\n[methods]\n'
    (here / "all.toml").write_text(head + rows)
    plugins = [word for kind in kinds for word in ("--plugin", f"own_{kind}.py")]
    done = lab.run("all.toml", *plugins, *TINY, "--execution", "masked")
    assert done.code == 0, done.err
    for kind in kinds:
        assert lab.result_of(kind, name="all")["events"] > 0 or kind == "eligible"


def test_the_study_of_a_new_plugin_runs(lab: Lab, here: Path) -> None:
    lab("plugin", "new", "warm")
    assert lab("check", "warm").out == "prune warm: conforms (18 cases)\n"
    done = lab.run("warm/ablation.toml", "--plugin", "warm/warm.py", *TINY)
    assert done.code == 0, done.err
    assert "SET, warm" in done.out


def test_a_package_is_made_around_a_file(lab: Lab, here: Path) -> None:
    own = module_text("grow", "drawn")
    (here / "mine.py").write_text(own)
    answer = lab("plugin", "new", "my-idea", "--from", "mine.py")
    assert answer.code == 0, answer.err
    assert "with the grow part drawn in my_idea.py" in answer.out
    assert (here / "my-idea" / "my_idea.py").read_text() == own
    assert '"SET, drawn" = ' in (here / "my-idea" / "ablation.toml").read_text()
    assert "grow drawn: conforms" in lab("check", "my-idea").out
    assert lab("study", "run", "my-idea/ablation.toml", "--plugin", "mine.py", "--dry-run").code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_study_around_a_file_of_any_kind_is_toml(kind: str) -> None:
    made = files(Names("mine", "mine", "own", kind, Path("mine")), "text")
    assert tomllib.loads(made["ablation.toml"])["seeds"] == 3
    assert tomllib.loads(made["pyproject.toml"])["project"]["entry-points"]["sparsity"] == {"own": "mine"}
    others = {"rl": ("agent", "replay", "wrapper"), "studies": ("preset", "executor", "logger")}
    suite = next((name for name, kinds in others.items() if kind in kinds), "sparsity")
    assert f"\nfrom {suite}.check import assert_conforms\n" in made["tests/test_mine.py"]


# What is refused, with nothing written.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name the plugin"),
        (["My Plugin"], "Say, my-plugin"),
        (["9lives"], "Say, lives"),
        (["-"], "lower-case letters and digits"),
        (["a" * 61], "at most 60 characters"),
        (["warm", "--kind", "pruning"], "Did you mean 'prune'?"),
        (["magnitude"], "a prune 'magnitude' is registered already, by sparsity.prune"),
        (["sparsity-rl-magnitude"], "a prune 'magnitude' is registered already"),
        (["random"], "would stand in front of Python's own"),
        (["torch"], "a module 'torch' is installed already"),
        (["import"], "is a word of Python's"),
        (["sparsity-rl"], "a distribution sparsity-rl"),
        (["weight"], "'weight' is an input of a prune part"),
        (["warm", "--to", "."], ". exists already"),
        (["warm", "--to", "no/such/place"], "which is no folder: make it first"),
        (["warm", "--from", "nothing.py"], "does not exist"),
    ],
    ids=str,
)
def test_names_that_cannot_be_are_refused_before_anything_is_written(
    words: list[str], said: str, lab: Lab, here: Path
) -> None:
    before = sorted(here.rglob("*"))
    answer = lab("plugin", "new", *words)
    assert answer.code == 2
    assert said in answer.err + answer.out
    assert "Traceback" not in answer.err
    assert sorted(here.rglob("*")) == before


def test_a_folder_that_exists_is_left_alone(lab: Lab, here: Path) -> None:
    (here / "warm").mkdir()
    answer = lab("plugin", "new", "warm")
    assert answer.code == 2
    assert "warm exists already: choose another name, or another folder by --to" in answer.err
    assert list((here / "warm").iterdir()) == []


def test_all_files_are_written_or_none(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = files(Names("warm", "warm", "warm", "prune", here / "warm"))
    texts["README.md"] = "\ud800"  # Which no file can hold.
    with pytest.raises(UnicodeEncodeError):
        package.write(texts, here / "warm")
    assert [path.name for path in here.iterdir()] == ["here.py"]


# Plugins that are installed.

Install = Callable[..., Path]


@pytest.fixture
def install(here: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """What an installer leaves of a distribution, with its modules, in a folder on sys.path."""
    site = here / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def lay(distribution: str, points: Mapping[str, str], **modules: str) -> Path:
        for name, text in modules.items():
            (site / f"{name}.py").write_text(text)
        folder = site / f"{distribution.replace('-', '_')}-2.3.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.3\n")
        lines = [f"{name} = {target}" for name, target in points.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[sparsity]", *lines, ""]))
        return site

    return lay


def test_an_installed_plugin_is_checked_by_its_names_and_with_all_others(lab: Lab, install: Install) -> None:
    install("hot-things", {"hot": "hot_module"}, hot_module=module_text("prune", "hot"))
    install("wet-things", {"wet": "wet_module"}, wet_module=module_text("grow", "wet"))
    for target in ("hot", "hot-things", "hot_module"):
        assert lab("check", target).out.strip() == "prune hot: conforms (18 cases)"
    assert lab("check").out.split("\n")[:2] == ["prune hot: conforms (18 cases)", "grow wet: conforms (18 cases)"]
    shown = r"^  hot +\|w\| \+ heat u.* \[hot \(hot-things 2\.3\)\]$"
    assert re.search(shown, lab("parts", "prune").out, re.MULTILINE)
    listed = lab("plugin", "list").out
    assert "hot  [hot-things 2.3]\n  prune hot  |w| + heat u" in listed


def test_the_file_of_an_installed_plugin_can_be_checked_too(lab: Lab, install: Install) -> None:
    site = install("hot-things", {"hot": "hot_module"}, hot_module=module_text("prune", "hot"))
    assert lab("check", site / "hot_module.py").out.strip() == "prune hot: conforms (18 cases)"


def test_a_broken_installed_plugin_is_a_warning_and_an_error_for_who_names_it(lab: Lab, install: Install) -> None:
    text = module_text("prune", "hot").replace("register_prune", "register_prun")
    install("hot-things", {"hot": "hot_module"}, hot_module=text)
    others = lab("parts", "prune")
    assert others.code == 0
    assert "warning: plugin set aside: plugin 'hot' of hot-things 2.3: unknown hook 'register_prun'" in others.err
    for target in ([], ["hot"], ["hot-things"]):
        named = lab("check", *target)
        assert named.code == 2
        (error,) = named.errors
        assert "plugin 'hot' of hot-things 2.3 cannot be loaded: unknown hook 'register_prun'. Did you mean" in error
        assert "hot_module.py:" in error
    assert "cannot be loaded" in lab("plugin", "list").out


def test_an_installed_part_whose_name_is_taken_is_told(lab: Lab, install: Install) -> None:
    install("hot-things", {"hot": "hot_module"}, hot_module=module_text("prune", "magnitude"))
    answer = lab("check", "hot")
    assert answer.code == 2
    assert "prune magnitude: 1 problem" in answer.out
    assert "cannot be chosen: prune 'magnitude' is claimed by sparsity.prune and by hot (hot-things 2.3)" in answer.out


def test_a_hook_of_a_newer_version_may_be_passed_by(lab: Lab, here: Path) -> None:
    newer = "\n\n@hookimpl(optionalhook=True)\ndef register_curriculum(register): ...\n"
    (here / "both.py").write_text(module_text("prune", "both") + newer)
    assert lab("check", "both.py").out.strip() == "prune both: conforms (18 cases)"


def test_a_file_that_is_meant_is_named(lab: Lab, here: Path) -> None:
    (here / "mine.py").write_text(module_text("prune", "mine"))
    assert "Did you mean the file mine.py?" in lab("check", "mine").err


# For a plugin's own tests.


@pytest.fixture
def module(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], types.ModuleType]:
    """A module of that text."""
    monkeypatch.syspath_prepend(str(here))

    def make(name: str, text: str) -> types.ModuleType:
        (here / f"{name}.py").write_text(text)
        made: types.ModuleType = pytest.importorskip(name)
        return made

    return make


def test_a_plugin_that_conforms_passes(module: Callable[[str, str], types.ModuleType]) -> None:
    assert_conforms(module("good_prune", module_text("prune", "good_prune")))
    assert_rl(module("good_wrapper", module_text("wrapper", "good_wrapper")))
    assert_any(module("good_logger", module_text("logger", "good_logger")))


def test_a_plugin_that_does_not_conform_fails_with_what_the_command_says(
    module: Callable[[str, str], types.ModuleType],
) -> None:
    bad = module("bad", module_text("prune", "bad").replace("weight.abs() + heat * noise", "weight.abs().sum()"))
    with pytest.raises(AssertionError) as failed:
        assert_conforms(bad)
    assert str(failed.value).startswith("prune bad: 1 problem (18 cases)\n  - it gave Tensor")
    assert "to mend" in str(failed.value)


def test_a_plugin_of_other_kinds_is_told_who_checks_it(module: Callable[[str, str], types.ModuleType]) -> None:
    other = module("other", module_text("wrapper", "other"))
    with pytest.raises(ValueError, match=r"but wrapper other: sparsity\.check serves those of sparsity"):
        assert_conforms(other)
    with pytest.raises(PartError, match="is not marked"):
        assert_any(module("unmarked", module_text("prune", "unmarked").replace("@hookimpl\n", "")))


def test_checking_leaves_the_process_s_registry_alone(module: Callable[[str, str], types.ModuleType]) -> None:
    assert_conforms(module("calm", module_text("prune", "calm")))
    assert "calm" not in Registry(installed=False).names("prune")


# As a package, with an installer.


def test_a_new_plugin_is_installed_and_found(lab: Lab, here: Path) -> None:
    pytest.importorskip("hatchling")
    lab("plugin", "new", "sparsity-rl-hotter")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", "site"]
    subprocess.run([*pip, "./sparsity-rl-hotter"], check=True, timeout=120)
    found = "import sys; sys.path.insert(0, 'site'); from studies.cli import main; main(sys.argv[1:])"

    def command(*words: str) -> str:
        done = subprocess.run([sys.executable, "-c", found, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "[hotter (sparsity-rl-hotter 0.1.0)]" in command("parts", "prune")
    assert command("check", "hotter").strip() == "prune hotter: conforms (18 cases)"
