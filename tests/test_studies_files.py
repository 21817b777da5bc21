"""Study files: what rows share, what they change, what multiplies, and what stands over what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lab import ENV, FILE, REGISTRY, Lab, a_lab, a_run, cells, no_figures, runs, study

from sparsity import Method
from studies.problems import BadInput

lab, quiet = a_lab, no_figures

SHARED = {"eligible": "hidden", "allocation": "erk", "schedule": {"every": 100, "fraction": 0.05}}


def row(words: Any, learner: str = "actor", **changes: Any) -> Method:
    """The method of a study's only row."""
    (run,) = runs(methods={"Row": words}, **changes)
    return run.methods[learner]


# [all]


def test_shared_settings_reach_the_rows_whose_part_takes_them() -> None:
    for base, fraction in (("set", 0.05), ("ds", 0.05), ("rigl", 0.05)):
        schedule = row(base, all=SHARED).schedule
        assert (schedule.settings["every"], schedule.settings["fraction"]) == (100, fraction), base
    assert row("rigl", all=SHARED).schedule.name == "cosine", "a table without `part` changes settings, not the part"
    assert row("rigl", all=SHARED).schedule.settings["until"] == 0.75


def test_shared_settings_pass_by_rows_whose_part_takes_none() -> None:
    made = {cell.label: cell.run for cell in cells(methods={"S": "static", "D": "dense", "R": "set"}, all=SHARED)}
    assert made["S"].methods["actor"].schedule.name == "never"
    assert not made["S"].methods["actor"].schedule.settings
    assert made["D"].id == a_run(methods={"D": "dense"}).id


def test_a_row_stands_over_what_all_rows_share() -> None:
    method = row({"base": "ds", "schedule": {"every": 2000}}, all=SHARED)
    assert method.schedule.settings["every"] == 2000
    assert method.schedule.settings["fraction"] == 0.05
    assert row({"base": "set", "allocation": "uniform"}, all=SHARED).allocation.name == "uniform"


def test_a_shared_part_by_name_or_table_replaces_the_row_s() -> None:
    assert row("set", all={"schedule": "linear"}).schedule.name == "linear"
    linear = row("rigl", all={"schedule": {"part": "linear", "every": 7}}).schedule
    assert (linear.name, linear.settings["every"], linear.settings["fraction"]) == ("linear", 7, 0.3)


def test_a_shared_schedule_passes_by_rows_that_never_swap() -> None:
    for words in ("periodic", {"part": "periodic", "every": 7}, {"every": 7}):
        assert row("static", all={"schedule": words}).schedule.name == "never"


def test_what_a_row_is_by_is_not_shared_out() -> None:
    """SynFlow is its first topology and ANF its input layer: without, they would be other rows by another name."""
    shared = {"eligible": "hidden", "initial": "random", "schedule": {"part": "periodic", "every": 7}}
    assert row("synflow", all=shared).initial.name == "synflow"
    assert row("anf", all=shared).eligible.name == "input"
    assert row("itop_rigl", all=shared).schedule.settings["every"] == 4000
    assert row("rlx2_released", all=shared).initial.name == "magnitude"
    assert row("rlx2", all=shared).schedule.settings["every"] == 7
    assert row({"base": "anf", "eligible": "hidden"}, all=shared).eligible.name == "hidden"


def test_a_density_holds_whatever_the_order_of_the_keys() -> None:
    for words in (
        {"base": "set", "density": 0.1, "allocation": "er"},
        {"base": "set", "allocation": "er", "density": 0.1},
        {"base": "set", "density": 0.1, "allocation": {"part": "er"}},
    ):
        assert row(words).allocation.settings["density"] == 0.1


def test_naming_the_part_that_a_row_has_keeps_its_settings() -> None:
    assert row({"base": "set", "schedule": "periodic"}).schedule.settings["fraction"] == 0.3


def test_shared_settings_reach_learners_with_a_base_of_their_own() -> None:
    method = row({"base": "set", "actor": {"base": "rigl"}}, all=SHARED)
    assert (method.grow.name, method.schedule.settings["every"]) == ("gradient", 100)


