"""A run that is stopped and goes on ends in the same bytes, whatever it is made of; every item of its state counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from lab import REGISTRY, a_run
from test_checkpoints import same

from registry import Registry
from rl import Training
from studies.contents import Run
from studies.tree import pack, unpack
from studies.underway import Underway

ENDS = (
    *("evaluations.csv", "topology.csv", "training.csv", "result.json", "weights.safetensors"),
    *("diagnostics.csv", "topologies.safetensors"),
)
EVENTS = {"schedule": {"every": 20, "fraction": 0.3}}
SMALL = {"part": "uniform", "capacity": 150}
TINY = {"batch_size": 8, "hidden": [16, 16]}
CASES: dict[str, dict[str, Any]] = {
    "set": {"methods": {"a": {"base": "set", **EVENTS}}, "replay": SMALL},
    "rigl": {"methods": {"a": {"base": "rigl", **EVENTS}}},
    "ds": {"methods": {"a": {"base": "ds", **EVENTS}}},
    "ds_released": {"methods": {"a": {"base": "ds_released"}}},
    "snfs": {"methods": {"a": {"base": "snfs", **EVENTS}}},
    "granet": {"methods": {"a": {"base": "granet", **EVENTS, "budget": {"every": 20}}}, "densities": [0.2]},
    "rlx2": {"methods": {"a": {"base": "rlx2", **EVENTS}}, "settings": {"td3": {**TINY, "multi_step": 3}}},
    "sparse set": {"methods": {"a": {"base": "set", **EVENTS}}, "execution": "sparse"},
    "sparse ds": {"methods": {"a": {"base": "ds", **EVENTS}}, "execution": "sparse"},
    "sparse rigl": {"methods": {"a": {"base": "rigl", **EVENTS}}, "execution": "sparse"},
    "dense": {"methods": {"a": {"base": "dense"}}},
    "sac": {"agents": ["sac"], "methods": {"a": {"base": "set", **EVENTS}}, "settings": {"sac": TINY}},
    "sparse sac": {
        "agents": ["sac"],
        "methods": {"a": {"base": "rigl", **EVENTS}},
        "settings": {"sac": TINY},
        "execution": "sparse",
    },
    "sparse ds sac, weights of targets that were cut since the last event": {
        "agents": ["sac"],
        "methods": {"a": {"base": "ds", "schedule": {"every": 40, "fraction": 0.3}}},
        "settings": {"sac": TINY},
        "execution": "sparse",
        "seeds": [7],
        "steps": 600,
        "warmup": 100,
        "eval_every": 100,
        "densities": [0.3],
    },
    "ddpg": {"agents": ["ddpg"], "methods": {"a": {"base": "static"}}, "settings": {"ddpg": TINY}},
    "noise features": {"methods": {"a": "dense"}, "wrappers": ["noise_features"]},
    "dynamic replay": {
        "methods": {"a": "dense"},
        "replay": {"part": "dynamic", "capacity": 150, "every": 10, "least": 20, "limit": 0.1, "batches": 1},
    },
    "reviewed replay": {"methods": {"a": "dense"}, "replay": {"part": "reviewed", "every": 5, "awake": 1.0}},
}


DONOR = {"donor": 120, "warmup": 80, "episodes": 1}
CASES |= {
    "donor": {**CASES["ds"], **DONOR},
    "sparse donor": {**CASES["sparse ds"], **DONOR},
    "sac donor": {**CASES["sac"], **DONOR},
}


def the_run(case: str) -> Run:
    """Some hundred updates; with events every 20 of them."""
    return a_run(**{"steps": 300, "warmup": 60, "eval_every": 75, "densities": [0.5], **CASES[case]})


def carried_out(run: Run, state: Mapping[str, Any] | None = None) -> Iterator[Underway | dict[str, bytes]]:
    """The run, whenever it rests, and in the end the bytes of its files."""
    folder = Path(mkdtemp())
    under = Underway(run, folder, REGISTRY, diagnostics=True, donor=weights_of_donor(run), state=state)
    try:
        for record in under.records():
            if record.get("rest"):
                yield under
        under.result(None, {})
    finally:
        under.close()
    yield {name: (folder / name).read_bytes() for name in ENDS}


DONORS: dict[str, Path] = {}
"""Where those are whose weights were asked for."""


def weights_of_donor(run: Run) -> Path | None:
    """What the donor of a run ends with."""
    if run.donor is None:
        return None
    if run.donor.id not in DONORS:
        DONORS[run.donor.id] = Path(mkdtemp())
        with closing(Underway(run.donor, DONORS[run.donor.id], REGISTRY)) as under:
            list(under.records())
            under.result(None, {})
    return DONORS[run.donor.id] / "weights.safetensors"


def end(run: Run, state: Mapping[str, Any]) -> dict[str, bytes]:
    """The bytes that a run comes to from a saved state on."""
    *_, files = carried_out(run, state)
    assert isinstance(files, dict)
    return files


def copied(state: Mapping[str, Any]) -> Any:
    """As a checkpoint would give it back."""
    words, tensors = pack(state)
    return unpack(words, [tensor.clone() for tensor in tensors])


@cache
def undisturbed(case: str) -> tuple[list[Any], dict[str, bytes]]:
    """States at the rests of a run, and its end."""
    *rests, files = ((copied(u.state_dict()) if isinstance(u, Underway) else u) for u in carried_out(the_run(case)))
    return rests, files


@pytest.mark.parametrize("case", CASES)
def test_from_any_rest_on_a_run_ends_in_the_same_bytes(case: str) -> None:
    rests, files = undisturbed(case)
    assert len(rests) >= 6
    steps = [rest["training"]["step"] for rest in rests]
    assert steps[0] <= 60 < steps[-1]
    for index in {0, len(rests) // 3, 2 * len(rests) // 3, len(rests) - 2, len(rests) - 1}:
        resumed = end(the_run(case), copied(rests[index]))
        differing = [name for name in ENDS if resumed[name] != files[name]]
        assert not differing, f"from step {steps[index]} on: {differing}"


LINES = """
from registry import hookimpl


