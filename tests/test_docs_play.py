"""What Python the pages of playing, logging and sharing show works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lab import Lab, a_lab, no_figures  # noqa: F401
from pages import python_of

lab = a_lab

DOCS = Path(__file__).parent.parent / "docs"


def test_a_run_is_played_from_python(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lab.grid("set", "--densities", "0.5").code == 0
    run = lab.folder_of("set").name
    monkeypatch.chdir(lab.folder)
    lab.store.rename("runs")
    [block] = python_of((DOCS / "play.md").read_text())
    exec(block, {"run": run})
    assert capsys.readouterr().out.endswith("1\n"), "the last evaluation had one episode, whose return is equal"


def test_the_logger_of_the_page_is_told_everything(lab: Lab) -> None:
    [block] = python_of((DOCS / "loggers.md").read_text())
    plugin = lab.file(block, "lines.py")
    assert lab.grid("set", "--densities", "0.5", "--plugin", plugin, "--logger", "lines").code == 0
    told = (lab.folder_of("set") / "lines.txt").read_text()
    for name in ("'episode_return'", "'evaluation_return'"):
        assert name in told


@pytest.mark.parametrize("page", ["play.md", "loggers.md", "share.md"])
def test_commands_of_a_page_take_the_flags_that_it_names(page: str, lab: Lab) -> None:
    text = (DOCS / page).read_text()
    helps = "".join(lab(*words, "--help").out for words in (("play",), ("upload",), ("train",), ("study", "copy")))
    for flag in set(re.findall(r"`(--[a-z-]+)", text)):
        assert flag in helps, flag
