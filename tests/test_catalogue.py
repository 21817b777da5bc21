"""The studies that we ship: each is planned at every scale as its page says, runs, and has the rows that it claims."""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lab import ENV, REGISTRY, Lab, a_lab, no_figures

from sparsity import Method
from studies.contents import Run, method_words
from studies.preset import V3
from studies.read import CATALOGUE, study_from
from studies.reported import Reported, ReportedScore, reported, still_reported
from studies.scales import FULL, scaled
from studies.store import Store
from studies.study_pages import page

lab, quiet = a_lab, no_figures

PAGE = Path(__file__).parent.parent / "docs" / "studies.md"
STUDIES = sorted(path.stem for path in CATALOGUE.glob("*.toml"))


@cache
def tables(name: str) -> dict[str, Any]:
    return tomllib.loads((CATALOGUE / f"{name}.toml").read_text())


SIZES = [(name, scale) for name in STUDIES for scale in (FULL, *tables(name).get("scales", ()))]


def tiny(name: str) -> str:
    """A study of the catalogue with one more scale, at which its runs take a moment and change their topologies.

    Under the paper's lambdas widths are its own: narrower layers would be dense.
    """
    words = tables(name)
    agent = words["agents"][0]
    lines = [
        (CATALOGUE / f"{name}.toml").read_text(),
        f'[scales.tiny]\nenvs = ["{ENV}"]\nseeds = 1\nsteps = 60\nwarmup = 30\neval_every = 30\nepisodes = 1',
        'random_episodes = 1\nexecution = "masked"',
        *(["densities = [0.5]"] if "densities" in words else []),
        "[scales.tiny.all]\nschedule = { every = 10 }\nbudget = { every = 10 }",
        f"[scales.tiny.settings.{agent}]\nbatch_size = 4",
        *(["hidden = [16, 16]"] if "all" in words else []),
        *(["[scales.tiny.axes]\ndonor = [0, 40]"] if "donor" in words.get("axes", {}) else []),
        *(['[scales.tiny.methods."#6 final cut"]\nbudget = { every = 10 }'] if name == "released" else []),
    ]
    return "\n".join(lines)


STILL = ("paper-sac", "paper-schedule")
"""No topology changes at the tiny scale: one has dense rows alone, in the other each row says itself how often."""


