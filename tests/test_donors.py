"""Runs whose warm-up is another run's policy: what they are, when they come, how they begin, what fails with what."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import ENV, FILE, REGISTRY, Lab, a_lab, a_run, in_this_process, no_figures, run_here, runs, study  # noqa: F401

from rl.environment import sizes
from studies.build import build_environment
from studies.contents import Run, canonical
from studies.donors import donor_policy
from studies.keeping import Keeper
from studies.leaving import Leave
from studies.options import Options
from studies.problems import BadInput
from studies.read import read_file, study_from
from studies.runner import plan
from studies.share import share
from studies.store import Store
from studies.underway import Underway

lab = a_lab

WITH_DONORS = FILE + "\n[axes]\ndonor = [0, 80]\n"
TINY = {"batch_size": 8, "hidden": [16, 16]}
EVENTS = {"schedule": {"every": 10, "fraction": 0.3}}


# What they are.


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({}, "8bcf8b4f02e62ac7"),
        ({"methods": {"Dense": "dense"}}, "31395416c9458fa5"),
        ({"preset": "ds-td3", "methods": {"Row": "ds"}, "envs": ["Ant-v5"]}, "aed7283f34e37bb7"),
        ({"execution": "masked", "wrappers": ["noise_features"]}, "1f1929f3629e207c"),
    ],
)
def test_runs_without_a_donor_have_the_ids_that_they_had_before_there_were_any(
    changes: dict[str, Any], known: str
) -> None:
    for run in (a_run(**changes), a_run(**changes, donor=0), a_run(**changes, axes={"donor": [0]})):
        assert run.id == known
        assert "donor" not in run.contents()


@pytest.mark.parametrize("eval_every", [None, 7])
def test_a_donor_is_the_run_that_the_study_would_have_of_its_length(eval_every: int | None) -> None:
    given = a_run(donor=80, eval_every=eval_every)
    assert given.donor is not None
    assert given.donor.id == a_run(steps=80, eval_every=eval_every).id
    assert replace(given, donor=None).id == a_run(eval_every=eval_every).id
    assert len({given.id, a_run(eval_every=eval_every).id, a_run(donor=81, eval_every=eval_every).id}) == 3


def test_contents_hold_a_donor_s_and_survive_json() -> None:
    run = a_run(donor=80)
    again = Run.from_contents(json.loads(canonical(run.contents())))
    assert again.id == run.id
    assert again.donor is not None
    assert run.donor is not None
    assert again.donor.id == run.donor.id


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"donor": 50}, "donor: 50 steps end with a warm-up of 50, before it learns: take more, or 0"),
        ({"donor": 80, "warmup": 0}, "donor: has no effect where there is no warm-up to act in"),
        ({"donor": -1}, "donor: must be at least 0, not -1"),
        ({"donor": 10**13}, "donor: must be at most 10"),
        ({"donor": "long"}, "donor must be a whole number, not 'long'"),
        ({"axes": {"donor": [0, 20]}}, "[axes] donor: 20 steps end with a warm-up of 50"),
        ({"axes": {"donor": [80], "warmup": [0, 50]}}, "[axes] donor: has no effect where there is no warm-up"),
    ],
)
def test_a_donor_that_learns_or_does_nothing_is_bad_input(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as bad:
        runs(**changes)
    assert any(told in problem for problem in bad.value.problems), bad.value.problems


# When they come.


def planned(tmp_path: Path, **changes: Any) -> list[Run]:
    return plan(study(**changes), Store(tmp_path), REGISTRY, Options(workers=1)).pending


def test_of_every_seed_donors_come_first_and_those_that_wait_for_them_last(tmp_path: Path) -> None:
    methods = {"Dense": "dense", "SET": {"base": "set", **EVENTS}}
    order = planned(tmp_path, methods=methods, seeds=[4, 2], axes={"donor": [0, 80]}, densities=[0.5])
    told = [(run.seed, run.steps, run.donor is not None) for run in order]
    of_a_seed = [(80, False)] * 2 + [(120, False)] * 2 + [(120, True)] * 2
    assert told == [(seed, *rest) for seed in (4, 2) for rest in of_a_seed]


def test_a_donor_that_is_a_row_too_is_one_run(tmp_path: Path) -> None:
    order = planned(tmp_path, axes={"donor": [0, 80], "steps": [80, 120]})
    assert [(run.steps, run.donor is not None) for run in order] == [(80, False), (120, False), (80, True), (120, True)]


def test_a_study_with_donors_ends_in_a_table_of_its_rows_alone(lab: Lab) -> None:
    dry = lab.study(WITH_DONORS, "--dry-run")
    assert "4 (4 to do), 1 of them donors of others alone" in dry.out, dry.out + dry.err
    answer = lab.study(WITH_DONORS)
    assert answer.code == 0, answer.err
    ended = [line for line in answer.err.splitlines() if line.startswith("[")]
    assert [line.partition(": ")[0].partition("] ")[2] for line in ended] == [
        f"SET 0.5 {ENV} seed 0, donor of 80 steps",
        f"SET 0.5 donor=80 {ENV} seed 0",
        f"SET 0.5 donor=0 {ENV} seed 0",
        f"Random policy {ENV}",
    ]
    table = (lab.store / "studies" / "study" / "table.csv").read_text().splitlines()
    assert [line.split(",")[2:4] for line in table if "random policy" not in line] == [
        ["axis donor", "method"],
        ["0", "SET"],
        ["80", "SET"],
    ]
    assert lab("study", "status", "study").out.startswith("study: 4 runs: 4 done")
    assert lab("study", "verify", "study").out.startswith("4 finished runs checked, 0 damaged")
    again = lab.study(WITH_DONORS)
    assert "4 runs, 0 to do" in again.err


def test_a_donor_that_nobody_waits_for_any_more_is_not_carried_out_again(lab: Lab) -> None:
    lab.study(WITH_DONORS)
    shutil.rmtree(lab.store / "runs" / donor_of(lab))
    assert "4 runs, 0 to do" in lab.study(WITH_DONORS).err


def test_a_donor_is_shared_with_a_study_of_its_length(lab: Lab) -> None:
    lab.study(FILE.replace("steps = 120", "steps = 80"), "--name", "short")
    assert "4 runs, 2 to do" in lab.study(WITH_DONORS).err


@pytest.mark.usefixtures("in_this_process")
def test_one_run_with_a_donor_is_trained_from_the_command_line(lab: Lab) -> None:
    words = ["--set", "td3.batch_size=8", "--hidden", "16,16", "--set", "warmup=50", "--set", "donor=80"]
    answer = lab("train", "--env", ENV, "--steps", "120", "--eval-every", "60", *words)
    assert answer.code == 0, answer.err
    run = Store(lab.store).load_run(answer.out.split()[1].rpartition("/")[2])
    assert run.donor is not None
    assert run.steps == 120
    assert Store(lab.store).status(run.donor.id)[0] == "done"


# How they begin.


def donor_of(lab: Lab, name: str = "study") -> str:
    return next(str(cell["donor"]) for cell in lab.cells(name) if "donor" in cell)


def run_of(lab: Lab, name: str = "study") -> str:
    return next(str(cell["run"]) for cell in lab.cells(name) if "donor" in cell)


ROWS: dict[str, dict[str, Any]] = {
    "dense": {"methods": {"a": "dense"}},
    "dense_small": {"methods": {"a": "dense_small"}},
    "set": {"methods": {"a": {"base": "set", **EVENTS}}, "execution": "masked"},
    "sparse set": {"methods": {"a": {"base": "set", **EVENTS}}, "execution": "sparse"},
    "sparse ds": {"methods": {"a": {"base": "ds", **EVENTS}}, "execution": "sparse"},
    "sparse actor alone": {"methods": {"a": {"base": "ds", **EVENTS, "critic": "dense"}}, "execution": "sparse"},
    "sac": {"agents": ["sac"], "methods": {"a": {"base": "set", **EVENTS}}, "settings": {"sac": TINY}},
    "sparse sac": {"agents": ["sac"], "methods": {"a": {"base": "rigl", **EVENTS}}, "settings": {"sac": TINY},
                   "execution": "sparse"},
    "ddpg": {"agents": ["ddpg"], "methods": {"a": {"base": "ds", **EVENTS}}, "settings": {"ddpg": TINY}},
}  # fmt: skip


@pytest.mark.parametrize("changes", ROWS.values(), ids=ROWS)
def test_samples_are_of_the_donor_s_final_policy_and_its_noise(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = a_run(**{"densities": [0.5], "donor": 90, "envs": ["Pendulum-v1"], **changes})
    assert run.donor is not None
    (tmp_path / "donor").mkdir()
    with closing(Underway(run.donor, tmp_path / "donor", REGISTRY)) as under:
        list(under.records())
        under.result(None, {})
        final = under._agent
    weights = tmp_path / "donor" / "weights.safetensors"
    with closing(Underway(run, tmp_path, REGISTRY, donor=weights)) as under:
        list(under.records())
        size, actions = sizes(build_environment(run, 0, REGISTRY))
        rows = under._replay.state_dict()["rows"][: run.warmup].numpy()
    like = donor_policy(run, weights, (size, actions), REGISTRY)
    plain = np.array([final.act(row[:size], explore=False) for row in rows])
    assert np.array_equal([like.act(row[:size], explore=False) for row in rows], plain)
    sampled = [like.act(row[:size], explore=True) for row in rows]
    assert np.array_equal(rows[:, size : size + actions], sampled)
    assert not np.array_equal(sampled, plain)
    assert not np.array_equal(sampled, [final.act(row[:size], explore=True) for row in rows])


def test_the_noise_of_a_donor_is_not_the_noise_that_its_run_will_draw(tmp_path: Path) -> None:
    run = a_run(methods={"a": "dense"}, donor=80)
    assert run.donor is not None
    with closing(Underway(run.donor, tmp_path, REGISTRY)) as under:
        under.result(None, {})
        fresh = under._agent  # Untrained, so that weights are equal and noise alone differs.
        like = donor_policy(run, tmp_path / "weights.safetensors", (4, 1), REGISTRY)
        at = np.zeros(4, dtype=np.float32)
        assert fresh.act(at, explore=True) != like.act(at, explore=True)
        assert fresh.act(at, explore=False) == like.act(at, explore=False)


def test_a_run_without_its_donor_s_weights_does_not_begin_at_random(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="begins with the policy of run"):
        Underway(a_run(donor=80), tmp_path, REGISTRY)


@pytest.mark.parametrize("late", [False, True], ids=["within the warm-up", "after it, its donor gone"])
def test_a_run_that_leaves_goes_on_to_the_same_bytes(lab: Lab, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    lab.study(WITH_DONORS)
    run_id, donor = run_of(lab), donor_of(lab)
    whole, there = Store(lab.store), Store(lab.folder / "there")
    shutil.copytree(whole.run_folder(donor), there.run_folder(donor))
    there.prepare(whole.load_run(run_id))
    save, saved = Keeper.save, []

    def save_and_leave(keeper: Keeper, underway: Underway) -> None:
        save(keeper, underway)
        saved.append(underway.step)
        if (underway.step > 50) == late:
            raise Leave(143)

    words = (str(there.root), run_id, "--no-plugins", "--checkpoint-every=0")
    with monkeypatch.context() as patch:
        patch.setattr("studies.keeping.PAUSE", 0.0)
        patch.setattr(Keeper, "save", save_and_leave)
        assert run_here(*words).code == 143
    assert (saved[-1] > 50) == late
    if late:
        shutil.rmtree(there.run_folder(donor))
    answer = run_here(*words)
    assert answer.code == 0, answer.err
    assert f"goes on from step {saved[-1]:,}" in answer.out
    one, other = (json.loads((store.run_folder(run_id) / "manifest.json").read_text()) for store in (whole, there))
    assert {**one["files"], "world.json": ""} == {**other["files"], "world.json": ""}


def test_a_donor_of_another_world_marks_the_row(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.study(FILE.replace("steps = 120", "steps = 80"), "--name", "short")
    with monkeypatch.context() as patch:
        patch.setattr("studies.world._version", lambda library: "9.9")
        assert lab.study(WITH_DONORS).code == 0
    world = json.loads((lab.store / "runs" / run_of(lab) / "world.json").read_text())
    assert world["drift"].startswith("its donor: torch 2.")
    assert "now 9.9" in world["drift"]


# What fails with what.

BAD = """\
from registry import hookimpl

