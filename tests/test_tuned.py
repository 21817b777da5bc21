"""Which trial is chosen, by hand; and a study tuned from its file to the study that is ready to run."""

from __future__ import annotations

import csv
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import ENV, FILE, REGISTRY, Answer, Lab, a_lab, draw_nothing, no_figures
from test_tuning import RATE, trial_study, tuning

from studies import formats
from studies.outcome import Outcome, Status
from studies.read import study_from
from studies.store import Store
from studies.tuning.chosen import Tuned, choose, tuned_tables
from studies.tuning.claims import claims
from studies.tuning.trials import Tuning
from studies.tuning.words import comma_separated, in_md, trials_sheet, warnings_of

lab, quiet = a_lab, no_figures

OTHER = "Pendulum-v1"
RANDOM = {ENV: np.array([10.0, 10.0]), OTHER: np.array([-1000.0])}
RATES = [1e-4, 1e-3, 1e-2]


def two(envs: tuple[str, ...] = (ENV,), **changes: Any) -> Tuning:
    """A dense row and SET with three trials each; the places of the rates are as they are drawn."""
    tune = {"search": "grid", "space": {"td3.learning_rate": RATES}}
    return tuning(tune, envs=list(envs), methods={"Dense": "dense", "SET": "set"}, **changes)


def outcomes(tuned: Tuning, returns: Mapping[tuple[str, int, str], Any], density: float | None = 0.5) -> list[Outcome]:
    """Runs with those returns by row, trial and environment; a status in place of one is that, and 20 is the rest."""
    made = []
    for shown, (label, place) in tuned.labels().items():
        for env in tuned.study.envs:
            each = returns.get((label, place + 1, env), (20.0, 20.0))
            for seed, end in zip(tuned.tune.seeds, each, strict=True):
                status: Status = end if isinstance(end, str) else "done"
                curve = {} if isinstance(end, str) else {"steps": np.array([0]), "returns": np.array([end])}
                of = density if label == "SET" else None
                made.append(Outcome(shown, "td3", env, of, seed, status, **curve))
    return made


def of(tuned: list[Tuned], label: str) -> Tuned:
    [found] = [each for each in tuned if each.label == label]
    return found


def test_the_best_mean_over_the_tuning_seeds_is_chosen() -> None:
    tuned = two()
    found = choose(tuned, outcomes(tuned, {("SET", 2, ENV): (30.0, 50.0), ("SET", 3, ENV): (60.0, 10.0)}), RANDOM)
    best = of(found, "SET").chosen
    assert best is not None
    assert best.number == 2
    assert best.means == {ENV: 40.0}
    assert best.score == 1.0, "(40 - 10) / (40 - 10)"
    dense = of(found, "Dense").chosen
    assert dense is not None
    assert (dense.number, dense.score) == (1, pytest.approx(1 / 3)), "the first of equals, by the same yardstick"


def test_a_trial_cannot_win_by_crashing() -> None:
    """Every finished run is below the random policy (10): a crash counts as the worst of them, -9."""
    tuned = two()
    low = {("SET", 1, ENV): (-5.0, -7.0), ("SET", 2, ENV): ("failed", "diverged"), ("SET", 3, ENV): ("failed", -9.0)}
    set_ = of(choose(tuned, outcomes(tuned, low), RANDOM), "SET")
    assert [each.means[ENV] for each in set_.tried] == [-6.0, -9.0, -9.0]
    assert set_.chosen is set_.tried[0]


def test_a_crash_counts_as_the_random_policy() -> None:
    tuned = two()
    set_ = of(choose(tuned, outcomes(tuned, {("SET", 1, ENV): (40.0, "failed")}), RANDOM), "SET")
    assert set_.tried[0].means[ENV] == 25.0, "(40 + 10) / 2, over the others' 20"
    assert set_.chosen is set_.tried[0]


def test_a_row_of_which_nothing_ended_well_has_no_choice() -> None:
    tuned = two()
    all_failed = {("SET", n, ENV): ("failed", "failed") for n in (1, 2, 3)}
    found = choose(tuned, outcomes(tuned, all_failed), RANDOM)
    assert of(found, "SET").chosen is None
    assert any("'SET', td3, density 0.5: nothing can be chosen" in said for said in warnings_of(tuned, found))


def test_a_trial_that_is_not_finished_cannot_be_chosen() -> None:
    tuned = two()
    found = choose(tuned, outcomes(tuned, {("SET", 1, ENV): (900.0, "running")}), RANDOM)
    best = of(found, "SET").chosen
    assert best is not None
    assert best.number == 2
    assert "'SET', td3, density 0.5: 2 of 3 trials finished in all of their runs" in warnings_of(tuned, found)


