"""What the README says is true; that its commands work, tests/test_docs_commands.py shows."""

import re
from pathlib import Path
from typing import Any

import pytest

from registry import use_registry
from studies.cli import main
from studies.report.evidence import BEGIN, END, results
from studies.store import Store

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(marker: str) -> str:
    """The code block that follows `<!-- marker -->`."""
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, flags=re.DOTALL)
    assert found, marker
    return found[1]


def sparsity(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    use_registry(None)
    return int(end.value.code or 0)


@pytest.fixture
def pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the README's plugin and study pasted into files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "warm.py").write_text(block("plugin"))
    (tmp_path / "ablation.toml").write_text(block("ablation"))
    return tmp_path


def test_the_plugin_is_fifteen_lines_and_the_study_ten() -> None:
    assert len(block("plugin").strip().splitlines()) <= 15
    assert len(block("ablation").strip().splitlines()) <= 10


def test_the_plugin_conforms_and_is_listed(pasted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sparsity("check", "warm.py") == 0
    assert sparsity("parts", "prune", "--plugin", "warm.py") == 0
    assert re.search(r"^  warm +\|w\| \+ heat u", capsys.readouterr().out, flags=re.MULTILINE)


def test_the_study_as_written_is_accepted(pasted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sparsity("study", "run", "ablation.toml", "--plugin", "warm.py", "--dry-run") == 0
    assert "16 to do" in capsys.readouterr().out
    assert not (pasted / "runs").exists()


def test_the_module_stays_sparse() -> None:
    import torch

    names: dict[str, Any] = {}
    exec(block("module"), names)
    network, adam = names["network"], names["adam"]
    for _ in range(3):
        adam.zero_grad()
        network(torch.randn(8, 20, generator=torch.Generator().manual_seed(0))).square().mean().backward()
        adam.step()
    layers = names["sparsifier"].densities()
    assert sum(layer.active for layer in layers) == round(0.1 * (20 * 64 + 64))
    assert int(torch.count_nonzero(network[0].weight)) == layers[0].active
    names["sparsifier"].detach()


def test_the_quickstart_table_is_the_one_that_was_kept() -> None:
    kept = (ROOT / "docs" / "quickstart" / "table.md").read_text().strip()
    shown = README.partition("<!-- quickstart -->")[2].partition("<!-- /quickstart -->")[0].strip()
    assert shown == kept


def test_the_results_shown_are_those_of_the_store_beside_the_page() -> None:
    store = Store(ROOT / "results")
    finished, damaged = store.verify_study("readme")
    assert (finished, damaged) == (56, [])
    shown = README.partition(f"{BEGIN}\n")[2].partition(END)[0]
    assert shown == results(store, "readme", clock="cpu", figures="results/figures")
    for figure in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", shown):
        assert (ROOT / figure).read_bytes().startswith(b"\x89PNG")