def test_rows_in_a_comparison_differ_in_what_they_name_and_nothing_else() -> None:
    set_, ds = row("set", all=SHARED, densities=[0.3]), row("ds", all=SHARED, densities=[0.3])
    assert set_.eligible == ds.eligible
    assert set_.allocation == ds.allocation
    assert set_.schedule == ds.schedule


# Rows


def test_a_row_is_a_name_or_a_table() -> None:
    assert row("ds") == row({"base": "ds"})


def test_a_table_without_part_changes_settings_of_the_base_s_part() -> None:
    schedule = row({"base": "rigl", "schedule": {"every": 7}}).schedule
    assert (schedule.name, schedule.settings["every"], schedule.settings["fraction"]) == ("cosine", 7, 0.3)


def test_a_table_with_part_starts_from_that_part_s_defaults() -> None:
    schedule = row({"base": "set", "schedule": {"part": "periodic", "every": 7}}).schedule
    assert (schedule.settings["every"], schedule.settings["fraction"]) == (7, 0.05), "not SET's fraction 0.3"


def test_a_learner_s_name_overrides_its_method_alone() -> None:
    (run,) = runs(methods={"Row": {"base": "ds", "actor": {"base": "dense"}}})
    assert not run.methods["actor"].sparse
    assert run.methods["critic"].sparse
    (run,) = runs(methods={"Row": {"base": "set", "critic": {"grow": "gradient", "schedule": {"every": 9}}}})
    assert (run.methods["actor"].grow.name, run.methods["critic"].grow.name) == ("random", "gradient")
    assert run.methods["critic"].schedule.settings == run.methods["actor"].schedule.settings | {"every": 9}


def test_a_row_that_sets_its_own_density_takes_part_once() -> None:
    made = cells(methods={"A": "set", "B": {"base": "set", "density": 0.3}}, densities=[0.5, 0.2, 0.1])
    assert [(cell.label, cell.density) for cell in made] == [("A", 0.5), ("A", 0.2), ("A", 0.1), ("B", 0.3)]
    assert made[-1].run.methods["critic"].allocation.settings["density"] == 0.3


# Densities


def test_densities_multiply_sparse_rows_and_no_other() -> None:
    made = cells(methods={"D": "dense", "S": "set", "s": "dense_small"}, densities=[0.5, 0.1], seeds=2)
    shown = [(cell.label, cell.density, cell.run.seed) for cell in made]
    assert shown == [
        *(("D", None, seed) for seed in (0, 1)),
        *(("S", density, seed) for density in (0.5, 0.1) for seed in (0, 1)),
        *(("s", density, seed) for density in (0.5, 0.1) for seed in (0, 1)),
    ]


def test_a_density_may_differ_by_learner() -> None:
    (cell,) = cells(densities=[{"actor": 0.1, "critic": 0.2}])
    densities = {name: m.allocation.settings["density"] for name, m in cell.run.methods.items()}
    assert densities == {"actor": 0.1, "critic": 0.2}
    assert "actor" in str(dict(cell.axes)), "what was asked for is shown"


def test_a_density_of_a_learner_that_the_agent_has_not_is_refused() -> None:

    with pytest.raises(BadInput, match="Did you mean 'actor'"):
        cells(densities=[{"atcor": 0.1}])


def test_a_method_stands_at_its_own_density_without_any() -> None:
    (cell,) = cells()
    assert cell.density == 0.5
    (cell,) = cells(methods={"DS": "ds"})
    assert cell.density is None, "lambdas say it in another way"


def test_a_density_asked_of_lambdas_scales_them() -> None:
    allocation = row("ds", densities=[0.25]).allocation
    assert (allocation.name, allocation.settings["density"]) == ("lambdas", 0.25)


# Axes


def test_hidden_is_an_axis_of_all_networks() -> None:
    made = cells(axes={"hidden": [[8, 8], [16, 4]]})
    assert [cell.run.agent.settings["actor_hidden"] for cell in made] == [(8, 8), (16, 4)]
    assert [cell.run.agent.settings["critic_hidden"] for cell in made] == [(8, 8), (16, 4)]
    assert [dict(cell.axes) for cell in made] == [{"hidden": "8x8"}, {"hidden": "16x4"}]


