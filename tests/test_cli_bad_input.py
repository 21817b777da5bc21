"""Bad inputs: a clear line each, exit code 2, no traceback, and nothing written (RELIABILITY.md, section 3)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from lab import ENV, FILE, QUICK, Answer, Lab, a_lab, in_this_process, no_figures

lab, quiet, inside = a_lab, no_figures, in_this_process

GRID = ("study", "run", "--methods", "set", "--envs", ENV, *QUICK)


def refused(answer: Answer, lab: Lab, *said: str) -> None:
    """Exit code 2, one line a problem that says all of this, no traceback, no store."""
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err + answer.out
    assert answer.errors, answer.err
    assert answer.err.count("\n") == len(answer.errors), "nothing but problems, one line each"
    for words in said:
        assert words in answer.err
    assert not lab.store.exists(), "nothing is written on exit 2"


def changed(old: str, new: str) -> str:
    assert old in FILE
    return FILE.replace(old, new)


def with_key(line: str) -> str:
    """The good file with one more key at its top, in place of the one that it had."""
    key = line.partition("=")[0].strip()
    return "\n".join([line, *(kept for kept in FILE.splitlines() if not kept.startswith(f"{key} ="))]) + "\n"


def td3(line: str) -> str:
    return FILE[: FILE.index("batch_size")] + line + "\n"


def test_the_good_file_is_good(lab: Lab) -> None:
    answer = lab.study(FILE, "--dry-run")
    assert answer.code == 0, answer.err
    assert not lab.store.exists(), "--dry-run writes nothing"


FILES: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    # Keys and names
    "key": (changed("seeds = 1", "sedes = 1"), ("study.toml:3", "'sedes'", "Did you mean 'seeds'?", "Allowed: ")),
    "missing key": (changed("seeds = 1\n", ""), ("study.toml", "'seeds' is missing")),
    "method": (changed('base = "set"', 'base = "sett"'), ("'SET'", "'sett'", "Did you mean 'set'?", "Known: dense")),
    "no base": (changed('base = "set"', 'grow = "random"'), ("'SET'", "needs a base", "rigl")),
    "row is a number": (changed('{ base = "set" }', "5"), ("study.toml:16", "methods", "5")),
    "row is a list": (changed('{ base = "set" }', '["set"]'), ("study.toml:16", "methods", "set")),
    "part": (changed('base = "set"', 'base = "set", grow = "gradien"'), ("'SET'", "Did you mean 'gradient'?")),
    "part in [all]": (changed('"erk"', '"erkk"'), ("'erkk'", "Did you mean 'erk'?", "uniform")),
    "setting in a row": (
        changed('base = "set"', 'base = "set", schedule = { evry = 5 }'),
        ("'SET'", "periodic", "'evry'", "Did you mean 'every'?", "Settings: fraction"),
    ),
    "field in a row": (changed('base = "set"', 'base = "set", gorw = "x"'), ("'gorw'", "Did you mean 'grow'?")),
    "field in [all]": (changed("eligible", "eligibel"), ("'eligibel'", "Did you mean 'eligible'?")),
    "setting in [all]": (changed("every = 20", "evry = 20"), ("[all] schedule", "'evry'")),
    "setting in [all], nearest": (changed("every = 20", "evry = 20"), ("Did you mean 'every'?",)),
    "setting of the agent": (changed("batch_size", "batchsize"), ("'td3'", "Did you mean 'batch_size'?", "tau")),
    "agent of settings": (changed("settings.td3", "settings.td4"), ("[settings.td4]", "Did you mean 'td3'?")),
    "agent": (changed('["td3"]', '["td33"]'), ("agents", "'td33'", "Did you mean 'td3'?")),
    "learner": (changed('base = "set"', 'base = "set", acotr = "dense"'), ("'acotr'", "Did you mean 'actor'?")),
    "method of a learner": (changed('base = "set"', 'base = "set", actor = "dens"'), ("Did you mean 'dense'?",)),
    "field of a learner": (changed('base = "set"', 'base = "set", actor = { gorw = 1 }'), ("Did you mean 'grow'?",)),
    "flag of a method": (
        changed('base = "set"', 'base = "set", scope = "layr"'),
        ("scope", "layer, network", "'layr'"),
    ),
    "text for a truth": (changed('base = "set"', 'base = "set", readmit = "no"'), ("readmit", "'no'")),
    "traces are a number": (changed('base = "set"', 'base = "set", traces = 5'), ("traces", "5")),
    "trace is a number": (changed('base = "set"', 'base = "set", traces = [5]'), ("trace", "5")),
    "preset": (with_key("preset = 'ds-td33'"), ("'ds-td33'", "Did you mean 'ds-td3'?", "td3-official")),
    "replay": (with_key("replay = 'unifrm'"), ("'unifrm'", "Did you mean 'uniform'?")),
    "replay without part": (with_key("replay = { capacity = 5 }"), ("replay", "part")),
    "wrapper": (with_key("wrappers = ['noise_featurs']"), ("'noise_featurs'", "Did you mean 'noise_features'?")),
    "wrapper's setting": (with_key("wrappers = [{part='noise_features', share=1.5}]"), ("share", "1.5")),
    # Environments
    "env unknown": (changed(ENV, "Pendulumm-v1"), ("Pendulumm", "Did you mean", "Pendulum")),
    "env in lower case": (changed(ENV, "halfcheetah-v5"), ("Did you mean", "HalfCheetah")),
    "env without version": (changed(ENV, "HalfCheetah"), ("'HalfCheetah'", "version", "HalfCheetah-v5")),
    "env without version, another": (changed(ENV, "InvertedPendulum"), ("version", "'InvertedPendulum-v5'")),
    "env without name": (changed(ENV, ""), ("version",)),
    "env too old": (changed(ENV, "HalfCheetah-v2"), ("'HalfCheetah-v2'", "HalfCheetah-v4 or HalfCheetah-v5")),
    "env too new": (changed(ENV, "HalfCheetah-v99"), ("v99", "v5")),
    "env with a module": (changed(ENV, "antigravity:Env-v0"), ("antigravity", "--allow-env-import")),
    "env with few actions": (changed(ENV, "CartPole-v1"), ("CartPole-v1", "Box", "Discrete(2)")),
    # Densities
    "density 95": (changed("[0.5]", "[95]"), ("study.toml:9", "95", "(0, 1]", "0.95", "0.05")),
    "density 0": (changed("[0.5]", "[0]"), ("study.toml:9", "(0, 1]", "not 0")),
    "density -0.1": (changed("[0.5]", "[-0.1]"), ("study.toml:9", "(0, 1]", "not -0.1")),
    "density 1.5": (changed("[0.5]", "[1.5]"), ("study.toml:9", "(0, 1]", "1.5")),
    "density nan": (changed("[0.5]", "[nan]"), ("study.toml:9", "(0, 1]", "nan")),
    "density inf": (changed("[0.5]", "[inf]"), ("study.toml:9", "(0, 1]", "inf")),
    "density text": (changed("[0.5]", '["x"]'), ("study.toml:9", "densities", "number", "'x'")),
    "density true": (changed("[0.5]", "[true]"), ("study.toml:9", "densities", "number", "True")),
    "density no list": (changed("[0.5]", "0.5"), ("study.toml:9", "densities", "list", "0.5")),
    "density of a learner": (changed("[0.5]", "[{ actor = 95 }]"), ("study.toml:9", "95", "0.95")),
    "density of no learner": (changed("[0.5]", "[{ atcor = 0.5 }]"), ("'atcor'", "actor")),
    "density in a row": (changed('base = "set"', 'base = "set", density = 95'), ("'SET'", "(0, 1]", "0.95")),
    "density text in a row": (changed('base = "set"', 'base = "set", density = "x"'), ("'SET'", "density", "'x'")),
    "density leaves nothing": (changed("[0.5]", "[1e-9]"), ("'SET'", "no connection", "hidden.0.weight")),
    # Steps and seeds
    "steps 0": (changed("steps = 120", "steps = 0"), ("steps", "at least 1", "not 0")),
    "steps -5": (changed("steps = 120", "steps = -5"), ("steps", "at least 1", "-5")),
    "steps 2.5": (changed("steps = 120", "steps = 2.5"), ("study.toml:4", "steps", "whole number", "2.5")),
    "steps text": (changed("steps = 120", 'steps = "x"'), ("study.toml:4", "steps", "whole number", "'x'")),
    "steps true": (changed("steps = 120", "steps = true"), ("study.toml:4", "steps", "whole number", "True")),
    "steps nan": (changed("steps = 120", "steps = nan"), ("study.toml:4", "steps", "whole number", "nan")),
    "steps inf": (changed("steps = 120", "steps = inf"), ("study.toml:4", "steps", "whole number", "inf")),
    "seeds negative": (changed("seeds = 1", "seeds = [-1]"), ("seeds", "2**32 - 1", "-1")),
    "seeds a negative number": (changed("seeds = 1", "seeds = -1"), ("seeds", "how many", "1 ... 2**32", "-1")),
    "seeds none": (changed("seeds = 1", "seeds = []"), ("seed", "at least one")),
    "seeds 3.5": (changed("seeds = 1", "seeds = 3.5"), ("study.toml:3", "seeds", "whole number", "3.5")),
    "seeds true": (changed("seeds = 1", "seeds = true"), ("study.toml:3", "seeds", "whole number", "True")),
    "seeds as a range": (changed("seeds = 1", 'seeds = "0..4"'), ("study.toml:3", "seeds", "list", "'0..4'")),
    "seeds twice": (changed("seeds = 1", "seeds = [0, 1, 0]"), ("seeds", "twice", "[0, 1, 0]")),
    "seeds too large": (changed("seeds = 1", "seeds = [4294967296]"), ("seeds", "2**32 - 1", "4294967296")),
    "seeds too many": (changed("seeds = 1", "seeds = 1_000_000_000_000_000_000_000"), ("seeds", "1 ... 2**32")),
    # A file that is none
    "empty": ("", ("study.toml is empty", "agents")),
    "comments alone": ("# a plan\n", ("study.toml is empty",)),
    "binary": (bytes(range(256)), ("study.toml", "UTF-8")),
    "latin": (FILE.replace("SET", "SÉT").encode("latin-1"), ("study.toml", "UTF-8")),
    "NUL": (FILE.replace("SET", "S\0T"), ("study.toml", "not TOML", "line 17")),
    "huge": (FILE + "#" + "x" * 2_000_000, ("study.toml", "1000000 bytes")),
    "prose": ("hello world", ("study.toml", "not TOML", "line 1")),
    "list": ("[1, 2]", ("study.toml", "not TOML")),
    "key twice": (changed("seeds = 1", "seeds = 1\nseeds = 2"), ("study.toml", "not TOML", "line 4")),
    "nested": (FILE + "x = " + "[" * 5000 + "]" * 5000, ("study.toml", "20 deep")),
    # What cannot be done
    "warm-up as long as the run": (with_key("warmup = 120"), ("warmup: 120", "120 steps", "--set warmup=0")),
    "warm-up negative": (with_key("warmup = -1"), ("warmup", "at least 0", "-1")),
    "episodes 0": (with_key("episodes = 0"), ("episodes", "at least 1", "not 0")),
    "random episodes": (with_key("random_episodes = -1"), ("random_episodes", "at least 0", "-1")),
    "eval_every 0": (with_key("eval_every = 0"), ("eval_every", "at least 1", "not 0")),
    "fraction 95": (changed("fraction = 0.05", "fraction = 95"), ("'SET'", "fraction", "[0, 1]", "95")),
    "fraction nan": (changed("fraction = 0.05", "fraction = nan"), ("'SET'", "fraction", "nan")),
    "fraction text": (changed("fraction = 0.05", 'fraction = "x"'), ("'SET'", "fraction", "a number", "'x'")),
    "every 0": (changed("every = 20", "every = 0"), ("'SET'", "every", "at least 1", "not 0")),
    "every -5": (changed("every = 20", "every = -5"), ("'SET'", "every", "at least 1", "-5")),
    "until 2.0": (changed("every = 20", "every = 20, until = 2.0"), ("'SET'", "until", "(0, 1]", "2")),
    "tau 5": (td3("tau = 5"), ("tau of td3", "(0, 1]", "5")),
    "discount 1.5": (td3("discount = 1.5"), ("discount", "[0, 1]", "1.5")),
    "learning rate 0": (td3("learning_rate = 0"), ("learning_rate", "above 0")),
    "learning rate text": (td3("learning_rate = '1e-3'"), ("learning_rate", "a number", "'1e-3'")),
    "batch 0": (td3("batch_size = 0"), ("batch_size", "at least 1")),
    "batch 2.5": (td3("batch_size = 2.5"), ("batch_size", "a whole number", "2.5")),
    "batch too large": (td3("batch_size = 1_000_000_000_000_000"), ("batch_size",)),
    "hidden number": (td3("hidden = 16"), ("hidden", "list", "16")),
    "hidden 0": (td3("hidden = [0]"), ("hidden", "at least 1")),
    "hidden too large": (td3("hidden = [1_000_000_000_000_000]"), ("hidden",)),
    "capacity too large": (with_key("replay = { part = 'uniform', capacity = 1_000_000_000_000_000 }"), ("capacity",)),
    "capacity 0": (with_key("replay = { part = 'uniform', capacity = 0 }"), ("capacity", "at least 1")),
    "execution quick": (with_key("execution = 'quick'"), ("execution", "'auto', 'masked' or 'sparse'", "'quick'")),
    "execution sparse on a GPU": (with_key("execution = 'sparse'\ndevice = 'cuda'"), ("execution", "CPU", "'masked'")),
    "execution sparse of a method that cannot": (
        with_key("execution = 'sparse'").replace('base = "set"', 'base = "ds_released"'),
        ("execution", "dense gradients"),
    ),
    "device": (with_key("device = 'tpu'"), ("device", "'cpu'", "'tpu'")),
    "device that is not there": (with_key("device = 'cuda:77'"), ("cuda:77", "cpu")),
    # Names
    "name of a way up": (with_key("name = '../../x'"), ("name", "A-Z a-z 0-9", "../../x")),
    "name of a way": (with_key("name = '/etc/x'"), ("name", "/etc/x")),
    "name with a blank": (with_key("name = 'a b'"), ("name", "a b")),
    "name too long": (with_key(f"name = '{'x' * 300}'"), ("name", "1 to 100")),
    "name hidden": (with_key("name = '.x'"), ("name", ".x")),
    "name like a flag": (with_key("name = '-x'"), ("name", "-x")),
    "name with a line break": (with_key('name = "a\\nb"'), ("name",)),
    "name with an escape": (with_key('name = "a\\u001b[31m"'), ("name",)),
}


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_a_bad_study_file_is_refused(lab: Lab, text: str | bytes, said: tuple[str, ...]) -> None:
    answer = lab.study(text)
    refused(answer, lab, *said)
    assert "\x1b" not in answer.err


ONE_LINE = ("density text", "density true", "seeds 3.5", "seeds true", "seeds as a range", "row is a number")


@pytest.mark.parametrize("case", ONE_LINE)
def test_one_wrong_value_is_one_problem(lab: Lab, case: str) -> None:
    assert len(lab.study(FILES[case][0]).errors) == 1


WITHOUT_PLACE = (
    "seeds twice",
    "seeds negative",
    "seeds a negative number",
    "steps 0",
    "warm-up negative",
    "episodes 0",
)


@pytest.mark.parametrize("case", WITHOUT_PLACE)
def test_a_problem_names_its_file(lab: Lab, case: str) -> None:

    assert "study.toml" in lab.study(FILES[case][0]).err


def test_several_problems_are_told_at_once(lab: Lab) -> None:
    rows = 'A = { base = "sett" }\nB = { base = "set", grow = "rnd" }\nC = { base = "rigl", schedule = { evry = 1 } }'
    answer = lab.study(changed('"SET" = { base = "set" }', rows))
    refused(answer, lab, "'sett'", "'rnd'", "'evry'")
    assert len(answer.errors) == 3
    several = changed("seeds = 1", "sedes = 1").replace("steps", "stepps").replace("agents", "agnets")
    refused(lab.study(several), lab, "'sedes'", "'stepps'", "'agnets'")
    numbers = changed("seeds = 1", "seeds = [0, 0, -1]").replace("steps = 120", "steps = 0")
    refused(lab.study(numbers), lab, "steps", "twice", "-1")


def test_problems_of_different_kinds_are_told_at_once(lab: Lab) -> None:

    text = changed('base = "set"', 'base = "sett"').replace("[0.5]", "[95]").replace(ENV, "CartPole-v1")
    refused(lab.study(text), lab, "'sett'", "95", "CartPole-v1")


def test_a_byte_order_mark_and_windows_lines_just_work(lab: Lab) -> None:
    for text in (b"\xef\xbb\xbf" + FILE.encode(), FILE.replace("\n", "\r\n").encode()):
        assert lab.study(text, "--dry-run").code == 0


def test_a_folder_or_nothing_is_no_study_file(lab: Lab) -> None:
    (lab.folder / "folder.toml").mkdir()
    refused(lab.run(lab.folder / "folder.toml"), lab, "folder.toml", "is a folder", ".toml file")
    refused(lab.run(f"{lab.folder}/"), lab, "is a folder")
    refused(lab.run(lab.folder / "none.toml"), lab, "none.toml", "does not exist")
    refused(lab.run("quikstart"), lab, "'quikstart'", "Did you mean 'quickstart'?", "Known:")


def test_a_file_whose_stem_is_no_name_says_so(lab: Lab) -> None:
    refused(lab.run(lab.file(FILE, "my study.toml")), lab, "name", "my study")
    assert lab.run(lab.file(FILE, "my study.toml"), "--name", "mine", "--dry-run").code == 0


def test_control_characters_of_a_file_do_not_reach_the_terminal(lab: Lab) -> None:

    escape = '"\\u001b]0;owned\\u0007"'
    for text in (
        changed('"SET"', escape).replace('base = "set"', 'base = "sett"'),
        changed('base = "set"', f"base = {escape}"),
        changed('base = "set"', f"base = 'set', {escape} = 1"),
        changed(f'"{ENV}"', escape),
        changed('"td3"', escape),
        FILE.replace("seeds", escape),
        with_key(f"preset = {escape}"),
        with_key(f"device = {escape}"),
    ):
        answer = lab.study(text)
        assert answer.code == 2
        assert not {"\x1b", "\x07"} & set(answer.err), answer.err


FLAGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "densities 95": (("--densities", "95"), ("densities", "0.95", "0.05")),
    "densities text": (("--densities", "x"), ("--densities", "'x'", "number")),
    "densities nan": (("--densities", "nan"), ("densities", "nan")),
    "densities inf": (("--densities", "inf"), ("densities", "inf")),
    "seeds -1": (("--seeds", "-1"), ("seed",)),
    "seeds 3.5": (("--seeds", "3.5"), ("seeds", "3.5")),
    "seeds 0,0": (("--seeds", "0,0"), ("seeds", "twice")),
    "seeds range": (("--seeds", "0..4"), ("--seeds", "'0..4'")),
    "seeds large": (("--seeds", "4294967296,1"), ("seeds", "4294967296")),
    "seeds none": (("--seeds", ""), ("seeds",)),
    "seeds inf": (("--seeds", "inf"), ("seeds", "inf")),
    "seeds nan": (("--seeds", "nan"), ("seeds", "nan")),
    "grid too large": (("--seeds", "200000"), ("200,000 runs", "100,000", "--yes")),
    "set without value": (("--set", "warmup"), ("--set", "KEY=VALUE", "'warmup'")),
    "set unknown": (("--set", "wormup=5"), ("'wormup'", "Did you mean 'warmup'?")),
    "set unknown setting": (("--set", "td3.bach_size=5"), ("'bach_size'", "Did you mean 'batch_size'?")),
    "set unknown agent": (("--set", "td4.batch_size=5"), ("td4", "Did you mean 'td3'?")),
    "set nothing": (("--set", "=5"), ("unknown key ''",)),
    "set name": (("--set", "name=../../x"), ("name", "../../x")),
    "set warm-up": (("--set", "warmup=120"), ("warmup: 120",)),
    "name": (("--name", "../../x"), ("name", "../../x")),
    "absolute name": (("--name", "/etc/x"), ("name", "/etc/x")),
    "hidden text": (("--hidden", "x"), ("--hidden", "'x'")),
    "hidden 16.5": (("--hidden", "16.5,16"), ("hidden", "16.5")),
    "hidden 0": (("--hidden", "0"), ("hidden", "at least 1")),
    "hidden none": (("--hidden", ""), ("hidden",)),
    "device": (("--device", "tpu"), ("device", "'tpu'")),
    "workers": (("--workers", "-1"), ("--workers", "-1")),
    "retries": (("--retries", "-1"), ("--retries", "-1", "at least 0")),
    "stall after": (("--stall-after", "nan"), ("--stall-after", "nan", "at least 0")),
    "checkpoint every": (("--checkpoint-every", "-0.5"), ("--checkpoint-every", "-0.5", "at least 0")),
    "preset": (("--preset", "ds-td33"), ("'ds-td33'", "Did you mean 'ds-td3'?")),
    "plugin": (("--plugin", "/nowhere/x.py"), ("/nowhere/x.py", "does not exist")),
    "eval-every": (("--eval-every", "0"), ("eval_every", "at least 1")),
    "agents": (("--agents", "td33"), ("'td33'", "Did you mean 'td3'?")),
    "methods": (("--methods", "sett"), ("'sett'", "Did you mean 'set'?")),
    "no methods": (("--methods", ""), ("method",)),
    "steps": (("--steps", "0"), ("steps", "at least 1")),
}


@pytest.mark.parametrize(("words", "said"), FLAGS.values(), ids=FLAGS)
def test_a_bad_flag_is_refused(lab: Lab, words: tuple[str, ...], said: tuple[str, ...]) -> None:
    refused(lab.run(*GRID[2:], *words), lab, *said)


def test_an_executor_that_nobody_knows_is_refused(lab: Lab) -> None:
    refused(lab(*GRID, "--executor", "slurn"), lab, "executor", "'slurn'", "local")


def test_a_grid_needs_methods_and_environments(lab: Lab) -> None:
    for words in ((), ("--methods", "set"), ("--envs", ENV)):
        refused(lab("study", "run", *words), lab, "--methods", "--envs")


@pytest.mark.parametrize(
    "words", [("--execution", "quick"), ("--steps", "x"), ("--methodss", "set"), ("--workers", "two")], ids=str
)
def test_words_that_the_command_line_does_not_know_exit_2(lab: Lab, words: tuple[str, ...]) -> None:
    answer = lab(*GRID, *words)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert words[0] in answer.err
    assert not lab.store.exists()


TRAIN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nothing": ((), ("--env", "HalfCheetah-v5")),
    "dense at a density": (("--env", ENV, "--method", "dense", "--density", "0.5", *QUICK), ("dense", "--density")),
    "density 95": (("--env", ENV, "--method", "set", "--density", "95", *QUICK), ("0.95", "0.05")),
    "no learner": (("--env", ENV, "--method", "set", "--density", "atcor=0.1", *QUICK), ("atcor",)),
    "half a table": (("--env", ENV, "--method", "set", "--density", "actor=0.1,0.2", *QUICK), ("--density",)),
    "no density": (("--env", ENV, "--method", "set", "--density", "", *QUICK), ("--density",)),
    "seed -1": (("--env", ENV, "--seed", "-1", *QUICK), ("seed", "-1")),
    "seed 2**32": (("--env", ENV, "--seed", "4294967296", *QUICK), ("seed", "4294967296")),
    "warm-up": (("--env", ENV, "--steps", "500"), ("warmup: 1000", "500 steps", "--set warmup=0")),
    "method": (("--env", ENV, "--method", "rigll", *QUICK), ("'rigll'", "Did you mean 'rigl'?")),
    "env": (("--env", "CartPole-v1", *QUICK), ("Discrete(2)", "Box")),
    "memory": (
        ("--env", ENV, "--steps", "900000000000", "--set", "replay={part='uniform',capacity=900000000000}"),
        ("replay", "GB"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("words", "said"), TRAIN.values(), ids=TRAIN)
def test_a_bad_training_is_refused(lab: Lab, inside: None, words: tuple[str, ...], said: tuple[str, ...]) -> None:
    refused(lab("train", *words), lab, *said)


def test_a_dense_grid_alone_is_a_grid(lab: Lab) -> None:

    for method in ("dense", "static", "dense,static"):
        answer = lab("study", "run", "--methods", method, "--envs", ENV, *QUICK, "--dry-run")
        assert answer.code == 0, answer.err


def test_dict_observations_are_refused_by_name(lab: Lab) -> None:
    module = lab.folder / "dict_env_of_a_test.py"
    module.write_text(DICT_ENV)
    sys.path.insert(0, str(lab.folder))
    try:
        answer = lab(
            *("study", "run", "--methods", "set", "--envs", "dict_env_of_a_test:Dicts-v0", *QUICK),
            "--allow-env-import",
        )
    finally:
        sys.path.remove(str(lab.folder))
    refused(answer, lab, "flat Box", "Dict")


DICT_ENV = """\
import gymnasium
from gymnasium.spaces import Box, Dict


