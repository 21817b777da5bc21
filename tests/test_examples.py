"""The scripts in `examples` run, and what they call sparse is."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from sparsity import Sparsifier

short_plan = pytest.mark.filterwarnings("ignore:.* no change falls into the")
"""For tests of something else, whose plans are too short for a change of topology."""

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def generator_as_it_was() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


def assert_sparse(module: nn.Module, sparsifier: Sparsifier, density: float) -> None:
    size = sum(layer.size for layer in sparsifier.densities())
    assert sum(layer.active for layer in sparsifier.densities()) == math.floor(density * size + 0.5)
    for name, mask in sparsifier.masks.items():
        assert not module.get_parameter(name)[~mask].any()


def test_the_regression_keeps_its_rows_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    script = load("regression")
    args = script.Args(steps=70, seeds=2, samples=200, width=24)
    for row in script.ROWS:
        module, sparsifier, error = script.train(row, 0, args)
        assert error > 0
        if row != "dense":
            assert_sparse(module, sparsifier, args.density)
    script.main(args)
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table[3:]] == list(script.ROWS)
    assert len({line.split()[1] for line in table[4:]}) == 1, "rows of different size"


@short_plan
def test_the_classification_keeps_its_rows_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    script = load("classification")
    script.digits(1000, 1, 0.3)
    args = script.Args(steps=40, seeds=1, samples=100)
    for row in script.ROWS:
        module, sparsifier, wrong = script.train(row, 0, args)
        assert 0 <= wrong <= 1
        if row != "dense":
            assert_sparse(module, sparsifier, args.density)
    script.main(script.Args(steps=2, seeds=1, samples=100, rows=("rigl",)))
    assert "nan" in capsys.readouterr().out, "a deviation of one seed"


def test_digits_are_drawn_with_their_holes() -> None:
    """Of ten digits 0, 4, 6, 8 and 9 enclose something: pixels that no path of background reaches from the border."""
    script = load("classification")
    images, labels = script.digits(300, 5, 0.0)
    enclosing = {digit: [bool(_enclosed(i[0])) for i in images[labels == digit]] for digit in range(10)}
    for digit, found in enclosing.items():
        share = sum(found) / len(found)
        assert share > 0.5 if digit in (0, 6, 8, 9) else share < 0.5 or digit == 4, (digit, share)


def _enclosed(image: torch.Tensor) -> int:
    from scipy import ndimage

    labelled, _ = ndimage.label(image.numpy() == 0)
    return int((labelled > 1).sum())


@short_plan
@pytest.mark.parametrize("method", ["rigl", "ds", "dense"])
def test_td3_in_one_file_is_sparse_where_it_says_so(method: str) -> None:
    script = load("cleanrl_td3")
    words: dict[str, Any] = {"batch_size": 16, "hidden": 16, "density": 0.3, "evaluations": 1}
    args = script.Args(method=method, total_timesteps=260, learning_starts=40, **words)
    networks, score = script.main(args)
    assert -2000 < score <= 0
    for module, sparsifier in networks.values():
        assert sparsifier.steps == (0 if method == "dense" else 110 if module is networks["actor"][0] else 220)
        slow = {layer.name: layer.active for layer in sparsifier.target_densities()}
        for layer in sparsifier.densities():
            assert not module.get_parameter(layer.name)[~sparsifier.masks[layer.name]].any()
            assert slow[layer.name] <= layer.active
        if method == "rigl":
            assert_sparse(module, sparsifier, 0.3)
            assert any(layer.density < 1 for layer in sparsifier.densities())


def test_only_marked_lines_of_td3_know_of_sparsity() -> None:
    lines = (EXAMPLES / "cleanrl_td3.py").read_text().splitlines()
    called = [line for line in lines if "attach(" in line or "target_updated" in line]
    marked = [line for line in lines if line.endswith("# sparse")]
    assert (len(called), len(marked)) == (4, 4)
