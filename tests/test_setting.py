"""What a report says its rows are."""

from __future__ import annotations

from typing import Any

from studies.report.setting import brought, rows_sheet


def contents(prune: str, grow: str = "random") -> dict[str, Any]:
    return {"methods": {"actor": {"prune": {"part": prune}, "grow": {"part": grow}}}}


def test_a_field_that_an_axis_varies_has_all_of_its_values() -> None:
    """One label stands for runs with either criterion: to name the first alone would be false."""
    runs = [("SET", contents("magnitude")), ("SET", contents("gradient"))]
    assert rows_sheet(runs).notes == ["All sparse rows: prune magnitude or gradient, grow random."]
    sheet = rows_sheet([*runs, ("RigL", contents("magnitude", "gradient"))])
    assert sheet.head == ("row", "prune", "grow")
    assert sheet.blocks == [
        ("", [("SET", "magnitude or gradient", "random"), ("RigL", "magnitude", "gradient")]),
    ]


def test_parts_of_others_are_named_once_with_their_source() -> None:
    """A study's file alone makes nothing again, where a plugin has to be given with it."""
    mine = {"foreign": {"prune/mine": "0123456789abcdef" * 4}}
    assert brought([mine, {"foreign": {}}, mine]) == "prune mine (SHA-256 0123456789abcdef...)"
    assert brought([{"foreign": {}}]) == ""