def test_over_environments_trials_are_measured_between_the_random_policy_and_the_best() -> None:
    """Trial 1 gains all of one environment and half of the other, 2 the reverse but a third: 0.75 to 0.67."""
    tuned = two((ENV, OTHER))
    returns = {
        ("SET", 1, ENV): (110.0, 110.0), ("SET", 1, OTHER): (-500.0, -500.0),
        ("SET", 2, ENV): (43.0, 44.0), ("SET", 2, OTHER): (0.0, 0.0),
        ("SET", 3, ENV): (10.0, 10.0), ("SET", 3, OTHER): (-1000.0, -1000.0),
        **{("Dense", n, OTHER): (-900.0, -900.0) for n in (1, 2, 3)},
    }  # fmt: skip
    set_ = of(choose(tuned, outcomes(tuned, returns), RANDOM), "SET")
    assert [each.score for each in set_.tried] == pytest.approx([0.75, (33.5 / 100 + 1) / 2, 0.0])
    assert set_.chosen is set_.tried[0]


def test_trials_of_other_densities_are_trials_of_one_row() -> None:
    """Without densities of the study, one that an allocation brings along is a setting like any other."""
    tune = {"search": "grid", "space": {"allocation": ["erk", {"part": "lambdas", "first": 3.0}]}}
    tuned = tuning(tune, densities=[], methods={"SET": "set"})
    trials = [cell for cell in trial_study(tuned).cells(REGISTRY) if "SET" in cell.label]
    assert len({cell.density for cell in trials}) == 2
    ends = {"SET #1": np.array([30.0]), "SET #2": np.array([20.0])}
    runs = [Outcome(c.label, "td3", ENV, c.density, c.run.seed, returns=ends[c.label], run=c.run.id) for c in trials]
    [set_] = choose(tuned, runs, RANDOM)
    assert len(set_.tried) == 2
    assert set_.chosen is set_.tried[0]
    tables = {**tuned_tables(tuned, [set_]), "seeds": list(tuned.tune.seeds), "tune": None}
    as_tuned = {cell.run.id for cell in study_from(tables, REGISTRY, name="x").cells(REGISTRY)}
    assert {run.run for run in runs if run.label == "SET #1"} <= as_tuned, "it gives the runs that were tried"


def test_the_choices_are_written_into_the_rows_of_the_study() -> None:
    tuned = two(densities=[0.5, 0.2])
    runs = [
        *outcomes(tuned, {("SET", 2, ENV): (90.0, 90.0), ("Dense", 3, ENV): (90.0, 90.0)}),
        *(run for run in outcomes(tuned, {("SET", 3, ENV): (90.0, 90.0)}, density=0.2) if "SET" in run.label),
    ]
    tables = tuned_tables(tuned, choose(tuned, runs, RANDOM))
    rates = {label: [trial["td3.learning_rate"] for trial in tuned.drawn["td3", label]] for label in ("Dense", "SET")}
    cells = study_from(tables, REGISTRY, name="x").cells(REGISTRY)[:-1]
    found = {(cell.label, cell.density): cell.run.agent.settings["learning_rate"] for cell in cells}
    assert found == {("Dense", None): rates["Dense"][2], ("SET", 0.5): rates["SET"][1], ("SET", 0.2): rates["SET"][2]}
    assert {cell.run.seed for cell in cells} == {0}
    assert tables["tune"]["seeds"] == list(tuned.tune.seeds)
    assert tables["name"] == "small-tuned"


def test_a_choice_at_the_edge_is_warned_of() -> None:
    tuned = two()
    places = {trial["td3.learning_rate"]: place + 1 for place, trial in enumerate(tuned.drawn["td3", "SET"])}
    for rate, warned in ((1e-2, True), (1e-3, False)):
        runs = outcomes(tuned, {("SET", places[rate], ENV): (90.0, 90.0)})
        said = "\n".join(warnings_of(tuned, choose(tuned, runs, RANDOM)))
        assert (f"'SET', td3, density 0.5: td3.learning_rate {rate!r} lies at the edge" in said) == warned, said
    assert "'Dense', td3: 3 trials share the best score" in said


