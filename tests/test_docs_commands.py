"""What pages tell their readers to do works, line by line: in README.md and in docs/."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from lab import in_this_process
from pages import BrokenPage, Command, File, blocks, extras, pages, steps
from reader import ROOT, Reader

here = in_this_process

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in pages(ROOT)}
WITH_COMMANDS = [name for name, text in PAGES.items() if any(isinstance(step, Command) for step in steps(text))]


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: None) -> Reader:
    return Reader(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_the_commands_of_a_page_work(name: str, reader: Reader) -> None:
    reader.follow(PAGES[name], name)


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_tells_to_install_is_an_extra(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras(PAGES[name]) <= set(project["optional-dependencies"])


def test_blocks_that_are_not_run_install_or_say_why() -> None:
    for name, text in PAGES.items():
        for block in blocks(text):
            if block.language == "bash" and "pip install" in block.text:
                assert block.not_run, f"{name}, line {block.line}: tests install nothing; say `<!-- not run: ... -->`"


# The reader, too, can be wrong.

FENCE = "```"


def a_page(*lines: str) -> str:
    return "\n".join(line.replace("FENCE", FENCE) for line in lines)


def test_a_page_whose_command_fails_is_found_with_its_line(reader: Reader) -> None:
    page = a_page("# Page", "", "FENCEbash", "sparsity parts prune", "sparsity parts prune magnitud", "FENCE")
    with pytest.raises(
        AssertionError, match=r"page.md, line 5: `sparsity parts prune magnitud` ended with 2(?s:.*)magnitude"
    ):
        reader.follow(page, "page.md")


def test_a_shell_line_that_fails_is_found_too(reader: Reader) -> None:
    with pytest.raises(AssertionError, match="line 2: `false` ended with 1"):
        reader.follow(a_page("FENCEbash", "false", "FENCE"), "page.md")


def test_files_are_saved_and_variables_and_folders_last(reader: Reader) -> None:
    page = a_page(
        *("Text. Save this as `deep/words.txt`:", "", "<!-- marker -->", "FENCEtext", "prune", "FENCE", ""),
        *("FENCEbash", "KIND=$(cat deep/words.txt)", "cd deep", "FENCE", "", "Then:", ""),
        *(
            "FENCEbash",
            "sparsity parts $KIND     # of the file",
            "sparsity parts $KIND | grep magnitude > found",
            "FENCE",
        ),
    )
    reader.follow(page, "page.md")
    assert "magnitude" in (reader.folder / "deep" / "found").read_text()


def test_commands_that_train_are_made_tiny() -> None:
    page = a_page(
        *("<!-- run: --steps 9 -->", "<!-- marker -->", "FENCEbash"),
        *(
            "sparsity train --env A-v1 --steps 1000 --seed 0  # a note",
            "sparsity study list",
            "sparsity study run \\",
            "    it",
            "FENCE",
            "",
        ),
        *("<!-- dry -->", "FENCEbash", "sparsity study tune it", "sparsity parts", "FENCE"),
    )
    assert [(step.line, step.text) for step in steps(page) if isinstance(step, Command)] == [
        (4, "sparsity train --env A-v1 --seed 0 --steps 9"),
        (5, "sparsity study list"),
        (6, "sparsity study run     it --steps 9"),
        (12, "sparsity study tune it --dry-run"),
        (13, "sparsity parts"),
    ]


def test_a_comment_steers_the_block_directly_below_it_alone() -> None:
    page = a_page("<!-- dry -->", "", "FENCEbash", "sparsity study run it", "FENCE")
    assert list(steps(page)) == [Command(4, "sparsity study run it")]


def test_a_block_may_be_left_out_for_a_reason_and_begin_with_what_was_done_long_ago() -> None:
    page = a_page(
        *("<!-- not run: it takes a day -->", "FENCEbash", "sparsity study run readme", "FENCE", ""),
        *(
            "<!-- first: sparsity study run quickstart --seeds 1 -->",
            "FENCEbash",
            "# See:",
            "sparsity study list",
            "FENCE",
        ),
    )
    assert [step.text for step in steps(page) if isinstance(step, Command)] == [
        "sparsity study run quickstart --seeds 1",
        "sparsity study list",
    ]


@pytest.mark.parametrize("said", ["not run", "not run:", "run:", "first: "])
def test_steering_without_words_is_refused(said: str) -> None:
    with pytest.raises(BrokenPage, match=r"line 2: .* after a colon"):
        list(steps(a_page(f"<!-- {said} -->", "FENCEbash", "true", "FENCE")))


def test_a_block_without_end_is_refused() -> None:
    with pytest.raises(BrokenPage, match="line 1: the block has no end"):
        list(steps(a_page("FENCEbash", "true")))


def test_other_blocks_are_no_commands() -> None:
    page = a_page("FENCEpython", "x = 1", "FENCE", "", "Save this as `x.py`:", "FENCEpython", "x = 2", "FENCE")
    assert list(steps(page)) == [File(6, "x.py", "x = 2\n")]


def test_extras_are_read_from_what_pip_is_told() -> None:
    assert extras("pip install 'sparsity-rl[sb3,wandb]' and `pip install -e '.[dev]'`") == {"sb3", "wandb", "dev"}
