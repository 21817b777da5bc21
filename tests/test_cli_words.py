"""What the command says to whoever does not know its words yet."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from lab import Lab, a_lab, no_figures, sparsity  # noqa: F401

lab = a_lab


@pytest.mark.parametrize("words", [(), ("study",), ("plugin",)])
def test_a_command_that_is_not_finished_is_answered_by_what_may_follow(words: tuple[str, ...]) -> None:
    answer = sparsity(*words)
    assert answer.code == 2
    assert f"usage: {' '.join(('sparsity', *words))}" in answer.err
    assert answer.out == ""


def test_what_is_missing_is_called_as_the_pages_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    for words, name in ((("play",), "RUN"), (("study", "verify"), "NAME"), (("study", "tune"), "STUDY")):
        answer = sparsity(*words)
        said = answer.err + answer.out + capsys.readouterr().err
        assert answer.code == 2
        assert name in said
        assert "STR" not in said


def test_a_study_whose_file_lies_here_is_told_to_be_a_file(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.folder)
    lab.file("", "growing.toml")
    assert "Did you mean the file growing.toml?" in lab.run("growing").err


def test_a_part_that_nobody_knows_may_be_one_of_a_file(lab: Lab) -> None:
    assert "--plugin FILE" in lab("parts", "prune", "spare_young").err
    assert "--plugin FILE" not in lab("parts", "prune", "magnitud").err


def test_where_there_is_no_store_that_is_said(lab: Lab) -> None:
    for words in (("study", "status", "x"), ("export", "x", "--to", "scipy")):
        assert f"there is no folder {lab.store}" in lab(*words).err


def test_a_reader_who_has_seen_enough_of_the_help_gets_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "studies", "play", "--help"],
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
