"""What the page on tuning shows is true of its study; that its commands work, tests/test_docs_commands.py shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from lab import REGISTRY

from studies.read import read_file
from studies.tuning.asked import KEYS
from studies.tuning.trials import tuning_of

PAGE = (Path(__file__).parent.parent / "docs" / "tuning.md").read_text()


def block(marker: str) -> str:
    """The code block that follows `<!-- marker -->`."""
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found, marker
    return found[1]


def test_the_output_of_the_page_is_of_its_study(tmp_path: Path) -> None:
    file = tmp_path / "pendulum.toml"
    file.write_text(block("study"))
    tuning = tuning_of(read_file(file), REGISTRY, name="pendulum")
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
