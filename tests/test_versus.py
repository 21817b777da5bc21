"""Comparisons in words: what is said where runs failed, never arrived, or are too few."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_compare import along, flat, run

from studies.compare import Test
from studies.problems import BadInput
from studies.versus import versus


def lines(text: str) -> dict[str, str]:
    return {line.split("  ")[0]: line for line in text.splitlines()}


def test_a_study_of_one_seed_has_nothing_to_compare() -> None:
    said = versus([*flat("dense", [1]), *flat("ds", [2])], "dense")
    assert said.splitlines()[-2:] == [
        "nothing to compare with dense: a difference needs two finished runs on both sides",
        "ds, A-v0, td3: 1 against 1",
    ]
    assert "nothing to compare with dense" in versus(flat("dense", [1, 2]), "dense")


def test_a_row_without_scores_stands_beside_the_others() -> None:
    lost = [run("set", seed, [], status="failed") for seed in range(2)]
    said = versus([*flat("dense", [1, 2]), *flat("ds", [2, 4]), *lost], "dense")
    assert "0 of 2, 2 failed against 2  " in lines(said)["set"]
    assert lines(said)["set"].endswith("not by half (0 of 2 arrived)")
    assert "-: fewer than two finished runs on a side" in said
    assert "-: fewer" not in versus([*flat("dense", [1, 2]), *flat("ds", [2, 4])], "dense")


def test_who_never_arrives_is_counted() -> None:
    fast, slow = run("ds", 0, [0.0, 9.0, 9.0]), run("ds", 1, [0.0, 1.0, 2.0])
    dense = [run("dense", seed, [0.0, 4.0, 8.0 + seed]) for seed in range(2)]
    said = versus([*dense, fast, slow, replace(fast, seed=2)], "dense")
    assert lines(said)["ds"].endswith("100 (2 of 3 arrived)")
    assert "dense itself, A-v0, td3: not by half (1 of 2 arrived)" in said
    assert "score: mean of a run's last 1 of 3 evaluations; curve: a run's running mean of as many" in said


def test_agents_and_axes_are_told_apart() -> None:
    td3 = [*flat("dense", [1, 2]), *flat("ds", [3, 5])]
    sac = [replace(one, agent="sac") for one in along({"lr": "a"}, td3)]
    said = versus([*td3, *sac], "dense")
    blocks = said.split("A-v0, ")
    assert blocks[1].startswith("td3\nds   2 against 2")
    assert blocks[2].startswith("sac, lr = a\nds   2 against 2")
    assert "dense itself, A-v0, td3: not by half (" in said
    assert "dense itself, A-v0, sac, lr = a: not by half (" in said


@pytest.mark.parametrize(
    ("test", "p", "said"),
    [
        ("welch", "  0.0213  ", "p: Welch's t-test\n"),
        ("permutation", "  0.1  ", "p: permutation test, exact up to 200,000"),
    ],
)
def test_the_test_is_named(test: Test, p: str, said: str) -> None:
    text = versus([*flat("dense", [1, 2, 3]), *flat("ds", [4, 5, 6])], "dense", test)
    assert p in lines(text)["ds"]
    assert said in text
    assert "runs not paired" in text


def test_a_reference_that_is_not_there_is_told() -> None:
    with pytest.raises(BadInput, match="no row is labelled 'x'"):
        versus(flat("ds", [1, 2]), "x")


def test_against_a_row_of_several_densities_each_is_compared_at_its_own_and_dense_is_said_to_be_left_out() -> None:
    both = [*flat("SET", [1, 2]), *flat("a", [3, 5])]
    runs = [replace(run, density=density) for density in (0.5, 0.1) for run in both]
    said = versus([*runs, *flat("Dense", [9, 9.5])], "SET")
    assert {"a 0.5", "a 0.1"} <= lines(said).keys()
    assert all(f"SET {density} itself, A-v0" in said for density in (0.5, 0.1))
    assert "several of which none has their density: Dense" in " ".join(said.split())
    assert "not compared" not in versus([*flat("Dense", [1, 2]), *runs], "Dense")
