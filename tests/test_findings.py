"""What a report says a study shows: no more than its numbers allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_measured import flat

from studies.outcome import Outcome
from studies.report.findings import findings

DENSE = flat("Dense", "A-v0", [100, 101, 99, 100, 100], None, flops=1.0, training_seconds=np.array([0.0, 60.0]))


def against_dense(label: str, returns: list[float], seconds: float = 30.0) -> list[Outcome]:
    return flat(label, "A-v0", returns, 0.5, flops=0.5, training_seconds=np.array([0.0, seconds]))


def said(*rows: list[Outcome]) -> str:
    return "\n".join(findings([run for row in rows for run in row]))


def test_clear_differences_are_named_and_others_counted() -> None:
    text = said(
        DENSE,
        against_dense("Up", [120, 121, 119, 120, 120]),
        against_dense("Down", [80, 81, 79, 80, 80]),
        against_dense("Same", [100, 90, 110, 95, 105]),
    )
    assert "Better than Dense: Up 0.5 (+20)." in text
    assert "Worse than Dense: Down 0.5 (-20)." in text
    assert "Not told apart from Dense: 1 of 3 rows" in text
    assert "does not prove them equal" in text
    assert "A-v0, td3: highest at density 0.5 is Up 0.5 with 120 [119, 121]." in text


def test_many_comparisons_need_more_than_one_lucky_row() -> None:
    """p = 0.02 alone is a finding, and none among twenty."""
    lucky = against_dense("Lucky", [101.5, 102, 100.2, 101, 101.3])
    alone = said(DENSE, lucky)
    among = said(DENSE, lucky, *(against_dense(f"Same {i}", [100, 101, 99, 100, 100]) for i in range(19)))
    assert "Better than Dense: Lucky" in alone
    assert "Better than Dense: none." in among
    assert "over 20 comparisons" in among


def test_time_and_flops_are_shares_of_the_dense_rows() -> None:
    text = said(DENSE, against_dense("A", [1, 2, 3, 4, 5], 20.0), against_dense("B", [1, 2, 3, 4, 5], 40.0))
    assert "At density 0.5: 0.50 of the training time of Dense (wall clock), 0.50 of its FLOPs (medians)." in text


@pytest.mark.parametrize(("seeds", "warned"), [(1, "one seed"), (2, "2 seeds"), (5, "")])
def test_few_seeds_are_called_an_anecdote(seeds: int, warned: str) -> None:
    text = said(DENSE, against_dense("A", [1.0, 2.0, 3.0, 4.0, 5.0][:seeds]))
    assert ("anecdote" in text) == bool(warned)
    assert warned in text


def test_what_is_not_done_is_said_first() -> None:
    runs = [*DENSE, *against_dense("A", [1, 2]), replace(against_dense("A", [3])[0], seed=2, status="failed")]
    [first, *_] = findings(runs)
    assert first == "Runs done: 7 of 8, 1 failed. What follows is of those that are done."
    assert findings([replace(run, status="running") for run in DENSE]) == [
        "Runs done: 0 of 5, 5 unfinished. What follows is of those that are done."
    ]
    assert findings([]) == ["The study has no runs."]


def test_without_a_dense_row_nothing_is_compared() -> None:
    text = said(against_dense("A", [1, 2]), against_dense("B", [3, 4]))
    assert "highest at density 0.5 is B 0.5" in text
    assert "than" not in text.replace("fewer than", "")


def test_one_run_a_side_is_no_comparison() -> None:
    text = said(DENSE[:1], against_dense("A", [1.0]))
    assert "No row can be compared with Dense: that takes two finished runs on both sides." in text


def test_no_row_is_highest_for_having_crashed() -> None:
    """One lucky seed of three, and two that crashed, is no more than that with the floor."""
    lucky = against_dense("Lucky", [150.0, 0, 0])
    crashed = [lucky[0], *(replace(run, status="failed") for run in lucky[1:])]
    floor = {"A-v0": np.array([0.0])}
    steady = against_dense("Steady", [90.0, 91.0, 89.0])
    text = "\n".join(findings([*DENSE, *crashed, *steady], floor))
    assert "highest at density 0.5 is Steady 0.5 with 90.0 " in text
    alone = "\n".join(findings([*DENSE, *crashed, *against_dense("Low", [1.0, 2.0, 3.0])], floor))
    assert "is Lucky 0.5 with 50.0 [-165.1, 265.1], 2 failed runs as random." in alone


def test_rows_of_several_environments_are_told_apart() -> None:
    up = against_dense("Up", [120, 121, 119, 120, 120])
    other = [replace(run, env="B-v0") for run in [*DENSE, *against_dense("Up", [80, 81, 79, 80, 80])]]
    text = said(DENSE, up, other)
    assert "Better than Dense: Up 0.5 in A-v0, td3 (+20)." in text
    assert "Worse than Dense: Up 0.5 in B-v0, td3 (-20)." in text


def test_rows_without_runs_to_compare_relax_no_test_and_are_counted() -> None:
    """p = 0.02 is a finding alone, and none in a family of twenty of which nineteen have too few runs."""
    lucky = against_dense("Lucky", [101.5, 102, 100.2, 101, 101.3])
    failed = [replace(run, status="failed") for i in range(19) for run in against_dense(f"Gone {i}", [100, 101])]
    text = said(DENSE, lucky, failed)
    assert "Better than Dense: none." in text
    assert "Not compared with Dense, for want of two finished runs on both sides: 19." in text


def test_where_all_rows_are_told_apart_nothing_is_said_of_equals() -> None:
    text = said(DENSE, against_dense("Up", [120, 121, 119, 120, 120]))
    assert "Not told apart from Dense: 0 of 1 rows" in text
    assert "equal" not in text


def test_time_is_compared_within_an_environment() -> None:
    """A slow environment in which the sparse rows have not run yet says nothing of what they take."""
    slow = [replace(run, env="B-v0", training_seconds=np.array([0.0, 600.0])) for run in DENSE]
    waiting = [replace(run, env="B-v0", status="missing") for run in against_dense("A", [1, 2])]
    text = said(DENSE, slow, against_dense("A", [1, 2], 30.0), waiting)
    assert "At density 0.5: 0.50 of the training time of Dense" in text


def test_time_with_evaluations_is_not_compared_with_time_without() -> None:
    old = [replace(run, training_seconds=np.zeros(0), seconds=80.0) for run in DENSE]
    text = said(old, [replace(run, seconds=40.0) for run in against_dense("A", [1, 2], 20.0)])
    assert "At density 0.5: 0.50 of the training time of Dense" in text


def test_flops_are_shares_of_the_reference_rows() -> None:
    half = [replace(run, flops=0.8) for run in DENSE]
    assert "0.62 of its FLOPs" in said(half, against_dense("A", [1, 2]))


def test_a_reason_of_hostile_words_is_one_clean_line() -> None:
    twice = [replace(run, label="De\n\x1b[0mnse", axes={"world": w}) for w in "ab" for run in DENSE]
    third = [replace(run, axes={"world": "c"}) for run in against_dense("A\nB", [1, 2])]
    sentences = findings([*twice, *third])
    [reason] = [sentence for sentence in sentences if sentence.startswith("Rows are not compared")]
    assert "\n" not in reason
    assert "A B" in reason


def test_rows_of_an_agent_without_a_dense_row_are_counted() -> None:
    other = [replace(run, agent="sac") for run in against_dense("Up", [120, 121])]
    text = said(DENSE, against_dense("Up", [120, 121]), other)
    assert "Not told apart from Dense: 0 of 1 rows" in text
    assert "Not compared with Dense, for want of two finished runs on both sides: 1." in text