def test_the_seeds_of_a_claim_come_from_the_spread_of_the_choices() -> None:
    """Pooled over (48, 52) and (30, 34): s = sqrt(8). 5 % of 40 is 2: d = 0.71; the difference seen, 18, is 6.4 s."""
    tuned = two()
    runs = outcomes(tuned, {("Dense", 1, ENV): (48.0, 52.0), ("SET", 1, ENV): (30.0, 34.0)})
    [claim] = claims(choose(tuned, runs, RANDOM), tuned.reference, RANDOM)
    assert (claim.row.label, claim.reference.label, claim.env) == ("SET", "Dense", ENV)
    assert claim.difference == -18.0
    assert (claim.deviation, claim.df) == (pytest.approx(8**0.5), 2)
    assert claim.shares == {0.05: (33, 142), 0.1: (9, 37), 0.2: (4, 10)}
    assert claim.seen == (2, 4)


def test_one_seed_says_nothing_of_a_spread() -> None:
    tune = {"search": "grid", "seeds": 1, "space": {"td3.learning_rate": RATES}}
    tuned = tuning(tune, methods={"Dense": "dense", "SET": "set"})
    runs = [run for run in outcomes(two(), {}) if run.seed == tuned.tune.seeds[0]]
    assert claims(choose(tuned, runs, RANDOM), "Dense", RANDOM) == []


def test_names_and_settings_of_others_make_no_cell_and_no_formula() -> None:
    tuned = tuning({"trials": 2, "space": RATE}, methods={"=a|b": "dense"})
    runs = [Outcome(s, "td3", ENV, None, seed, "failed") for s in tuned.labels() for seed in tuned.tune.seeds]
    found = choose(tuned, runs, RANDOM)
    sheet = trials_sheet(tuned, found)
    assert "=a|b #1" in formats.text(sheet)
    assert r"=a\|b \#1" in in_md(sheet)
    assert ",'=a|b," in comma_separated(tuned, found)


# End to end.

TUNE = """
[tune]
search = "random"
trials = 2
seeds = 2
steps = 80
[tune.space]
"td3.learning_rate" = { log = [1e-4, 1e-2] }
"schedule.fraction" = [0.1, 0.3, 0.5]
"""
STUDY = FILE.replace('"SET" =', 'Dense = "dense"\n"SET" =').replace("eval_every = 60", "eval_every = 40") + TUNE
WORDS = ("--executor", "here", "--plugin")


def tune(lab: Lab, *words: object) -> Answer:
    return lab("study", "tune", lab.file(STUDY, "mine.toml"), *WORDS, lab.executor, *words)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Answer]:
    """The study, tuned once."""
    mine = Lab(tmp_path_factory.mktemp("tune"))
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        return mine, tune(mine)


def folder(lab: Lab) -> Path:
    return lab.store / "studies" / "mine-tune"


def test_a_study_is_tuned_by_runs_of_a_study_in_the_same_store(done: tuple[Lab, Answer]) -> None:
    lab, answer = done
    assert answer.code == 0, answer.err
    assert "study mine-tune: 9 runs, 9 to do" in answer.err
    assert {cell["label"] for cell in lab.cells("mine-tune")} == {
        *("Dense #1", "Dense #2", "SET #1", "SET #2", "Random policy"),
    }
    assert {cell["seed"] for cell in lab.cells("mine-tune")} == {0, 1_000_000, 1_000_001}, "0 is the random policy's"
    assert "mine-tune" in lab("study", "list").out


def test_it_ends_with_the_trials_the_budget_and_the_seeds_that_claims_need(done: tuple[Lab, Answer]) -> None:
    lab, answer = done
    for words in ("* SET #", "* Dense #", "2 trials x 2 seeds x 80 steps", "Seeds a side for a claim against Dense"):
        assert words in answer.out
    assert "Seeds of trials: 1000000 ... 1000001" in answer.out
    assert f"sparsity study run {folder(lab) / 'tuned.toml'}" in answer.out
    page = (folder(lab) / "table.md").read_text()
    assert "schedule.fraction" in page
    assert "**mine: trials**" in page


