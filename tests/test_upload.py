"""A run given away: the folder is whole and plays, the page says what the run's files say, nothing is sent unasked."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lab import Answer, Lab, a_lab, no_figures, sparsity  # noqa: F401
from painted import ID, trained_once, trained_with_a_plugin

from studies.store import Store

lab, store = a_lab, trained_once


class Hub:
    """In place of the hub."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: set[str] = set()
        self.refuses = False
        self.there: list[str] = []
        self.public = False

    def create_repo(self, repo_id: str, **how: Any) -> None:
        self.calls.append(("create", {"repo_id": repo_id, **how}))

    def model_info(self, repo_id: str) -> Any:
        return SimpleNamespace(private=not self.public)

    def list_repo_files(self, repo_id: str, **how: Any) -> list[str]:
        return self.there

    def upload_folder(self, *, folder_path: Path, **how: Any) -> str:
        if self.refuses:
            raise ConnectionError("no such host")
        self.calls.append(("upload", how))
        self.files = {str(path.relative_to(folder_path)) for path in Path(folder_path).rglob("*") if path.is_file()}
        return f"https://hub/{how['repo_id']}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    module, made = pytest.importorskip("huggingface_hub"), Hub()
    monkeypatch.setattr(module, "HfApi", lambda **_: made)
    monkeypatch.setattr(module, "get_token", lambda: "secret")
    monkeypatch.setattr(module.constants, "HF_HUB_OFFLINE", False)
    return made


def uploading(store: tuple[Path, str], *words: object) -> Answer:
    return sparsity("upload", store[1], "--store", store[0], *words)


def test_a_run_is_uploaded_whole_with_its_page(store: tuple[Path, str], hub: Hub) -> None:
    answer = uploading(store, "--repo", "me/painted", "--private")
    assert (answer.code, answer.out) == (0, "https://hub/me/painted\n"), answer.err
    (create, made), (upload, sent) = hub.calls
    assert (create, made["repo_id"], made["private"], made["exist_ok"]) == ("create", "me/painted", True, True)
    assert (upload, sent["repo_id"], sent["delete_patterns"]) == ("upload", "me/painted", "runs/*")
    written = {path.name for path in (store[0] / "runs" / store[1]).iterdir() if path.is_file()} - {"lock"}
    assert hub.files == {"README.md"} | {f"runs/{store[1]}/{name}" for name in written}
    assert "secret" not in answer.out + answer.err


def test_an_earlier_run_is_replaced_and_nothing_else_is(store: tuple[Path, str], hub: Hub) -> None:
    hub.there = [".gitattributes", "README.md", "runs/0123456789abcdef/weights.safetensors"]
    assert uploading(store, "--repo", "me/painted").code == 0
    hub.calls, hub.there = [], ["README.md", "model.safetensors"]
    answer = uploading(store, "--repo", "me/painted")
    assert (answer.code, [name for name, _ in hub.calls]) == (2, ["create"])
    assert "me/painted holds something else (model.safetensors): give another name" in answer.err


def test_what_was_asked_to_be_private_goes_into_no_public_repository(store: tuple[Path, str], hub: Hub) -> None:
    """The hub leaves one that is there as it is, whatever is asked when it is made."""
    hub.public = True
    answer = uploading(store, "--repo", "me/painted", "--private")
    assert (answer.code, [name for name, _ in hub.calls]) == (2, ["create"])
    assert "me/painted is there already, and public" in answer.err
    assert uploading(store, "--repo", "me/painted").code == 0


