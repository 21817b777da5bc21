"""A run is its contents: what is in the id, what is not, and that contents and runs are two forms of one thing."""

from __future__ import annotations

import json
import math
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lab import ENV, REGISTRY, TABLES, a_run, cells, runs, study

from registry import Registry, part
from studies.contents import RESULTS_VERSION, Run, canonical

METHODS = [name for name in REGISTRY.names("method") if name not in ("dense", "dense_small")]
PLUGIN = """\
from registry import hookimpl


def mine(noise, *, heat: float = 0.1):
    return heat * noise


@hookimpl
def register_grow(register):
    register(mine)
"""


def with_plugin(path: Path, text: str) -> Registry:
    path.write_text(text)
    registry = Registry(installed=False)
    registry.load_file(path)
    return registry


def test_equal_contents_are_the_same_id() -> None:
    assert a_run().id == a_run().id
    assert re.fullmatch("[0-9a-f]{16}", a_run().id)


CHANGES: list[dict[str, Any]] = [
    {"seeds": [1]},
    {"steps": 121},
    {"warmup": 51},
    {"eval_every": 7},
    {"episodes": 6},
    {"envs": ["Pendulum-v1"]},
    {"envs": ["InvertedPendulum-v4"]},
    {"device": "cuda"},
    {"device": "cuda:1"},
    {"replay": {"part": "uniform", "capacity": 500}},
    {"wrappers": ["noise_features"]},
    {"wrappers": [{"part": "noise_features", "share": 0.25}]},
    {"settings": {"td3": {"batch_size": 9, "hidden": [16, 16]}}},
    {"settings": {"td3": {"batch_size": 8, "hidden": [16, 17]}}},
    {"settings": {"td3": {"batch_size": 8, "hidden": [16, 16], "critic_hidden": [8]}}},
    {"settings": {"td3": {"batch_size": 8, "hidden": [16, 16], "tau": 0.01}}},
    {"settings": {"td3": {"batch_size": 8, "hidden": [16, 16], "learning_rate": 1e-3}}},
    {"settings": {"td3": {"batch_size": 8, "hidden": [16, 16], "weight_decay": 1e-3}}},
    {"densities": [0.4]},
    {"preset": "ds-td3"},
    *({"methods": {"SET": name}} for name in REGISTRY.names("method") if name != "set"),
    *(
        {"methods": {"SET": {"base": "set", **row}}}
        for row in (
            {"grow": "gradient"},
            {"prune": "random"},
            {"initial": "bernoulli"},
            {"eligible": "input"},
            {"allocation": "uniform"},
            {"density": 0.3},
            {"schedule": {"every": 999}},
            {"schedule": {"fraction": 0.2}},
            {"schedule": "never"},
            {"budget": {"part": "final_cut"}},
            {"target": "keep_largest"},
            {"target": "drift"},
            {"moments": "keep"},
            {"readmit": False},
            {"scope": "network"},
            {"swap_scope": "network"},
            {"optimizer_sees": "dense"},
            {"event": "instead_of_step"},
            {"clock": "optimizer"},
            {"actor": "dense"},
            {"critic": "dense"},
            {"actor": {"density": 0.2}},
            {"actor": {"grow": "gradient"}},
        )
    ),
]


def test_every_field_that_matters_changes_the_id() -> None:
    ids = [a_run().id, *(a_run(**change).id for change in CHANGES)]
    twice = [change for change, id_ in zip([{}, *CHANGES], ids, strict=True) if ids.count(id_) > 1]
    assert not twice


def test_labels_and_names_are_not_in_the_id() -> None:
    named = replace(study(methods={"another label | <b>": "set"}), name="another", question="Why?")
    assert [cell.run.id for cell in named.cells(REGISTRY)] == [a_run().id]