def test_the_csv_has_every_run_of_every_trial(done: tuple[Lab, Answer]) -> None:
    with open(folder(done[0]) / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {row["status"] for row in rows} == {"done"}
    assert sorted(row["method"] for row in rows if row["chosen"] == "1") == ["Dense", "Dense", "SET", "SET"]
    assert all(1e-4 <= float(row["td3.learning_rate"]) <= 1e-2 for row in rows)
    assert {bool(row["schedule.fraction"]) for row in rows if row["method"] == "Dense"} == {False}


def test_the_tuned_study_runs_with_what_was_chosen_on_seeds_of_its_own(done: tuple[Lab, Answer], quiet: None) -> None:
    lab, _ = done
    with open(folder(lab) / "table.csv", newline="") as file:
        chosen = {row["method"]: row for row in csv.DictReader(file) if row["chosen"] == "1"}
    answer = lab.run(folder(lab) / "tuned.toml")
    assert answer.code == 0, answer.err
    for label, row in chosen.items():
        contents = (lab.folder_of(label, name="mine-tuned") / "contents.json").read_text()
        assert f'"learning_rate":{float(row["td3.learning_rate"])!r}' in contents
        assert '"steps":120' in contents, "the study's, not those of trials"
    again = lab.run(folder(lab) / "tuned.toml", "--seeds", "1000000,5")
    assert again.code == 2
    assert "1000000 also among the seeds of the study" in again.err


def test_given_again_nothing_is_run_and_the_answer_is_the_same(done: tuple[Lab, Answer]) -> None:
    lab, first = done
    before = {path: path.stat().st_mtime_ns for path in lab.store.glob("runs/*/*")}
    again = tune(lab)
    assert again.code == 0, again.err
    assert "9 runs, 0 to do" in again.err
    assert again.out == first.out
    assert {path: path.stat().st_mtime_ns for path in lab.store.glob("runs/*/*")} == before


def test_what_was_stopped_goes_on_with_what_is_left(lab: Lab, done: tuple[Lab, Answer]) -> None:
    """Half of the runs are there, as if the command had been killed."""
    shutil.copytree(done[0].store, lab.store)
    for run in sorted({cell["run"] for cell in lab.cells("mine-tune")})[:4]:
        shutil.rmtree(lab.store / "runs" / run)
    answer = tune(lab)
    assert answer.code == 0, answer.err
    assert "9 runs, 4 to do" in answer.err
    assert answer.out == done[1].out.replace(str(done[0].store), str(lab.store))


def test_more_trials_keep_those_that_are_there(lab: Lab, done: tuple[Lab, Answer]) -> None:
    shutil.copytree(done[0].store, lab.store)
    answer = tune(lab, "--trials", "3")
    assert answer.code == 0, answer.err
    assert "13 runs, 4 to do" in answer.err
    assert "3 trials x 2 seeds" in answer.out
    assert tomllib.loads((folder(lab) / "tuned.toml").read_text())["tune"]["trials"] == 3


def test_a_failed_trial_is_told_and_its_row_chosen_among_the_others(lab: Lab) -> None:
    """A learning rate with which every run diverges, and one that learns."""
    text = STUDY.replace("{ log = [1e-4, 1e-2] }", "[1e-3, 1e30]").replace(
        '"schedule.fraction" = [0.1, 0.3, 0.5]\n', ""
    )
    answer = lab("study", "tune", lab.file(text), *WORDS, lab.executor, "--search", "grid")
    assert answer.code == 0, answer.err
    assert "1 of 2 trials finished in all of their runs" in answer.out
    rows = tomllib.loads((lab.store / "studies/study-tune/tuned.toml").read_text())["methods"]
    assert [row["at"][0]["settings"]["td3"]["learning_rate"] for row in rows.values()] == [1e-3, 1e-3]


def test_a_row_without_a_choice_leaves_no_study_to_run(lab: Lab) -> None:
    text = STUDY.replace("{ log = [1e-4, 1e-2] }", "[1e29, 1e30]").replace(
        '"schedule.fraction" = [0.1, 0.3, 0.5]\n', ""
    )
    answer = lab("study", "tune", lab.file(text), *WORDS, lab.executor, "--search", "grid")
    assert "nothing can be chosen" in answer.out
    assert "no tuned.toml: a row has no choice" in answer.out
    assert not (lab.store / "studies/study-tune/tuned.toml").exists()


def test_a_row_of_which_a_trial_is_left_to_others_has_no_choice_yet(lab: Lab, done: tuple[Lab, Answer]) -> None:
    """It would be chosen from fewer trials than the other row is."""
    shutil.copytree(done[0].store, lab.store)
    run = next(cell["run"] for cell in lab.cells("mine-tune") if cell["label"] == "SET #1")
    (lab.store / "runs" / run / "manifest.json").unlink()
    with Store(lab.store).claim(run):
        answer = tune(lab, "--no-wait")
    assert answer.code == 3, answer.err
    assert "no tuned.toml: 1 run of a trial is not finished, and every row has the same budget" in answer.out
    assert not (folder(lab) / "tuned.toml").exists()


def test_a_dry_run_says_the_cost_of_tuning_and_writes_nothing(lab: Lab) -> None:
    answer = tune(lab, "--dry-run", "--trials", "4", "--tuning-seeds", "50,51,52", "--steps", "90")
    assert answer.code == 0, answer.err
    assert "25 (25 to do)" in answer.out
    assert not lab.store.exists()
