"""The numbered bad inputs of RELIABILITY.md, section 3, each typed at the command line as it stands there.

Every one that is refused comes back as exit code 2, one line a problem, no traceback, and nothing written
(`test_cli_bad_input.refused`).
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab import ENV, FILE, Lab, a_lab, no_figures, sparsity
from test_cli_bad_input import GRID, changed, refused, td3, with_key
from test_cli_bad_input import PLUGIN as GROW

lab, quiet = a_lab, no_figures

ROW = '"SET" = { base = "set" }'

DENSE = changed(ROW, 'Dense = "dense"')

REFUSED: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "1 sparisty": (with_key("sparisty = 0.9"), ("study.toml:1", "'sparisty'", "'densities'", "1 - sparsity")),
    "1 sparsity in a row": (changed('"set" }', '"set", sparsity = 0.9 }'), ("'sparsity'", "'density'", "1 - sparsity")),
    "1 in [all] that no row takes": (DENSE.replace("eligible", "eligibel"), ("[all]", "Did you mean 'eligible'?")),
    "1 part in [all] that no row takes": (DENSE.replace("erk", "erkk"), ("[all]", "Did you mean 'erk'?")),
    "1 scope in [all] that no row takes": (DENSE.replace("[all]", "[all]\nscope = 'x'"), ("[all]", "layer, network")),
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
    "13 400 digits": (changed("steps = 120", f"steps = 1{'0' * 400}"), ("study.toml:4", "steps", "10**12")),
    "13 400 digits of a density": (changed("[0.5]", f"[1{'0' * 400}]"), ("study.toml:9", "(0, 1]")),
    "13 400 digits of a share": (changed("0.05", f"1{'0' * 400}"), ("fraction", "a number")),
    "13 400 digits of tau": (td3(f"tau = 1{'0' * 400}"), ("tau", "a number")),
    "18 a density of its own": (
        changed('"set" }', '"dense", density = 0.5 }'),
        ("'SET'", "density = 0.5", "leave it out"),
    ),
    "18 a learner that no row has": (DENSE.replace("[0.5]", "[{ atcor = 0.5 }]"), ("'atcor'", "Did you mean 'actor'?")),
    "21 memory": (
        with_key("replay = { part = 'uniform', capacity = 1e12 }").replace("steps = 120", "steps = 1e12"),
        ("replay", "GB for their buffers", "GB are free", "lower the capacity, or --workers"),
    ),
    "21 memory of networks": (
        changed("[16, 16]", "[1e6, 1e6]"),
        ("hidden", "GB for their networks", "GB are free", "lower the widths, or --workers"),
    ),
    "22 lr": (td3("lr = 0"), ("'lr'", "Did you mean 'learning_rate'?")),
    "22 gamma": (td3("gamma = 1.5"), ("'gamma'", "Did you mean 'discount'?")),
    "24 a megabyte": (changed(ENV, "x" * 900_000), ("version",)),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_a_numbered_bad_study_file_is_refused(lab: Lab, text: str | bytes, said: tuple[str, ...]) -> None:
    started = time.monotonic()
    answer = lab.study(text)
    refused(answer, lab, *said)
    assert max(map(len, answer.errors)) < 2100, "a line, whatever it quotes"
    assert time.monotonic() - started < 10, "a hostile file costs no time"


def test_thousands_of_problems_are_counted_and_fifty_told(lab: Lab) -> None:
    answer = lab.study(FILE.replace("[all]", "".join(f"k{i} = 1\n" for i in range(3000)) + "[all]"))
    refused(answer, lab, "unknown key 'k0'", "2,950 more problems")
    assert len(answer.errors) == 51


FLAGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "4 octal": (("--seeds", "0,1,010"), ("--seeds", "'010'", "write 10", "which, 0,1,2")),
    "5 a range": (("--seeds", "0..4"), ("--seeds", "'0..4'", "how many, 5", "which, 0,1,2")),
    "13 nan": (("--set", "td3.tau=nan"), ("tau", "a number", "nan")),
    "13 a date": (("--set", "td3.tau=1979-05-27"), ("tau", "a number", "1979")),
    "13 5,000 digits": (("--set", f"steps={'9' * 5000}"), ("steps", "a whole number")),
    "13 two lines": (("--set", "warmup=5\nsteps=7"), ("warmup", "a whole number", "steps=7")),
    "44 no UTF-8": (("--set", "question=\udcff"), ("--set", "UTF-8")),
}


@pytest.mark.parametrize(("words", "said"), FLAGS.values(), ids=FLAGS)
def test_a_numbered_bad_flag_is_refused(lab: Lab, words: tuple[str, ...], said: tuple[str, ...]) -> None:
    refused(lab(*GRID, *words), lab, *said)


def test_13_a_date_in_a_study_file_is_refused(lab: Lab) -> None:
    for text in (changed("every = 20", "every = 1979-05-27"), f"{FILE}[axes]\nhidden = [1979-05-27]\n"):
        refused(lab.study(text), lab, "whole number", "datetime.date(1979, 5, 27)")


def test_38_a_name_may_be_set_like_any_other_key(lab: Lab) -> None:
    assert lab.run(*GRID[2:], "--set", "name=mine").code == 0
    assert (lab.store / "studies" / "mine" / "study.toml").is_file()


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii:strict"}, {"COLUMNS": "40"}, {"NO_COLOR": "1", "TERM": "dumb"}],
    ids=str,
)
def test_44_no_terminal_is_too_poor(lab: Lab, variables: dict[str, str]) -> None:
    command = (sys.executable, "-m", "studies", "study", "list", "--store", lab.folder / "é")
    done = subprocess.run(command, capture_output=True, env=os.environ | variables, timeout=100)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"quickstart" in done.stdout


def test_45_an_interrupt_while_libraries_load_is_a_line(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(command: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("studies.commands.carry_out", interrupted)
    assert lab("study", "list") == (130, "", "interrupted; give the same command again\n")


HUGE = (
    changed("seeds = 1", "seeds = 4_000_000_000"),
    FILE + "[axes]\n" + "".join(f"k{i} = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n" for i in range(20)),
)


@pytest.mark.parametrize("text", HUGE, ids=["seeds", "axes"])
def test_11_a_problem_in_a_huge_grid_is_told_without_expanding_it(lab: Lab, text: str) -> None:
    started = time.monotonic()
    refused(lab.study(text.replace("[0.5]", "[95]")), lab, "0.95")
    assert time.monotonic() - started < 5


def test_15_one_density_is_one_problem(lab: Lab) -> None:
    answer = lab.study(changed("[0.5]", "[95]"))
    refused(answer, lab, "study.toml:9", "not 95", "0.95 (keep 95 %)", "0.05 (prune 95 %)")
    assert len(answer.errors) == 1


def test_problems_of_shared_keys_and_of_rows_are_told_together(lab: Lab) -> None:
    answer = lab.study(FILE.replace("eligible", "eligibel").replace('"erk"', '"erkk"').replace('"set"', '"sett"'))
    refused(answer, lab, "'eligibel'", "'erkk'", "'sett'")
    assert len(answer.errors) == 3


def test_11_a_huge_grid_is_told_with_its_cost(lab: Lab) -> None:
    answer = lab.study(changed("seeds = 1", "seeds = 200_000"), "--workers", "1")
    refused(answer, lab, "200,000 runs", "100,000", "about 311 hours", "400 GB", "--yes")


def test_18_dense_rows_take_part_once_and_it_is_said(lab: Lab) -> None:
    text = changed(ROW, f'{ROW}\nDense = "dense"').replace("[0.5]", "[0.5, 0.2]")
    answer = lab.study(text, "--dry-run")
    assert (answer.code, answer.out.splitlines()[0].split()) == (0, ["runs", "4", "(4", "to", "do)"])
    assert answer.err == "note: densities: 'Dense' takes part once, being dense\n"


def test_19_a_schedule_longer_than_anybody_counts_is_not_asked_at_every_step(lab: Lab) -> None:
    started = time.monotonic()
    answer = lab.study(changed("steps = 120", "steps = 1e9").replace("every = 20", "every = 1e10"), "--dry-run")
    assert time.monotonic() - started < 10
    assert answer.code in (0, 2), "2 where a million transitions do not fit"


def test_19_a_schedule_that_raises_late_does_not_stop_the_plan(lab: Lab) -> None:
    plugin = lab.file(LATE, "late.py")
    text = changed('base = "set"', 'base = "set", schedule = "late"').replace("schedule = { every = 20, fraction", "#")
    answer = lab.study(text.replace("steps = 120", "steps = 2000"), "--plugin", plugin, "--dry-run")
    assert answer.code == 0, answer.err


LATE = """\
from registry import hookimpl


