"""The figures: a file comes out or a one-line reason, and equal studies give equal bytes."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from studies.figures.curves import learning_curves
from studies.figures.density import sparsity_against_return
from studies.figures.page import NothingToDraw, looks_of
from studies.outcome import Outcome, Status
from studies.plot import plot
from studies.statistics import summary

BASELINE = {"HalfCheetah-v5": np.random.default_rng(0).normal(-280, 80, 20)}


def run(label: str, density: float | None, seed: int, status: Status = "done", env: str = "HalfCheetah-v5") -> Outcome:
    steps = np.linspace(0, 100_000, 11).astype(np.int64)
    noise = np.random.default_rng([len(label), int(100 * (density or 1)), seed]).normal(0, 200, 11)
    spent = (density or 1.0) * steps / 500
    costs = {
        "flops": density or 1.0,
        "seconds": spent[-1] + 10,
        "cpu_seconds": spent[-1] + 10,
        "training_seconds": spent,
    }
    return Outcome(label, "td3", env, density, seed, status, steps, steps / 25 + noise, **costs)


def study(seeds: int = 2, labels: tuple[str, ...] = ("SET", "RigL", "DS")) -> list[Outcome]:
    cells = [("dense", None), *((label, density) for label in labels for density in (0.5, 0.1))]
    return [run(label, density, seed) for label, density in cells for seed in range(seeds)]


def is_drawn(paths: list[Path]) -> bool:
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF"}
    return all(path.read_bytes().startswith(starts[path.suffix]) for path in paths)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures of the test, laid out but not written."""
    import studies.figures.page

    laid_out: list[Figure] = []
    monkeypatch.setattr(studies.figures.page, "write", lambda figure, stem: laid_out.append(figure) or [stem])
    return laid_out


