"""Documentation that lists things is generated, and this holds it to the registry."""

from pathlib import Path

from registry import KINDS, Registry
from studies.show import part_list

PAGE = Path(__file__).parent.parent / "docs" / "parts.md"


def test_the_page_of_parts_lists_what_is_registered() -> None:
    """To write it anew: `sparsity parts --no-plugins`, between the fences of docs/parts.md."""
    page = PAGE.read_text()
    assert page.partition("```text\n")[2].partition("\n```")[0] == part_list(Registry(installed=False), None)


def test_the_page_of_parts_names_every_hook_with_its_inputs() -> None:
    page = PAGE.read_text()
    for kind in KINDS.values():
        assert f"`register_{kind.name}`" in page, kind.name
        assert ", ".join(kind.inputs) in page, kind.name
