"""Tests marked `reliability` take minutes and run when they are asked for: `pytest -m reliability`."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "reliability" in config.getoption("-m"):
        return
    for item in items:
        if item.get_closest_marker("reliability"):
            item.add_marker(pytest.mark.skip(reason="runs by `pytest -m reliability`"))
