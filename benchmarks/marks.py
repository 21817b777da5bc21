"""Tables that benchmarks write into pages, between two marks."""

from __future__ import annotations

from pathlib import Path


def put(page: Path, begin: str, text: str, end: str) -> None:
    """Let `text` be what stands between the marks. ValueError for a page that lacks one: it stays as it is."""
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{page} has no {begin.strip()} ... {end.strip()}: write both where the tables belong")
    page.write_text(before + begin + text + end + after)
