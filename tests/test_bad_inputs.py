"""The numbered bad inputs of RELIABILITY.md, section 3, each typed at the command line as it stands there.

Every one that is refused comes back as exit code 2, one line a problem, no traceback, and nothing written
(`test_cli_bad_input.refused`).
"""

from __future__ import annotations

import time

import pytest
from lab import FILE, Lab, a_lab, no_figures
from test_cli_bad_input import changed, refused, with_key

lab, quiet = a_lab, no_figures

ROW = '"SET" = { base = "set" }'

REFUSED: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "4 octal": (changed("seeds = 1", "seeds = [0, 1, 010]"), ("line 3", "[0, 1, 2]", "numbers have no leading 0")),
    "4 twice": (changed("seeds = 1", "seeds = [0, 1, 0o1]"), ("study.toml:3", "seeds", "twice", "[0, 1, 1]")),
    "5 a range": (changed("seeds = 1", "seeds = [0..4]"), ("line 3", "how many: 5", "which: [0, 1, 2]")),
    "6 no": (changed('{ base = "set" }', "no"), ("line 17", "text stands in quotes")),
    "7 key twice": (changed("seeds = 1", "seeds = 1\nseeds = 2"), ("'seeds'", "line 3", "line 4")),
    "7 row twice": (changed(ROW, 'SET = "set"\n"SET" = "rigl"'), ("'SET'", "line 17", "line 18")),
    "7 table twice": (f"{FILE}[all]\nborn = 'zero'\n", ("'[all]'", "line 11", "line 22")),
    "7 in a row": (changed('base = "set"', 'base = "set", base = "rigl"'), ("line 17", "'base'")),
    "8 lists": (with_key(f"question = {'[' * 21}{']' * 21}"), ("study.toml", "20 deep", "six")),
    "8 tables": (changed('"set" }', f'"set", grow = {"{a=" * 21}1{"}" * 22}'), ("study.toml", "20 deep")),
    "8 a dotted key": (with_key(f"{'all.' * 21}x = 1"), ("study.toml", "20 deep")),
    "8 a dotted key of 1 MB": ("a." * 450_000 + "b = 1\n", ("study.toml", "20 deep")),
    "8 a dotted key in quotes": ("'a'.\"b\"." * 100_000 + "b = 1\n", ("study.toml", "20 deep")),
    "13 5,000 digits": (changed("steps = 120", f"steps = {'9' * 5000}"), ("study.toml", "5000 digits")),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_a_numbered_bad_study_file_is_refused(lab: Lab, text: str | bytes, said: tuple[str, ...]) -> None:
    started = time.monotonic()
    refused(lab.study(text), lab, *said)
    assert time.monotonic() - started < 10, "a hostile file costs no time"


def test_thousands_of_problems_are_counted_and_fifty_told(lab: Lab) -> None:
    answer = lab.study(FILE.replace("[all]", "".join(f"k{i} = 1\n" for i in range(3000)) + "[all]"))
    refused(answer, lab, "unknown key 'k0'", "2,950 more problems")
    assert len(answer.errors) == 51