def test_a_study_gives_its_figures_as_png_and_pdf(tmp_path: Path) -> None:
    paths = plot(study(), BASELINE, tmp_path / "new folder", title="Quickstart")
    stems = (
        *("learning-curves", "learning-curves-by-time", "sparsity-against-return", "return-against-flops"),
        *("return-against-seconds", "performance-profiles", "probability-of-improvement"),
    )
    assert [path.name for path in paths] == [f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")]
    assert is_drawn(paths)


def test_two_renders_are_equal(tmp_path: Path) -> None:
    once, again = (plot(study(3, labels=("DS",)), BASELINE, tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_the_users_settings_change_no_figure_and_are_left_alone(tmp_path: Path) -> None:
    import matplotlib

    once = learning_curves(study(), BASELINE, tmp_path / "a")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        again = learning_curves(study(), BASELINE, tmp_path / "b")
        assert matplotlib.rcParams["font.size"] == 20
    assert once[0].read_bytes() == again[0].read_bytes()


def test_no_figure_is_left_open(tmp_path: Path) -> None:
    from matplotlib import pyplot

    learning_curves(study(), BASELINE, tmp_path / "a.b")
    assert (tmp_path / "a.b.png").exists()
    assert pyplot.get_fignums() == []


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import studies.plot, sys; sys.exit('matplotlib' in sys.modules or 'seaborn' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_text_is_at_least_8_points_at_the_width_of_a_paper(tmp_path: Path, figures: list[Figure]) -> None:
    plot(study(), BASELINE, tmp_path, title="Quickstart")
    for figure in figures:
        assert figure.get_figwidth() == 6.5
        assert all(text.get_fontsize() >= 8 for text in figure.findobj(Text))


def test_the_curve_is_the_mean_at_shared_steps_and_dense_stands_in_every_panel(
    tmp_path: Path, figures: list[Figure]
) -> None:
    runs = study(6, labels=("DS",))
    shorter = [
        replace(o, steps=o.steps[:7], returns=o.returns[:7]) if o.label == "DS" and not o.seed else o for o in runs
    ]
    learning_curves(shorter, BASELINE, tmp_path / "a")
    for ax, density in zip(figures[0].axes, (0.5, 0.1), strict=True):
        _, dense, ds = ax.lines
        assert dense.get_ydata() == pytest.approx(np.mean([o.returns for o in runs if o.density is None], axis=0))
        assert ds.get_xdata().tolist() == [0, 10, 20, 30, 40, 50, 60]
        expected = np.mean([o.returns[:7] for o in runs if o.density == density], axis=0)
        assert ds.get_ydata() == pytest.approx(expected)


def test_the_points_are_the_intervals_of_the_statistics(tmp_path: Path, figures: list[Figure]) -> None:
    sparsity_against_return(study(10, labels=("DS",)), BASELINE, tmp_path / "a")
    (ax,) = figures[0].axes
    rows = [row for row in summary(study(10, labels=("DS",)), BASELINE) if row.label == "DS"]
    line = next(line for line in ax.lines if line.get_marker() == "o" and len(line.get_ydata()) == 2)
    assert line.get_ydata() == pytest.approx([row.score.point for row in rows])
    bars = [segment[:, 1] for bar in ax.collections for segment in bar.get_segments()]
    assert np.array(bars) == pytest.approx(np.array([[row.score.low, row.score.high] for row in rows]))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.5", "0.1"]


def test_n_and_failures_stand_in_the_figure(tmp_path: Path, figures: list[Figure]) -> None:
    runs = [replace(o, status="failed") if (o.label, o.seed, o.density) == ("DS", 0, 0.1) else o for o in study(3)]
    plot(runs, BASELINE, tmp_path)
    for figure in figures:
        words = " ".join(text.get_text() for text in figure.findobj(Text))
        assert "SET (n = 3)" in words
        assert "DS (n = 2 to 3)" in words
        assert "n = 20 of 21, 1 failed" in words
        assert "DS at 0.1, HalfCheetah-v5: n = 2 of 3, 1 failed" in words.replace("\n", " ")


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ([], "no runs"),
        ([run("DS", 0.1, seed, "failed") for seed in range(2)], "0 of 2, 2 failed"),
        ([run("DS", 0.1, 0, "missing")], "0 of 1, 1 unfinished"),
        ([replace(run("DS", 0.1, 0), returns=np.full(11, np.nan))], "1 diverged"),
    ],
)
def test_nothing_to_draw_says_why_in_one_line(outcomes: list[Outcome], reason: str, tmp_path: Path) -> None:
    with pytest.raises(NothingToDraw, match=reason) as caught:
        plot(outcomes, BASELINE, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_study_without_densities_has_curves_and_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        paths = plot([run("dense", None, 0)], {}, tmp_path)
    stems = ("learning-curves", "learning-curves-by-time")
    assert [path.name for path in paths] == [f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")]
    assert "no finished run has a density" in caplog.text


ODD_STORES = {
    "one seed": study(1, labels=("SET", "DS")),
    "four seeds without baseline": study(4, labels=("SET", "DS")),
    "ragged": [
        replace(o, steps=o.steps[: 3 + i % 8], returns=o.returns[: 3 + i % 8])
        for i, o in enumerate(study(3, labels=("SET", "DS")))
    ],
    "no shared step": [replace(o, steps=o.steps + o.seed) for o in study(3, labels=("SET", "DS"))],
    "one evaluation at step 0": [
        replace(o, steps=o.steps[:1], returns=o.returns[:1]) for o in study(2, labels=("SET", "DS"))
    ],
    "repeated steps": [replace(o, steps=np.repeat(o.steps, 2)[:11]) for o in study(2, labels=("SET", "DS"))],
    "flat": [replace(o, returns=np.zeros(11)) for o in study(3, labels=("SET", "DS"))],
    "some all failed": [replace(o, status="failed") if o.label == "SET" else o for o in study(2, labels=("SET", "DS"))],
    "one method only": [run("DS", 0.1, 0)],
    "nobody counted seconds": [
        replace(o, seconds=None, cpu_seconds=None, training_seconds=np.zeros(0)) for o in study(2, labels=("SET",))
    ],
    "no costs at all": [
        replace(o, seconds=None, flops=None, training_seconds=np.zeros(0)) for o in study(2, labels=("SET",))
    ],
    "two environments, one without dense": [
        *study(2, labels=("SET", "DS")),
        *(run("SET", 0.1, seed, env="Hopper-v5") for seed in range(2)),
    ],
    "two references": [replace(o, axes={"lr": str(lr)}) for o in study(2, labels=("SET",)) for lr in (1, 2)],
    "twenty methods": study(1, labels=tuple(f"method {index}" for index in range(20))),
    "names": study(2, labels=("_hidden $x", "稀疏 π \x1b[31m", "$\\frac{", "")),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ODD_STORES)
def test_every_odd_store_is_drawn_without_a_warning(name: str, tmp_path: Path) -> None:
    baseline = {} if "without" in name else BASELINE
    assert is_drawn(plot(ODD_STORES[name], baseline, tmp_path, title="$5 _ \\ $"))


def test_twenty_methods_each_have_a_look_and_a_legend_entry(tmp_path: Path, figures: list[Figure]) -> None:
    runs = study(2, labels=tuple(f"method {index}" for index in range(20)))
    looks = looks_of(summary(runs))
    assert len({(str(look.colour), look.marker, str(look.dashes)) for look in looks.values()}) == 21
    sparsity_against_return(runs, BASELINE, tmp_path / "a")
    assert len(figures[0].legends[0].get_texts()) == 22


def test_many_environments_go_on_to_a_second_page(tmp_path: Path, figures: list[Figure]) -> None:
    runs = [run("DS", 0.1, 0, env=f"Env{index}-v0") for index in range(5)]
    names = [path.name for path in learning_curves(runs, BASELINE, tmp_path / "curves")]
    assert names == ["curves", "curves-2"]
    assert [len(figure.axes) for figure in figures] == [4, 1]


def test_no_reason_for_a_missing_figure_steers_a_terminal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The name of the dense row is a word of others."""
    plot([run("De\x1b[31m\nnse", None, seed) for seed in range(2)], BASELINE, tmp_path)
    assert "nothing to compare with De[31m nse" in caplog.text
    assert "\x1b" not in caplog.text
