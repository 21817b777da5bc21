"""What the page on tuning shows works when it is pasted."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from lab import REGISTRY, in_this_process, no_figures, sparsity

from studies.read import read_file
from studies.tuning.asked import KEYS
from studies.tuning.trials import tuning_of

quiet, here = no_figures, in_this_process

PAGE = (Path(__file__).parent.parent / "docs" / "tuning.md").read_text()


def block(marker: str) -> str:
    """The code block that follows `<!-- marker -->`."""
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found, marker
    return found[1]


@pytest.fixture
def pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the page's study."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pendulum.toml").write_text(block("study"))
    return tmp_path


def test_the_commands_of_the_page_tune_a_study_and_run_it(pasted: Path, quiet: None, here: None) -> None:
    """As written, but for the length of runs."""
    small = ["--set", "warmup=20", "--set", "random_episodes=1", "--set", "episodes=1", "--eval-every", "40"]
    for line in block("commands").splitlines():
        words = shlex.split(line)[1:]
        runs = words[1] in ("tune", "run")
        steps = ["--steps", "60", *small, "--hidden", "8,8"] if runs else []
        answer = sparsity(*words, *steps, *(["--seeds", "1"] if words[1] == "run" else []))
        assert answer.code == 0, f"{line}\n{answer.err}"
        if words[1:3] == ["tune", "pendulum.toml"] and "--dry-run" not in words:
            assert "4 trials x 3 seeds" in answer.out
    assert (pasted / "runs/studies/pendulum-tuned/table.md").is_file()


def test_the_output_of_the_page_is_of_its_study(pasted: Path) -> None:
    tuning = tuning_of(read_file(pasted / "pendulum.toml"), REGISTRY, name="pendulum")
    shown = block("output")
    for (_, label), trials in tuning.drawn.items():
        for place, trial in enumerate(trials):
            told = ", ".join(f"{key} {value!r}" for key, value in trial.items())
            assert re.search(rf"^(\* )?{label} #{place + 1} +{re.escape(told)} ", shown, flags=re.MULTILINE), told


def test_the_table_of_the_page_has_every_key() -> None:
    told = re.findall(r"^\| `\[?(?:tune\.)?(\w+)", PAGE, flags=re.MULTILINE)
    assert sorted(told) == sorted(KEYS)


def test_the_python_of_the_page_prints_what_it_says() -> None:
    code, out = block("power"), io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    assert out.getvalue().strip() == code.strip().rpartition("# ")[2]
