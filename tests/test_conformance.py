"""Every registered part conforms to its kind, and the suite that says so catches parts that do not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from planted import PLANTED

from registry import KINDS, Entry, PartError, Registry, part
from registry.tables import DEFAULT_PLUGINS
from rl.check import check_part as check_rl
from sparsity import DENSE, DENSE_SMALL, RIGL, SET, STATIC
from sparsity.check import CHECKED, check_part, rehearse
from studies.check import examine

OF_RL = ("agent", "replay", "wrapper")

IN_TREE = Registry(installed=False)
ENTRIES = [entry for kind in (*OF_RL, *CHECKED) for entry in IN_TREE.entries(kind)]


def problems(entry: Entry, registry: Registry) -> list[str]:
    """What the suite says of a part."""
    return (check_rl if entry.kind.name in OF_RL else check_part)(entry, registry)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind.name}-{entry.name}")
def test_every_part_conforms(entry: Entry) -> None:
    assert problems(entry, IN_TREE) == []


def test_no_kind_of_sparsity_or_rl_goes_unchecked() -> None:
    assert {*OF_RL, *CHECKED} == set(KINDS) - {"preset", "executor", "logger"}


@pytest.mark.parametrize("kind", ["preset", "executor", "logger"])
def test_what_studies_bring_conforms_where_it_can_be_tried(kind: str) -> None:
    """Clusters, and loggers that need an account, are not begun here."""
    others = ("ray", "slurm", "wandb")
    entries = [entry for entry in IN_TREE.entries(kind) if entry.name not in others]
    assert entries
    assert [str(report) for entry in entries if (report := examine(entry, IN_TREE)).problems] == []


# Planted faults.


@pytest.fixture(scope="module")
def infested() -> Registry:
    return Registry((*DEFAULT_PLUGINS, "planted"), installed=False)


@pytest.fixture
def globals_unharmed() -> Iterator[None]:
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype(), random.getstate()
    yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.get_default_dtype(), random.getstate()) == before[1:]


@pytest.mark.usefixtures("globals_unharmed")
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_caught_and_named(name: str, infested: Registry) -> None:
    bad = PLANTED[name]
    told = problems(infested.entry(bad.kind, name), infested)
    assert any(bad.says in problem for problem in told), told
    assert all(problem.startswith(f"{bad.kind} {name!r} of planted ") for problem in told)


def test_one_fault_is_told_once(infested: Registry) -> None:
    for name in ("mutating", "whole", "raising", "overdue", "forgetful"):
        assert len(problems(infested.entry(PLANTED[name].kind, name), infested)) == 1


# Rehearsals.


@pytest.mark.usefixtures("globals_unharmed")
@pytest.mark.parametrize("name", IN_TREE.names("method"))
def test_every_method_can_be_rehearsed(name: str) -> None:
    rehearse(IN_TREE.entry("method", name).value, IN_TREE)


SOUND = {
    "dense": DENSE,
    "shrunk": DENSE_SMALL,
    "never": STATIC,
    "sparser than the small network could be": replace(SET, allocation=part("erk", density=0.001)),
    "layers by name": replace(SET, allocation=part("explicit", layers={"trunk.weight": 0.1})),
    "no event within the plan": replace(SET, schedule=part("periodic", every=10**7)),
    "gradual": replace(SET, budget=part("cubic", start=1.0)),
    "gradual, in updates and shares": replace(SET, budget=part("cubic", begin=600_000, end=0.8)),
    "one cut and no swap": replace(SET, schedule=part("never"), budget=part("at_once", at=0.5)),
    "by network": replace(SET, grow=part("mixture"), swap_scope="network", scope="network"),
    "spread": replace(SET, spread=part("by_survivors")),
    "clock of the optimiser": replace(RIGL, clock="optimizer", moments=part("warm")),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_method_passes_its_rehearsal(name: str) -> None:
    rehearse(SOUND[name], IN_TREE)


@pytest.mark.parametrize("total", [0, 1, 10, 3_000_000])
def test_a_rehearsal_fits_any_plan(total: int) -> None:
    rehearse(RIGL, IN_TREE, total=total)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prune": part("raising")}, "prune 'raising' of planted raised ZeroDivisionError"),
        ({"prune": part("leaving")}, "prune 'leaving' of planted raised SystemExit"),
        ({"prune": part("demanding", neighbours=1)}, "prune 'demanding' of planted raised ValueError"),
        ({"grow": part("unbounded")}, "grow 'unbounded' of planted gave"),
        ({"grow": part("drawing")}, "grow 'drawing' of planted changed torch's global random state"),
        ({"born": part("named")}, "born 'named' of planted gave str 'zero'"),
        ({"spread": part("owing")}, "spread 'owing' of planted gave"),
        ({"schedule": part("overdue")}, "schedule 'overdue' of planted gave float 1.5 at step 10"),
        ({"budget": part("emptying")}, "budget 'emptying' of planted gave float 0.0"),
        ({"allocation": part("forgetful")}, "allocation 'forgetful' of planted gave densities for"),
        ({"allocation": part("uniform", density=1.5)}, "allocation 'uniform' of sparsity.allocation raised ValueError"),
        ({"eligible": part("misspelt")}, "eligible 'misspelt' of planted gave 'hidden.0.wieght'"),
        ({"target": part("soft")}, "target 'soft' of planted gave a torch.float32 tensor"),
        ({"moments": part("flipping")}, "moments 'flipping' of planted gave negative values"),
        ({"born": part("as_stepped")}, "born = 'as_stepped' takes the value of the optimiser's dense step"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_rehearsal_names_the_part_that_fails_and_its_plugin(
    change: dict[str, Any], says: str, infested: Registry
) -> None:
    with pytest.raises(ValueError) as refused:
        rehearse(replace(SET, **change), infested)
    assert says in str(refused.value)


def test_a_rehearsal_asks_only_what_would_be_called(infested: Registry) -> None:
    still = replace(STATIC, prune=part("raising"), grow=part("unbounded"), born=part("named"))
    rehearse(still, infested)
    rehearse(replace(still, eligible=part("none"), schedule=part("periodic")), infested)
    with pytest.raises(ValueError, match="prune 'raising'"):
        rehearse(replace(still, budget=part("at_once")), infested)


def test_a_rehearsal_refuses_settings_that_do_not_fit() -> None:
    with pytest.raises(PartError, match="has no setting 'evry'"):
        rehearse(replace(SET, schedule=part("periodic", evry=3)), IN_TREE)
