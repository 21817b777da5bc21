"""Links that leave docs/: pages at the root are pages of the site, files are shown in it, folders become words.

Pages stay as they are on a host that shows the repository, and the site needs no such host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
AT_THE_ROOT = {
    "README.md": "index",
    "ARCHITECTURE.md": "architecture",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
}
"""Pages of the repository and the pages of the site that stand for them."""
BELOW = {"parts": "parts/*", "methods/README": "*"}
"""Generated pages and the page in whose place in the table of contents they stand."""
LANGUAGES = {".py": "python", ".toml": "toml", ".csv": "none", ".txt": "none", ".sh": "bash"}
"""Files that are shown rather than downloaded."""
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\\.)*)\]\(([^()\s]+)\)|(!\[[^\]]*\])\(([^()\s]+)\)")


def read_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Mend the links of a page; a page that stands for one at the root has that one's text."""
    text, base = source[0], (DOCS / docname).parent
    for name, page in AT_THE_ROOT.items():
        if page == docname != "index":
            text, base = (ROOT / name).read_text(), ROOT
            app.env.note_dependency(str(ROOT / name))
    source[0] = mended(text, base, (DOCS / docname).parent)
    if docname in BELOW:
        source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n\n{BELOW[docname]}\n```\n"


def mended(text: str, base: Path, home: Path) -> str:
    """The text, whose links were written in the folder `base`, for a page of the site in the folder `home`."""
    return _outside_fences(text, lambda line: LINK.sub(lambda link: _mended(link, base, home), line))


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    lines, fenced = [], ""
    for line in text.split("\n"):
        mark = re.match(r" *(`{3,}|~{3,})", line)
        if mark and (not fenced or mark[1].startswith(fenced)):
            fenced = "" if fenced else mark[1]
        lines.append(line if fenced or mark else change(line))
    return "\n".join(lines)


def _mended(link: re.Match[str], base: Path, home: Path) -> str:
    words, target = (f"[{link[1]}]", link[2]) if link[2] else (link[3], link[4])
    path, mark, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return link[0]
    file = (base / path).resolve()
    at_root = file.parent == ROOT and file.name in AT_THE_ROOT
    if file.is_dir():
        return link[1] or ""
    there = DOCS / f"{AT_THE_ROOT[file.name]}.md" if at_root else file
    return f"{words}({os.path.relpath(there, home)}{mark}{anchor})"


def show_files(app: Sphinx, doctree: nodes.document) -> None:
    """Links to files of the repository that can be read lead to pages that show them."""
    docname = app.env.current_document.docname
    for node in list(doctree.findall(addnodes.download_reference)):
        _, path = app.env.relfn2path(node["reftarget"], docname)
        file = Path(path).resolve()
        if file.suffix in LANGUAGES and file.is_relative_to(ROOT) and not file.is_relative_to(DOCS):
            shown = file.relative_to(ROOT).as_posix()
            _shown(app.env).setdefault(docname, set()).add(shown)
            reference = nodes.reference("", "", internal=True, refuri=_uri(app, docname, shown))
            reference += node.children
            node.replace_self(reference)


def _uri(app: Sphinx, docname: str, shown: str) -> str:
    return app.builder.get_relative_uri(docname, f"source/{shown}") if app.builder.format == "html" else shown


def _shown(env: BuildEnvironment) -> dict[str, set[str]]:
    if not hasattr(env, "files_shown"):
        env.files_shown = {}
    shown: dict[str, set[str]] = env.files_shown
    return shown


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _shown(env).pop(docname, None)


def pages_of_files(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    for shown in sorted(set().union(*_shown(app.env).values())):
        text = (ROOT / shown).read_text()
        code = app.builder.highlighter.highlight_block(text, LANGUAGES[Path(shown).suffix], linenos=False)
        yield f"source/{shown}", {"title": shown, "body": f"<h1>{shown}</h1>{code}", "parents": []}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", read_page)
    app.connect("doctree-read", show_files, priority=400)  # Before Sphinx gathers what is to be downloaded.
    app.connect("env-purge-doc", forget)
    app.connect("html-collect-pages", pages_of_files)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
