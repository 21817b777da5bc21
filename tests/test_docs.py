"""Documentation that lists things is generated, and this holds it to the registry."""

import re
from pathlib import Path

import pytest
from lab import sparsity
from pages import pages

from benchmarks.reliability import ledger
from registry import KINDS, Registry
from studies import cli_page, part_pages
from studies.pages import cell, write
from studies.show import part_list

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGE = DOCS / "parts.md"


def test_the_page_of_parts_lists_what_is_registered() -> None:
    """To write it anew: `sparsity parts --no-plugins`, between the fences of docs/parts.md."""
    page = PAGE.read_text()
    assert page.partition("```text\n")[2].partition("\n```")[0] == part_list(Registry(installed=False), None)


def test_the_page_of_parts_names_every_hook_with_its_inputs() -> None:
    page = PAGE.read_text()
    for kind in KINDS.values():
        assert f"`register_{kind.name}`" in page, kind.name
        assert ", ".join(kind.inputs) in page, kind.name


def test_the_pages_of_methods_are_what_the_registry_says(tmp_path: Path) -> None:
    """To write them anew: `python -m studies.pages docs/methods`."""
    write(tmp_path, Registry(installed=False))
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert fresh == {path.name: path.read_text() for path in (DOCS / "methods").iterdir()}


def test_every_kind_of_part_has_a_page_with_all_of_its_settings(tmp_path: Path) -> None:
    registry = Registry(installed=False)
    (tmp_path / "gone.md").write_text("# A kind that is no more")
    part_pages.write(tmp_path, registry)
    assert {path.stem for path in tmp_path.iterdir()} == set(KINDS) - {"method"}
    for kind in set(KINDS) - {"method"}:
        page = (tmp_path / f"{kind}.md").read_text()
        for entry in registry.entries(kind):
            part = page.partition(f"\n## {entry.name}\n")[2].partition("\n## ")[0]
            assert cell(entry.summary).replace("*", "") in cell(part).replace("\\*", "").replace("*", ""), entry.name
            for setting in entry.settings:
                assert f"| `{setting.name}` |" in part, f"{kind} {entry.name}: {setting.name}"


def test_the_page_of_the_command_line_is_that_of_the_commands() -> None:
    """To write it anew: `python -m studies.cli_page docs/cli.md`."""
    assert (DOCS / "cli.md").read_text() == cli_page.page()


def test_the_page_of_the_command_line_has_the_flags_that_help_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    for name, command in cli_page.commands():
        help_ = sparsity(*name.split(), "--help").out
        heads = re.findall(r"^[│ ] (-.+?)(?:  | │)", help_, flags=re.MULTILINE)  # What stands before the meanings.
        told = set(re.findall(r"--[a-z][a-z-]+", " ".join(heads)))
        written = {word.strip(",") for flag in cli_page.flags_of(command) for word in flag.words.split()}
        assert told - {"--help"} == {word for word in written if word.startswith("--")}, name


def test_the_ledger_on_the_page_of_reliability_is_the_ledger_s() -> None:
    """Mend it by `python -m benchmarks.reliability --page`."""
    text = (DOCS / "reliability.md").read_text()
    assert text.partition(ledger.BEGIN)[2].partition(ledger.END)[0] == ledger.totals(ledger.rows())


@pytest.mark.parametrize(
    "page", [*pages(ROOT), ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
)
def test_the_links_of_a_page_lead_to_files_that_are_there(page: Path) -> None:
    """On a host that shows the repository; that anchors are there, the site's build says."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^()\s#]+)(?:#[^()\s]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