class Lines:
    def __init__(self, path):
        self.file = open(path, "a")

    def write(self, record):
        print(record, file=self.file, flush=True)

    def close(self):
        self.file.close()


def lines(folder):
    return Lines(folder / "lines.txt")


@hookimpl
def register_logger(register):
    register(lines)
"""


def test_what_a_logger_has_appended_goes_on_with_the_run(tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(LINES)
    registry = Registry(installed=False)
    registry.load_file(tmp_path / "lines.py")

    def rests(name: str, state: Any = None) -> Iterator[Underway]:
        (tmp_path / name).mkdir()
        with closing(Underway(the_run("dense"), tmp_path / name, registry, loggers=["lines"], state=state)) as under:
            yield from (under for record in under.records() if record.get("rest"))

    stopped = rests("stopped")
    state = [copied(next(stopped).state_dict()) for _ in range(4)][-1]
    next(stopped)
    stopped.close()
    for name, start in (("whole", None), ("resumed", state)):
        assert list(rests(name, start))
    whole, resumed = ((tmp_path / name / "lines.txt").read_text() for name in ("whole", "resumed"))
    assert resumed == whole
    assert whole.count("\n") > 10


def test_a_checkpoint_from_elsewhere_writes_no_file_elsewhere(tmp_path: Path) -> None:
    *_, state = undisturbed("dense")[0]
    for name in ("../canary", str(tmp_path / "canary")):
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="canary"):
            Underway(the_run("dense"), folder, REGISTRY, state=state | {"files": {name: b"x"}})
        assert not list(tmp_path.rglob("canary"))


# What a state is made of: without any one of its items, some run ends otherwise.

Path_ = tuple[Any, ...]


def items(tree: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Leaves with their paths; a generator's state is one."""
    if isinstance(tree, Mapping) and "bit_generator" not in tree and tree:
        for key, value in tree.items():
            yield from items(value, (*path, key))
    else:
        yield path, tree


