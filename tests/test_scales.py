"""A study at several sizes: what a scale changes, what it may not, and what becomes of it in the store."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from lab import ENV, FILE, REGISTRY, Lab, a_lab, no_figures

from studies.problems import BadInput
from studies.read import study_from
from studies.scales import scaled

lab, quiet = a_lab, no_figures

SMALL = """
[scales.small]
steps = 80
seeds = 2
[scales.small.all]
schedule = { every = 10 }
[scales.small.methods]
"SET" = { readmit = false }
"Dense" = "dense"
[scales.small.settings.td3]
batch_size = 4
"""
PLAIN = (
    FILE.replace("steps = 120", "steps = 80")
    .replace("seeds = 1", "seeds = 2")
    .replace("every = 20", "every = 10")
    .replace('"SET" = { base = "set" }', '"SET" = { base = "set", readmit = false }\n"Dense" = "dense"')
    .replace("batch_size = 8", "batch_size = 4")
)
"""What `FILE` at the scale `small` comes to, written out."""


def kept(lab: Lab, name: str = "study") -> dict[str, Any]:
    return tomllib.loads((lab.store / "studies" / name / "study.toml").read_text())


def ids(text: str, scale: str | None = None) -> set[str]:
    study = study_from(scaled(tomllib.loads(text), scale), REGISTRY, name="study")
    return {cell.run.id for cell in study.cells(REGISTRY)}


def test_a_scale_makes_the_runs_of_the_file_with_its_keys_written_out() -> None:
    assert ids(FILE + SMALL, "small") == ids(PLAIN)
    assert ids(FILE + SMALL) == ids(FILE + SMALL, "full") == ids(FILE)
    assert ids(FILE) != ids(PLAIN)


@pytest.mark.parametrize(
    ("under", "over", "laid"),
    [
        ({"all": {"allocation": "erk"}}, {"all": {"eligible": "all"}}, {"allocation": "erk", "eligible": "all"}),
        ({"all": {"schedule": {"every": 5, "fraction": 0.1}}}, {"all": {"schedule": {"every": 2}}},
         {"schedule": {"every": 2, "fraction": 0.1}}),
        ({"all": {"schedule": {"every": 5}}}, {"all": {"schedule": {"part": "cosine"}}},
         {"schedule": {"part": "cosine"}}),
        ({"all": {"schedule": "periodic"}}, {"all": {"schedule": {"every": 2}}},
         {"schedule": {"part": "periodic", "every": 2}}),
        ({"methods": {"S": "set"}}, {"methods": {"S": {"grow": "gradient"}}},
         {"S": {"base": "set", "grow": "gradient"}}),
        ({"methods": {"S": {"base": "set", "grow": "gradient"}}}, {"methods": {"S": {"base": "ds"}}},
         {"S": {"base": "ds"}}),
        ({"methods": {"S": {"base": "set", "prune": "random"}}}, {"methods": {"S": {"prune": {"part": "magnitude"}}}},
         {"S": {"base": "set", "prune": {"part": "magnitude"}}}),
        ({"densities": [0.5, 0.1]}, {"densities": [0.2]}, [0.2]),
        ({"axes": {"hidden": [[8], [16]]}}, {"axes": {"hidden": [[4]]}}, {"hidden": [[4]]}),
    ],
)  # fmt: skip
def test_tables_are_merged_to_the_bottom_and_all_else_is_replaced(
    under: Mapping[str, Any], over: Mapping[str, Any], laid: Any
) -> None:
    (key,) = under
    assert scaled({**under, "scales": {"small": over}}, "small")[key] == laid


def test_the_file_that_was_read_is_left_as_it_was() -> None:
    file = tomllib.loads(FILE + SMALL)
    scaled(file, "small")
    assert file == tomllib.loads(FILE + SMALL)


def test_flags_stand_over_the_scale_and_the_scale_over_the_file(lab: Lab) -> None:
    flags = ("--seeds", "1", "--set", "td3.batch_size=2")
    answer = lab.study(FILE + SMALL, "--scale", "small", *flags)
    assert answer.code == 0, answer.err
    told = kept(lab)
    assert (told["seeds"], told["steps"], told["warmup"]) == (1, 80, 50)
    assert told["settings"]["td3"] == {"batch_size": 2, "hidden": [16, 16]}
    assert told["all"]["schedule"] == {"every": 10, "fraction": 0.05}


def test_a_scale_stands_over_the_preset() -> None:
    file = {
        "envs": [ENV], "seeds": 1, "steps": 120, "methods": {"D": "dense"}, "preset": "ds-td3",
        "scales": {"small": {"warmup": 7, "settings": {"td3": {"batch_size": 4}}}},
    }  # fmt: skip
    study = study_from(scaled(file, "small"), REGISTRY, name="study")
    assert (study.warmup, study.episodes) == (7, 10)
    assert (study.settings["td3"]["batch_size"], study.settings["td3"]["learning_rate"]) == (4, 1e-3)


def test_the_store_keeps_the_study_as_it_ran_and_goes_on_without_the_scale(lab: Lab) -> None:
    first = lab.study(FILE + SMALL, "--scale", "small")
    assert first.code == 0, first.err
    assert "scales" not in kept(lab)
    again = lab.run("study")
    assert again.code == 0, again.err
    assert "5 runs, 0 to do" in again.err
    assert "0 to do" in lab.study(FILE + SMALL, "--scale", "small").err


def test_the_name_keeps_the_scale_it_ran_at_and_another_needs_a_name(lab: Lab) -> None:
    assert lab.study(FILE + SMALL, "--scale", "small").code == 0
    other = lab.study(FILE + SMALL)
    assert other.code == 2
    assert "another study named 'study'" in other.err
    assert "the scale" in other.err
    assert "--name" in other.err
    assert lab.study(FILE + SMALL, "--name", "study-full").code == 0


def test_a_study_of_the_catalogue_runs_at_another_scale_beside_the_stored_one(lab: Lab) -> None:
    tiny = ("--seeds", "1", "--steps", "60", "--hidden", "8,8", "--envs", ENV, "--methods", "dense")
    quick = ("--set", "warmup=30", "--set", "episodes=1", "--set", "td3.batch_size=4", "--eval-every", "30")
    assert lab.run("paper-schedule", "--scale", "small", *tiny, *quick).code == 0
    again = lab.run("paper-schedule", "--scale", "small", *tiny, *quick)
    assert (again.code, "0 to do" in again.err) == (0, True)
    stored = lab.run("paper-schedule")
    assert "0 to do" in stored.err
    assert "note: going on with the store's paper-schedule" in stored.err
    assert "--scale full | small" in stored.err
    full = lab.run("paper-schedule", "--scale", "full", "--dry-run")
    assert (full.code, "--name" in full.err) == (2, True)
    assert lab.run("paper-schedule", "--scale", "full", "--name", "whole", "--dry-run").code == 0


@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        (FILE + SMALL, ("--scale", "smal"), "no scale 'smal'. Did you mean 'small'? Scales: full, small"),
        (FILE, ("--scale", "small"), "no scale 'small'. Scales: full"),
        (FILE + "[scales.small]\nsedes = 3\n", (), "[scales.small]: unknown key 'sedes'. Did you mean 'seeds'?"),
        (FILE + "[scales.small]\nsedes = 3\n", ("--scale", "small"), "unknown key 'sedes'. Did you mean 'seeds'?"),
        (FILE + "[scales.small]\nname = 'x'\n", ("--scale", "small"), "[scales.small]: unknown key 'name'"),
        (FILE + "[scales.small.scales]\n", ("--scale", "small"), "[scales.small]: unknown key 'scales'"),
        (FILE + "[scales.small.settings.td3]\nbatchsize = 4\n", ("--scale", "small"), "Did you mean 'batch_size'?"),
        (FILE + "[scales.small.all]\nschedul = 'never'\n", ("--scale", "small"), "Did you mean 'schedule'?"),
        (FILE + "[scales.small]\nseeds = 'two'\n", ("--scale", "small"), "seeds must be a whole number"),
        (FILE + "[scales.full]\nseeds = 2\n", (), "'full' is the study as its file stands"),
        (FILE + "[scales]\nsmall = 3\n", (), "scales must be a table of tables"),
        (FILE + "[scales]\nsmall = 3\n", ("--scale", "small"), "scales must be a table of tables"),
        ("scales = 3\n" + FILE, ("--scale", "small"), "no scale 'small'"),
        ("scales = 3\n" + FILE, (), "scales must be a table of tables"),
    ],
)  # fmt: skip
def test_a_bad_scale_is_refused_and_nothing_is_written(lab: Lab, text: str, flags: tuple[str, ...], said: str) -> None:
    answer = lab.study(text, *flags)
    assert answer.code == 2
    assert said in answer.err
    assert not lab.store.exists()


def test_a_scale_is_of_a_file(lab: Lab) -> None:
    answer = lab.grid("dense", "--scale", "small")
    assert (answer.code, "--scale small is of a study's file" in answer.err) == (2, True)


def test_a_stored_study_has_no_other_scale(lab: Lab) -> None:
    assert lab.study(FILE + SMALL).code == 0
    answer = lab.run("study", "--scale", "small")
    assert (answer.code, "leave --scale small out" in answer.err) == (2, True)


def test_an_unknown_scale_names_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"Scales: full, small, large$"):
        scaled({"scales": {"small": {}, "large": {}}}, "x")
