"""Rows with settings of an agent of their own, and with words that hold for one agent or at one density."""

from __future__ import annotations

from typing import Any

import pytest
from lab import REGISTRY, cells

from studies.problems import BadInput
from studies.study import Cell


def row(words: Any, **changes: Any) -> list[Cell]:
    given = {"methods": {"SET": words, "Dense": "dense"}, "densities": [0.5, 0.2], **changes}
    return [cell for cell in cells(REGISTRY, **given) if cell.label == "SET"]


def test_a_row_may_have_settings_of_an_agent_of_its_own() -> None:
    own = {"td3": {"learning_rate": 0.5}}
    assert {c.run.agent.settings["learning_rate"] for c in row({"base": "set", "settings": own})} == {0.5}
    assert {c.run.agent.settings["batch_size"] for c in row({"base": "set", "settings": own})} == {8}, (
        "the study's stay"
    )
    dense = [
        c for c in cells(REGISTRY, methods={"SET": {"base": "set", "settings": own}, "D": "dense"}) if c.label == "D"
    ]
    assert dense[0].run.agent.settings["learning_rate"] == 3e-4


def test_settings_said_otherwise_are_the_same_runs() -> None:
    own = row({"base": "set", "settings": {"td3": {"tau": 0.1}}, "schedule": {"every": 30}})
    here = row({"base": "set", "at": [{"settings": {"td3": {"tau": 0.1}}, "schedule": {"every": 30}}]})
    study = row(
        {"base": "set", "schedule": {"every": 30}}, settings={"td3": {"batch_size": 8, "hidden": [16, 16], "tau": 0.1}}
    )
    assert [c.run.id for c in own] == [c.run.id for c in here] == [c.run.id for c in study]


def test_hidden_widths_of_a_row_or_a_place_stand_over_each_learner_s_of_the_study() -> None:
    """What is tuned as `td3.hidden` must be what is run."""
    study = {"settings": {"td3": {"batch_size": 8, "actor_hidden": [16, 16], "critic_hidden": [16, 16]}}}

    def widths(**words: Any) -> tuple[Any, Any]:
        settings = row({"base": "set", **words}, **study)[0].run.agent.settings
        return settings["actor_hidden"], settings["critic_hidden"]

    place = [{"settings": {"td3": {"hidden": [8]}}}]
    assert widths(settings={"td3": {"hidden": [8]}}) == ((8,), (8,))
    assert widths(at=place) == ((8,), (8,))
    assert widths(settings={"td3": {"actor_hidden": [4]}}, at=place) == ((8,), (8,))
    assert widths(settings={"td3": {"hidden": [8], "actor_hidden": [4]}}) == ((4,), (8,)), "of one learner, said beside"


def test_what_is_said_of_a_density_holds_there_alone_and_over_the_row() -> None:
    at = [{"density": 0.5, "schedule": {"fraction": 0.4}}, {"density": 0.2, "settings": {"td3": {"tau": 0.1}}}]
    found = {c.density: c.run for c in row({"base": "set", "schedule": {"every": 30}, "at": at})}
    assert [found[d].methods["critic"].schedule.settings["fraction"] for d in (0.5, 0.2)] == [0.4, 0.3], (
        "SET's own is 0.3"
    )
    assert [found[d].methods["critic"].schedule.settings["every"] for d in (0.5, 0.2)] == [30, 30]
    assert [found[d].agent.settings["tau"] for d in (0.5, 0.2)] == [0.005, 0.1]


def test_what_is_said_of_an_agent_holds_for_it_alone() -> None:
    at = [{"agent": "td3", "schedule": {"fraction": 0.4}}, {"agent": "sac", "schedule": {"fraction": 0.1}}]
    found = {c.run.agent.name: c.run for c in row({"base": "set", "at": at}, agents=["td3", "sac"])}
    assert {a: r.methods["critic"].schedule.settings["fraction"] for a, r in found.items()} == {"td3": 0.4, "sac": 0.1}


def test_densities_of_learners_are_places_too() -> None:
    share = {"actor": 0.5, "critic": 0.2}
    [cell] = row({"base": "set", "at": [{"density": share, "schedule": {"fraction": 0.4}}]}, densities=[share])
    assert cell.run.methods["actor"].schedule.settings["fraction"] == 0.4
    assert cell.run.methods["actor"].allocation.settings["density"] == 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"at": [{"density": 0.5}]}, "at: no entry holds for td3 at density 0.2"),
        ({"at": [{"density": 0.5}, {"density": 0.3}]}, "no entry holds for td3 at density 0.2"),
        ({"at": [{"agent": "td4"}]}, "no agent 'td4'. Did you mean 'td3'?"),
        ({"at": {"density": 0.5}}, "at must be a list of tables"),
        ({"at": [{"shedule": {}}]}, "Did you mean 'schedule'?"),
        ({"at": [{"allocation": {"density": 0.3}}]}, "density is where an entry holds"),
        ({"settings": {"tau": 0.1}}, "settings must be a table of tables by agent"),
        ({"settings": {"td4": {}}}, "no agent 'td4'"),
        ({"settings": {"td3": {"lr": 0.1}}}, "Did you mean 'learning_rate'?"),
        ({"settigns": {}}, "Did you mean 'settings'?"),
    ],
)
def test_words_of_places_that_mean_nothing_are_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as bad:
        row({"base": "set", **words})
    assert said in str(bad.value), str(bad.value)


def test_an_axis_that_a_row_sets_itself_is_refused() -> None:
    with pytest.raises(BadInput, match=r"\[axes\] tau has no effect on this row: it sets tau itself"):
        row({"base": "set", "settings": {"td3": {"tau": 0.1}}}, axes={"tau": [0.1, 0.2]})