def test_the_order_of_a_study_changes_no_id() -> None:
    forward = runs(seeds=[0, 1], envs=[ENV, "Pendulum-v1"], methods={"A": "set", "B": "rigl"}, densities=[0.5, 0.1])
    backward = runs(seeds=[1, 0], envs=["Pendulum-v1", ENV], methods={"B": "rigl", "A": "set"}, densities=[0.1, 0.5])
    assert len(forward) == 16
    assert {run.id for run in forward} == {run.id for run in backward}


def test_the_order_of_settings_changes_no_id() -> None:
    assert a_run(settings={"td3": {"hidden": [16, 16], "batch_size": 8}}).id == a_run().id


def test_a_default_written_out_is_the_same_run() -> None:
    row = {"base": "set", "schedule": {"every": 1000}, "prune": "magnitude", "grow": {"part": "random"}}
    assert a_run(methods={"SET": row}, replay={"part": "uniform", "capacity": 1_000_000}).id == a_run().id
    assert a_run(eval_every=6).id == a_run().id, "a twentieth of 120 steps is the default"


def test_a_number_is_the_same_number_in_any_form() -> None:
    assert a_run(steps=120.0, settings={"td3": {"batch_size": 8.0, "hidden": [16.0, 16]}}).id == a_run().id
    assert a_run(densities=[1]).id == a_run(densities=[1.0]).id


def test_dense_is_one_run_whatever_the_densities_and_whatever_rows_share() -> None:
    plain = a_run(methods={"Dense": "dense"})
    shared = {"eligible": "input", "allocation": "uniform", "moments": "keep"}
    (also,) = runs(methods={"Dense": "dense"}, densities=[0.5, 0.2, 0.1], all=shared)
    (override,) = runs(methods={"Other": {"base": "set", "actor": "dense", "critic": {"base": "dense"}}})
    assert plain.id == also.id == override.id


def test_a_small_dense_network_has_no_schedule_to_differ_in() -> None:
    methods = {"Small": "dense_small"}
    one = a_run(methods=methods, densities=[0.5])
    other = a_run(methods=methods, densities=[0.5], all={"moments": "keep", "grow": "gradient"})
    assert one.id == other.id != a_run(methods=methods, densities=[0.2]).id


EVERY_RUN: dict[str, dict[str, Any]] = {
    **{f"method {name}": {"methods": {"Row": name}} for name in REGISTRY.names("method")},
    **{f"method {name} at a density": {"methods": {"Row": name}, "densities": [0.25]} for name in METHODS},
    "override": {"methods": {"Row": {"base": "rigl", "actor": "dense", "critic": {"schedule": {"until": 500}}}}},
    "share of updates": {"methods": {"Row": {"base": "rigl", "schedule": {"until": 0.5}}}},
    "per learner": {"densities": [{"actor": 0.1, "critic": 0.2}]},
    "explicit": {
        "methods": {"Row": {"base": "set", "allocation": {"part": "explicit", "layers": {"hidden.0.weight": 0.5}}}}
    },
    "wrapper": {"wrappers": ["noise_features", {"part": "noise_features", "share": 0.1}]},
    "replay": {"replay": {"part": "uniform", "capacity": 77}},
    "preset": {"preset": "ds-td3", "methods": {"Row": "ds"}, "envs": ["Ant-v5"]},
    "random policy": {"random_episodes": 3, "agents": ["td3"]},
    "traces": {"methods": {"Row": {"base": "set", "grow": "mixture", "traces": []}}},
}


@pytest.mark.parametrize("changes", EVERY_RUN.values(), ids=EVERY_RUN)
def test_contents_describe_the_run_and_survive_json(changes: dict[str, Any]) -> None:
    for run in runs(**changes):
        again = Run.from_contents(json.loads(canonical(run.contents())))
        assert again.id == run.id
        assert again.contents() == run.contents()
        assert again.agent == run.agent
        assert again.wrappers == run.wrappers
        assert again.replay == run.replay
        for learner, method in run.methods.items():
            assert again.methods[learner].sparse == method.sparse
            if method.sparse:
                assert again.methods[learner] == method


