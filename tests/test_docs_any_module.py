"""What the page `docs/any-module.md` says in Python is so."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import python_of

from sparsity.attach import attach

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "any-module.md").read_text()


def test_the_blocks_of_the_page_run_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = python_of(PAGE)
    assert len(blocks) >= 10
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for number, block in enumerate(blocks):
            exec(compile(block, f"block {number} of the page", "exec"), names)
    assert "0.weight" in capsys.readouterr().out
    names["sparsifier"].detach()


def test_the_page_knows_every_argument() -> None:
    import inspect

    table = PAGE.partition("## The arguments")[2].partition("Anything else")[0]
    for name, parameter in inspect.signature(attach).parameters.items():
        assert parameter.kind is parameter.VAR_KEYWORD or f"`{name}`" in table, name


def test_the_examples_that_the_page_names_are_there() -> None:
    for path in re.findall(r"\]\(\.\./(examples/[^)]+)\)", PAGE):
        assert (ROOT / path).is_file(), path
