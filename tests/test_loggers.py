"""Loggers beside the CSV file: they hold what it holds, and lose and double nothing when a run goes on."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lab import ENV, QUICK, REGISTRY, Lab, a_lab, a_run, no_figures  # noqa: F401

from registry import part
from rl.train import Training
from studies.contents import Run
from studies.loggers import hindrances
from studies.store import Store
from studies.tree import pack, unpack
from studies.underway import Underway

lab = a_lab

KEPT = ("training.csv", "evaluations.csv")
Points = dict[str, list[tuple[int, float]]]
"""Steps and values, by the name of a signal."""


@pytest.fixture(autouse=True)
def frequent_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    from functools import partial

    monkeypatch.setattr("studies.underway.Training", partial(Training, signals_every=30))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No word of the user's, and a home of its own."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")


def the_run() -> Run:
    return a_run(steps=300, warmup=60, eval_every=75)


def carried_out(folder: Path, loggers: list[str], state: Any = None) -> Iterator[Underway]:
    """A run in a folder, whenever it rests."""
    folder.mkdir()
    with closing(Underway(the_run(), folder, REGISTRY, loggers=loggers, state=state)) as under:
        yield from (under for record in under.records() if record.get("rest"))
        under.result(None, {})


def stopped_and_resumed(tmp_path: Path, loggers: list[str]) -> Path:
    """The folder of an attempt that goes on from a checkpoint, some rests before the first one was stopped."""
    first = carried_out(tmp_path / "stopped", loggers)
    words, tensors = pack([next(first).state_dict() for _ in range(4)][-1])
    for _ in range(3):
        next(first)
    first.close()
    assert list(carried_out(tmp_path / "resumed", loggers, unpack(words, [tensor.clone() for tensor in tensors])))
    return tmp_path / "resumed"


def in_csv(folder: Path) -> Points:
    """All that the run's own files say."""
    points: Points = {}
    with open(folder / "training.csv", newline="") as file:
        for row in csv.DictReader(file):
            points.setdefault(row["signal"], []).append((int(row["step"]), float(row["value"])))
    with open(folder / "evaluations.csv", newline="") as file:
        for row in csv.DictReader(file):
            for name, text in (("return", row["returns"]), ("length", row["lengths"])):
                mean = float(np.mean([float(each) for each in text.split()]))
                points.setdefault(f"evaluation_{name}", []).append((int(row["step"]), mean))
    return points


# TensorBoard.


