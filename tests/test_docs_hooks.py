"""The page of hooks is the registry's, and every plugin on it works; the page on adding a criterion is true."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, a_lab, no_figures
from pages import File, steps

from registry import KINDS, Registry, part
from registry import meanings as registry_meanings
from registry.meanings import ELSEWHERE, FACTS, INPUTS, inputs_of
from sparsity import SET
from sparsity.check import rehearse
from studies.check import examine
from studies.kit.page import EXAMPLES, page

lab, quiet = a_lab, no_figures

DOCS = Path(__file__).parents[1] / "docs"
HOOKS = (DOCS / "hooks.md").read_text()
CRITERION = (DOCS / "add-a-criterion.md").read_text()
SECTIONS = {text.split("\n", 1)[0]: text for text in re.split(r"^## ", HOOKS, flags=re.MULTILINE)[1:]}


def saved(page: str, folder: Path) -> dict[str, Path]:
    """The files that a page asks to save, saved."""
    files = [step for step in steps(page) if isinstance(step, File)]
    for file in files:
        (folder / file.name).write_text(file.text)
    return {file.name: folder / file.name for file in files}


def test_the_page_is_written_from_the_registry() -> None:
    """To write it anew: `python -m studies.kit.page docs/hooks.md`."""
    assert page() == HOOKS


def test_every_kind_has_a_section_and_no_other_has() -> None:
    others = ["How a plugin is read", "How a plugin is tested", "Try them"]
    assert [title for title in SECTIONS if title not in others] == list(KINDS)
    assert list(EXAMPLES) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_section_has_the_hook_its_inputs_and_its_facts(kind: Any) -> None:
    section = SECTIONS[kind.name]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, flags=re.MULTILINE)
    assert tuple(name for name, _ in rows) == kind.inputs
    assert ("| any trace |" in section) == kind.traces
    assert f"def register_{kind.name}(register):" in section
    for fact in kind.facts:
        assert f"`{fact}`" in section
    assert "- Called: " in section
    assert "- Gives: " in section


def test_everything_is_explained_and_nothing_that_is_not_there() -> None:
    assert set(registry_meanings.KINDS) == set(KINDS)
    assert set(FACTS) == {fact for kind in KINDS.values() for fact in kind.facts}
    asked = {(kind.name, name) for kind in KINDS.values() for name in kind.inputs}
    assert set(ELSEWHERE) <= asked
    assert set(INPUTS) <= {name for _, name in asked}
    assert all(text for kind in KINDS.values() for text in inputs_of(kind).values())


def test_sparsity_parts_shows_what_inputs_are(lab: Lab) -> None:
    told = lab("parts", "moments").out
    for name, text in inputs_of(KINDS["moments"]).items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", told, flags=re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plugin_of_a_section_conforms_and_can_be_used(kind: str, tmp_path: Path) -> None:
    (file,) = saved(SECTIONS[kind], tmp_path).values()
    registry = Registry(installed=False)
    brought = registry.brought_by(registry.load_file(file))
    assert (kind, EXAMPLES[kind]) in {(entry.kind.name, entry.name) for entry in brought}
    for entry in brought:
        assert entry.summary
        assert examine(entry, registry).problems == ()
    if hasattr(SET, kind):
        rehearse(replace(SET, **{kind: part(EXAMPLES[kind])}), registry, total=500)
    if kind == "trace":
        rehearse(replace(SET, grow=part(EXAMPLES[kind])), registry)
    if kind == "method":
        rehearse(registry.entry("method", EXAMPLES[kind]).value, registry)


def test_the_test_of_a_plugin_on_the_page_is_three_lines_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(HOOKS, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {}
    test = (tmp_path / "test_warm.py").read_text()
    exec(test, names)
    names["test_it_conforms"]()
    del sys.modules["warm"]  # Others write one of that name.
    assert len([line for line in test.splitlines() if line.strip() and "import" not in line]) == 2


# The page on adding a criterion.


def test_the_criterion_conforms_and_the_page_shows_what_is_said_without_the_clamp(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(CRITERION, lab.folder)["relative.py"]
    monkeypatch.chdir(lab.folder)
    assert "conforms (18 cases)" in lab("check", "relative.py").out
    file.write_text(file.read_text().replace("mean.clamp(min=1e-9)", "mean"))
    shown = CRITERION.partition("<!-- said -->\n```text\n")[2].partition("```")[0]
    assert lab("check", "relative.py").out == shown


def test_the_ablation_has_all_baselines_and_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    files = saved(CRITERION, lab.folder)
    monkeypatch.chdir(lab.folder)
    plugin = ("--plugin", files["relative.py"])
    planned = lab("study", "run", "ablation.toml", *plugin, "--dry-run")
    assert planned.out.startswith("runs    52 (52 to do)")
    [words] = re.findall(r"<!-- run: (.*?) -->", CRITERION)
    done = lab.run("ablation.toml", *plugin, *words.split())
    assert done.code == 0, done.err
    for row in ("SET, relative", "SET, half relative", "RigL", "DS", "Static", "Small dense", "Dense"):
        assert row in done.out
    assert "SET, relative" in lab("study", "table", "ablation", "--against", "SET").out
