"""A reader who does what a page says: saves its files and gives its commands, in one folder that is empty at first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from lab import draw_nothing, sparsity
from pages import Command, File, steps, words_of

ROOT = Path(__file__).parent.parent

PATIENCE = 120
"""Seconds that a line may take that goes through a shell."""

SHIM = f'#!/bin/sh\nexec "{sys.executable}" -m studies "$@"\n'
"""`sparsity` for lines that put it into a pipe or a loop."""


class Reader:
    """Gives commands in `folder`. Plain `sparsity` ones take place in this process, which is ten times as fast."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder / "reader", monkeypatch
        self._state = folder / "state.sh"
        self._where = folder / "where"
        bin_ = folder / "bin"
        for made in (self.folder, bin_):
            made.mkdir()
        (bin_ / "sparsity").write_text(SHIM)
        (bin_ / "sparsity").chmod(0o755)
        self._where.write_text(f"{self.folder}\n")
        path = [str(bin_), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        self._environment = {
            **{key: value for key, value in os.environ.items() if key != "SPARSITY_STORE"},
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": str(ROOT),
            "REPOSITORY": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
        }
        monkeypatch.delenv("SPARSITY_STORE", raising=False)

    def follow(self, text: str, name: str) -> None:
        """Do all that a page says; an AssertionError says which line did not work, and how."""
        for step in steps(text):
            if isinstance(step, File):
                path = self.folder / step.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.text)
            else:
                self._give(step, name)

    def _give(self, command: Command, name: str) -> None:
        plain = command.text.startswith("sparsity ") and not re.search(r"[|&;<>()`]", _unquoted(command.text))
        code, told = self._here(command.text) if plain else self._in_a_shell(command.text)
        assert code == 0, f"{name}, line {command.line}: `{command.text}` ended with {code}:\n{told[-3000:]}"

    def _here(self, text: str) -> tuple[int, str]:
        words = self._expanded(text) if re.search(r"[$*?~{\[]", text) else words_of(text)
        with self._monkeypatch.context() as here, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # As outside of tests: libraries may deprecate what they like.
            here.chdir(self._where.read_text().removesuffix("\n"))
            if words[1:3] not in (["study", "plot"], ["study", "report"]):
                draw_nothing(here)  # A figure costs more than all of the runs.
            answer = sparsity(*words[1:])
        return answer.code, f"{answer.out}{answer.err}"

    def _expanded(self, text: str) -> list[str]:
        """The words of a line as a shell makes them, with variables that earlier lines have set."""
        code, told = self._in_a_shell(f"printf '%s\\0' {text}")
        assert code == 0, told
        return told.rstrip("\0").split("\0")

    def _in_a_shell(self, text: str) -> tuple[int, str]:
        """A line in bash, which finds variables and folder as the line before it left them."""
        script = (
            f'cd "$(cat {self._where})"; [ -f {self._state} ] && . {self._state}; set -a\n{text}\n'
            f"code=$?; export -p > {self._state}; pwd > {self._where}; exit $code"
        )
        done = subprocess.run(
            ["bash", "-c", script],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")


def _unquoted(text: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|(?:^|\s)#.*$|\$\([^)]*\)", "", text)
