"""`sparsity parts`, `sparsity check`, and what asking for help may cost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab import REGISTRY, Answer, Lab, a_lab, no_figures

from registry import KINDS

lab, quiet = a_lab, no_figures

PLUGIN = '''\
from registry import hookimpl


def warm(weight, noise, *, heat: float = 0.1):
    """|w| + heat u: magnitude pruning that sometimes spares the small."""
    return weight.abs() + heat * noise


@hookimpl
def register_prune(register):
    register(warm)
'''


def test_every_part_is_listed_under_its_kind(lab: Lab) -> None:
    answer = lab("parts")
    assert answer.code == 0
    for kind in KINDS:
        assert re.search(rf"^{kind}\b.*: ", answer.out, re.MULTILINE)
        for entry in REGISTRY.entries(kind):
            assert f"  {entry.name}" in answer.out
            assert entry.summary, f"{kind} {entry.name} says what it is"


def test_the_parts_of_a_kind(lab: Lab) -> None:
    answer = lab("parts", "prune")
    assert answer.code == 0
    assert "magnitude" in answer.out
    assert "allocation:" not in answer.out
    listed, _, asked = answer.out.partition("\n\n")
    assert len(listed.splitlines()) == 1 + len(REGISTRY.names("prune"))
    assert "a part of this kind may ask for:" in asked


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_has_a_page(lab: Lab, kind: str) -> None:
    for name in REGISTRY.names(kind):
        answer = lab("parts", kind, name)
        assert answer.code == 0, answer.err
        assert answer.out.startswith(f"{kind} {name}\n")
        assert "from:" in answer.out


def test_a_page_tells_inputs_settings_and_source(lab: Lab) -> None:
    assert "inputs:   weight" in lab("parts", "prune", "magnitude").out
    assert "Mocanu" in lab("parts", "prune", "magnitude").out
    assert "every: int = 1000" in lab("parts", "schedule", "periodic").out
    assert "sparsity.schedule" in lab("parts", "schedule", "periodic").out


def refused(answer: Answer, *said: str) -> None:
    assert answer.code == 2
    assert answer.errors
    assert "Traceback" not in answer.err
    for words in said:
        assert words in answer.err


def test_unknown_kinds_and_names_are_refused(lab: Lab) -> None:
    refused(lab("parts", "prun"), "'prun'", "Did you mean 'prune'?", "allocation")
    refused(lab("parts", "prune", "magnitud"), "'magnitud'", "Did you mean 'magnitude'?", "gradient")
    refused(lab("parts", ""), "''")
    refused(lab("parts", "nothing", "x"), "'nothing'")


def test_a_plugin_s_part_is_shown_with_its_file(lab: Lab) -> None:
    plugin = lab.file(PLUGIN, "warm.py")
    listed = lab("parts", "prune", "--plugin", plugin)
    assert f"[{plugin}]" in listed.out
    page = lab("parts", "prune", "warm", "--plugin", plugin).out
    assert "inputs:   weight, noise" in page
    assert "heat: float = 0.1" in page
    assert str(plugin) in page
    assert "warm" not in lab("parts", "prune").out, "a plugin is not remembered"


def test_a_missing_plugin_is_refused(lab: Lab) -> None:
    refused(lab("parts", "--plugin", lab.folder / "nothing.py"), "nothing.py", "does not exist")


# check


def test_a_good_plugin_conforms(lab: Lab) -> None:
    answer = lab("check", lab.file(PLUGIN, "warm.py"))
    assert answer.code == 0, answer.err + answer.out
    assert "prune warm: conforms" in answer.out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("weight.abs() + heat * noise", "weight.abs().mean()", "shaped"),
        ("weight.abs() + heat * noise", "weight.abs() / 0", "finite"),
        ("weight.abs() + heat * noise", "weight.mul_(2)", "changed"),
        ("weight.abs() + heat * noise", "None", "None"),
        ("weight.abs() + heat * noise", "weight.abs() / weight.sum()", "population"),
        ("weight.abs() + heat * noise", "__import__('torch').rand_like(weight)", "random"),
        ("return", "raise KeyError('kaputt')\n    return", "kaputt"),
    ],
    ids=lambda text: str(text)[:30],
)
def test_a_bad_plugin_is_told_what_is_wrong(lab: Lab, old: str, new: str, said: str) -> None:
    answer = lab("check", lab.file(PLUGIN.replace(old, new), "warm.py"))
    assert answer.code == 2
    assert "prune warm: " in answer.out
    assert "conforms" not in answer.out
    assert said in answer.out
    assert "Traceback" not in answer.out + answer.err


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("", "name a plugin"),
        ("nothing.py", "does not exist"),
        ("no_such_module_here", "No module named"),
        ("json", "registers no part"),
    ],
)
def test_what_is_no_plugin_is_refused(lab: Lab, target: str, said: str) -> None:
    refused(lab("check", target) if target else lab("check"), said)


def test_our_own_modules_conform(lab: Lab) -> None:
    for module in ("sparsity.grow", "sparsity.prune", "rl.wrappers", "rl.random_policy"):
        answer = lab("check", module)
        assert answer.code == 0, answer.out + answer.err


# What is not imported

HEAVY = ("torch", "matplotlib", "pandas", "mujoco", "gymnasium", "scipy", "seaborn")


def imported(code: str) -> set[str]:
    """Which heavy modules a fresh interpreter has after some code."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint('LOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split()) & set(HEAVY)


@pytest.mark.parametrize("words", [["--help"], ["study", "run", "--help"], ["train", "--nonsense"]], ids=str)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    assert not imported(f"import studies.cli; studies.cli.main({words!r})")


def test_importing_rl_or_registry_or_sparsity_is_light() -> None:
    assert imported("import rl, sparsity") <= {"torch"}
    assert not imported("import registry")


def test_the_installed_command_answers() -> None:
    command = Path(sys.executable).with_name("sparsity")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0
    for word in ("train", "study", "parts", "check"):
        assert word in done.stdout


def test_a_reader_that_has_gone_before_the_first_word_is_no_traceback() -> None:
    """Few words wait in a buffer until the end, where nobody would catch what becomes of them."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as gone:
        command = [Path(sys.executable).with_name("sparsity"), "parts", "schedule"]
        buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, timeout=100, env=buffered)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_pipe_is_no_traceback() -> None:
    command = Path(sys.executable).with_name("sparsity")
    done = subprocess.run(f"{command} parts | head -n 1", shell=True, capture_output=True, text=True, timeout=100)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