@pytest.fixture
def lenient() -> Iterator[None]:
    """Lambdas are of the paper's inputs: of others' smaller ones they say that a layer is dense."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lambdas: layer")
        yield


def said(answer_out: str, key: str) -> str:
    found = re.search(rf"^{key} +(.*)$", answer_out, flags=re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize(("name", "scale"), SIZES)
def test_every_study_is_planned_at_every_scale_as_its_page_says(lab: Lab, name: str, scale: str) -> None:
    answer = lab("study", "run", name, "--scale", scale, "--dry-run", "--workers", "1")
    assert answer.code == 0, answer.err
    assert "no change of topology" not in answer.err
    runs, hours = said(answer.out, "runs").split()[0], said(answer.out, "hours").split()[1]
    command = f"sparsity study run {name}" + (f" --scale {scale}" if scale != FULL else "")
    assert f"| {runs} | {hours} | `{command}` |" in PAGE.read_text()


def test_the_page_is_what_the_files_say() -> None:
    """To write it anew: `python -m studies.study_pages docs/studies.md`."""
    assert PAGE.read_text() == page(REGISTRY)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_runs_and_gives_its_table(lab: Lab, lenient: None, name: str) -> None:
    answer = lab.run(lab.file(tiny(name), f"{name}.toml"), "--scale", "tiny")
    assert answer.code == 0, answer.err
    shown = lab("study", "table", name).out
    for row in tables(name)["methods"]:
        assert f"\n{row} " in shown, row
    assert lab("study", "status", name).out.strip().endswith("done")
    events = {cell["label"]: json.loads((lab.store / "runs" / cell["run"] / "result.json").read_text())["events"]
              for cell in lab.cells(name)}  # fmt: skip
    assert any(events.values()) == (name not in STILL)


@pytest.mark.parametrize("name", [name for name in STUDIES if "scales" in tables(name)])
def test_a_small_study_takes_a_tenth_of_the_full_one_at_most(name: str) -> None:
    full, small = (study_from(still_reported(scaled(tables(name), scale), tables(name), REGISTRY), REGISTRY, name=name)
                   for scale in (FULL, "small"))  # fmt: skip
    assert small.steps * len(small.seeds) * 10 <= full.steps * len(full.seeds)
    assert small.steps <= 20_000
    assert set(small.envs) <= set(full.envs)


def test_the_list_says_which_scales_there_are(lab: Lab) -> None:
    lines = {line.split()[0]: line for line in lab("study", "list").out.splitlines() if line.startswith("  ")}
    for name in STUDIES:
        assert tables(name)["question"] in lines[name]
        assert ("[--scale small]" in lines[name]) == ("scales" in tables(name))


# Settings.


def runs_of(name: str) -> dict[str, Run]:
    """One run a row, on the first environment; without the random policy."""
    study = study_from(tables(name), REGISTRY, name=name)
    cells = [cell for cell in study.cells(REGISTRY) if cell.run.env == study.envs[0] and cell.run.methods]
    return {cell.label: cell.run for cell in cells}


@pytest.mark.parametrize("name", [name for name in STUDIES if name.startswith("paper-")])
def test_the_paper_s_studies_have_its_settings(name: str) -> None:
    study = study_from(tables(name), REGISTRY, name=name)
    assert (len(study.seeds), study.steps, study.eval_every, study.episodes) == (5, 10**6, 5000, 10)
    assert study.warmup == {"td3": 25_000, "sac": 10_000}[study.agents[0]]
    agent = next(iter(runs_of(name).values())).agent.settings
    if study.agents == ("td3",):
        assert (agent["learning_rate"], agent["weight_decay"], agent["batch_size"]) == (1e-3, 2e-4, 100)
    else:
        hard = {"paper-sac": (0.005, 1), "paper-ds-sac": (1.0, 1000)}[name]
        assert (agent["tau"], agent["target_every"], agent["temperature"]) == (*hard, 0.2)


def test_the_schedules_are_those_of_figure_2() -> None:
    rows = {row: run for row, run in runs_of("paper-schedule").items() if row.startswith("DS-TD3")}
    every = {row.partition("= ")[2]: run.methods["actor"].schedule.settings["every"] for row, run in rows.items()}
    assert every == {"200": 200, "500": 500, "1000": 1000, "2000": 2000}


def test_the_sparsities_of_figure_3_are_read_in_both_ways() -> None:
    """First-layer densities at hidden density 0.2: 0.177 by scaled lambdas, 1 by ERK (computed by hand)."""
    actor = {"hidden.0.weight": (256, 17), "hidden.1.weight": (256, 256)}
    rows = runs_of("paper-sparsity")
    got = {}
    for row in ("50 %, lambdas as stated", "80 %, scaled lambdas", "80 %, ERK"):
        given = REGISTRY.bind("allocation", rows[row].methods["actor"].allocation)(shapes=actor)
        got[row] = [round(density, 3) for density in given.values()]
    assert got == {
        "50 %, lambdas as stated": [0.439, 0.5],
        "80 %, scaled lambdas": [0.177, 0.202],
        "80 %, ERK": [1.0, 0.147],
    }


OWN = ("growth", "target-rule", "moments", "density-sweep")


@pytest.mark.parametrize("name", OWN)
def test_the_rows_of_our_own_studies_share_layers_allocation_and_swaps(name: str) -> None:
    sparse = [run.methods["critic"] for run in runs_of(name).values() if run.methods["critic"].sparse]
    assert len({(m.eligible.name, m.allocation.name, m.initial.name) for m in sparse}) == 1
    swaps = {str(m.schedule) for m in sparse if m.schedule.name != "never"}
    assert len(swaps) == 1


@pytest.mark.parametrize(
    ("name", "rows", "field"),
    [
        ("growth", ("SET, random growth", "SET, half and half", "SET, gradient growth"), "grow"),
        ("growth", ("DS, random growth", "DS, gradient growth"), "grow"),
        ("target-rule", ("DS, follow", "DS, keep largest", "DS, drift"), "target"),
        ("moments", ("DS, keep", "DS, mask", "DS, reset grown", "DS, warm"), "moments"),
    ],
)
def test_rows_that_are_compared_differ_in_one_thing(name: str, rows: tuple[str, ...], field: str) -> None:
    methods = [runs_of(name)[row].methods["critic"] for row in rows]
    assert {f for method in methods[1:] for f in differing(methods[0], method)} == {field}
    assert len({str(getattr(method, field)) for method in methods}) == len(rows)


def test_resetting_newcomers_is_clearing_the_absent_where_gradients_are_masked(lab: Lab, lenient: None) -> None:
    assert lab.run(lab.file(tiny("moments"), "moments.toml"), "--scale", "tiny").code == 0
    mask, grown, keep = (
        (lab.folder_of(f"DS, {row}", name="moments") / "weights.safetensors").read_bytes()
        for row in ("mask", "reset grown", "keep")
    )
    assert mask == grown
    assert mask != keep


# The released code's departures, by their numbers in the project's list of them.

DEPARTURES = {
    1: {"prune"},
    3: {"readmit"},
    4: {"born", "optimizer_sees", "moments"},
    5: {"schedule"},
    6: {"schedule", "budget"},
    7: {"moments", "optimizer_sees"},
    9: {"target"},
}


def differing(one: Method, other: Method) -> set[str]:
    return {f.name for f in fields(Method) if getattr(one, f.name) != getattr(other, f.name)}


def departures() -> dict[int, Method]:
    rows = runs_of("released").items()
    return {int(row[1]): run.methods["critic"] for row, run in rows if row.startswith("#")}


def test_each_departure_changes_what_its_number_says_and_nothing_else() -> None:
    ds = runs_of("released")["DS"].methods["critic"]
    assert ds == REGISTRY.entry("method", "ds").value.resolved(REGISTRY)
    assert {number: differing(ds, method) for number, method in departures().items()} == DEPARTURES


@pytest.mark.parametrize("row", ["#6 final cut", "DS, released"])
def test_the_final_cut_comes_a_period_after_the_last_swap(row: str) -> None:
    """Two updates after it, the cut would take out what that has just grown."""
    run = runs_of("released")[row]
    method, total = run.methods["critic"], run.updates
    budget, schedule = REGISTRY.bind("budget", method.budget), REGISTRY.bind("schedule", method.schedule)
    late = range(total - 60_000, total + 1)
    cut = next(step for step in late if budget(step=step, total=total, density=0.5) < 0.5)
    swaps = [step for step in late if schedule(step=step, total=total) > 0]
    assert cut - max(swaps) == 1000


def test_all_departures_together_are_the_released_method() -> None:
    rows = runs_of("released")
    ds, released = (method_words(rows[row].methods["critic"]) for row in ("DS", "DS, released"))
    together: dict[str, Any] = dict(ds)
    for _, method in sorted(departures().items()):
        for field, words in method_words(method).items():
            if words == ds[field]:
                continue
            if isinstance(words, dict) and words["part"] == ds[field]["part"]:
                moved = {key: value for key, value in words.items() if value != ds[field][key]}
                together[field] = {**together[field], **moved}
            else:
                together[field] = words
    together["budget"]["phase"] = together["schedule"]["phase"]  # The second update is that of the cut, too.
    assert together == released
    assert together == method_words(REGISTRY.entry("method", "ds_released").value.resolved(REGISTRY))


# What was reported.

ORACLE = {
    ("paper-td3", "HalfCheetah-v5", "TD3"): (11153.48, 473.29, 1.7686),
    ("paper-td3", "HalfCheetah-v5", "Static-TD3"): (10583.84, 307.03, 1.7666),
    ("paper-td3", "HalfCheetah-v5", "DS-TD3"): (11459.88, 482.55, 1.9560),
    ("paper-td3", "Walker2d-v4", "DS-TD3"): (4870.57, 525.33, 0.6956),
    ("paper-td3", "Hopper-v4", "TD3"): (2184.78, 1224.14, 0.4788),
    ("paper-td3", "Hopper-v4", "Static-TD3"): (3570.88, 43.71, 0.4984),
    ("paper-sac", "Walker2d-v4", "SAC"): (4566.18, 448.25, 0.6128),
    ("paper-sac", "Hopper-v4", "SAC"): (3387.36, 148.73, 0.5572),
    ("paper-ds-sac", "HalfCheetah-v5", "DS-SAC"): (11084.39, 445.15, 1.7081),
    ("paper-ds-sac", "Walker2d-v4", "SAC"): (3858.20, 689.91, 0.5368),
    ("paper-ds-sac", "Hopper-v4", "DS-SAC"): (3229.39, 135.82, 0.4875),
}
"""Mean, standard deviation and LCA as Tables 1, 2, 4 and 5 have them; LCA there is the mean of evaluations / 5000."""


@pytest.mark.parametrize("where", ORACLE, ids="-".join)
def test_reported_numbers_are_the_paper_s(where: tuple[str, str, str]) -> None:
    name, env, row = where
    mean, spread, lca = ORACLE[where]
    words = tables(name)["reported"][env][row]
    assert (words["return"], words["spread"]) == (mean, spread)
    assert words["lca"] == pytest.approx(lca * 5000)


@pytest.mark.parametrize("name", [name for name in STUDIES if "reported" in tables(name)])
def test_only_the_same_tasks_carry_numbers_and_then_all_rows_do(name: str) -> None:
    same = {successor.env for successor in V3.values() if successor.said.startswith("the same task")}
    words = tables(name)["reported"]
    assert set(words) - {"source"} == same
    assert all(set(words[env]) == set(tables(name)["methods"]) for env in same)


def test_the_store_keeps_what_was_reported_of_the_environments_that_ran(lab: Lab, lenient: None) -> None:
    quick = ("--steps", "60", "--hidden", "8,8", "--seeds", "1", "--eval-every", "60", "--set", "td3.batch_size=4")
    short = ("--set", "warmup=30", "--set", "episodes=1", "--set", "random_episodes=0", "--set", "execution=masked")
    answer = lab.run("paper-td3", "--scale", "small", "--envs", "Hopper-v4", *quick, *short)
    assert answer.code == 0, answer.err
    found = reported(Store(lab.store), "paper-td3")
    assert isinstance(found, Reported)
    assert list(found.scores) == ["Hopper-v4"]
    assert found.scores["Hopper-v4"]["DS-TD3"] == ReportedScore(3587.17, 70.62, 2717.5)
    assert "5 seeds" in found.source
