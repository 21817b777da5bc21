"""The table [tune]: equal budgets, disjoint seeds, what reaches which row, and what is refused before anything runs."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import FILE, REGISTRY, TABLES, Lab, a_lab, no_figures, study
from test_cli_bad_input import refused

from studies.problems import BadInput
from studies.read import study_from
from studies.tuning.asked import FIRST_SEED, read_tune
from studies.tuning.trials import Tuning, tuning_of

lab, quiet = a_lab, no_figures

RATE = {"td3.learning_rate": {"log": [1e-4, 3e-3]}}
ROWS = {"Dense": "dense", "Static": "static", "SET": "set", "RigL": {"base": "rigl", "schedule": {"every": 20}}}
SWAP = {**RATE, "schedule.fraction": [0.05, 0.1, 0.3]}


def tuning(tune: dict[str, Any], **changes: Any) -> Tuning:
    tables = {**TABLES, "random_episodes": 1, "methods": ROWS, "densities": [0.5], **changes, "tune": tune}
    return tuning_of(tables, REGISTRY, name="small")


def trial_study(tuned: Tuning) -> Any:
    return study_from(tuned.study_tables(), REGISTRY, name="trials")


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["random", "grid"]), st.integers(1, 3), st.integers(1, 3))
def test_every_row_has_as_many_trials_on_as_many_seeds(search: str, trials: int, seeds: int) -> None:
    space = {"td3.learning_rate": [1e-4, 3e-4, 1e-3], "schedule.fraction": [0.05, 0.1, 0.3]}
    tuned = tuning({"search": search, "trials": trials, "seeds": seeds, "space": space})
    assert {len(found) for found in tuned.drawn.values()} == {trials}
    assert {len({str(trial) for trial in found}) for found in tuned.drawn.values()} == {trials}, "none twice"
    labels = list(tuned.labels().values())
    assert sorted(labels) == sorted((label, place) for label in ROWS for place in range(trials))
    assert tuned.study_tables()["seeds"] == list(range(FIRST_SEED, FIRST_SEED + seeds))


@settings(deadline=None, max_examples=20)
@given(
    st.integers(1, 30) | st.lists(st.integers(FIRST_SEED - 2, FIRST_SEED + 5), min_size=1, unique=True),
    st.integers(1, 4),
)
def test_tuning_seeds_are_none_of_those_that_are_reported(reported: int | list[int], count: int) -> None:
    seeds = study(seeds=reported).seeds
    found = read_tune({"seeds": count}, seeds).seeds
    assert len(set(found)) == count
    assert not set(found) & set(seeds)


def test_reporting_seeds_may_grow_without_meeting_those_of_tuning() -> None:
    assert read_tune({}, range(5)).seeds == read_tune({}, range(500)).seeds
    assert read_tune({"seeds": 2}, range(2_000_000)).seeds == (2_000_000, 2_000_001)


def test_the_trials_are_the_same_whenever_they_are_drawn_and_more_keep_the_earlier_ones() -> None:
    two, again, four = (tuning({"trials": n, "space": SWAP}) for n in (2, 2, 4))
    assert two.study_tables() == again.study_tables()
    ids = [{cell.run.id for cell in trial_study(each).cells(REGISTRY)} for each in (two, four)]
    assert ids[0] < ids[1]
    assert tuning({"trials": 2, "seed": 1, "space": SWAP}).drawn != two.drawn


def test_a_shared_space_reaches_the_rows_that_have_such_a_setting() -> None:
    tuned = tuning({"trials": 3, "space": SWAP})
    both = {"td3.learning_rate", "schedule.fraction"}
    reached = {label: set(tuned.spaces["td3", label]) for label in ROWS}
    assert reached == {"Dense": {"td3.learning_rate"}, "Static": {"td3.learning_rate"}, "SET": both, "RigL": both}


def test_what_makes_no_difference_to_a_row_does_not_reach_it() -> None:
    space = {**RATE, "grow": ["random", "gradient"], "schedule": ["periodic"], "target": ["follow"]}
    tuned = tuning({"trials": 2, "space": space})
    assert set(tuned.spaces["td3", "Dense"]) == {"td3.learning_rate"}
    assert set(tuned.spaces["td3", "Static"]) == {"td3.learning_rate", "target"}, "it never grows"
    assert set(tuned.spaces["td3", "SET"]) == set(space)


def test_rows_try_the_same_values_of_what_they_share() -> None:
    tuned = tuning({"trials": 4, "space": SWAP})
    rates = [[trial["td3.learning_rate"] for trial in tuned.drawn["td3", label]] for label in ROWS]
    assert rates == [rates[0]] * len(ROWS)


def test_a_trial_is_in_the_runs_of_its_row() -> None:
    tuned = tuning({"trials": 3, "seeds": 1, "space": SWAP})
    for cell in trial_study(tuned).cells(REGISTRY)[:-1]:
        label, place = tuned.labels()[cell.label]
        trial = tuned.drawn["td3", label][place]
        assert cell.run.agent.settings["learning_rate"] == trial["td3.learning_rate"]
        for method in cell.run.methods.values():
            assert method.schedule.settings.get("fraction") == trial.get("schedule.fraction")
            assert label != "RigL" or method.schedule.settings["every"] == 20, "the row's own words stay"


def test_every_agent_has_its_own_trials_under_the_labels_of_the_rows() -> None:
    space = {"td3.learning_rate": [1e-4, 1e-3, 3e-3], "sac.tau": [0.01, 0.02, 0.1]}
    tuned = tuning({"search": "grid", "space": space}, agents=["td3", "sac"], methods={"SET": "set"}, settings={})
    cells = trial_study(tuned).cells(REGISTRY)
    tried = {
        (c.run.agent.name, c.label, c.run.agent.settings["learning_rate"], c.run.agent.settings["tau"])
        for c in cells[:-1]
    }
    assert len(tried) == 6
    assert {rate for agent, _, rate, _ in tried if agent == "td3"} == {1e-4, 1e-3, 3e-3}
    assert {tau for agent, *_, tau in tried if agent == "sac"} == {0.01, 0.02, 0.1}


def test_a_row_with_a_space_of_its_own_takes_it_instead_of_the_shared_one() -> None:
    own = {"SET": {"schedule.fraction": [0.1, 0.2, 0.4]}}
    tuned = tuning({"trials": 3, "space": RATE, "methods": own})
    assert set(tuned.spaces["td3", "SET"]) == {"schedule.fraction"}
    assert set(tuned.spaces["td3", "RigL"]) == {"td3.learning_rate"}


def test_a_row_may_say_that_nothing_of_it_is_tuned() -> None:
    tuned = tuning({"trials": 3, "space": RATE, "methods": {"Dense": {}}})
    assert tuned.untuned == ["Dense"]
    assert [label for label in tuned.labels() if label.startswith("Dense")] == ["Dense #1"]
    assert tuned.trials == 3


def test_whole_parts_and_hidden_widths_can_be_tried() -> None:
    tuned = tuning(
        {"search": "grid", "space": {"grow": ["random", "gradient"], "td3.hidden": [[8, 8], [16]]}, "trials": 2},
        methods={"SET": "set"}, settings={"td3": {"batch_size": 8}},
    )  # fmt: skip
    cells = trial_study(tuned).cells(REGISTRY)[:-1]
    assert {cell.run.agent.settings["actor_hidden"] for cell in cells} <= {(8, 8), (16,)}
    assert {cell.run.methods["critic"].grow.name for cell in cells} <= {"random", "gradient"}


WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "an unknown key": ({"trails": 3}, ("'trails'", "Did you mean 'trials'?")),
    "no number": ({"trials": "many"}, ("trials must be a whole number", "'many'")),
    "no trial": ({"trials": 0}, ("trials must lie in 1", "not 0")),
    "no seed": ({"seeds": 0}, ("seeds", "1 ... 10000", "not 0")),
    "no such seed": ({"seeds": [-1]}, ("seeds must lie in 0", "-1")),
    "a seed twice": ({"seeds": [9, 9]}, ("seeds", "twice")),
    "a reported seed": ({"seeds": [0, 9]}, ("seeds: 0 also among the seeds of the study",)),
    "another search": ({"search": "bayes"}, ("'grid' or 'random'", "'bayes'")),
    "no table": ({"space": [1]}, ("space must be a table",)),
    "a misspelt agent": ({"space": {"td4.tau": [0.1]}}, ("'td4.tau'", "Did you mean 'td3'?", "FIELD.SETTING")),
    "a misspelt setting": ({"space": {"td3.lr": [0.1]}}, ("'lr'", "Did you mean 'learning_rate'?")),
    "a misspelt field": ({"space": {"shedule.every": [9]}}, ("Did you mean 'schedule'?",)),
    "a misspelt setting of parts": ({"space": {"schedule.evry": [9]}}, ("no schedule", "Did you mean 'every'?")),
    "a density": ({"space": {"density": [0.1]}}, ("densities are what a study compares",)),
    "a density of a whole part": (
        {"space": {"allocation": ["erk", {"part": "erk", "density": 0.3}]}},
        ("[tune.space] 'allocation': densities are what a study compares",),
    ),
    "a field without settings": ({"space": {"readmit.x": [1]}}, ("readmit has no settings",)),
    "no list": ({"space": {"td3.tau": 0.1}}, ("'td3.tau'", "{ log = [low, high] }", "0.1")),
    "an empty list": ({"space": {"td3.tau": []}}, ("lists no value",)),
    "a value twice": ({"space": {"td3.tau": [0.1, 0.1]}}, ("lists a value twice",)),
    "a value of another type": ({"space": {"td3.tau": ["x"]}}, ("must be a number, not 'x'",)),
    "a value that no agent takes": ({"space": {"td3.tau": [0.1, -7.0]}, "trials": 2}, ("tau", "-7.0")),
    "an inverted range": ({"space": {"td3.tau": {"uniform": [1, 0]}}}, ("low < high", "[1, 0]")),
    "a log of 0": ({"space": {"td3.tau": {"log": [0, 1]}}}, ("numbers over 0", "uniform")),
    "a range of parts": ({"space": {"born": {"log": [1, 2]}, **RATE}}, ("'born'", "takes no numbers: list")),
    "a whole number where there is none": ({"space": {"td3.batch_size": {"uniform": [8.1, 8.9]}}}, ("whole numbers",)),
    "a field and its setting": ({"space": {"schedule": ["periodic"], "schedule.every": [9]}}, ("say both",)),
    "a key that reaches no row": ({"space": {**RATE, "moments.decay": [0.5]}}, ("moments",)),
    "a row that is not reached": ({"space": {"schedule.fraction": [0.1, 0.2]}}, ("nothing reaches 'Dense'", "{}")),
    "a row that is not there": ({"methods": {"Rigl": {}}, "space": RATE}, ("'Rigl'", "Did you mean 'RigL'?")),
    "a key that a row has not": (
        {"space": RATE, "methods": {"Static": {**RATE, "schedule.fraction": [0.1]}}},
        ("Static", "'schedule.fraction' does not reach this row"),
    ),
    "nothing to tune": ({"methods": {label: {} for label in ROWS}}, ("nothing is tuned", "[tune.space]")),
    "too few": ({"space": {"td3.tau": [0.1, 0.2]}, "trials": 3}, ("'Dense'", "has 2 different settings for 3 trials")),
    "uneven grids": (
        {"search": "grid", "space": {"td3.tau": [0.1, 0.2], "schedule.fraction": [0.1, 0.2]}},
        ("different sizes", "'Dense' 2", "'SET' 4", "--trials 2"),
    ),
    "a range in a grid": ({"search": "grid", "space": RATE}, ("a grid needs lists",)),
}  # fmt: skip


@pytest.mark.parametrize(("tune", "said"), WRONG.values(), ids=WRONG)
def test_a_bad_table_is_refused(tune: dict[str, Any], said: tuple[str, ...]) -> None:
    with pytest.raises(BadInput) as bad:
        trial_study(tuning(tune)).cells(REGISTRY)
    assert len(bad.value.problems) <= len(ROWS), "one cause is told once, or once a row"
    for words in said:
        assert words in str(bad.value), str(bad.value)


def test_a_misspelt_key_is_the_only_problem() -> None:
    with pytest.raises(BadInput) as bad:
        tuning({"space": {"td3.learnign_rate": [0.1]}})
    assert len(bad.value.problems) == 1


def test_a_study_with_axes_or_without_the_random_policy_or_names_of_trials_is_not_tuned() -> None:
    tune = {"trials": 2, "space": RATE}
    with pytest.raises(BadInput, match=r"\[axes\] and \[tune\]"):
        tuning(tune, axes={"tau": [0.1]})
    with pytest.raises(BadInput, match="random_episodes = 0"):
        tuning(tune, random_episodes=0)
    with pytest.raises(BadInput, match="named like a trial"):
        tuning(tune, methods={"SET": "set", "SET #1": "rigl"})


def test_a_bad_table_is_refused_in_a_line_and_nothing_is_written(lab: Lab) -> None:
    text = f"{FILE}\n[tune]\nseeds = [0, 3]\n[tune.space]\n'td3.learning_rate' = [1e-4, 1e-3]\n"
    refused(lab("study", "tune", lab.file(text)), lab, "study.toml", "[tune] seeds: 0 also among")
    refused(lab("study", "tune", lab.file(FILE)), lab, "study.toml", "no table [tune]")
    refused(lab("study", "tune", lab.file(text.replace("[0, 3]", "2")), "--trials", "x"), lab, "--trials", "'x'")


def test_a_study_that_reports_seeds_of_its_tuning_is_refused(lab: Lab) -> None:
    text = f"{FILE}\n[tune]\nseeds = [7, 8]\n"
    refused(lab.study(text, "--seeds", "7,9"), lab, "7 also among the seeds of the study")
    assert lab.study(text, "--dry-run").code == 0


def test_how_a_study_was_tuned_is_no_part_of_its_runs() -> None:
    tables = tomllib.loads(FILE)
    bare = study_from(tables, REGISTRY, name="x").cells(REGISTRY)
    assert study_from({**tables, "tune": {"seeds": [9], "space": RATE}}, REGISTRY, name="x").cells(REGISTRY) == bare
