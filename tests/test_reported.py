"""What publications reported: checked, kept beside a study, and no part of its runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import ENV, FILE, Lab, a_lab, no_figures

from studies.reported import Reported, ReportedScore, reported
from studies.store import Store

lab, quiet = a_lab, no_figures

SOURCE = 'source = "Nobody 2022, Table 7"\n'
REPORTED = f"""
[reported]
{SOURCE}
[reported."{ENV}"]
"SET" = {{ return = 905.5, spread = 12, lca = 800.25 }}
"""


def ids(lab: Lab) -> set[str]:
    cells = json.loads((lab.store / "studies" / "study" / "cells.json").read_text())["cells"]
    return {cell["run"] for cell in cells}


def test_what_was_reported_is_read_from_the_store_and_moves_no_run(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = Lab(tmp_path / "plain")
    assert plain.study(FILE).code == 0
    answer = lab.study(FILE + REPORTED)
    assert answer.code == 0, answer.err
    assert ids(lab) == ids(plain)
    found = reported(Store(lab.store), "study")
    assert found == Reported("Nobody 2022, Table 7", {ENV: {"SET": ReportedScore(905.5, 12.0, 800.25)}})
    assert reported(Store(plain.store), "study") is None
    again = lab.run("study")
    assert (again.code, "0 to do" in again.err) == (0, True)
    assert reported(Store(lab.store), "study") == found


def test_what_was_reported_stands_in_the_table_at_the_end_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.plot.plot_study", lambda *_: [])
    lab = Lab(tmp_path)
    answer = lab.study(FILE + REPORTED)
    assert answer.code == 0, answer.err
    kept = (lab.store / "studies" / "study" / "table.md").read_text()
    for shown in (answer.out, kept):
        assert "Reported: Nobody 2022, Table 7." in shown
        assert "800" in shown


def test_a_mean_may_come_alone(lab: Lab) -> None:
    assert lab.study(FILE + f'[reported]\n{SOURCE}[reported."{ENV}"]\n"SET" = {{ return = 7 }}\n').code == 0
    found = reported(Store(lab.store), "study")
    assert found is not None
    assert found.scores[ENV]["SET"] == ReportedScore(7.0, None, None)


def test_a_row_at_several_densities_is_none_that_was_reported(lab: Lab) -> None:
    """A number of one density would stand beside all of them."""
    assert lab.study(FILE.replace("[0.5]", "[0.5, 0.1]") + REPORTED).code == 0
    found = reported(Store(lab.store), "study")
    assert found is not None
    assert found.scores == {ENV: {}}
    assert "Nobody 2022" not in lab("study", "table", "study").out


def test_environments_and_rows_that_flags_take_out_are_left_out(lab: Lab) -> None:
    two = FILE.replace(f'envs = ["{ENV}"]', f'envs = ["{ENV}", "Pendulum-v1"]')
    both = REPORTED + '[reported."Pendulum-v1"]\n"SET" = { return = -150.0 }\n'
    answer = lab.study(two + both, "--envs", "Pendulum-v1")
    assert answer.code == 0, answer.err
    found = reported(Store(lab.store), "study")
    assert found is not None
    assert found.scores == {"Pendulum-v1": {"SET": ReportedScore(-150.0, None, None)}}
    assert lab.study(two + both, "--methods", "static", "--name", "other").code == 0
    assert reported(Store(lab.store), "other") is None


@pytest.mark.filterwarnings("ignore:.* in its place|the paper's")
def test_flags_take_out_an_environment_that_a_preset_gave_another_name(lab: Lab) -> None:
    """HalfCheetah-v3 runs as v5 under the paper's preset: what is reported of it bears that name."""
    head = 'preset = "ds-td3"\nenvs = ["HalfCheetah-v3", "Hopper-v3"]\nseeds = 1\nsteps = 30_000\n'
    scores = "".join(f'[reported."{env}"]\nTD3 = {{ return = 1 }}\n' for env in ("HalfCheetah-v5", "Hopper-v4"))
    text = f'{head}[methods]\nTD3 = "dense"\n[reported]\n{SOURCE}{scores}'
    for flags in ((), ("--envs", "Hopper-v3"), ("--envs", "Hopper-v4")):
        answer = lab.study(text, *flags, "--dry-run")
        assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f'{SOURCE}[reported."{ENV}"]\n"SAT" = {{ return = 1 }}', "no row 'SAT'. Did you mean 'SET'? Rows: SET"),
        (f'{SOURCE}[reported."InvertedPendulum-v4"]\n"SET" = {{ return = 1 }}', f"Did you mean '{ENV}'?"),
        (f'{SOURCE}[reported."{ENV}"]\n"SET" = {{ return = nan }}', "return must be a finite number, not nan"),
        (f'{SOURCE}[reported."{ENV}"]\n"SET" = {{ return = true }}', "return must be a finite number, not True"),
        (f'{SOURCE}[reported."{ENV}"]\n"SET" = {{ return = 1{"0" * 400} }}', "return must be a finite number"),
        (f'{SOURCE}[reported."{ENV}"]\n"SET" = {{ return = 1, lca = "2" }}', "lca must be a finite number, not '2'"),
        (f'{SOURCE}[reported."{ENV}"]\n"SET" = {{ return = 1, spread = -2 }}', "spread must be at least 0, not -2"),
        (f'{SOURCE}[reported."{ENV}"]\n"SET" = {{ retrun = 1 }}', "unknown key 'retrun'. Did you mean 'return'?"),
        (f'{SOURCE}[reported."{ENV}"]\n"SET" = {{ lca = 1 }}', "'return' is missing"),
        (f'{SOURCE}[reported."{ENV}"]\n"SET" = 905.5', "must be a table of return, spread, lca, not 905.5"),
        (f'{SOURCE}"{ENV}" = 3', f"{ENV} must be a table of rows, not 3"),
        (f'[reported."{ENV}"]\n"SET" = {{ return = 1 }}', "source must say which publication"),
        (f'source = 3\n[reported."{ENV}"]\n"SET" = {{ return = 1 }}', "source must say which publication"),
    ],
)
def test_what_is_misreported_is_refused_and_nothing_is_written(lab: Lab, words: str, said: str) -> None:
    answer = lab.study(f"{FILE}\n[reported]\n{words}\n")
    assert answer.code == 2
    assert said in answer.err
    assert not lab.store.exists()


def test_reported_is_a_table(lab: Lab) -> None:
    answer = lab.study("reported = 3\n" + FILE)
    assert (answer.code, "reported must be a table with `source`" in answer.err) == (2, True)


@pytest.mark.parametrize("text", ["", "reported = 3", "[reported]\nx = 3", "not toml", "[reported]\nsource = 3\n"])
def test_a_stored_file_that_cannot_be_read_reports_nothing(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    assert reported(store, "study") is None
    store.study_folder("study").mkdir(parents=True)
    (store.study_folder("study") / "study.toml").write_text(text)
    assert reported(store, "study") is None


def test_nothing_is_read_through_a_link_out_of_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "file.toml").write_text(FILE + REPORTED)
    store.study_folder("study").mkdir(parents=True)
    (store.study_folder("study") / "study.toml").symlink_to(tmp_path / "file.toml")
    assert reported(store, "study") is None