def test_contents_of_another_results_version_are_refused() -> None:
    with pytest.raises(ValueError, match="version"):
        Run.from_contents(a_run().contents() | {"results": RESULTS_VERSION + 1})


def test_contents_hold_every_default_written_out() -> None:
    contents = a_run().contents()
    assert contents["agent"]["tau"] == 0.005
    assert contents["methods"]["actor"]["schedule"] == {
        "part": "periodic", "fraction": 0.3, "every": 1000, "phase": 0, "until": 1.0
    }  # fmt: skip
    assert contents["execution"] == "sparse", "auto is resolved"


def test_the_source_of_a_foreign_part_is_in_the_id(tmp_path: Path) -> None:
    methods = {"Mine": {"base": "set", "grow": "mine"}}
    before = a_run(with_plugin(tmp_path / "one.py", PLUGIN), methods=methods)
    copied = a_run(with_plugin(tmp_path / "two.py", PLUGIN), methods=methods)
    edited = a_run(
        with_plugin(tmp_path / "one.py", PLUGIN.replace("heat * noise", "2 * heat * noise")), methods=methods
    )
    assert list(before.foreign) == ["grow/mine"]
    assert before.id == copied.id, "where the file lies does not matter"
    assert before.id != edited.id


def test_a_foreign_part_that_is_not_chosen_is_not_in_the_id(tmp_path: Path) -> None:
    registry = with_plugin(tmp_path / "one.py", PLUGIN)
    assert a_run(registry).id == a_run().id


def test_a_foreign_trace_that_a_part_asks_for_is_in_the_id(tmp_path: Path) -> None:
    traced = PLUGIN.replace("def mine(noise", "def mine(noise, seen").replace("@hookimpl", TRACE + "\n\n@hookimpl", 1)
    registry = with_plugin(tmp_path / "one.py", traced)
    assert sorted(a_run(registry, methods={"Mine": {"base": "set", "grow": "mine"}}).foreign) == [
        "grow/mine",
        "trace/seen",
    ]


TRACE = """\
def seen(trace, mask):
    return trace + mask


@hookimpl
def register_trace(register):
    register(seen)
"""


def test_a_foreign_wrapper_and_agent_are_in_the_id(tmp_path: Path) -> None:
    registry = with_plugin(tmp_path / "one.py", WRAPPER)
    run = a_run(registry, wrappers=["mine"])
    assert list(run.foreign) == ["wrapper/mine"]


WRAPPER = """\
from registry import hookimpl


def mine(env):
    return env


@hookimpl
def register_wrapper(register):
    register(mine)
"""


def test_the_random_policy_of_a_foreign_wrapper_hashes_its_source_too(tmp_path: Path) -> None:

    one = cells(with_plugin(tmp_path / "one.py", WRAPPER), wrappers=["mine"], random_episodes=2)[-1].run
    edited = WRAPPER.replace("return env", "print()\n    return env")
    other = cells(with_plugin(tmp_path / "one.py", edited), wrappers=["mine"], random_episodes=2)[-1].run
    assert one.agent.name == other.agent.name == "random"
    assert one.id != other.id


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {"a": [math.nan]}])
def test_canonical_json_refuses_what_json_cannot_say(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical(value)


def test_canonical_json_of_equal_values_is_equal_text() -> None:
    assert canonical({"b": 1, "a": (1, 2)}) == canonical({"a": [1, 2], "b": 1}) == '{"a":[1,2],"b":1}'


def test_seed_zero_and_the_largest_seed_are_seeds() -> None:
    assert [run.seed for run in runs(seeds=[0, 2**32 - 1])] == [0, 2**32 - 1]


def test_a_run_is_built_from_python_as_from_a_file() -> None:
    run = a_run()
    again = replace(run, replay=part("uniform", capacity=1_000_000))
    assert again.id == run.id
    assert TABLES["steps"] == run.steps
    assert run.updates == 70


def test_no_python_warning_leaves_the_expansion_of_a_study() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cells(methods={"DS": "ds", "RigL": "rigl"}, densities=[0.5])