calls = 0


def bad(noise):
    global calls
    calls += 1
    if {when}:
        raise ValueError("kaputt")
    return noise


@hookimpl
def register_grow(register):
    register(bad)
"""
ROWS_WITH_BAD = WITH_DONORS.replace('"SET" =', '"Bad" = { base = "set", grow = "bad" }\n"SET" =')


def with_bad(lab: Lab, when: str, *words: object) -> Any:
    """A study of two rows with donors, one of which has a part that raises."""
    return lab.study(ROWS_WITH_BAD, "--plugin", lab.file(BAD.format(when=when), "bad.py"), *words)


def test_a_run_fails_with_its_donor_and_says_so_and_the_others_go_on(lab: Lab) -> None:
    answer = with_bad(lab, "noise.numel() > 200")
    assert answer.code == 1
    standing = {(cell["label"], cell["axes"].get("donor")): cell for cell in lab.cells("study")}
    store = Store(lab.store)
    status, cause = store.status(standing["Bad", "80"]["run"])
    donor = standing["Bad", "80"]["donor"]
    assert status == "failed"
    assert cause.startswith(f"its donor, run {donor} of 80 steps, has failed: ")
    assert cause.endswith("kaputt")
    assert store.status(donor)[0] == "failed"
    assert not (store.run_folder(standing["Bad", "80"]["run"]) / "attempts").exists(), "it was never begun"
    assert {store.status(standing["SET", donor]["run"])[0] for donor in ("0", "80")} == {"done"}
    told = lab("study", "status", "study").out
    assert "7 runs: 4 done, 3 failed" in told
    assert f"failed: Bad seed 0, a donor ({donor})" in told


def test_a_failed_donor_is_tried_again_and_its_run_with_it(lab: Lab) -> None:
    (lab.folder / "broken").touch()
    there = f"noise.numel() > 200 and __import__('os').path.exists({str(lab.folder / 'broken')!r})"
    assert with_bad(lab, there).code == 1
    (lab.folder / "broken").unlink()
    assert with_bad(lab, there).code == 0
    assert lab("study", "status", "study").out.startswith("study: 7 runs: 7 done")


def test_a_donor_that_diverges_leaves_no_policy(lab: Lab) -> None:
    answer = lab.study(WITH_DONORS, "--set", "td3.learning_rate=1e30")
    assert answer.code == 1, answer.err
    status, cause = Store(lab.store).status(run_of(lab))
    assert status == "failed"
    assert cause.startswith(f"its donor, run {donor_of(lab)} of 80 steps, diverged: ")
    again = lab.study(WITH_DONORS, "--set", "td3.learning_rate=1e30")
    assert again.code == 1, "a donor that was there already says it too"
    assert "diverged: " in Store(lab.store).status(run_of(lab))[1]


def test_a_run_whose_donor_is_missing_or_damaged_says_what_to_do(lab: Lab) -> None:
    store, run = Store(lab.store), a_run(donor=80)
    store.prepare(run)
    assert run.donor is not None
    answer = run_here(str(store.root), run.id, "--no-plugins")
    assert answer.code == 1
    assert f"its donor, run {run.donor.id} of 80 steps, is missing, not done: run the study" in answer.err
    store.prepare(run.donor)
    assert run_here(str(store.root), run.donor.id, "--no-plugins").code == 0
    weights = store.run_folder(run.donor.id) / "weights.safetensors"
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    answer = run_here(str(store.root), run.id, "--no-plugins")
    assert answer.code == 1
    assert "has failed: damaged: not as written" in answer.err


def test_a_donor_that_was_copied_without_its_weights_says_what_to_do(lab: Lab, tmp_path: Path) -> None:
    assert lab.study(WITH_DONORS).code == 0
    other = Store(tmp_path / "other")
    assert share(Store(lab.store), "study", other) == 4
    [cell] = [cell for cell in lab.cells("study") if cell["axes"].get("donor") == "80"]
    (other.run_folder(cell["run"]) / "manifest.json").unlink()
    answer = run_here(str(other.root), cell["run"], "--no-plugins")
    assert answer.code == 1
    folder = other.run_folder(cell["donor"]).resolve()
    assert f"was copied here without its weights: delete {folder} to train it" in answer.err


def test_a_damaged_donor_is_carried_out_again_for_a_run_that_needs_it(lab: Lab) -> None:
    lab.study(WITH_DONORS)
    store = Store(lab.store)
    weights = store.run_folder(donor_of(lab)) / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert "0 to do" in lab.study(WITH_DONORS).err, "nobody needs it"
    shutil.rmtree(store.run_folder(run_of(lab)))
    answer = lab.study(WITH_DONORS)
    assert "2 to do" in answer.err
    assert answer.code == 0
    assert weights.read_bytes() == whole


def test_a_run_is_left_to_whoever_holds_its_donor(lab: Lab) -> None:
    given = study_from(read_file(lab.file(WITH_DONORS)), REGISTRY, name="study")
    store, (run,) = Store(lab.store), [cell.run for cell in given.cells(REGISTRY) if cell.run.donor]
    assert run.donor is not None
    store.prepare(run.donor)
    with store.claim(run.donor.id):
        answer = lab.study(WITH_DONORS, "--no-wait")
    assert answer.code == 3, answer.err
    assert store.status(run.id) == ("missing", ""), "that is no failure of it"
    assert lab.study(WITH_DONORS).code == 0


def test_a_runner_waits_for_a_donor_that_another_holds_and_goes_on_with_its_run(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = study_from(read_file(lab.file(WITH_DONORS)), REGISTRY, name="study")
    store, (run,) = Store(lab.store), [cell.run for cell in given.cells(REGISTRY) if cell.run.donor]
    assert run.donor is not None
    store.prepare(run.donor)
    donor, looks = run.donor.id, []
    holder = Store.holder

    def held(self: Store, run_id: str, *, stale_after: float = 0.0) -> str:
        return "another" if run_id == donor and not looks else holder(self, run_id, stale_after=stale_after)

    def the_other_ends_it(_: float) -> None:
        looks.append(run_here(str(store.root), donor, "--no-plugins").code)

    monkeypatch.setattr(Store, "holder", held)
    monkeypatch.setattr("studies.rounds.time.sleep", the_other_ends_it)
    answer = lab.study(WITH_DONORS)
    assert answer.code == 0, answer.err
    assert looks == [0]
    assert store.status(run.id)[0] == "done"
