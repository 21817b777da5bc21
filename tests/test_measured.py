"""Scores measured by the random policy and the dense row, and what is drawn of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_plot import figures, study  # noqa: F401

from studies.compare import reference_label
from studies.figures.page import DENSE_COLOUR, looks_of
from studies.figures.profiles import performance_profiles, probabilities_of_improvement
from studies.measured import measured
from studies.outcome import Outcome, Status
from studies.statistics import summary

FLOOR = {"A-v0": np.array([-10.0, 10.0]), "B-v0": np.array([100.0])}


def flat(label: str, env: str, returns: list[float], density: float | None = 0.5, **changes: object) -> list[Outcome]:
    """One run a return, all of whose evaluations are that."""
    steps = np.array([0, 10])
    made = [Outcome(label, "td3", env, density, seed, "done", steps, np.full(2, r)) for seed, r in enumerate(returns)]
    return [replace(one, **changes) for one in made]  # type: ignore[arg-type]


def two_environments() -> list[Outcome]:
    return [
        *flat("Dense", "A-v0", [50, 150], None),
        *flat("Dense", "B-v0", [300, 300], None),
        *flat("DS", "A-v0", [100, 200]),
        *flat("DS", "B-v0", [100, 200]),
    ]


def test_zero_is_the_random_policy_and_one_the_mean_of_dense() -> None:
    [dense, ds], reasons = measured(summary(two_environments()), FLOOR, "Dense")
    assert {env: scores.tolist() for env, scores in dense.scores.items()} == {"A-v0": [0.5, 1.5], "B-v0": [1.0, 1.0]}
    assert {env: scores.tolist() for env, scores in ds.scores.items()} == {"A-v0": [1.0, 2.0], "B-v0": [0.0, 0.5]}
    assert reasons == []


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_run_that_failed_scores_as_the_random_policy(status: Status) -> None:
    runs = [*two_environments(), *flat("DS", "A-v0", [999], status=status)]
    [_, ds], _ = measured(summary(runs), FLOOR, "Dense")
    assert sorted(ds.scores["A-v0"].tolist()) == [0.0, 1.0, 2.0]


def test_an_unfinished_run_scores_nothing() -> None:
    runs = [*two_environments(), *flat("DS", "A-v0", [999], status="running")]
    [_, ds], _ = measured(summary(runs), FLOOR, "Dense")
    assert ds.scores["A-v0"].tolist() == [1.0, 2.0]


def test_a_method_that_lacks_an_environment_is_left_out() -> None:
    runs = [*two_environments(), *flat("SET", "A-v0", [100]), *flat("SET", "B-v0", [100], status="missing")]
    found, reasons = measured(summary(runs), FLOOR, "Dense")
    assert [one.label for one in found] == ["Dense", "DS"]
    assert reasons == ["Left out, without a run to score in every environment: SET at 0.5."]


def test_environments_that_cannot_be_measured_say_why() -> None:
    rows = summary(
        [
            *two_environments(),
            *flat("DS", "C-v0", [1]),
            *flat("Dense", "D-v0", [0, 0], None),
            *flat("Dense", "E-v0", [5], None),
        ]
    )
    found, reasons = measured(rows, {**FLOOR, "C-v0": np.zeros(1), "D-v0": np.ones(1)}, "Dense")
    assert [sorted(one.scores) for one in found] == [["A-v0", "B-v0"]] * 2
    assert reasons == [
        "C-v0: no finished run of Dense to measure by.",
        "D-v0: Dense is no better than the random policy.",
        "E-v0: no random policy to measure by.",
    ]


def test_the_reference_is_the_first_label_that_never_has_a_density() -> None:
    rows = summary([*flat("DS", "A-v0", [1]), *flat("DS", "A-v0", [1], None), *flat("Big", "A-v0", [1], None)])
    assert reference_label(rows) == "Big"
    assert reference_label(rows[:2]) is None


def test_a_row_with_densities_of_its_own_is_no_dense_one() -> None:
    """A row that is sparse in one network only has no single density; what it was trained with tells."""
    mixed = flat("RigL 0.05 / 0.5", "A-v0", [1], None, realised=0.3)
    rows = summary([*mixed, *flat("Dense", "A-v0", [1], None, realised=1.0)])
    assert reference_label(rows) == "Dense"
    assert reference_label(rows[:1]) is None
    assert looks_of(rows)["Dense"].colour == DENSE_COLOUR


def test_profiles_are_shares_of_runs_above_each_score(tmp_path: Path, figures: list[Figure]) -> None:  # noqa: F811
    performance_profiles(two_environments(), FLOOR, tmp_path / "a")
    [ax] = figures[0].axes
    lines = {line.get_marker(): line.get_data() for line in ax.get_lines() if len(line.get_xdata()) > 2}
    thresholds, shares = lines["o"]
    by_hand = [
        np.mean([np.mean(np.array([1.0, 2.0]) > t), np.mean(np.array([0.0, 0.5]) > t)]) for t in np.asarray(thresholds)
    ]
    np.testing.assert_allclose(np.asarray(shares), by_hand)


def test_a_probability_is_that_of_the_pairs_with_ties_by_half(tmp_path: Path, figures: list[Figure]) -> None:  # noqa: F811
    probabilities_of_improvement(two_environments(), FLOOR, tmp_path / "a")
    [ax] = figures[0].axes
    [point] = [line for line in ax.get_lines() if line.get_marker() == "o"]
    # A-v0: 1 beats 0.5 and loses to 1.5, 2 beats both: 3 of 4. B-v0: 0 and 0.5 lose to 1: none.
    assert float(point.get_xdata()[0]) == pytest.approx((3 / 4 + 0) / 2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["DS"]
