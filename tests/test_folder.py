"""Folders of runs: each file in its row, refused where its path does not say which."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_readers import curve, monitored, vector, written

from studies.folder import read_runs
from studies.outcome import Outcome
from studies.problems import BadInput
from studies.statistics import score, standing, summary
from studies.table import table


def ids(runs: list[Outcome]) -> list[tuple[str, str, int]]:
    return [(run.label, run.env, run.seed) for run in runs]


def test_a_folder_is_read_by_its_pattern_in_natural_order(tmp_path: Path) -> None:
    for seed in (10, 2):
        for label in ("rigl", "dense"):
            written(tmp_path / label / "Pendulum-v1" / f"seed_{seed}" / "evaluations.npz", [[float(seed)]])
    runs = read_runs(tmp_path / "{label}/{env}/seed_{seed}/evaluations.npz", agent="td3")
    assert ids(runs) == [(label, "Pendulum-v1", seed) for label in ("dense", "rigl") for seed in (2, 10)]
    assert [score(run) for run in runs] == [2.0, 10.0, 2.0, 10.0]
    assert {run.agent for run in runs} == {"td3"}
    assert ids(read_runs(str(tmp_path))) == ids(runs)


def test_a_path_says_density_and_axes_too(tmp_path: Path) -> None:
    written(tmp_path / "a" / "sac" / "d0.1_h64_3.npz")
    written(tmp_path / "a" / "sac" / "ddense_h64_3.npz")
    pattern = tmp_path / "{label}/{agent}/d{density}_h{hidden}_{seed}.npz"
    runs = read_runs(pattern, env="P", axes={"from": "SB3"})
    assert [(run.agent, run.density, run.env) for run in runs] == [("sac", 0.1, "P"), ("sac", None, "P")]
    assert runs[0].axes == {"from": "SB3", "hidden": "64"}


def test_a_name_that_stands_twice_says_the_same_twice(tmp_path: Path) -> None:
    """The layout of RL Zoo."""
    written(tmp_path / "td3" / "Pendulum-v1_1" / "Pendulum-v1" / "evaluations.npz")
    pattern = tmp_path / "{label}/{env}_{seed}/{env}/evaluations.npz"
    assert ids(read_runs(pattern)) == [("td3", "Pendulum-v1", 1)]
    odd = written(tmp_path / "td3" / "Pendulum-v1_2" / "Hopper-v5" / "evaluations.npz")
    with pytest.raises(BadInput, match=re.escape(f"{odd} does not fit")):
        read_runs(pattern)


def test_the_monitor_files_of_a_folder_are_one_run(tmp_path: Path) -> None:
    for seed in range(2):
        vector(tmp_path / "a" / f"seed_{seed}")
    runs = read_runs(tmp_path / "{label}/seed_{seed}/*.monitor.csv", env="P", every=50)
    assert [(run.seed, *curve(run)) for run in runs] == [(seed, [50, 100], [1.5, 3.5]) for seed in range(2)]
    monitored(tmp_path / "b" / "0_left.monitor.csv")
    monitored(tmp_path / "b" / "1_left.monitor.csv")
    apart = read_runs(tmp_path / "b" / "{seed}_*.monitor.csv", label="b", env="P", every=50)
    assert [run.seed for run in apart] == [0, 1]


def test_a_run_without_its_file_is_counted(tmp_path: Path) -> None:
    for seed in range(3):
        written(tmp_path / "a" / "P" / f"seed_{seed}" / "evaluations.npz")
    (tmp_path / "a" / "P" / "seed_2" / "evaluations.npz").unlink()
    (tmp_path / "a" / "P" / "tensorboard").mkdir()
    runs = read_runs(tmp_path)
    assert [run.status for run in runs] == ["done", "done", "missing"]
    assert "2 of 3, 1 unfinished" in table(runs)


@pytest.mark.parametrize("path", ["a/P/seed_x", "a/seed_1", "a/P/seed_1/deeper", "a/P/0_seed"])
def test_the_first_file_that_does_not_fit_is_named(tmp_path: Path, path: str) -> None:
    written(tmp_path / "a/P/seed_0/evaluations.npz")
    odd = written(tmp_path / path / "evaluations.npz")
    with pytest.raises(BadInput, match=re.escape(f"{odd} does not fit {tmp_path}")):
        read_runs(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("{label}_{env}_{seed}/evaluations.npz", "rigl_big_P_0/evaluations.npz"),
        ("{label}{seed}.npz", "td31.npz"),
        ("*-{label}-*/{seed}.npz", "x-a-b-a-y/0.npz"),
    ],
)
def test_a_path_that_fits_in_two_ways_is_refused(tmp_path: Path, pattern: str, path: str) -> None:
    written(tmp_path / path)
    with pytest.raises(BadInput, match=re.escape(f"{tmp_path / path} fits") + ".*in one way"):
        read_runs(tmp_path / pattern, env=None if "{env}" in pattern else "P")


def test_a_damaged_file_of_a_folder_is_named(tmp_path: Path) -> None:
    written(tmp_path / "a/P/seed_0/evaluations.npz")
    odd = written(tmp_path / "a/P/seed_1/evaluations.npz")
    odd.write_bytes(odd.read_bytes()[:100])
    with pytest.raises(BadInput, match=re.escape(str(odd))):
        read_runs(tmp_path)


def test_a_run_is_read_once(tmp_path: Path) -> None:
    for name in ("seed_1", "seed_01"):
        written(tmp_path / "a" / "P" / name / "evaluations.npz")
    with pytest.raises(BadInput, match=r"seed_1.* are both a, P, seed 1"):
        read_runs(tmp_path)
    with pytest.raises(BadInput, match="are both"):
        read_runs(tmp_path / "{label}/{env}/*/evaluations.npz", seed=1)
    written(tmp_path / "b" / "0_x.npz")
    written(tmp_path / "b" / "0_y.npz")
    with pytest.raises(BadInput, match=r"0_x\.npz and .*0_y\.npz are of one run"):
        read_runs(tmp_path / "b" / "{seed}_*.npz", label="b", env="P")


@pytest.mark.parametrize(
    ("pattern", "more", "message"),
    [
        ("{label}/{env}/evaluations.npz", {}, "does not say the seed"),
        ("{label}/{env}/evaluations.npz", {"axes": {"seed": "1"}}, "does not say the seed"),
        ("{label}/{env}/{seed}/evaluations.npz", {"label": "a"}, "label is given twice"),
        ("{label}/{env}/{seed}/{hidden}.npz", {"axes": {"hidden": "9"}}, "hidden is given twice"),
        ("{label}/{env}/{seed/evaluations.npz", {}, "has a brace that is not around a name"),
        ("{label}/{env}/{}/evaluations.npz", {"seed": 1}, "has a brace that is not around a name"),
        ("{label}/{env}/{seed}/log.csv", {}, r"must end in \.npz"),
        ("{label}/{env}/{seed}/monitor.csv", {}, "monitor.csv needs every"),
        ("{label}/{env}/{seed}/evaluations.npz", {"every": 10}, "takes none"),
        ("{label}/{env}/{seed}/evaluations.npz", {}, "holds no evaluations.npz"),
        ("absent/{label}/{env}/{seed}/evaluations.npz", {}, "absent is no folder"),
        ("absent", {}, "absent is no folder"),
    ],
)
def test_a_pattern_that_cannot_serve_is_told(
    tmp_path: Path, pattern: str, more: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        read_runs(tmp_path / pattern, **more)


@pytest.mark.parametrize("text", ["0", "1.5", "nan", "half"])
def test_a_folder_that_names_no_density_is_told(tmp_path: Path, text: str) -> None:
    written(tmp_path / text / "0.npz")
    with pytest.raises(BadInput, match=rf"says density {text}, which must be in \(0, 1\] or dense"):
        read_runs(tmp_path / "{density}/{seed}.npz", label="a", env="P")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    written(tmp_path / "elsewhere" / "evaluations.npz")
    (tmp_path / "logs" / "a" / "P").mkdir(parents=True)
    (tmp_path / "logs" / "a" / "P" / "seed_0").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "logs" / "a" / "back").symlink_to(tmp_path / "logs")
    assert ids(read_runs(tmp_path / "logs")) == [("a", "P", 0)]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "a/P/seed_0/evaluations.npz")
    scan = os.scandir

    def guarded(path: Any) -> Any:
        if str(path).endswith("seed_0"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(BadInput, match=r"seed_0 cannot be read \(Permission denied\)"):
        read_runs(tmp_path)


# What they are read for -------------------------------------------------------------------------------------


def test_statistics_and_tables_take_such_runs(tmp_path: Path) -> None:
    for seed, last in enumerate([5.0, 7.0, float("nan")]):
        written(tmp_path / "SB3" / "P" / f"seed_{seed}" / "evaluations.npz", [[1.0], [last]])
    runs = read_runs(tmp_path, agent="td3")
    assert [standing(run) for run in runs] == ["done", "done", "diverged"]
    (row,) = summary(runs)
    assert (row.score.point, row.done, row.diverged) == (6.0, 2, 1)
    assert row.score.low < row.score.point < row.score.high
    for format in ("text", "markdown", "latex", "csv"):
        assert "SB3" in table(runs, format=format)
    assert "2 of 3, 1 diverged" in table(runs)


def test_the_page_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for label, shift in (("dense", 0), ("sparse", 2)):
        for seed in range(2):
            written(Path("logs", label, "Pendulum-v1", f"seed_{seed}", "evaluations.npz"), [[0.0], [seed + shift]])
    page = (Path(__file__).parents[1] / "docs" / "your-runs.md").read_text()
    exec(page.split("```python\n")[1].split("```")[0], {})
    shown = capsys.readouterr().out
    assert "Mine" in shown
    assert re.search(r"Pendulum-v1, td3\nsparse +2 against 2 +\+2 ", shown)