def in_tensorboard(folder: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    points: Points = {}
    for tag in events.Tags()["scalars"]:
        group, _, name = tag.partition("/")
        known_as = name if group == "training" else f"{group}_{name}"
        points[known_as] = [(event.step, event.value) for event in events.Scalars(tag)]
    return points


def as_float32(points: Points) -> Points:
    """As TensorBoard keeps them."""
    return {name: [(step, float(np.float32(value))) for step, value in each] for name, each in points.items()}


def test_tensorboard_shows_what_the_files_hold(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert list(carried_out(tmp_path / "run", ["tensorboard"]))
    shown = in_tensorboard(tmp_path / "run")
    assert shown == as_float32(in_csv(tmp_path / "run"))
    assert {"critic_loss", "episode_return", "evaluation_return"} <= shown.keys()
    assert len(shown["evaluation_return"]) == 5


def test_a_logger_that_is_named_twice_writes_once(tmp_path: Path) -> None:
    """`csv` is always there, and `training.csv` is a file that the run answers for."""
    for name, loggers in (("run", []), ("again", ["csv", "csv"])):
        assert list(carried_out(tmp_path / name, loggers))
    assert (tmp_path / "again" / "training.csv").read_bytes() == (tmp_path / "run" / "training.csv").read_bytes()


def test_a_run_that_goes_on_has_every_step_in_tensorboard_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    resumed = stopped_and_resumed(tmp_path, ["tensorboard"])
    shown = in_tensorboard(resumed)
    assert shown == as_float32(in_csv(resumed))
    assert all(len(each) == len({step for step, _ in each}) for each in shown.values())
    [file] = resumed.glob("*tfevents*")
    assert [file.read_bytes().count(word) for word in (b"brain.Event:2", b"session_start_info")] == [1, 1]
    assert list(carried_out(tmp_path / "whole", ["tensorboard"]))
    assert shown == in_tensorboard(tmp_path / "whole")


def test_tensorboard_groups_runs_by_their_settings(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    assert list(carried_out(tmp_path / "run", ["tensorboard"]))
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    [content] = events.PluginTagToContent("hparams").values()
    told = metadata.parse_session_start_info_plugin_data(content).hparams
    assert told["env"].string_value == ENV
    assert told["actor.prune"].string_value == "magnitude"
    assert told["td3.batch_size"].number_value == 8
    assert told["seed"].number_value == 0


# Weights & Biases.


def in_wandb(file: Path) -> tuple[Any, Points]:
    """The run and the history in an offline run's file: records of protobuf in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, piece = file.read_bytes(), 7, b""
    run, points = None, Points()
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind not in (1, 4):
            continue
        record, piece = Record.FromString(piece), b""
        if record.WhichOneof("record_type") == "run":
            run = record.run
        if record.WhichOneof("record_type") == "history":
            values = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
            for name, value in values.items():
                if not name.startswith("_"):
                    points.setdefault(name, []).append((values["_step"], value))
    return run, points


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip where wandb, or the process that it starts, is not to be had."""
    wandb = pytest.importorskip("wandb")
    try:
        wandb.setup()
    except Exception as error:
        pytest.skip(f"wandb's process does not start: {error}")
    finally:
        wandb.teardown()


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children of a process are read from /proc")
def test_an_offline_run_of_wandb_holds_what_the_files_hold_and_its_process_ends(tmp_path: Path, service: None) -> None:
    before = children()
    resumed = stopped_and_resumed(tmp_path, ["wandb"])
    assert children() == before, "wandb's process has ended"
    [file] = (resumed / "wandb").glob("offline-run-*/*.wandb")
    run, points = in_wandb(file)
    assert points == in_csv(resumed)
    assert (run.run_id, run.project) == (the_run().id, "sparsity")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (config["env"], config["actor.prune"]) == (ENV, "magnitude")
    assert not [path for path in resumed.rglob("*") if path.is_symlink() or path.name == "debug-core.log"], (
        "links lead to the user's home"
    )


class Online:
    """In place of wandb: a server that knows what it was told before, as theirs does."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str, float]] = []
        self.asked: dict[str, Any] = {}
        self.ended = 0

    def init(self, **asked: Any) -> Online:
        self.asked = asked
        self.starting_step = max((step for step, _, _ in self.told), default=-1) + 1
        return self

    def Settings(self, **settings: Any) -> dict[str, Any]:  # noqa: N802
        return settings

    def log(self, values: dict[str, float], step: int) -> None:
        self.told += [(step, name, value) for name, value in values.items()]

    def finish(self) -> None:
        pass

    def teardown(self) -> None:
        self.ended += 1


def test_online_a_run_that_goes_on_tells_what_was_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Online()
    monkeypatch.setitem(sys.modules, "wandb", server)  # type: ignore[arg-type]
    monkeypatch.setenv("WANDB_MODE", "online")
    resumed = stopped_and_resumed(tmp_path, ["wandb"])
    assert server.asked["id"] == the_run().id
    assert (server.asked["resume"], server.asked["mode"], server.ended) == ("allow", "online", 2)
    points: Points = {}
    for step, name, value in server.told:
        points.setdefault(name, []).append((step, value))
    assert points == in_csv(resumed)
    assert not (resumed / "wandb").exists(), "theirs is with them"


def test_a_connection_that_breaks_is_made_again_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Online()
    log, calls = server.log, iter(range(1000))
    monkeypatch.setattr(server, "log", lambda values, step: log(values, step) if next(calls) != 5 else 1 / 0)
    monkeypatch.setitem(sys.modules, "wandb", server)  # type: ignore[arg-type]
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.warns(UserWarning, match=r"wandb: ZeroDivisionError"):
        assert list(carried_out(tmp_path / "run", ["wandb"]))
    assert not list(tmp_path.glob("sparsity-wandb-*"))
    assert {step for step, _, _ in server.told} == {
        step for each in in_csv(tmp_path / "run").values() for step, _ in each
    }


def test_whatever_becomes_of_wandb_the_run_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match=r"wandb: .*; what it is told is in wandb\.jsonl"):
        assert list(carried_out(tmp_path / "run", ["wandb"]))
    assert (tmp_path / "run" / "result.json").is_file()
    assert len((tmp_path / "run" / "wandb.jsonl").read_text().splitlines()) > 10


def test_disabled_wandb_is_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setitem(sys.modules, "wandb", None)  # type: ignore[arg-type]
    assert list(carried_out(tmp_path / "run", ["wandb"]))
    assert not (tmp_path / "run" / "wandb").exists()


# What the store makes of them.


def test_loggers_change_no_byte_of_a_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for name, loggers in (("plain", []), ("logged", ["tensorboard"])):
        assert list(carried_out(tmp_path / name, loggers))
    for file in (*KEPT, "topology.csv", "result.json", "weights.safetensors"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "logged" / file).read_bytes()


def test_files_of_loggers_lie_beside_those_that_a_run_answers_for(lab: Lab) -> None:
    """They verify whatever becomes of them, and are not given away."""
    pytest.importorskip("tensorboard")
    assert lab.grid("set", "--densities", "0.5", "--logger", "tensorboard").code == 0
    run = lab.folder_of("set")
    [file] = [path for path in run.iterdir() if "tfevents" in path.name]
    assert file.name not in Store(lab.store).files(run.name)
    file.write_text("changed")
    assert lab("study", "verify", "tiny").code == 0
    other = lab.folder / "given"
    assert lab("study", "copy", "tiny", "--to", other).code == 0
    assert not list(other.rglob("*tfevents*"))
    again = lab.grid("set", "--densities", "0.5", "--logger", "tensorboard")
    assert (again.code, " 0 to do" in again.err) == (0, True)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_logger_without_its_extra_is_refused_before_anything_is_written(
    name: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda each: None if each == name else found(each))
    answer = lab("train", "--env", ENV, *QUICK, "--logger", name)
    assert (answer.code, len(answer.errors)) == (2, 1), answer.err
    assert f"logger '{name}' needs {name}, which is not installed: pip install 'sparsity-rl[{name}]'" in answer.err
    assert not lab.store.exists()


def test_a_mode_that_wandb_does_not_know_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "shared")
    answer = lab("train", "--env", ENV, *QUICK, "--logger", "wandb")
    assert (answer.code, "WANDB_MODE is 'shared'; it must be one of offline, online" in answer.err) == (2, True)


def test_a_logger_may_leave_out_what_it_does_not_need() -> None:
    assert hindrances(REGISTRY.bind("logger", part("csv"))) == []
    assert REGISTRY.entry("logger", "csv").inputs == ("folder",)
