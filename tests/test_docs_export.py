"""docs/export.md: its Python does what it says, and its tables are what the benchmark writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from exports import sparse_network
from lab import in_this_process  # noqa: F401
from pages import python_of
from reader import Reader

from benchmarks import export as benchmark
from benchmarks.marks import put
from sparsity.export import FORMATS, export

PAGE = (Path(__file__).parent.parent / "docs" / "export.md").read_text()
MEASURED = PAGE.partition(benchmark.BEGIN)[2].partition(benchmark.END)[0]


@pytest.mark.usefixtures("in_this_process")
def test_the_page_s_python_runs_on_what_its_commands_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("onnx", "onnxruntime"):
        pytest.importorskip(library)
    reader = Reader(tmp_path, monkeypatch)
    reader.follow(PAGE, "docs/export.md")
    monkeypatch.chdir(reader.folder)
    monkeypatch.syspath_prepend(reader.folder)
    for code in python_of(PAGE):
        exec(compile(code, "docs/export.md", "exec"), {"__name__": "page"})
    said = capsys.readouterr().out
    assert "return " in said
    assert Path("my-policy/policy.npz").is_file()


def test_the_page_has_the_tables_of_the_benchmark() -> None:
    """Their form, not their times: `python -m benchmarks.export --page docs/export.md` writes them anew."""
    rows = [line.strip("| ").split(" | ") for line in MEASURED.splitlines() if line.startswith("|")]
    cases = [(str(width), str(density)) for width in benchmark.WIDTHS for density in benchmark.DENSITIES]
    speed, size = rows[: 2 + len(cases)], rows[2 + len(cases) :]
    assert speed[0] == ["width", "density", *benchmark.FORMS]
    assert size[0] == ["width", "density", "units left", *(n for to in FORMATS for n in (f"{to}, dense", to))]
    for table in (speed, size):
        assert [tuple(row[:2]) for row in table[2:]] == cases
        assert {len(row) for row in table} == {len(table[0])}
    assert all(re.fullmatch(r"[\d.]+ \([\d.]+\)", cell) for row in speed[2:] for cell in row[2:])


def test_the_tables_are_put_between_their_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text in ("no mark", f"{benchmark.BEGIN}no end", f"no begin{benchmark.END}"):
        page.write_text(text)
        with pytest.raises(ValueError, match=r"has no <!-- measured --> \.\.\. <!-- /measured -->"):
            put(page, benchmark.BEGIN, "new\n", benchmark.END)
        assert page.read_text() == text
    page.write_text(f"before\n{benchmark.BEGIN}old\n{benchmark.END}\nafter\n")
    put(page, benchmark.BEGIN, "new\n", benchmark.END)
    assert page.read_text() == f"before\n{benchmark.BEGIN}new\n{benchmark.END}\nafter\n"


def test_the_benchmark_measures_what_acts_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every form gives the same action, or it raises; here on small networks."""
    for library in ("onnx", "onnxruntime"):
        pytest.importorskip(library)
    monkeypatch.setattr(benchmark, "WIDTHS", (16,))
    monkeypatch.setattr(benchmark, "DENSITIES", (0.5,))
    assert benchmark.page(1, 2).count("| 16 | 0.5 |") == 2


def test_the_page_names_what_the_files_carry(tmp_path: Path) -> None:
    about = export(sparse_network(), tmp_path / "out", "scipy").about
    for name in (*about, "env", "wrappers", "agent", "method", "density", "run", "seed", "steps"):
        assert f"`{name}`" in PAGE, name
