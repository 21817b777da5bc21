"""What the site makes of the repository: links that leave docs/, and docstrings that are plain text."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
ROOT = Path(__file__).parent.parent
EXTENSIONS = str(ROOT / "docs" / "_ext")
sys.path.insert(0, EXTENSIONS)
plain_docstrings, repository = pytest.importorskip("plain_docstrings"), pytest.importorskip("repository")
sys.path.remove(EXTENSIONS)
DOCS = ROOT / "docs"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[it](ARCHITECTURE.md)", "[it](architecture.md)"),
        ("[it](README.md#try-it)", "[it](index.md#try-it)"),
        ("[it](docs/reports.md#seconds)", "[it](reports.md#seconds)"),
        ("[the results](results)", "the results"),
        ("[TD3](rl/td3.py)", "[TD3](../rl/td3.py)"),
        ("![curves](results/figures/curves.png)", "![curves](../results/figures/curves.png)"),
        ("[semver](https://semver.org) and [above](#try-it)", "[semver](https://semver.org) and [above](#try-it)"),
        ("5,906 \\[5,376, 6,436\\].", "5,906 \\[5,376, 6,436\\]."),
    ],
)
def test_a_page_at_the_root_leads_to_pages_of_the_site(written: str, shown: str) -> None:
    assert repository.mended(written, ROOT, DOCS) == shown


def test_a_page_in_a_folder_leads_where_it_led() -> None:
    text = "[a](../architecture.md), [b](../../CHANGELOG.md), [c](ds.md)"
    assert repository.mended(text, DOCS / "methods", DOCS / "methods") == text.replace(
        "../../CHANGELOG", "../changelog"
    )


def test_code_is_left_alone() -> None:
    text = "```python\nx = table[rows](results)\n```"
    assert repository.mended(text, ROOT, DOCS) == text


@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        ("|w|: SET (Mocanu et al. 2018).", r"\|w\|: SET (Mocanu et al. 2018)."),
        ("`a * b` times c * d", r"``a * b`` times c \* d"),
        ("what `grad_` and w_ are", r"what ``grad_`` and w\_ are"),
        ("    code(*x)", "    code(*x)"),
    ],
)
def test_docstrings_read_as_they_are_written(docstring: str, shown: str) -> None:
    assert plain_docstrings.plain(docstring) == shown
