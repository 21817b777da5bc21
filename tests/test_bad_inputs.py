"""The numbered bad inputs of RELIABILITY.md, section 3, each typed at the command line as it stands there.

Every one that is refused comes back as exit code 2, one line a problem, no traceback, and nothing written
(`test_cli_bad_input.refused`). What is here and what is elsewhere:

- Here by its number: 1-8, 10-13, 15, 18, 19, 21, 22, 25, 29-31, 36-39, 41, 43-45, P1-P13.
- In test_cli_bad_input: 9 (empty, comments, list, folder, binary, BOM, CRLF), 13, 15-17, 19, 20, 22-24, 26-30, 31 as
  flags, 38, the remaining faults of plugins. In test_studies_files: 3, 12. In test_cli_study: 14 and 40 (another
  study of that name), 36 (every bit), 41, 43. In test_studies_faults: 22 (a run that diverges), 42 (held: exit 3), P8,
  P9 and P11 in the middle of a run. In test_cli_parts: 44 (a closed pipe). In test_studies_interrupt: 45 in a run.
- Of YAML alone, which is not read: 2 and 3 as text are refused (a number in quotes is text to TOML), 6 is no TOML, 8 is
  about aliases (depth and size are what TOML has of it), 10 about tags (a label that looks like one is a label).
- Of checkpoints, tested with them: 32-35.
- P14 is about our own calls of hooks, which mypy checks.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from lab import ENV, FILE, Lab, a_lab, draw_nothing, no_figures, sparsity
from test_cli_bad_input import GRID, changed, refused, td3, with_key
from test_cli_bad_input import PLUGIN as GROW
from test_registry import Install
from test_registry import install as installs

from studies.store import Store

lab, quiet, install = a_lab, no_figures, installs

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


TAKEN: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "2 a float": (td3("learning_rate = 1e-3"), ()),
    "3 a float of steps": (changed("steps = 120", "steps = 1e4"), ()),
    "9 tabs": (FILE.replace("seeds", "\tseeds").replace(" = ", "\t=\t"), ()),
    "10 a tag": (changed('"SET"', "'!!python/object/apply:os.system [touch /tmp/x]'"), ()),
    "12 a cell twice": (changed("[0.5]", "[0.5, 0.5]"), ("1 cells of the grid are the same run as another",)),
    "25 two versions": (changed(f'"{ENV}"', '"InvertedPendulum-v4", "InvertedPendulum-v5"'), ()),
    "31 a whole seed": (changed("seeds = 1", "seeds = [3.0]"), ()),
    "38 CON": (with_key("name = 'CON'"), ()),
}


@pytest.mark.parametrize(("text", "said"), TAKEN.values(), ids=TAKEN)
def test_a_numbered_input_is_taken_and_said(lab: Lab, text: str | bytes, said: tuple[str, ...]) -> None:
    answer = lab.study(text, "--dry-run")
    assert answer.code == 0, answer.err
    for words in said:
        assert words in answer.err
    assert bool(answer.err) == bool(said)
    assert not lab.store.exists()


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", ".", "", "x" * 300, "a\nb", "\U0001f600", "-x", "\udcff"])
def test_38_a_name_that_is_none_is_refused(lab: Lab, name: str) -> None:
    refused(lab(*GRID, f"--name={name}"), lab, "1 to 100 of A-Z a-z 0-9 . _ -")
    if name != "\udcff":
        text = "".join(f"\\U{ord(character):08x}" for character in name)
        refused(lab.study(with_key(f'name = "{text}"')), lab, "1 to 100 of A-Z a-z 0-9 . _ -")


def test_29_a_module_in_an_environment_s_name_is_not_imported(lab: Lab) -> None:
    refused(lab.study(changed(ENV, "antigravity:X-v0")), lab, "run its code", "--allow-env-import")
    assert "antigravity" not in sys.modules


SPACES: dict[str, tuple[Box, Box, tuple[str, ...]]] = {
    "Image": (Box(0, 255, (8, 8, 3), np.uint8), Box(-1, 1, (1,)), ("flat Box of float observations", "(8, 8, 3)")),
    "Unbounded": (Box(-1, 1, (2,)), Box(-np.inf, np.inf, (1,)), ("finite action bounds",)),
    "Whole": (Box(-1, 1, (2,)), Box(-1, 1, (1,), np.int64), ("flat Box of float actions",)),
    "Double": (Box(-1, 1, (2,), np.float64), Box(-1, 1, (1,), np.float64), ()),
}


@pytest.mark.parametrize("name", SPACES)
def test_30_spaces_that_no_agent_takes_are_refused(lab: Lab, name: str) -> None:
    seen, acted, said = SPACES[name]
    kind = type(name, (gymnasium.Env,), {"observation_space": seen, "action_space": acted})
    gymnasium.register(f"{name}-v0", kind)
    try:
        answer = lab.study(changed(ENV, f"{name}-v0"), "--dry-run")
    finally:
        del gymnasium.registry[f"{name}-v0"]
    refused(answer, lab, f"{name}-v0", *said) if said else None
    assert answer.code == (2 if said else 0)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [("[-1]", "not -1"), ('["3"]', "['3']"), ("[1099511627776]", "not 1099511627776"), ("[0.5]", "[0.5]")],
)
def test_31_seeds_have_one_range(lab: Lab, seeds: str, said: str) -> None:
    refused(lab.study(changed("seeds = 1", f"seeds = {seeds}")), lab, "study.toml:3", "seeds", said)


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
    assert answer.code == 4
    assert "by a link out of the store" in answer.err


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


@pytest.mark.parametrize("edit", ["a better return", "a row twice"])
def test_36_a_result_edited_by_hand_is_no_result(lab: Lab, edit: str) -> None:
    assert lab.study(FILE).code == 0
    path = lab.folder_of("SET", name="study") / "evaluations.csv"
    lines = path.read_text().splitlines()
    step, updates, _, lengths = lines[-1].split(",")
    more = lines[-1] if edit == "a row twice" else f"{step},{updates},1000.0,{lengths}"
    path.write_text("\n".join([*(lines if edit == "a row twice" else lines[:-1]), more, ""]))
    verified, shown = lab("study", "verify", "study"), lab("study", "table", "study")
    assert verified.code == 4
    assert str(path) in verified.out
    assert "1 damaged files" in verified.out
    assert "0 of 1, 1 failed" in shown.out
    again = lab.study(FILE)
    assert again.code == 0
    assert f"not as written, so this run is done again: {path}" in again.err


def test_41_a_finished_study_has_nothing_to_do_and_a_folder_is_none(lab: Lab) -> None:
    assert lab.study(FILE).code == 0
    before = tree(lab.store)
    again = lab.run("study")
    assert (again.code, "2 runs, 0 to do" in again.err) == (0, True)
    assert {path: data for path, data in tree(lab.store).items() if path in before} == before
    for path in (lab.store, lab.folders()[0]):
        answer = lab.run(f"{path}/")
        assert answer.code == 2
        assert "is a folder; a study is a .toml file" in answer.err


@pytest.mark.parametrize("state", ["missing", "failed", "one of two"])
def test_43_a_study_is_shown_however_little_there_is_of_it(tmp_path: Path, state: str) -> None:
    lab = Lab(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        assert (
            lab.study(changed("seeds = 1", "seeds = 2").replace("random_episodes = 1", "random_episodes = 0")).code == 0
        )
    store = Store(lab.store)
    for folder in lab.folders()[: 1 if state == "one of two" else 2]:
        (folder / "manifest.json").unlink()
        store.fail(folder.name, "kaputt") if state == "failed" else None
    count = {"missing": "0 of 2, 2 unfinished", "failed": "0 of 2, 2 failed", "one of two": "1 of 2, 1 unfinished"}[
        state
    ]
    shown, drawn = lab("study", "table", "study"), lab("study", "plot", "study")
    assert shown.code == 0
    assert count in shown.out
    assert drawn.code == (0 if state == "one of two" else 2), drawn
    assert ("nothing to draw for study" in drawn.err) == (drawn.code == 2)
    assert "Traceback" not in drawn.err + shown.err


# Plugins. What becomes of each within the registry is in test_registry, of parts in test_conformance.

HEAD = "from registry import hookimpl\n\n\ndef mine(noise):\n    {body}\n\n\n"
HOOK = "@hookimpl\ndef register_grow(register{more}):\n    {body}\n"
GOOD_HOOK = HOOK.format(more="", body="register(mine)")


def plugin(body: str = "return noise", hook: str = GOOD_HOOK) -> str:
    return HEAD.format(body=body) + hook


def hooked(body: str, more: str = "") -> str:
    return plugin(hook=HOOK.format(more=more, body=body))


BROKEN = {
    "P1 a hook misspelt": (plugin(hook=GOOD_HOOK.replace("_grow", "_grwo")), ("Did you mean 'register_grow'?",)),
    "P2 a hook that asks for more": (
        hooked("register(mine)", ", colour"),
        ("register_grow takes `register`", "colour"),
    ),
    "P3 the second hook": (
        plugin(hook=GOOD_HOOK + HOOK.replace("_grow", "_prune").format(more=", x", body="...")),
        ("register_prune",),
    ),
    "P7 an import": ("import not_a_module_at_all\n", ("ModuleNotFoundError", "not_a_module_at_all")),
    "P8 raises in a hook": (hooked("raise KeyError('kaputt')"), ("KeyError: 'kaputt'",)),
    "P9 leaves in a hook": (hooked("raise SystemExit(0)"), ("SystemExit: 0",)),
    "P12 a class": (hooked("register(dict, name='mine')"), ("grow mine must be a function", "dict")),
    "P12 text": (hooked("register('mine')"), ("must be a function", "'mine'")),
    "P12 nothing": (hooked("register(None)"), ("must be a function", "None")),
}
FAULTY = {
    "P8 raises": (plugin("raise KeyError('kaputt')"), ("raised KeyError: 'kaputt'",)),
    "P9 leaves": (plugin("raise SystemExit(0)"), ("SystemExit",)),
    "P10 changes its input": (plugin("return noise.mul_(2)"), ("changed its input 'noise' in place",)),
    "P11 a shape": (plugin("return noise[..., :1]"), ("must give a float tensor shaped",)),
    "P11 a type": (plugin("return noise > 0"), ("must give a float tensor", "torch.bool")),
    "P11 no tensor": (plugin("return None"), ("must give a float tensor", "None")),
    "P11 NaN": (plugin("return noise * float('nan')"), ("not finite",)),
    "P13 seeds torch": (plugin("__import__('torch').manual_seed(0); return noise"), ("torch's global random state",)),
    "P13 draws": (plugin("return __import__('torch').rand_like(noise)"), ("torch's global random state",)),
    "P13 draws from NumPy": (
        plugin("__import__('numpy').random.rand(); return noise"),
        ("NumPy's global random state",),
    ),
    "P13 threads": (plugin("__import__('torch').set_num_threads(2); return noise"), ("number of threads",)),
}
MINE = changed('base = "set"', 'base = "set", grow = "mine"')


@pytest.mark.parametrize(("source", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_installed_plugin_is_a_warning_that_names_it(
    lab: Lab, install: Install, source: str, said: tuple[str, ...]
) -> None:
    install("bad-things", {"bad": "bad_module"}, bad_module=source)
    good = lab.study(FILE, "--dry-run")
    assert good.code == 0, good
    (warning,) = [line for line in good.err.splitlines() if line.startswith("warning: ")]
    for words in ("set aside", "'bad' of bad-things 1.0", *said):
        assert words in warning.replace("grow 'mine'", "grow mine")
    assert "Traceback" not in good.err
    assert lab.study(FILE, "--dry-run", "--no-plugins").err == ""
    asked = lab.study(MINE)
    assert asked.code == 2
    assert "no grow named 'mine'" in asked.err
    checked = lab("check", lab.file(source, "mine.py"))
    assert (checked.code, checked.out) == (2, "")
    assert said[0].replace("grow mine", "grow 'mine'") in checked.err


@pytest.mark.parametrize(("source", "said"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_part_harms_only_who_names_it(lab: Lab, source: str, said: tuple[str, ...]) -> None:
    path = lab.file(source, "mine.py")
    good = lab.study(FILE, "--plugin", path, "--dry-run")
    assert (good.code, good.err) == (0, "")
    refused(lab.study(MINE, "--plugin", path), lab, "'SET'", "grow 'mine' of", "mine.py", *said)
    checked = lab("check", path)
    assert checked.code == 2
    for words in said:
        assert words in checked.out


def test_p4_a_property_that_raises_is_not_touched(lab: Lab, install: Install) -> None:
    text = "class P:\n    @property\n    def x(self): raise RuntimeError('touched')\n\n\nthing = P()\n"
    install("odd", {"odd": "odd_module:thing"}, odd_module=text)
    answer = lab.study(FILE, "--dry-run")
    assert (answer.code, answer.err) == (0, "")


def test_p5_two_distributions_with_one_entry_point_are_named(lab: Lab, install: Install) -> None:
    install("maker-a", {"twin": "twin_a"}, twin_a=plugin())
    install("maker-b", {"twin": "twin_b"}, "2.0", twin_b=plugin())
    answer = lab.study(FILE, "--dry-run")
    assert answer.code == 0
    assert "'twin' is claimed by maker-a 1.0 and by maker-b 2.0: uninstall one" in answer.err


def test_p6_two_plugins_with_one_name_are_an_error_for_who_uses_it(lab: Lab, install: Install) -> None:
    install("maker-a", {"a": "module_a"}, module_a=plugin())
    install("maker-b", {"b": "module_b"}, module_b=plugin())
    both = "grow 'mine' is claimed by a (maker-a 1.0) and by b (maker-b 1.0): rename one of the two"
    good, asked = lab.study(FILE, "--dry-run"), lab.study(MINE)
    assert good.code == 0
    assert f"warning: plugin set aside: {both}" in good.err
    assert asked.code == 2
    assert f"error: [methods] 'SET': {both}" in asked.err


def test_a_part_that_raises_where_a_study_is_laid_out_is_named(lab: Lab) -> None:
    for kind, old in (("allocation", '"erk"'), ("eligible", '"hidden"')):
        source = plugin().replace("noise", "shapes").replace("return shapes", "raise KeyError('kaputt')")
        path = lab.file(source.replace("_grow", f"_{kind}"), "mine.py")
        refused(lab.study(changed(old, '"mine"'), "--plugin", path), lab, f"{kind} 'mine' of", "mine.py", "kaputt")
