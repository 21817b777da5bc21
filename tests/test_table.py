"""The table in its four formats: the numbers, the counts, and what hostile names may not do."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.outcome import Outcome, Status
from studies.problems import clean
from studies.statistics import interval, learning_curve_area, score
from studies.table import Format, table
from studies.words import number, shorten

FORMATS: tuple[Format, ...] = get_args(Format)
BASELINE = {"Hopper-v5": np.array([10.0, 20.0, 30.0])}
HOSTILE = ("=cmd()", "+1", "-1", "@SUM(A1)", " =1+1", "\t=2", "\uff1d1")


def run(label: str, density: float | None, seed: int, status: Status = "done", env: str = "Hopper-v5") -> Outcome:
    generator = np.random.default_rng([len(label), int(100 * (density or 1)), seed])
    return Outcome(
        label,
        "td3",
        env,
        density,
        seed,
        status,
        np.arange(0, 2100, 100),
        generator.normal(1500, 100, 21),
        realised=density or 1.0,
        parameters=int(1000 * (density or 1)),
        flops=density or 1.0,
        seconds=60.0 + seed,
    )


def study(seeds: int = 3, env: str = "Hopper-v5") -> list[Outcome]:
    cells = [("RigL", 0.1), ("RigL", 0.5), ("DS", 0.1), ("DS", 0.5), ("dense", None)]
    return [run(label, density, seed, env=env) for label, density in cells for seed in range(seeds)]


def records(outcomes: list[Outcome]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table(outcomes, BASELINE, format="csv"))))


def test_the_numbers_equal_an_independent_computation() -> None:
    outcomes = study()
    for record in records(outcomes)[:-1]:
        density = float(record["density"]) if record["density"] else None
        runs = [o for o in outcomes if (o.label, o.density) == (record["method"], density)]
        expected = interval([float(np.mean(o.returns[-2:])) for o in runs])
        assert float(record["return"]) == expected.point == pytest.approx(np.mean([score(o) for o in runs]))
        assert (float(record["return_low"]), float(record["return_high"])) == (expected.low, expected.high)
        assert float(record["lca"]) == pytest.approx(np.mean([learning_curve_area(o) for o in runs]))
        assert float(record["seconds_median"]) == 61.0
        assert record["statistic"] == "mean, 95 % t"


def test_text_shows_the_numbers_of_csv_rounded() -> None:
    text = table(study(), BASELINE)
    for record in records(study())[:-1]:
        point, low, high = (f"{float(record[k]):,.0f}" for k in ("return", "return_low", "return_high"))
        assert f"{point} [{low}, {high}]" in text


def test_dense_comes_first_then_falling_density_then_the_random_policy() -> None:
    order = [(record["method"], record["density"]) for record in records(study())]
    falling = [("RigL", "0.5"), ("DS", "0.5"), ("RigL", "0.1"), ("DS", "0.1")]
    assert order == [("dense", ""), *falling, ("random policy", "")]


def test_the_random_policy_stands_with_its_standard_error_and_episodes() -> None:
    last = records(study())[-1]
    assert (float(last["return"]), last["episodes"]) == (20.0, "3")
    assert float(last["standard_error"]) == pytest.approx(10 / np.sqrt(3))
    assert re.search(r"random policy +20 \+- 6 +3 episodes", table(study(), BASELINE))


def test_each_environment_agent_and_axis_value_has_its_block() -> None:
    wide = [replace(o, axes={"hidden": "1024"}) for o in study()]
    sac = [replace(o, agent="sac") for o in study()]
    text = table([*study(), *study(env="Ant-v5"), *wide, *sac], BASELINE)
    for heading in ("Hopper-v5, td3", "Ant-v5, td3", "Hopper-v5, td3, hidden = 1024", "Hopper-v5, sac"):
        assert f"\n{heading}\n" in text
    assert {record["axis hidden"] for record in records([*study(), *wide])} == {"", "1024"}


@pytest.mark.parametrize("form", FORMATS[:3])
def test_the_caption_defines_the_return_and_names_the_statistic(form: Format) -> None:
    rendered = " ".join(table(study(), BASELINE, format=form, title="Quickstart").replace("\\", "").split())
    assert "mean of a run's last 2 of 21 evaluations" in rendered
    assert "t-interval" in rendered
    assert "Quickstart" in rendered
    assert "n = 15 of 15" in rendered
    assert "IQM" in table(study(10), BASELINE, format=form)


@pytest.mark.parametrize("form", FORMATS[:3])
def test_failed_and_unfinished_runs_are_counted_in_the_table(form: Format) -> None:
    statuses: list[Status] = ["done"] * 3 + ["failed"] * 2 + ["running"] * 4 + ["missing"]
    rendered = table([run("RigL", 0.1, seed, s) for seed, s in enumerate(statuses)], BASELINE, format=form)
    assert "n = 3 of 10, 2 failed, 5 unfinished" in rendered
    assert rendered.count("3 of 10, 2 failed, 5 unfinished") == 2
    assert "failed as random" in rendered


def test_failures_are_scored_as_the_random_policy_in_columns_of_their_own() -> None:
    runs = [run("RigL", 0.1, 0), run("RigL", 0.1, 1), run("RigL", 0.1, 2, "failed")]
    record = records(runs)[0]
    expected = interval([score(runs[0]), score(runs[1]), 20.0])
    assert float(record["return_failed_as_random"]) == expected.point
    assert float(record["return_failed_as_random_low"]) == expected.low
    assert float(record["return"]) == interval([score(runs[0]), score(runs[1])]).point


ODD_STORES: dict[str, list[Outcome]] = {
    "empty": [],
    "all failed": [run("RigL", 0.1, seed, "failed") for seed in range(3)],
    "not started": [Outcome("RigL", "td3", "Hopper-v5", 0.1, 0, "missing")],
    "one seed": [run("RigL", 0.1, 0)],
    "done without curve": [Outcome("RigL", "td3", "Hopper-v5", 0.1, 0)],
    "nan": [replace(run("RigL", 0.1, 0), returns=np.full(21, np.nan))],
    "huge": [replace(run("RigL", 0.1, seed), returns=np.full(21, 1e100 * (seed + 1))) for seed in range(2)],
    "zero": [replace(run("RigL", 0.1, seed), returns=np.zeros(21)) for seed in range(2)],
    "ragged": [replace(run("RigL", 0.1, n), returns=np.ones(n), steps=np.arange(n)) for n in (1, 15, 40)],
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ODD_STORES)
def test_every_store_gives_a_table(name: str, form: Format) -> None:
    for baseline in ({}, BASELINE):
        rendered = table(ODD_STORES[name], baseline, format=form)
        assert "method" in rendered
        assert "nan" not in rendered


def test_ragged_curves_are_named_in_the_caption() -> None:
    caption = " ".join(table(ODD_STORES["ragged"]).split())
    assert "last max(1, min(10, m // 10)) of m evaluations, m = 1 to 40" in caption


@pytest.mark.parametrize("form", FORMATS)
def test_two_renders_are_equal(form: Format) -> None:
    once = table(study(10), BASELINE, format=form, title="A")
    assert once == table(study(10), BASELINE, format=form, title="A")


@pytest.mark.parametrize("form", FORMATS)
def test_without_seconds_equal_studies_give_equal_tables(form: Format) -> None:
    slower = [replace(o, seconds=999.0) for o in study()]
    assert table(study(), BASELINE, format=form) != table(slower, BASELINE, format=form)
    assert table(study(), BASELINE, format=form, seconds=False) == table(slower, BASELINE, format=form, seconds=False)
    assert "seconds" not in table(study(), BASELINE, format=form, seconds=False)


def test_text_lines_up_and_fits_a_terminal() -> None:
    lines = table(
        [*study(10), run("a name as long as the people who write papers like it", 0.2, 0)], BASELINE
    ).splitlines()
    assert max(map(len, lines)) <= 120
    head = next(line for line in lines if line.startswith("method"))
    ends = {line.rindex("]") for line in lines if line.rstrip()[-1:].isdigit() and "]" in line}
    assert ends == {head.index("return") + len("return") - 1}


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="Known: text, markdown, latex, html, csv"):
        table([], format="docx")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMATS)
def test_control_characters_reach_no_format(form: Format) -> None:
    nasty = "Ri\x1b[31mgL\x00\x9b2J\u202egnp\r\nX"
    hostile = [replace(run(nasty, 0.1, 0), agent=nasty, env=nasty, axes={nasty: nasty})]
    rendered = table(hostile, {nasty: np.ones(2)}, format=form, title=nasty)
    assert not set(rendered) & set("\x1b\x00\x9b\u202e\r")


def test_a_name_cannot_make_a_cell_in_markdown() -> None:
    rendered = table([run("a|b<script>`*_[x](y)", 0.1, 0)], format="markdown")
    line = next(line for line in rendered.splitlines() if "script" in line)
    assert r"a\|b&lt;script&gt;\`\*\_\[x\](y)" in line
    assert len(re.findall(r"(?<!\\)\|", line)) == 10


def test_a_name_cannot_run_tex() -> None:
    rendered = table([run(r"[2cm]\input{/etc/passwd}%$x_1$&#^~", 0.1, 0)], format="latex")
    line = next(line for line in rendered.splitlines() if "passwd" in line)
    expected = r"{[}2cm]\textbackslash{}input\{/etc/passwd\}\%\$x\_1\$\&\#\textasciicircum{}\textasciitilde{} & 0.1"
    assert line.startswith(expected)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_no_name_leaves_an_active_tex_character(label: str) -> None:
    rendered = table([replace(run("x", 0.1, 0), label=label)], format="latex")
    body = rendered.split(r"\midrule")[1].split(r"\bottomrule")[0]
    ours = re.sub(r"\$(-|\\pm)\$", "", body)
    assert body.count("{") - body.count(r"\{") == body.count("}") - body.count(r"\}")
    assert len(re.findall(r"(?<!\\)&", ours)) == 8
    assert not re.search(r"(?<!\\)[%#_$^~]", ours)


@pytest.mark.parametrize("label", HOSTILE)
def test_a_name_cannot_be_a_formula_in_csv(label: str) -> None:
    hostile = replace(run(label, 0.1, 0), agent=label, env=label, axes={label: label})
    head, record, *_ = csv.reader(io.StringIO(table([hostile], format="csv")))
    texts = [record[0], record[1], record[2], record[3], *head]
    assert not [text for text in texts if text[:1] in tuple("=+-@\uff1d\t")]
    assert record[3] == f"'{clean(label)}"


def test_a_negative_number_stays_a_number_in_csv() -> None:
    assert float(records([replace(run("RigL", 0.1, 0), returns=np.full(21, -5.0))])[0]["return"]) == -5.0


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_csv_reads_back_one_record_a_row(label: str) -> None:
    found = records([replace(run("x", 0.1, 0), label=label)])
    assert len(found) == 2
    assert found[0]["method"].removeprefix("'") == clean(label).removeprefix("'")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.integers(6, 40))
def test_a_shortened_name_keeps_its_ends_and_fits(label: str, width: int) -> None:
    short = shorten(label, width)
    assert len(short) <= width
    assert short[:2] == label[:2]
    assert short[-2:] == label[-2:]


def test_numbers_have_separators_and_no_negative_zero() -> None:
    assert number(1234567.0) == "1,234,567"
    assert number(-0.2) == "0"
    assert number(None) == number(float("nan")) == "-"
    assert number(-1e200) == "-1.000e+200"


def test_the_area_says_whether_step_0_is_in_it() -> None:
    ours = study()
    theirs = [replace(one, steps=one.steps + 100) for one in ours]
    assert "all evaluations, step 0 included." in table(ours, format="markdown")
    assert "all evaluations, none at step 0." in table(theirs, format="markdown")
    assert "step 0 included in some runs only" in table([*ours[:1], *theirs[1:]], format="markdown")


def test_a_run_of_no_named_agent_has_no_empty_place() -> None:
    assert "Hopper-v5\n" in table([replace(one, agent="") for one in study()])
