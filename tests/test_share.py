"""Studies copied into another store: what is left out is said, and the rest is as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import Answer, Lab, no_figures, sparsity  # noqa: F401

from studies.store import MANIFEST, WEIGHTS, Store

STUDY = """
agents = ["td3"]
envs = ["InvertedPendulum-v5"]
seeds = 1
steps = 40
warmup = 20
episodes = 1
[settings.td3]
batch_size = 8
hidden = [16, 16]
[methods]
Dense = "dense"
SET = { base = "set", schedule = { every = 5 } }
"""


@pytest.fixture
def done(tmp_path: Path, no_figures: None) -> Lab:  # noqa: F811
    lab = Lab(tmp_path)
    assert lab.study(STUDY).code == 0
    return lab


def elsewhere(lab: Lab, text: str, store: str) -> Answer:
    """A study file run in another store than the lab's."""
    words = ("--executor", "here", "--plugin", lab.executor, "--store", store)
    return sparsity("study", "run", lab.file(text), *words)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_a_copy_verifies_and_gives_the_same_table_without_weights(done: Lab, tmp_path: Path) -> None:
    other = str(tmp_path / "given")
    answer = done("study", "copy", "study", "--to", other)
    assert answer.code == 0, answer.err
    assert "3 finished runs" in answer.out
    runs = list((Path(other) / "runs").iterdir())
    assert len(runs) == 3
    assert not any(WEIGHTS in names(run) for run in runs)
    assert sparsity("study", "verify", "study", "--store", other).code == 0
    tables = [
        sparsity("study", "table", "study", "--format", "csv", "--store", place).out for place in (done.store, other)
    ]
    assert tables[0] == tables[1]
    again = elsewhere(done, STUDY, other)
    assert (again.code, "3 runs, 0 to do" in again.err) == (0, True)


def test_what_was_left_out_is_in_the_manifest_with_its_hash(done: Lab, tmp_path: Path) -> None:
    done("study", "copy", "study", "--to", str(tmp_path / "given"))
    run = done.folder_of("SET", name="study")
    whole = json.loads((run / MANIFEST).read_text())
    lean = json.loads((tmp_path / "given" / "runs" / run.name / MANIFEST).read_text())
    assert lean["left_out"] == {WEIGHTS: whole["files"][WEIGHTS]}
    assert lean["files"] == {name: digest for name, digest in whole["files"].items() if name != WEIGHTS}


def test_with_weights_every_file_is_there(done: Lab, tmp_path: Path) -> None:
    done("study", "copy", "study", "--to", str(tmp_path / "given"), "--weights")
    run = done.folder_of("SET", name="study")
    copied = tmp_path / "given" / "runs" / run.name
    assert (copied / MANIFEST).read_bytes() == (run / MANIFEST).read_bytes()
    assert (copied / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()


def test_weights_come_later_where_they_were_left_out_at_first(done: Lab, tmp_path: Path) -> None:
    given = str(tmp_path / "given")
    done("study", "copy", "study", "--to", given)
    done("study", "copy", "study", "--to", given, "--weights")
    run = done.folder_of("SET", name="study")
    assert (Store(given).run_folder(run.name) / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()
    assert Store(given).verify(run.name) == []
    assert done("study", "copy", "study", "--to", given).code == 0
    assert WEIGHTS in names(Store(given).run_folder(run.name))


def test_nothing_damaged_and_no_other_study_is_copied_over(done: Lab, tmp_path: Path) -> None:
    assert done("study", "copy", "study").code == 2
    assert "the store itself" in done("study", "copy", "study", "--to", str(done.store)).err
    given = str(tmp_path / "given")
    assert elsewhere(done, STUDY.replace("seeds = 1", "seeds = [7]"), given).code == 0
    assert "another study named 'study'" in done("study", "copy", "study", "--to", given).err
    (done.folder_of("SET", name="study") / "result.json").write_text("{}")
    answer = done("study", "copy", "study", "--to", str(tmp_path / "third"))
    assert answer.code == 4, answer.err
    assert not Store(tmp_path / "third").root.exists()


@pytest.mark.parametrize("how", ["changed", "missing", "a link"])
def test_the_file_of_a_study_is_copied_only_as_it_was_written(done: Lab, tmp_path: Path, how: str) -> None:
    """A copy whose file is another would not verify, and a link's end is nobody's to give away."""
    file = done.store / "studies" / "study" / "study.toml"
    secret = tmp_path / "secret"
    secret.write_text("mine")
    file.unlink()
    if how == "changed":
        file.write_text("seeds = 7")
    elif how == "a link":
        file.symlink_to(secret)
    answer = done("study", "copy", "study", "--to", str(tmp_path / "given"))
    assert (answer.code, "study.toml" in answer.err) == (4, True)
    assert not (tmp_path / "given").exists()