def name_of(path: Path_) -> str:
    """Layers and numbers aside: every layer's mask is the item `masks`."""
    return "/".join("*" if isinstance(key, int) or "." in key else key for key in path)


def with_items(state: Any, name: str, start: Mapping[Path_, Any]) -> tuple[Any, bool]:
    """The state with an item as it was at the run's start, and whether that is another."""
    changed = False

    def walk(tree: Any, path: Path_) -> Any:
        nonlocal changed
        if path and name_of(path) == name:
            first = start.get(path, torch.zeros_like(tree) if isinstance(tree, torch.Tensor) else type(tree)())
            changed = changed or not same(first, tree)
            return first
        if isinstance(tree, Mapping) and "bit_generator" not in tree:
            return {key: walk(value, (*path, key)) for key, value in tree.items()}
        return tree

    return walk(state, ()), changed


def missing(item: str) -> list[str]:
    """Cases whose end differs, or that cannot go on, when an item is not restored. Stops at the first."""
    for case in CASES:
        rests, files = undisturbed(case)
        start = dict(items(started(case)))
        likely = dict.fromkeys((2 * len(rests) // 3, 0, len(rests) - 1, *range(0, len(rests), 4)))
        for index in range(len(rests)) if "gradients" in item else likely:
            state, changed = with_items(copied(rests[index]), item, start)
            if not changed:
                continue
            try:
                if end(the_run(case), state) != files:
                    return [case]
            except Exception as error:
                return [f"{case}: {error}"]
    return []


@cache
def started(case: str) -> Any:
    """The state of a run that has not begun."""
    run = the_run(case)
    under = Underway(run, Path(mkdtemp()), REGISTRY, diagnostics=True, donor=weights_of_donor(run))
    state = copied(under.state_dict())
    under.close()
    return state


def all_items() -> list[str]:
    ends = [rest for case in CASES for rest in (undisturbed(case)[0][0], undisturbed(case)[0][-1])]
    return sorted({name_of(path) for rest in ends for path, _ in items(rest)})


REDUNDANT = {
    **dict.fromkeys(("clock/all", "clock/training", "clock/at"), "time is outside the byte promise"),
    "training/evaluation_env/generator": "every evaluation begins with a seed of its own",
    **dict.fromkeys(
        (
            "training/warmup_policy/updates",
            "training/warmup_policy/smoothing",
            "training/warmup_policy/policy_noise",
            "training/warmup_policy/target_noise",
            "training/warmup_policy/log_temperature",
            "training/warmup_policy/temperature_optimizer/param_groups",
            "training/warmup_policy/temperature_optimizer/state",
        ),
        "a donor acts, and learns no more",
    ),
    "training/gradients/critic": "an update makes them anew before they are looked at",
    "agent/learners/critic/target/calls": "counts for targets that move at every n-th call, which no agent here has",
    "agent/learners/actor/target/calls": "counts for targets that move at every n-th call, which no agent here has",
    "account/sparsifiers/critic/budget": "the timetable tells it at every step",
    "account/sparsifiers/actor/budget": "the timetable tells it at every step",
    **dict.fromkeys(
        (
            "agent/learners/critic/optimizer/param_groups",
            "agent/learners/actor/optimizer/param_groups",
            "agent/temperature_optimizer/param_groups",
            "account/sparsifiers/critic/final/*",
            "account/sparsifiers/actor/final/*",
        ),
        "follows from settings and seed, and stays as it was",
    ),
}


@pytest.fixture(autouse=True, scope="module")
def frequent_signals() -> Iterator[None]:
    """So that means and norms of gradients are in every log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.underway.Training", partial(Training, signals_every=7))
        yield


def test_every_item_of_a_state_counts() -> None:
    idle = [item for item in all_items() if item not in REDUNDANT and not missing(item)]
    assert not idle, f"nothing changes without {idle}"
