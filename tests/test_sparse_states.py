"""States of sparse execution: read by either execution, resumed to the bit, and refused where they are damaged."""

from __future__ import annotations

import copy
import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_rl_td3 import agent, batch
from torch import Tensor, nn
from toys_sparse import EXECUTIONS, RULES, SERVED, Agents, Layered, assert_equal, dense, swapping, through_a_file
from toys_sparsity import METHODS

from registry import part
from rl import Target, load_weights, save_weights
from sparsity import Method

SWAPPED = replace(swapping(METHODS["set"], 3), target=RULES["drift"])
WARM = replace(METHODS["warm"], target=RULES["nonzero"])


def resumed(method: Method, one: str, two: str, at: int, updates: int = 9, **chosen: Any) -> tuple[Agents, Agents]:
    """A run, and another that takes its state over at some update; both went on for so many updates."""
    whole, fresh = Agents(method, one, **chosen), Agents(method, two, seed=99, **chosen)
    whole.go(0, at)
    fresh.load(whole.saved())
    whole.events.clear()
    assert_equal(whole, fresh, 0 if one == two else 1e-14)
    whole.go(at, at + updates)
    fresh.go(at, at + updates)
    return whole, fresh


@pytest.mark.parametrize("rule", ["nonzero", "drift"])
@pytest.mark.parametrize("name", SERVED)
def test_two_runs_of_one_seed_are_equal_to_the_bit(name: str, rule: str) -> None:
    one, two = (Agents(replace(SERVED[name], target=RULES[rule]), "sparse", dtype=torch.float32) for _ in range(2))
    one.go(0, 20)
    two.go(0, 20)
    assert_equal(one, two, 0)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 6, 7, 12])
@pytest.mark.parametrize("name", ["set", "rigl", "warm", "gmp", "granet"])
def test_a_sparse_run_resumed_at_any_update_is_the_same_run(name: str, at: int) -> None:
    assert_equal(*resumed(replace(SERVED[name], target=RULES["drift"]), "sparse", "sparse", at), 0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SERVED)
def test_a_sparse_run_resumes_in_the_middle_of_every_method(name: str, rule: str) -> None:
    assert_equal(*resumed(replace(SERVED[name], target=RULES[rule]), "sparse", "sparse", 6), 0)


@pytest.mark.parametrize("at", [0, 2, 3, 5, 6, 9])
@pytest.mark.parametrize(("one", "two"), [EXECUTIONS, EXECUTIONS[::-1]])
@pytest.mark.parametrize("name", ["set", "rigl", "ds", "warm", "gmp", "granet"])
def test_a_state_of_one_execution_goes_on_in_the_other(name: str, one: str, two: str, at: int) -> None:
    """At 3, 6 and 9 newcomers have just been born at 0, and are connections all the same."""
    assert_equal(*resumed(replace(SERVED[name], target=RULES["nonzero"]), one, two, at))


@pytest.mark.parametrize(("one", "two"), [("sparse", "sparse"), EXECUTIONS, EXECUTIONS[::-1]])
def test_connections_that_are_born_at_zero_are_saved_where_nearly_all_are_active(one: str, two: str) -> None:
    method = replace(WARM, allocation=part("uniform", density=0.97), eligible=part("all"))
    for at in (3, 6):
        assert_equal(*resumed(method, one, two, at))


def test_a_target_with_a_tail_is_saved_with_it() -> None:
    run = Agents(SWAPPED, "sparse")
    run.go(0, 12)
    active = [sum(d.active for d in s.densities()) for s in run.sparsifiers]
    slow = [sum(d.active for d in s.target_densities()) for s in run.sparsifiers]
    assert all(a > b for a, b in zip(slow, active, strict=True)), "there is a tail"
    saved = run.saved()["agent"]["learners"]["critic"]["target"]["module"]
    assert sum(int((dense(t) != 0).sum()) for n, t in saved.items() if n.startswith("hidden") and "w" in n) == slow[0]


def test_saved_weights_leave_absent_connections_out_and_are_copies() -> None:
    run = Agents(SWAPPED, "sparse")
    run.go(0, 4)
    state, (masks, _) = run.agent.critics.state_dict(), [s.masks for s in run.sparsifiers]
    before = copy.deepcopy(state)
    for name, mask in masks.items():
        assert state[name].layout == torch.sparse_coo
        assert len(state[name].values()) == mask.sum()
    run.go(4, 9)
    assert all(torch.equal(dense(state[name]), dense(before[name])) for name in state)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("one", EXECUTIONS)
@pytest.mark.parametrize("two", EXECUTIONS)
def test_weights_on_disk_are_read_by_both(one: str, two: str, tmp_path: Path) -> None:
    wrote, read = Agents(SWAPPED, one), Agents(SWAPPED, two, seed=5)
    wrote.go(0, 8)
    save_weights(tmp_path / "weights", wrote.agent)
    load_weights(tmp_path / "weights", read.agent)
    for mine, theirs in zip(wrote.learners, read.learners, strict=True):
        for a, b in ((mine.module, theirs.module), (mine.target.module, theirs.target.module)):
            other = b.state_dict()
            assert all(torch.equal(dense(tensor), dense(other[name])) for name, tensor in a.state_dict().items())


def test_a_larger_module_saves_and_loads_a_sparse_one_within_it() -> None:
    run = Layered(SWAPPED, "sparse")
    run.go(0, 5)
    outer = nn.ModuleDict({"net": run.module})
    state = through_a_file(outer.state_dict())
    assert set(state) == {f"net.{n}.{kind}" for n in (0, 2, 4) for kind in ("weight", "bias")}
    run.go(5, 9)
    outer.load_state_dict(state)
    assert all(torch.equal(dense(tensor), dense(state[name])) for name, tensor in outer.state_dict().items())