def test_what_was_downloaded_verifies_and_plays(store: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "given"
    assert uploading(store, "--repo", "me/painted", "--dry-run", "--to", folder).code == 0
    assert Store(folder).verify(store[1]) == []
    for given in (folder, folder / "runs" / store[1]):
        played = sparsity("play", given, "--episodes", "4")
        assert "4 of 4 returns are equal" in played.out, played.err
    assert not [each for each in tmp_path.iterdir() if each != folder], "nothing is left beside it"


def test_a_store_of_several_runs_is_told_apart_from_one(store: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "given"
    uploading(store, "--repo", "me/painted", "--dry-run", "--to", folder)
    other = folder / "runs" / "0123456789abcdef"
    other.mkdir()
    (other / "contents.json").write_text("{}")
    answer = sparsity("play", folder)
    assert (answer.code, "is a store of 2 runs: give one of them and --store" in answer.err) == (2, True)


def test_the_page_has_the_numbers_of_the_run(store: tuple[Path, str]) -> None:
    page = uploading(store, "--repo", "me/painted", "--dry-run", "--license", "mit").out
    record = Store(store[0]).read(store[1])
    last = np.array(record.episodes[-1])
    spread = f"{last.mean():,.1f} ± {last.std(ddof=1) / len(last) ** 0.5:,.1f}, {len(last)} episodes"
    assert f"| return | {spread} of the last evaluation" in page
    assert f"{record.result['parameters']:,} parameters" in page
    assert f"| torch | {record.world['torch']} |" in page
    assert record.world["host"] not in page
    assert "hf download me/painted --local-dir painted\nsparsity play ./painted\n" in page
    assert "trained by sparsity-rl" in page


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("dense", ["A dense policy for", "| actor | dense |"]),
        ("dense_small", ["A dense policy for", "| actor | dense, its layers narrowed to the parameters that "]),
        ("rigl", ["A sparse policy for", "with the dense gradients that the method asks for"]),
        ("set", ["A sparse policy for", "| weights kept, of actor and critic |", " of the dense agent's |"]),
        ("critic", ["A dense policy, beside a sparse critic, for", "| actor | dense |"]),
    ],
)
def test_the_page_says_what_is_sparse(lab: Lab, method: str, said: list[str]) -> None:
    row = '{ base = "set", actor = { base = "dense" } }' if method == "critic" else f'{{ base = "{method}" }}'
    study = (
        f'agents=["td3"]\nenvs=["{ID}"]\nseeds=1\nsteps=120\nwarmup=40\nrandom_episodes=0\ndensities=[0.5]\n'
        f'[all]\nschedule = {{ every = 20 }}\n[methods]\n"it" = {row}\n[settings.td3]\nbatch_size=8\nhidden=[8, 8]\n'
    )
    assert lab.study(study).code == 0
    page = lab("upload", lab.folder_of("it", name="study").name, "--repo", "me/it", "--dry-run").out
    for words in said:
        assert words in page.replace("\\", ""), page


def test_the_hub_can_read_the_page_s_head(store: tuple[Path, str]) -> None:
    module = pytest.importorskip("huggingface_hub")
    data = module.ModelCard(uploading(store, "--repo", "me/painted", "--dry-run", "--license", "mit").out).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "sparsity-rl", "reinforcement-learning")
    assert {"td3", ID} <= set(data.tags)
    [result] = data.eval_results
    assert (result.dataset_name, result.metric_type) == (ID, "mean_reward")
    assert re.fullmatch(r"\S+ ± \S+, 4 episodes", result.metric_value)


def test_a_dry_run_asks_no_network(store: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # type: ignore[arg-type]
    answer = uploading(store, "--repo", "me/painted", "--dry-run")
    assert (answer.code, "# painted" in answer.out) == (0, True), answer.err


@pytest.mark.parametrize("case", ["no library", "offline", "no token", "refused"])
def test_what_stands_in_the_way_of_an_upload_is_told(
    case: str, store: tuple[Path, str], hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    found = importlib.util.find_spec
    if case == "no library":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "hugging" in name else found(name))
    if case == "offline":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    if case == "no token":
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    hub.refuses = case == "refused"
    said = {
        "no library": "pip install 'sparsity-rl[hub]'",
        "offline": "HF_HUB_OFFLINE is set",
        "no token": "set HF_TOKEN",
        "refused": "the hub did not take it: ConnectionError: no such host",
    }
    answer = uploading(store, "--repo", "me/painted")
    assert (answer.code, len(answer.errors)) == (2, 1), answer
    assert said[case] in answer.errors[0]
    assert [name for name, _ in hub.calls] == (["create"] if case == "refused" else [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--repo", "painted"), "--repo is 'painted'; it must be user/name"),
        (("--repo", "me/a b"), "it must be user/name"),
        (("--repo", "../.."), "it must be user/name"),
        (("--repo", "me/-p"), "it must be user/name"),
        (("--repo", "me/a--b"), "it must be user/name"),
        (("--repo", "me/p.git"), "it must be user/name"),
        (("--repo", "me/p", "--license", "my own"), "--license is 'my own'"),
        (("--repo", "me/p", "--to", "no/such/place"), "there is no folder no/such"),
        (("--repo", "me/p", "--to", "."), "is there already"),
    ],
)
def test_what_cannot_be_written_is_told_first(
    words: tuple[str, ...], said: str, store: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = uploading(store, *words, "--dry-run")
    assert (answer.code, len(answer.errors)) == (2, 1), answer
    assert said in answer.errors[0]
    assert not list(tmp_path.iterdir())


def test_a_run_with_a_plugin_says_that_it_needs_it(lab: Lab) -> None:
    run, _ = trained_with_a_plugin(lab)
    page = lab("upload", run.name, "--repo", "me/mine", "--dry-run", "--to", lab.folder / "given").out
    sent = b"".join(path.read_bytes() for path in (lab.folder / "given").rglob("*") if path.is_file())
    assert b"mine.py" in sent, "in the run's world"
    assert str(lab.folder).encode() not in sent, "the folders that it lies in are not given away"
    assert "sparsity play ./mine --plugin FILE_OF_mine.py" in page
    digest = json.loads((run / "contents.json").read_text())["foreign"]["prune/mine"]
    assert f"not of sparsity-rl; SHA-256 of its source {digest[:16]}" in page.replace("\\", "")
