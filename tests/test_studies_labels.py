"""Labels come from files that others wrote: from a study to its tables and figures they stay text."""

from __future__ import annotations

import csv
import io
import json

import pytest
from lab import FILE, Lab, a_lab, draw_nothing, no_figures

lab, quiet = a_lab, no_figures

HOSTILE = {
    "control": "a\u0000b\u001b[31mred\u0007\u0008\u009b0m\u007f",
    "bidi": "abc\u202etxt.exe\u2066",
    "formula": "=cmd()",
    "formula 2": "+1+1",
    "formula 3": "@SUM(A1)",
    "html": "<script>alert(1)</script>",
    "pipe": "a|b||c",
    "markdown": "[x](javascript:alert(1)) `y` **z**",
    "tex": r"\input{/etc/passwd} $x^2$ 100% #1 _a_ ~ & {",
    "unicode": "Größe λ=0.5 漢字",
    "emoji": "sparse 🚀",
    "long": "x" * 200,
    "line": "two\nlines\ttab",
    "quotes": "say \"hi\" 'there' \\",
    "blank": " ",
    "empty": "",
    "rich": "[bold red]markup[/] [link=x]",
    "comma": "a,b;c",
    "like the floor": "random policy",
}


def toml(label: str) -> str:
    """A label as a TOML key: JSON's escapes, but for what JSON writes as surrogates or not at all."""
    text = json.dumps(label, ensure_ascii=False)
    return "".join(f"\\u{ord(c):04x}" if ord(c) == 0x7F or 0x80 <= ord(c) < 0xA0 else c for c in text)


def text(*labels: str) -> str:
    """A study with a row for each label; all rows are the same run, so that it costs one."""
    rows = "\n".join(f"{toml(label)} = {{ base = 'set' }}" for label in labels)
    return FILE.replace('"SET" = { base = "set" }', rows)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A study with all of these labels, carried out."""
    made = Lab(tmp_path_factory.mktemp("labels"))
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        answer = made.study(text(*HOSTILE.values()), "--name", "tiny")
    assert answer.code == 0, answer.err
    for shown in (answer.out, answer.err):
        assert not {"\x00", "\x1b", "\x07", "\x08", "\x9b", "\x7f"} & set(shown), "nothing reaches the terminal"
    return made


@pytest.mark.parametrize("format_", ["text", "markdown", "latex", "csv"])
def test_hostile_labels_are_rows_like_all_others(hostile: Lab, format_: str) -> None:
    answer = hostile("study", "table", "tiny", "--format", format_)
    assert answer.code == 0, answer.err
    assert not {"\x00", "\x1b", "\x07", "\x08", "\x9b", "\x7f", "\u202e", "\u2066"} & set(answer.out)
    assert "Größe" in answer.out
    if format_ == "markdown":
        assert "<script>" not in answer.out
        rows = [line for line in answer.out.splitlines() if line.startswith("|")]
        assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1
    if format_ == "latex":
        assert r"\input" not in answer.out
    if format_ == "csv":
        found = list(csv.DictReader(io.StringIO(answer.out)))
        assert len(found) == len(HOSTILE) + 1
        assert not [row for row in found if row["method"].startswith(("=", "+", "@", "-"))]


def test_hostile_labels_are_drawn(hostile: Lab) -> None:
    answer = hostile("study", "plot", "tiny")
    assert answer.code == 0, answer.err
    assert "learning-curves.png" in answer.out


def test_status_and_list_print_no_control_characters(hostile: Lab) -> None:
    for words in (("study", "status", "tiny"), ("study", "list"), ("study", "verify", "tiny")):
        answer = hostile(*words)
        assert answer.code == 0
        assert "\x1b" not in answer.out


@pytest.mark.parametrize("kind", ["control", "unicode", "emoji", "quotes", "long", "empty", "blank"])
def test_the_store_s_copy_of_a_study_can_be_run_by_name(lab: Lab, kind: str) -> None:

    lab.study(text(HOSTILE[kind]), "--name", "tiny")
    again = lab.run("tiny")
    assert again.code == 0, again.err
    assert "2 runs, 0 to do" in again.err


def test_labels_write_nothing_outside_the_store(lab: Lab) -> None:
    before = sorted(path for path in lab.folder.parent.rglob("*") if lab.folder not in path.parents)
    assert lab.study(text("../../up", "/etc/x", "a/b"), "--name", "tiny").code == 0
    assert sorted(path for path in lab.folder.parent.rglob("*") if lab.folder not in path.parents) == before
    assert {path.name for path in (lab.store / "studies").iterdir()} == {"tiny"}


def test_a_question_with_control_characters_is_listed_harmlessly(lab: Lab) -> None:
    assert lab.study('question = "a\\u001b[31mb"\n' + FILE, "--name", "tiny").code == 0
    assert "\x1b" not in lab("study", "list").out
