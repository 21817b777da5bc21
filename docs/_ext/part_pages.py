"""A page for every kind of part, written into docs/parts from the registry before the site is read."""

from pathlib import Path

from sphinx.application import Sphinx

FOLDER = Path(__file__).resolve().parent.parent / "parts"


def write_pages(app: Sphinx) -> None:
    from registry import Registry
    from studies.part_pages import write

    write(FOLDER, Registry(installed=False))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
