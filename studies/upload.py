"""A run given away: a folder that is a store of this one run with a page, and its upload to the Hugging Face Hub."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rl.files import write_atomically
from studies.card import card
from studies.policies import find_run
from studies.problems import BadInput
from studies.share import copy_run
from studies.store import Store

PAGE: Final = "README.md"
_REPO: Final = re.compile(r"(?!.*(--|\.\.))\w([\w.-]*\w)?/(?!.*\.git$)\w([\w.-]{0,94}\w)?", re.ASCII)
"""What the hub takes."""
_LICENCE: Final = re.compile(r"[\w.-]+", re.ASCII)


def bundle(given: str, store: Store, folder: Path, *, repo: str, licence: str = "unknown") -> str:
    """Write a finished run into a new folder, as a store of its own beside a page that says what it is; the page.

    BadInput if there is something of that name. The run verifies there, and `sparsity play FOLDER` plays it.
    """
    run, store = find_run(given, store)
    if not _REPO.fullmatch(repo):
        raise BadInput(f"--repo is {repo!r}; it must be user/name: letters, digits, '_', and single '-' or '.' between")
    if not _LICENCE.fullmatch(licence):
        raise BadInput(f"--license is {licence!r}; it must be one of the hub's identifiers: mit, apache-2.0, ...")
    if folder.exists():
        raise BadInput(f"--to {folder} is there already: give another name")
    page = card(run, store.read(run.id), store, repo, licence)
    with _whole(folder) as place:
        copy_run(store.run_folder(run.id), Store(place).run_folder(run.id))
        write_atomically(place / PAGE, page.encode())
    return page


def rehearse(given: str, store: Store, *, repo: str, licence: str, to: Path | None = None) -> str:
    """The page that an upload would have, the folder written if one is named. Nothing is sent, no network is asked."""
    with tempfile.TemporaryDirectory(prefix="sparsity-upload-") as temporary:
        return bundle(given, store, to if to is not None else Path(temporary, "run"), repo=repo, licence=licence)


def upload(given: str, store: Store, *, repo: str, private: bool, licence: str, to: Path | None = None) -> str:
    """Upload a finished run; where it is now. BadInput, before anything is written or sent, if that cannot be done.

    The hub's repository holds one run: an earlier one is replaced. `to` keeps the folder that was sent.
    """
    _demand_connection()
    with tempfile.TemporaryDirectory(prefix="sparsity-upload-") as temporary:
        folder = to if to is not None else Path(temporary, "run")
        bundle(given, store, folder, repo=repo, licence=licence)
        return _sent(folder, repo, private)


def _demand_connection() -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise BadInput("uploading needs huggingface_hub, which is not installed: pip install 'sparsity-rl[hub]'")
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise BadInput("HF_HUB_OFFLINE is set: take it away, or write the folder alone (--dry-run --to FOLDER)")
    if not get_token():
        raise BadInput("the hub knows nobody here: `hf auth login`, or set HF_TOKEN to a token that may write")


def _sent(folder: Path, repo: str, private: bool) -> str:
    import huggingface_hub

    try:
        api: Any = huggingface_hub.HfApi(library_name="sparsity-rl")
        api.create_repo(repo, repo_type="model", private=private, exist_ok=True)
        _demand_ours(api, repo, private)
        sent = api.upload_folder(
            repo_id=repo,
            repo_type="model",
            folder_path=folder,
            delete_patterns="runs/*",
            commit_message="A run of sparsity-rl",
        )
    except BadInput:
        raise
    except Exception as error:  # Of the hub's or of the network: whatever it is, the run is where it was.
        raise BadInput(f"the hub did not take it: {type(error).__name__}: {error}") from error
    return str(sent)


def _demand_ours(api: Any, repo: str, private: bool) -> None:
    """BadInput if a repository that was there holds something else, or is public where it should be private."""
    if private and not api.model_info(repo).private:
        raise BadInput(f"{repo} is there already, and public: make it private on the hub, or leave --private out")
    files = api.list_repo_files(repo, repo_type="model")
    others = sorted(name for name in files if name not in (PAGE, ".gitattributes") and not name.startswith("runs/"))
    if others:
        raise BadInput(f"{repo} holds something else ({', '.join(others[:3])}): give another name")


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which has its name once all is written."""
    if not folder.parent.is_dir():
        raise BadInput(f"--to {folder}: there is no folder {folder.parent}")
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield place
        place.chmod(0o755)
        os.replace(place, folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)