class Dicts(gymnasium.Env):
    observation_space = Dict({"a": Box(-1, 1, (2,))})
    action_space = Box(-1, 1, (1,))


gymnasium.register("Dicts-v0", Dicts)
"""


# Looking


@pytest.mark.parametrize("command", ["status", "table", "plot", "verify"])
@pytest.mark.parametrize("name", ["nothing", "../../etc", "/etc", "", ".", "a\x1b[31m"])
def test_looking_at_a_study_that_is_not_there_is_refused(lab: Lab, command: str, name: str) -> None:
    answer = lab("study", command, name)
    refused(answer, lab, "no study")
    assert "\x1b" not in answer.err


def test_an_empty_store_is_listed(lab: Lab) -> None:
    answer = lab("study", "list")
    assert answer.code == 0
    assert "none yet" in answer.out
    assert "quickstart" in answer.out
    assert not lab.store.exists()


def test_a_store_that_is_a_file_is_a_plain_sentence(lab: Lab) -> None:
    lab.store.write_text("")
    answer = lab.study(FILE)
    assert answer.code == 2
    assert "Not a directory" in answer.err
    assert "Traceback" not in answer.err


# Plugins


PLUGIN = """\
from registry import hookimpl


def mine(weight, noise, *, heat: float = 0.1):
    return noise