def test_a_setting_of_the_agent_is_an_axis() -> None:
    made = cells(axes={"batch_size": [4, 8], "tau": [0.1]})
    assert [cell.run.agent.settings["batch_size"] for cell in made] == [4, 8]
    assert {cell.run.agent.settings["tau"] for cell in made} == {0.1}


def test_steps_are_an_axis_and_evaluations_follow() -> None:
    made = cells(axes={"steps": [100, 200]})
    assert [(cell.run.steps, cell.run.eval_every) for cell in made] == [(100, 5), (200, 10)]


def test_whole_numbers_written_as_floats_are_steps_on_an_axis_as_elsewhere() -> None:

    (cell,) = cells(axes={"steps": [1e3]})
    assert cell.run.id == a_run(steps=1000).id


def test_a_part_of_the_method_is_an_axis() -> None:
    made = cells(axes={"grow": ["random", "gradient"]})
    assert [cell.run.methods["actor"].grow.name for cell in made] == ["random", "gradient"]


def test_axes_multiply() -> None:
    assert len(cells(axes={"batch_size": [4, 8], "hidden": [[4], [8], [16]]}, densities=[0.5, 0.1], seeds=2)) == 24


@pytest.mark.parametrize(
    "axes",
    [
        {"steps": ["x"]},
        {"steps": [2.5]},
        {"steps": [0]},
        {"steps": [50]},
        {"warmup": [1000]},
        {"episodes": [0]},
        {"hidden": []},
        {"hiden": [[8]]},
        {"grow": ["nothing"]},
        {"batch_size": ["x"]},
    ],
    ids=str,
)
def test_values_on_an_axis_are_checked_like_all_others(axes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        cells(axes=axes)


# Numbers


def test_a_million_may_be_written_as_1e6() -> None:
    assert study(steps=1e6).steps == 1_000_000
    assert isinstance(study(steps=1e6).steps, int)


def test_seeds_are_a_number_or_a_list() -> None:
    assert list(study(seeds=3).seeds) == [0, 1, 2]
    assert list(study(seeds=[7, 3]).seeds) == [7, 3]
    assert list(study(seeds=2.0).seeds) == [0, 1]


def test_evaluations_default_to_a_twentieth_of_the_run() -> None:
    assert a_run(steps=100_000, warmup=1000).eval_every == 5000
    assert a_run(steps=7, warmup=1).eval_every == 1


def test_defaults_are_those_of_a_first_hour() -> None:
    made = study(warmup=None, steps=100_000)
    assert (made.warmup, made.episodes, made.eval_every) == (1000, 5, None)


# Presets


def test_a_preset_brings_the_settings_of_its_paper() -> None:
    (run,) = runs(preset="ds-td3", settings=None, warmup=None, steps=1e6)
    words = run.agent.settings
    assert (words["learning_rate"], words["weight_decay"], words["batch_size"]) == (1e-3, 2e-4, 100)
    assert (run.warmup, run.eval_every, run.episodes) == (25_000, 5_000, 10)


def test_a_study_file_stands_over_its_preset() -> None:
    (run,) = runs(preset="ds-td3", steps=1e6, warmup=30_000, settings={"td3": {"batch_size": 7}})
    assert (run.agent.settings["batch_size"], run.agent.settings["learning_rate"], run.warmup) == (7, 1e-3, 30_000)


def test_flags_stand_over_the_file_and_the_file_over_the_preset(lab: Lab) -> None:
    text = 'preset = "ds-td3"\n' + FILE.replace("batch_size = 8", "batch_size = 8\ntau = 0.02")
    done = lab.study(text, "--set", "td3.batch_size=4", "--set", "warmup=60", "--name", "tiny")
    assert done.code == 0, done.err
    contents = json.loads((lab.folder_of("SET") / "contents.json").read_text())
    agent = contents["agent"]
    assert (agent["batch_size"], agent["tau"], agent["weight_decay"]) == (4, 0.02, 2e-4)
    assert (agent["actor_hidden"], contents["warmup"], contents["episodes"]) == ([16, 16], 60, 1)


@pytest.mark.parametrize(
    ("env", "first"),
    [("Ant-v5", 40.0), ("Humanoid-v5", 61.0), ("HalfCheetah-v5", 7.0), ("Hopper-v4", 7.0), ("Walker2d-v4", 7.0)],
)
@pytest.mark.parametrize("base", ["ds", "ds_released", "static"])
def test_the_paper_s_lambdas_go_with_the_environment(env: str, first: float, base: str) -> None:
    allocation = row(base, preset="ds-td3", envs=[env]).allocation
    assert (allocation.name, allocation.settings["first"], allocation.settings["rest"]) == ("lambdas", first, 64.0)


def test_a_preset_leaves_methods_alone_that_its_paper_did_not_change() -> None:
    assert row("set", preset="ds-td3", envs=["Ant-v5"]) == row("set", envs=["Ant-v5"])


def test_what_all_rows_share_stands_over_the_preset() -> None:
    assert row("ds", preset="ds-td3", envs=["Ant-v5"], all=SHARED).allocation.name == "erk"


def test_the_same_cell_twice_is_run_once_and_said(lab: Lab) -> None:
    said = lab.study(FILE.replace('"SET" = { base = "set" }', 'A = "set"\nB = { base = "set" }'), "--dry-run")
    assert said.code == 0
    assert "1 cells of the grid are the same run as another" in said.err
    assert "runs    2 (2 to do)" in said.out, "SET once, and the random policy"


def test_every_shipped_study_expands() -> None:
    from studies.read import CATALOGUE, read_file, study_from

    files = sorted(CATALOGUE.glob("*.toml"))
    assert files
    for path in files:
        made = study_from(read_file(path), REGISTRY, name=path.stem)
        assert made.cells(REGISTRY)
        assert made.question


def test_a_study_of_one_dense_row_may_share_settings_with_nobody() -> None:

    assert len(cells(methods={"Dense": "dense"}, all=SHARED)) == 1
    assert len(cells(methods={"Static": "static"}, all=SHARED)) == 1


def test_the_environments_random_policy_is_in_every_study() -> None:
    made = cells(random_episodes=3, envs=[ENV, "Pendulum-v1"], seeds=2)
    floor = [cell for cell in made if cell.label == "Random policy"]
    assert [(cell.run.env, cell.run.agent.name, cell.run.episodes) for cell in floor] == [
        (ENV, "random", 3),
        ("Pendulum-v1", "random", 3),
    ]


def test_actor_and_critic_may_have_methods_and_densities_of_their_own() -> None:
    from studies.read import CATALOGUE, read_file, study_from

    path = CATALOGUE / "actor-critic.toml"
    found = study_from(read_file(path), REGISTRY, name="actor-critic").cells(REGISTRY)
    methods = {cell.label: cell.run.methods for cell in found}
    mixed = methods["Static 0.05 / DS 0.5"]
    assert (mixed["actor"].schedule.name, mixed["critic"].target.name) == ("never", "keep_largest")
    assert [mixed[name].allocation.settings["density"] for name in ("actor", "critic")] == [0.05, 0.5]
    half = methods["Dense / SET 0.3"]
    assert (half["actor"].sparse, half["critic"].grow.name) == (False, "random")
    spread = methods["RigL 0.05 / 0.5"]
    assert [spread[name].grow.name for name in ("actor", "critic")] == ["gradient", "gradient"]
    assert [spread[name].allocation.settings["density"] for name in ("actor", "critic")] == [0.05, 0.5]


def test_the_store_keeps_dates_and_infinities_that_no_run_of_a_file_reads(lab: Lab, quiet: None) -> None:
    """An entry of a density that the study leaves out is never looked at, but is written with the rest."""
    words = 'base = "set", at = [{ agent = "td3" }, { density = 1979-05-27 }, { density = 0.1, grow = [inf, nan] }]'
    answer = lab.study(FILE.replace('base = "set"', words), "--name", "kept")
    assert answer.code == 0, answer.err
    again = lab.run("kept")
    assert again.code == 0, again.err
    assert "2 runs, 0 to do" in again.err
