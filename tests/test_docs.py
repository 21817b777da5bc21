"""Documentation that lists things is generated, and this holds it to the registry."""

import shlex
from pathlib import Path

import pytest

from benchmarks.reliability import ledger
from registry import KINDS, Registry
from studies.cli import main
from studies.pages import write
from studies.show import part_list

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "parts.md"
METHODS = sorted(path.stem for path in (DOCS / "methods").glob("*.md") if path.stem != "README")


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


@pytest.mark.parametrize("name", METHODS)
def test_the_command_on_a_method_page_plans_a_study(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / "methods" / f"{name}.md").read_text()
    [command] = [line for line in page.splitlines() if line.startswith("sparsity study run")]
    with pytest.raises(SystemExit) as left:
        main([*shlex.split(command)[1:], "--dry-run", "--store", str(tmp_path)])
    assert left.value.code == 0
    assert "to do" in capsys.readouterr().out


def test_the_ledger_on_the_page_of_reliability_is_the_ledger_s() -> None:
    """Mend it by `python -m benchmarks.reliability --page`."""
    text = (DOCS / "reliability.md").read_text()
    assert text.partition(ledger.BEGIN)[2].partition(ledger.END)[0] == ledger.totals(ledger.rows())