@hookimpl
def register_grow(register):
    register(mine)
"""
AGENT = """\
from registry import hookimpl


def mine(observation_size, action_size, seed, *, x: float = 1.0):
    raise KeyError("kaputt")


@hookimpl
def register_agent(register):
    register(mine)
"""
WRAPPER = AGENT.replace("observation_size, action_size, seed", "env").replace("_agent", "_wrapper")
REPLAY = AGENT.replace("size, seed", "size").replace("_agent", "_replay")
SCHEDULE = AGENT.replace("observation_size, action_size, seed", "step").replace("_agent", "_schedule")

PLUGINS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "raises on import": ("raise RuntimeError('kaputt')", FILE, ("mine.py", "RuntimeError: kaputt")),
    "leaves on import": ("raise SystemExit(7)", FILE, ("mine.py", "SystemExit")),
    "no Python": ("def (", FILE, ("mine.py", "SyntaxError")),
    "needs what is not there": ("import not_a_module_at_all", FILE, ("mine.py", "not_a_module_at_all")),
    "raises in a hook": (PLUGIN.replace("register(mine)", "raise KeyError('kaputt')"), FILE, ("mine.py", "kaputt")),
    "hook misspelt": (PLUGIN.replace("_grow", "_grwo"), FILE, ("register_grwo", "Did you mean 'register_grow'?")),
    "unknown input": (PLUGIN.replace("noise", "nose"), FILE, ("'nose'", "Did you mean 'noise'?", "weight")),
    "known name": (PLUGIN.replace("mine", "gradient"), changed('"set"', '"rigl"'), ("'gradient'", "mine.py", "rename")),
    "a class": (PLUGIN.replace("register(mine)", "register(dict)"), FILE, ("dict", "function")),
    "text": (PLUGIN.replace("register(mine)", "register('mine')"), FILE, ("mine",)),
    "raises when called": (PLUGIN.replace("return noise", "raise KeyError('kaputt')"), "", ("mine.py", "kaputt")),
    "leaves when called": (PLUGIN.replace("return noise", "raise SystemExit(0)"), "", ("mine.py", "SystemExit")),
    "gives nothing": (PLUGIN.replace("return noise", "pass"), "", ("'mine'", "mine.py", "None")),
    "gives NaN": (PLUGIN.replace("return noise", "return noise * float('nan')"), "", ("'mine'", "not finite")),
    "changes its inputs": (PLUGIN.replace("return noise", "return weight.add_(1)"), "", ("'mine'", "mine.py")),
    "registers another": (PLUGIN.replace("(mine)", "(mine, name='other')"), "", ("no grow named 'mine'",)),
    "agent": (AGENT, td3("").replace("[settings.td3]", "").replace('["td3"]', '["mine"]'), ("'mine'", "kaputt")),
    "wrapper": (WRAPPER, with_key("wrappers = ['mine']"), ("mine", "kaputt")),
    "replay": (REPLAY, with_key("replay = 'mine'"), ("mine", "kaputt")),
    "schedule": (
        SCHEDULE, changed('base = "set"', 'base = "set", schedule = "mine"') + "\n[axes]\ngrow = ['random']\n",
        ("mine", "kaputt"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "text", "said"), PLUGINS.values(), ids=PLUGINS)
def test_a_broken_plugin_that_a_study_names_is_refused(lab: Lab, source: str, text: str, said: tuple[str, ...]) -> None:
    text = text or changed('base = "set"', 'base = "set", grow = "mine"')
    refused(lab.study(text, "--plugin", lab.file(source + "\n", "mine.py")), lab, *said)


def test_a_plugin_file_without_a_part_is_a_warning(lab: Lab) -> None:
    empty = lab.file("def register_grwo(register): ...\n", "mine.py")
    planned = lab.study(FILE, "--plugin", empty, "--dry-run")
    assert planned.code == 0
    said = "registers no part: register_grwo is no hook. Did you mean 'register_grow'?"
    assert said in planned.err
    asked = lab.study(changed('base = "set"', 'base = "set", grow = "mine"'), "--plugin", empty)
    assert asked.code == 2
    assert said in asked.errors[0]


def test_a_broken_part_that_no_row_names_harms_nobody(lab: Lab) -> None:
    broken = lab.file(PLUGIN.replace("return noise", "raise KeyError('kaputt')"), "mine.py")
    assert lab.study(FILE, "--plugin", broken, "--dry-run").code == 0


def test_debug_shows_the_traceback_and_nothing_else_does(lab: Lab) -> None:
    text: Any = changed('base = "set"', 'base = "sett"')
    with pytest.raises(ValueError, match="sett"):
        lab.study(text, "--debug")
    assert "Traceback" not in lab.study(text).err


def test_more_workers_than_cores_is_said(lab: Lab) -> None:
    answer = lab(*GRID, "--workers", "640", "--dry-run")
    assert answer.code == 0
    assert "640 workers share" in answer.err


def test_a_run_too_short_for_an_event_is_said(lab: Lab) -> None:
    answer = lab.study(changed("every = 20", "every = 1000"), "--dry-run")
    assert answer.code == 0
    assert "no change of topology" in answer.err
    assert "no change of topology" not in lab.study(FILE, "--dry-run").err


def test_a_working_folder_is_left_as_it_was(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.folder)
    before = sorted(Path().iterdir())
    lab(*GRID, "--densities", "95")
    lab("study", "list")
    assert sorted(Path().iterdir()) == before
