"""A page that shows results of the store beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.report import evidence


def test_links_lead_from_the_page_to_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is given in another folder than the page's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evidence, "_gathered", lambda *_: ([], None))
    monkeypatch.setattr(evidence, "_draw", lambda *_: None)
    monkeypatch.setattr(evidence, "_results", lambda _, __, figures: f"![]({figures}/a.png)\n")
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    page.write_text(f"{evidence.BEGIN}{evidence.END}")
    evidence.main(["docs/page.md", "kept", "study"])
    assert "![](../kept/figures/a.png)" in page.read_text()
