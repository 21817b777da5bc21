"""The page of a study: whole in itself, escaped, and there for whatever the store holds."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from lab import Lab, sparsity
from test_plot import BASELINE, ODD_STORES, study

from studies.problems import clean
from studies.report.evidence import BEGIN, END, with_results
from studies.report.findings import findings
from studies.report.page import page
from studies.reported import Reported, ReportedScore
from studies.store import Store
from studies.table import Format, table
from studies.versus import versus

HOSTILE = "<script>alert(1)</script> & \"q\" 'a' $x$ 稀疏"
STUDY = f"""
question = "What of {HOSTILE.replace(chr(34), chr(92) + chr(34))}?"
agents = ["td3"]
envs = ["InvertedPendulum-v5"]
seeds = 2
steps = 60
warmup = 20
episodes = 1
densities = [0.5]
random_episodes = 2
[settings.td3]
batch_size = 8
hidden = [16, 16]
[all]
eligible = "hidden"
[methods]
Dense = "dense"
SET = {{ base = "set", schedule = {{ every = 5 }} }}
"{HOSTILE.replace(chr(34), chr(92) + chr(34))}" = "static"
"""


class Page(HTMLParser):
    """What a browser would see: tags with attributes, text outside of styles, cells by table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.cells: list[list[str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.cells[-1][-1] += data


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("report"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.show.study_end", lambda *_: "")
        answer = made.study(STUDY, "--name", "study")
    assert answer.code == 0, answer.err
    return made


@pytest.fixture(scope="module")
def report(lab: Lab) -> str:
    answer = lab("study", "report", "study")
    assert answer.code == 0, answer.err
    return Path(answer.out.strip()).read_text()


def test_the_page_asks_nothing_of_the_network(report: str) -> None:
    seen = Page(report)
    assert not seen.open
    assert not [tag for tag, _ in seen.tags if tag in ("script", "link", "iframe", "object")]
    sources = [value for _, attributes in seen.tags for key, value in attributes.items() if key in ("src", "href")]
    assert sources
    assert all(source and source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "url(" not in report
    assert "@import" not in report


def test_every_anchor_leads_somewhere_and_every_picture_has_words(report: str) -> None:
    seen = Page(report)
    ids = {attributes.get("id") for _, attributes in seen.tags}
    links = [attributes["href"] or "" for tag, attributes in seen.tags if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= ids
    pictures = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert len(pictures) >= 5
    assert all(picture["alt"] for picture in pictures)
    for picture in pictures:
        assert base64.b64decode((picture["src"] or "").partition(",")[2]).startswith(b"\x89PNG")


def test_names_of_others_are_text_and_nothing_else(report: str) -> None:
    assert "<script>" not in report
    seen = Page(report)
    assert HOSTILE in seen.text
    assert [cells for cells in seen.cells if cells and cells[0] == HOSTILE]


def test_the_numbers_are_those_of_the_stored_rows(lab: Lab, report: str) -> None:
    store = Store(lab.store)
    scores: dict[str, list[float]] = {}
    for cell in store.cells("study"):
        with open(store.run_folder(cell["run"]) / "evaluations.csv", newline="") as file:
            returns = [float(np.mean([float(r) for r in row["returns"].split()])) for row in csv.DictReader(file)]
        scores.setdefault(cell["label"], []).append(float(np.mean(returns[-2:])))  # A tenth of 21 evaluations.
    [row] = [cells for cells in Page(report).cells if cells and cells[0] == "SET" and len(cells) == 9]
    point = float(row[5].partition(" ")[0].replace(",", "").replace("\u2212", "-"))
    assert point == pytest.approx(np.mean(scores["SET"]), abs=0.06)
    runs = [
        cells for cells in Page(report).cells if cells and cells[0] == "SET" and len(cells) == 8 and cells[3] in "01"
    ]
    assert [float(cells[5].replace(",", "").replace("\u2212", "-")) for cells in runs] == pytest.approx(
        scores["SET"], abs=0.06
    )


def test_two_pages_of_one_store_are_equal(lab: Lab, report: str) -> None:
    assert page(Store(lab.store), "study") == report


def test_how_it_was_made_is_told(report: str) -> None:
    text = re.sub(r"\s+", " ", Page(report).text)
    assert "environment steps60" in text
    assert "batch_size 8" in text
    [row] = [cells for cells in Page(report).cells if cells and cells[0] == "SET" and "periodic (every 5" in str(cells)]
    assert len(row) >= 2
    assert "seeds = 2" in text


def test_a_failed_run_stands_with_its_cause(lab: Lab, tmp_path: Path) -> None:
    assert sparsity("study", "copy", "study", "--to", tmp_path / "other", "--store", lab.store).code == 0
    store = Store(tmp_path / "other")
    run = lab.folder_of("SET", name="study").name
    (store.run_folder(run) / "manifest.json").unlink()
    store.fail(run, "ValueError: a <b>bold</b> cause")
    text = page(store, "study")
    assert "SET 0.5, InvertedPendulum-v5, td3, seed 0: failed, ValueError: a &lt;b&gt;bold&lt;/b&gt; cause" in text
    assert "1 failed" in Page(text).text


def test_a_study_that_has_not_begun_has_a_page_with_reasons(lab: Lab, tmp_path: Path) -> None:
    assert sparsity("study", "copy", "study", "--to", tmp_path / "other", "--store", lab.store).code == 0
    store = Store(tmp_path / "other")
    for manifest in store.root.glob("runs/*/manifest.json"):
        manifest.unlink()
    text = Page(page(store, "study")).text
    assert "Runs done: 0 of 6, 6 unfinished" in text
    assert "No figure" in text
    assert "no finished run (n = 0 of 6, 6 unfinished)" in text


@pytest.mark.parametrize("contents", ["{}", "[]", '{"results": 4, "agent": 3}', "no JSON", None])
def test_a_damaged_store_has_a_page(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: str | None
) -> None:
    """Contents that are not those of the run, and a study's file that is gone."""
    monkeypatch.setattr("studies.report.page.figures_of", lambda *_: {})
    assert sparsity("study", "copy", "study", "--to", tmp_path / "other", "--store", lab.store).code == 0
    store = Store(tmp_path / "other")
    (store.study_folder("study") / "study.toml").unlink()
    damaged = store.run_folder(lab.folder_of("SET", name="study").name) / "contents.json"
    damaged.unlink()
    if contents is not None:
        damaged.write_text(contents)
    text = Page(page(store, "study")).text
    assert "failed, damaged" in text
    assert "It is missing, or not as it was written" in text
    assert "batch_size 8" in text


def test_a_study_that_is_not_there_is_refused(lab: Lab) -> None:
    answer = lab("study", "report", "studdy")
    assert answer.code == 2
    assert "study" in answer.errors[0]


def test_every_format_escapes_hostile_names(lab: Lab) -> None:
    html = lab("study", "table", "study", "--format", "html").out
    assert "<script>" not in html
    assert [cells for cells in Page(html).cells if cells and cells[0] == HOSTILE]
    rows = list(csv.DictReader(io.StringIO(lab("study", "table", "study", "--format", "csv").out)))
    assert HOSTILE in [row["method"] for row in rows]
    latex = lab("study", "table", "study", "--format", "latex").out
    assert "\\textless{}script\\textgreater{}" in latex
    assert not re.search(r"(?<!\\)&\s*\\textquotedbl", latex)


def test_what_is_said_under_a_table_is_escaped_in_markdown() -> None:
    """A source and the name of the row to compare with are words of others."""
    words = Reported(
        "<img src=x onerror=alert(1)> [a](javascript:b)", {"HalfCheetah-v5": {HOSTILE: ReportedScore(1.0, None, None)}}
    )
    runs = [run for run in study(2, labels=(HOSTILE,)) if run.density != 0.1]
    for written in (table(runs, format="markdown", reported=words), versus(runs, HOSTILE, format="markdown")):
        assert not re.search(r"<|(?<!\\)\]\(", written.replace("&lt;", ""))
        assert "&lt;" in written


EVERY_STORE = {
    **ODD_STORES,
    "empty": [],
    "all failed": [replace(o, status="failed", note="<i>why</i>") for o in study(2, labels=("DS",))],
    "all running": [replace(o, status="running") for o in study(2, labels=("DS",))],
}


@pytest.mark.parametrize("name", EVERY_STORE)
@pytest.mark.parametrize("form", ["html", "latex", "markdown", "text", "csv"])
def test_tables_of_every_store_are_whole_and_equal_when_written_again(name: str, form: Format) -> None:
    runs = EVERY_STORE[name]
    written = [table(runs, BASELINE, format=form, title="<b>$5 _") for _ in range(2)]
    assert written[0] == written[1]
    if form == "html":
        seen = Page(written[0])
        assert not seen.open
        labels = {clean(run.label) for run in runs if clean(run.label)}
        assert labels <= {cells[0] for cells in seen.cells if cells}
    assert all(isinstance(sentence, str) and "\n" not in sentence for sentence in findings(runs, BASELINE))


def test_results_stand_between_their_markers_and_nowhere_else() -> None:
    before = f"# Title\n{BEGIN}\nold\n{END}\nrest\n"
    assert with_results(before, "new\n") == f"# Title\n{BEGIN}\nnew\n{END}\nrest\n"
    with pytest.raises(ValueError, match="write both where the results belong"):
        with_results("# Title\n", "new\n")