def damaged(weight: Tensor, how: str) -> Tensor:
    indices = weight.indices().clone()
    if how == "outside":
        indices[-1, -1] = 99
    elif how == "below":
        indices[-1, 0] = -1
    elif how == "unsorted":
        indices = indices.flip(1)
    elif how == "twice":
        indices[:, 1] = indices[:, 0]
    return torch.sparse_coo_tensor(
        indices, weight.values(), weight.shape, is_coalesced=True, check_invariants=False
    )  # fmt: skip


@pytest.mark.parametrize("where", ["module", "target", "optimizer"])
@pytest.mark.parametrize("how", ["outside", "below", "unsorted", "twice"])
def test_a_damaged_index_is_refused(how: str, where: str) -> None:
    """Kernels read what the index says, so that a wrong one would be a wrong network, or a crash."""
    run, fresh = Agents(SWAPPED, "sparse"), Agents(SWAPPED, "sparse", seed=3)
    run.go(0, 8)
    fresh.go(0, 8)
    state = run.saved()["agent"]
    learner = state["learners"]["critic"]
    box, key = {
        "module": (learner["module"], "hidden.1.weight"),
        "target": (learner["target"]["module"], "hidden.1.weight"),
        "optimizer": (learner["optimizer"]["state"][2], "exp_avg"),
    }[where]
    box[key] = damaged(box[key], how)
    with pytest.raises((ValueError, RuntimeError), match=r"damaged|order|outside"):
        fresh.agent.load_state_dict(state)
    fresh.go(8, 12)  # It still works.


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("hidden", [(14, 11), (14,), (14, 10, 10)])
def test_a_state_of_another_network_is_refused(hidden: tuple[int, ...], execution: str) -> None:
    run = Agents(SWAPPED, "sparse")
    run.go(0, 4)
    other = Agents(SWAPPED, execution, critic_hidden=hidden)
    before = copy.deepcopy(other.agent.critics.state_dict())
    state = run.saved()
    with pytest.raises((ValueError, RuntimeError), match=r"size mismatch|another network|Unexpected|Missing"):
        other.agent.load_state_dict(state["agent"])
    after = other.agent.critics.state_dict()
    if execution == "sparse":  # Torch itself takes what fits before it complains.
        assert all(torch.equal(dense(before[name]), dense(after[name])) for name in before), "nothing was changed"
    with pytest.raises(ValueError, match="of another network"):
        other.sparsifiers[0].load_state_dict(state["sparsifiers"][0])
    other.go(0, 4)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_state_with_a_part_missing_names_what_is_missing(execution: str) -> None:
    """As torch does: the name of the entry that lacks, not one of sparse execution's own."""
    run = Layered(SWAPPED, execution)
    run.go(0, 4)
    state = run.module.state_dict()
    state.pop("2.bias")
    with pytest.raises(RuntimeError, match=r"2\.bias"):
        run.module.load_state_dict(state)


@pytest.mark.parametrize("analytic", [True, False])
def test_a_deep_copy_of_a_sparse_agent_trains_on_by_itself(analytic: bool) -> None:
    run = Agents(replace(METHODS["rigl"], target=RULES["drift"]), "sparse", analytic=analytic)
    run.go(0, 8)
    before = {name: tensor.clone() for name, tensor in run.tensors()}
    copied = copy.deepcopy(run.agent)
    numbers = [batch(n, torch.float64) for n in range(8, 11)]
    figures = [copied.update(one) for one in numbers]
    assert all(torch.equal(before[name], tensor) for name, tensor in run.tensors()), "the original is as it was"
    assert run.agent.update(numbers[0]) == figures[0], "no event came between"


def test_a_target_can_be_made_of_a_sparse_network() -> None:
    run = Agents(METHODS["static"], "sparse")
    run.go(0, 5)
    target = Target(run.agent.actor, tau=1.0)
    run.go(5, 8)
    target.update()
    saved, online = target.module.state_dict(), run.agent.actor.state_dict()
    assert all(torch.equal(dense(saved[name]), dense(online[name])) for name in online)
    observation = torch.ones(3, 4, dtype=torch.float64)
    assert torch.equal(target.module(observation), run.agent.actor(observation).detach())


def test_nothing_as_large_as_a_layer_outlives_an_event() -> None:
    """At a density of 2 % parameters, moments and indices go with the connections, and no dense tensor stays."""
    run = agent(0, torch.float32, actor_hidden=(1024, 1024), critic_hidden=(8, 8), policy_delay=1)
    held = Agents.__new__(Agents)
    held.agent, held.learners, held.dtype = run, run.learners()[1:], torch.float32
    method = replace(METHODS["rigl_after"], allocation=part("erk", density=0.02), target=RULES["mask"])
    held.attach(replace(method, eligible=part("hidden")), "sparse")
    held.go(0, 4)
    assert held.events
    gc.collect()
    size = 1024 * 1024
    large = [
        tuple(thing.shape)
        for thing in gc.get_objects()
        if type(thing) in (Tensor, nn.Parameter, np.ndarray) and thing.size() != () and _bytes(thing) >= size
    ]
    assert not large, large
    (parameter,) = run.actor.parameters()
    moments = [v for v in run.actor_optimizer.state[parameter].values() if v.dim()]
    nbytes = 4 * (parameter.numel() + sum(m.numel() for m in moments)) + run.actor.stack.pattern.nbytes
    assert nbytes < 0.15 * 3 * 4 * size, "of the dense weights and moments"


def _bytes(thing: Any) -> int:
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    return 0 if thing.device.type == "meta" else thing.untyped_storage().nbytes()
