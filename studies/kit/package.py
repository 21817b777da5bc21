"""A new plugin as a package that can be installed: written whole, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry import Registry
from registry.meanings import KINDS as MEANINGS
from rl import check as of_rl
from sparsity import check as of_sparsity
from studies.kit.ablations import ABLATIONS, own_ablation
from studies.kit.installed import brought
from studies.kit.names import Names, names

if TYPE_CHECKING:
    from jinja2 import Environment

DISTRIBUTION: Final = "sparsity-rl"


def new_plugin(name: str, kind: str, to: Path | None, registry: Registry, file: Path | None = None) -> str:
    """Write the package, around an example or a `file`; what to do next, in words.

    BadInput for names that cannot be, PartError for a file that is no plugin, before anything is written.
    """
    if file is None:
        made, text = names(name, kind, to, registry), None
    else:
        first = brought(str(file), registry.load_file(file), registry)[0]
        made, text = names(name, first.kind.name, to, registry, first.name), file.read_text()
    write(files(made, text), made.folder)
    flags = ABLATIONS[made.kind].filled(made.part)["flags"]
    return "\n".join(
        [
            f"{made.folder}: {made.distribution}, with the {made.kind} part {made.part} in {made.module}.py. Next:",
            f"  cd {made.folder}",
            f"  sparsity check {made.module}.py",
            f"  sparsity study run ablation.toml --plugin {made.module}.py{flags}",
            "  pip install -e '.[test]' && pytest",
        ]
    )


def files(made: Names, text: str | None = None) -> dict[str, str]:
    """The texts of all files by their paths in the folder; `text` is that of the module, if not an example's."""
    asked = ABLATIONS[made.kind] if text is None else own_ablation(made.kind)
    words = {
        **made._asdict(),
        **asked.filled(made.part),
        "checks": _suite(made.kind),
        "purpose": MEANINGS[made.kind].purpose,
        "article": "An" if made.kind[0] in "aeiou" else "A",
        "version": _version(),
    }
    paths = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        ".gitignore": "gitignore",
        "ablation.toml": "ablation.toml",
        f"{made.module}.py": f"parts/{made.kind}.py",
        f"tests/test_{made.module}.py": f"tests/{made.kind if text is None else 'own'}.py",
    }
    kept = templates()
    made_up = {path: kept.get_template(f"{name}.j2").render(words) for path, name in paths.items()}
    return made_up if text is None else {**made_up, f"{made.module}.py": text}


def module_text(kind: str, part: str) -> str:
    """A plugin file with a part of that kind."""
    return templates().get_template(f"parts/{kind}.py.j2").render(part=part, module=part)


def _suite(kind: str) -> str:
    """The module with the conformance suite that a kind is under."""
    return next((own.__name__ for own in (of_rl, of_sparsity) if kind in own.CHECKED), "studies.check")


def write(texts: dict[str, str], folder: Path) -> None:
    """A folder with these files: made beside its place, and moved there when it is whole."""
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.resolve().parent))
    try:
        for path, text in texts.items():
            (beside / path).parent.mkdir(exist_ok=True)
            (beside / path).write_text(text)
        beside.chmod(0o755)
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _version() -> str:
    """What a plugin written now needs at least."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # A checkout that was never installed.
        return "0.1.0"


def templates() -> Environment:
    """The kit's templates, by their paths in its folder."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # What is written is Python, TOML and Markdown, where nothing is escaped; names are checked before they come here.
    return Environment(
        loader=PackageLoader("studies.kit", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