def late(step: int) -> float:
    if step == 777:
        raise KeyError("kaputt")
    return 0.0


@hookimpl
def register_schedule(register):
    register(late)
"""


def test_22_a_large_learning_rate_is_said(lab: Lab) -> None:
    answer = lab.study(td3("learning_rate = 10"), "--dry-run")
    assert answer.code == 0
    assert "learning_rate = 10 is large" in answer.err


# The store


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("inside", ["runs", "studies", "studies/study", "studies/study/study.toml", "RUN", "RUN/x"])
def test_39_a_link_out_of_the_store_is_not_followed_for_writing(lab: Lab, inside: str) -> None:
    assert lab.study(FILE).code == 0
    folder = lab.folder_of("SET", name="study")
    (folder / "manifest.json").unlink()
    outside = lab.folder / "outside"
    if inside == "RUN/x":
        (folder / "evaluations.csv").replace(outside)
        (folder / "evaluations.csv").symlink_to(outside)
    else:
        path = lab.store / inside.replace("RUN", f"runs/{folder.name}")
        path.rename(outside)
        path.symlink_to(outside)
    before = tree(lab.folder)
    answer = lab.study(FILE)
    assert (answer.code, answer.out) == (2, "")
    assert "is a link out of the store" in answer.err
    assert str(outside) in answer.err
    assert tree(lab.folder) == before


def test_39_a_link_within_the_store_and_a_store_that_is_one_are_fine(lab: Lab) -> None:
    elsewhere = lab.folder / "elsewhere"
    elsewhere.mkdir()
    lab.store.symlink_to(elsewhere)
    (elsewhere / "more").mkdir()
    (elsewhere / "runs").symlink_to("more")
    assert lab.study(FILE).code == 0
    assert len(list((elsewhere / "more").iterdir())) == 2


def test_a_store_that_anybody_may_write_is_refused(lab: Lab) -> None:
    lab.store.mkdir()
    lab.store.chmod(0o777)
    answer = lab.study(FILE)
    assert answer.code == 2
    assert "anybody may write" in answer.err
    assert "chmod o-w" in answer.err
    assert not list(lab.store.iterdir())


def test_39_no_figure_is_drawn_through_a_link(lab: Lab) -> None:
    assert lab.study(FILE).code == 0
    (lab.store / "studies" / "study").rename(lab.folder / "outside")
    (lab.store / "studies" / "study").symlink_to(lab.folder / "outside")
    answer = lab("study", "plot", "study")
    assert answer.code == 2
    assert "is a link out of the store" in answer.err


@pytest.mark.parametrize(
    ("store", "said"),
    [("y" * 300, "File name too long"), ("y/" * 3000, "File name too long"), ("/proc/x", "/proc/x")],
    ids=["a long name", "a long way", "no place to write"],
)
def test_37_a_store_that_cannot_be_is_a_plain_sentence(lab: Lab, store: str, said: str) -> None:
    answer = sparsity(*GRID, "--store", lab.folder / store, "--executor", "here", "--plugin", lab.executor)
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert said in answer.errors[0]
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_37_a_disk_that_refuses_is_a_plain_sentence(lab: Lab, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("studies.store.write_atomically", refuse)
    answer = lab.study(FILE)
    assert answer.code == 2
    assert answer.errors == [f"error: {lab.store}/studies/study/study.toml: {os.strerror(number)}"]
    assert not tree(lab.store), "nothing half made"


def test_a_store_of_hostile_names_is_looked_at_harmlessly(lab: Lab) -> None:
    assert lab.study(FILE).code == 0
    name = "a\x1b[31m\x9b\u202eb"
    shutil.copytree(lab.store / "studies" / "study", lab.store / "studies" / name)
    for words in (("list",), ("status", name), ("table", name), ("verify", name), ("plot", name), ("run", name)):
        answer = lab("study", *words)
        assert not {"\x1b", "\x9b", "\u202e"} & set(answer.out + answer.err), words
        assert answer.code == 0, answer  # To run it is to run the study that its file names.


def test_the_documentation_of_a_plugin_is_shown_harmlessly(lab: Lab) -> None:
    text = GROW.replace("return noise", '"""Loud \x1b]0;owned\x07."""\n    return noise')
    plugin = lab.file(text, "mine.py")
    for words in (("parts", "grow"), ("parts", "grow", "mine"), ("check", plugin)):
        answer = lab(*words, "--plugin", plugin)
        assert answer.code == 0, answer
        assert "Loud" in answer.out or words[0] == "check"
        assert not {"\x1b", "\x07"} & set(answer.out)
