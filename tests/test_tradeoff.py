"""What is drawn of returns against costs, and which rows are on the Pareto front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from test_plot import BASELINE, figures, run, study  # noqa: F401

from studies.figures.curves import learning_curves_by_time
from studies.figures.page import NothingToDraw
from studies.figures.tradeoff import pareto, return_against_flops, return_against_seconds
from studies.outcome import by_clock, training_time

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1)


def dominated(point: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    """By definition: another costs no more and returns no less, and is not the same."""
    return any(o != point and o[0] <= point[0] and o[1] >= point[1] for o in others)


@given(POINTS)
def test_the_front_is_every_point_that_no_other_dominates(points: list[tuple[float, float]]) -> None:
    assert set(pareto(points)) == {point for point in points if not dominated(point, points)}
    assert pareto(points) == sorted(set(pareto(points)))


def test_the_front_of_a_hand_made_study() -> None:
    assert pareto([(1.0, 5.0), (0.5, 5.0), (0.5, 4.0), (0.1, 3.0), (0.2, 2.0)]) == [(0.1, 3.0), (0.5, 5.0)]


def drawn(figure: Figure, colour_of: str) -> list[tuple[float, float]]:
    """Points of the line of one label, by the colour of its legend entry."""
    legend = figure.legends[0]
    texts = [text.get_text() for text in legend.get_texts()]
    [place] = [i for i, text in enumerate(texts) if text.startswith(f"{colour_of} (")]
    handle = legend.get_lines()[place]
    for ax in figure.axes:
        for line in ax.get_lines():
            if line.get_color() == handle.get_color() and line.get_marker() == handle.get_marker() != "":
                return [tuple(map(float, point)) for point in zip(*line.get_data(), strict=True)]  # type: ignore[misc]
    raise AssertionError(f"no line of {colour_of}")


def test_points_stand_at_mean_return_and_median_training_seconds(tmp_path: Path, figures: list[Figure]) -> None:  # noqa: F811
    runs = [
        replace(o, training_seconds=o.training_seconds * factor)
        for o, factor in zip(study(3, labels=("DS",)), [1, 2, 9] * 3, strict=True)
    ]
    return_against_seconds(runs, BASELINE, tmp_path / "a")
    for (cost, height), density in zip(drawn(figures[0], "DS"), (0.5, 0.1), strict=True):
        members = [o for o in runs if (o.label, o.density) == ("DS", density)]
        assert height == pytest.approx(np.mean([o.returns[-1] for o in members]))  # 1 of 11 evaluations.
        assert cost == pytest.approx(density * 200 * 2)  # 100,000 steps / 500, the middle factor.


def test_points_stand_at_flops(tmp_path: Path, figures: list[Figure]) -> None:  # noqa: F811
    return_against_flops(study(2, labels=("DS",)), BASELINE, tmp_path / "a")
    assert [cost for cost, _ in drawn(figures[0], "DS")] == [0.5, 0.1]
    assert [cost for cost, _ in drawn(figures[0], "dense")] == [1.0]


def test_curves_by_time_end_where_training_ended(tmp_path: Path, figures: list[Figure]) -> None:  # noqa: F811
    learning_curves_by_time(study(2, labels=("DS",)), BASELINE, tmp_path / "a")
    half, tenth = (
        [float(line.get_xdata()[-1]) for line in ax.get_lines() if len(line.get_xdata()) == 11]
        for ax in figures[0].axes
    )
    assert (max(half), max(tenth)) == (200.0, 200.0)  # The dense row's, in both.
    assert (min(half), min(tenth)) == (pytest.approx(100.0), pytest.approx(20.0))


def test_time_is_of_training_where_that_was_counted_else_of_the_run() -> None:
    one = run("DS", 0.5, 0)
    assert training_time(one) == 100.0
    assert training_time(replace(one, training_seconds=np.zeros(0))) == 110.0


def test_the_clock_can_be_that_of_the_cpu() -> None:
    one = replace(run("DS", 0.5, 0), cpu_seconds=7.0, training_cpu_seconds=np.full(11, 6.0))
    [other] = by_clock([one], "cpu")
    assert (other.seconds, training_time(other), other.clock) == (7.0, 6.0, "cpu")
    assert by_clock([one], "wall") == [one]


def test_a_busy_machine_is_told(tmp_path: Path, figures: list[Figure]) -> None:  # noqa: F811
    busy = [replace(o, cpu_seconds=o.seconds / 3) for o in study(2, labels=("DS",)) if o.seconds]
    return_against_seconds(busy, BASELINE, tmp_path / "a")
    assert "3.0 times their CPU time" in figures[0].texts[0].get_text().replace("\n", " ")
    return_against_seconds(by_clock(busy, "cpu"), BASELINE, tmp_path / "b")
    assert "busy" not in figures[1].texts[0].get_text()


def test_where_all_cost_the_same_there_is_nothing_to_trade(tmp_path: Path) -> None:
    with pytest.raises(NothingToDraw, match="all rows cost the same"):
        return_against_flops([run("dense", None, 0)], BASELINE, tmp_path / "a")
    free = [replace(o, flops=None) for o in study(1, labels=("DS",))]
    with pytest.raises(NothingToDraw, match="no finished run says what it cost"):
        return_against_flops(free, BASELINE, tmp_path / "a")


def test_rows_that_counted_no_seconds_are_named_and_change_no_colour(tmp_path: Path, figures: list[Figure]) -> None:  # noqa: F811
    runs = study(2, labels=("SET", "DS"))
    some = [replace(o, training_seconds=np.zeros(0)) if o.label in ("dense", "SET") else o for o in runs]
    learning_curves_by_time(runs, BASELINE, tmp_path / "a")
    learning_curves_by_time(some, BASELINE, tmp_path / "b")
    note = figures[1].texts[0].get_text().replace("\n", " ")
    assert "Without seconds at their evaluations: dense; SET at 0.5; SET at 0.1." in note
    colours = [
        next(
            line.get_color()
            for line, text in zip(legend.get_lines(), legend.get_texts(), strict=True)
            if "DS" in text.get_text()
        )
        for legend in (figure.legends[0] for figure in figures)
    ]
    assert colours[0] == colours[1]


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ((), "range; evaluations left out."),
        (("DS",), "evaluations left out in some runs only, which are not comparable in it."),
        (("DS", "dense"), "evaluations included."),
    ],
)
def test_whether_evaluations_are_in_the_seconds_is_said(
    tmp_path: Path,
    figures: list[Figure],  # noqa: F811
    without: tuple[str, ...],
    said: str,
) -> None:
    runs = [replace(o, training_seconds=np.zeros(0)) if o.label in without else o for o in study(2, labels=("DS",))]
    return_against_seconds(runs, BASELINE, tmp_path / "a")
    assert said in figures[0].texts[0].get_text().replace("\n", " ")
