"""Methods that are what they are by their start: SynFlow, and first weights scaled to the fan-in that is left."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from byhand import Still
from numpy.random import SeedSequence
from toys_sparse import EXECUTIONS, Agents, assert_equal
from toys_sparsity import REGISTRY

from registry import Registry, part
from rl.deferred import deferring
from rl.sac import sac
from sparsity import SET, Method, Sparsifier
from sparsity.execution.choice import needs_dense
from sparsity.initial import synflow
from sparsity.published import STATIC_SCALED, SYNFLOW
from sparsity.values import unit_scaled

CPU = torch.device("cpu")


# SynFlow.


def by_autograd(network: dict[str, torch.Tensor], eligible: tuple[str, ...], kept: int, rounds: int) -> dict[str, Any]:
    """Tanaka et al. 2020, Algorithm 1, with autograd, for one member; the mask of every eligible weight."""
    masks = {name: torch.ones_like(network[name], dtype=torch.float64) for name in network}
    size = sum(network[name].numel() for name in eligible)
    for k in range(1, rounds + 1):
        weights = {n: (w.double().abs() * masks[n]).requires_grad_() for n, w in network.items()}
        x = torch.ones(1, next(iter(network.values())).shape[1], dtype=torch.float64)
        for number, weight in enumerate(weights.values()):
            x = x @ weight.T
            x = torch.relu(x) if number < len(weights) - 1 else x
        x.sum().backward()
        scores = torch.cat([(weights[n].grad * weights[n].detach()).abs().flatten() for n in eligible])  # type: ignore[operator]
        alive = torch.cat([masks[n].flatten() for n in eligible])
        left = kept if k == rounds else round(size * (kept / size) ** (k / rounds))
        chosen = torch.zeros(len(scores), dtype=torch.bool)
        chosen[torch.where(alive > 0, scores, -1.0).argsort(descending=True, stable=True)[:left]] = True
        for name, piece in zip(eligible, chosen.split([network[n].numel() for n in eligible]), strict=True):
            masks[name] = piece.view_as(network[name]).double()
    return {name: masks[name].bool() for name in eligible}


def drawn(seed: int, members: int, *sizes: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pairs = pairwise(sizes)
    return {f"{i}.weight": torch.randn(members, out, ins, generator=generator) for i, (ins, out) in enumerate(pairs)}


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.03])
@pytest.mark.parametrize("hidden", [True, False])
def test_synflow_is_its_algorithm_by_autograd(members: int, share: float, hidden: bool) -> None:
    network = drawn(3, members, 7, 12, 10, 3)
    eligible = tuple(network)[:-1] if hidden else tuple(network)
    kept = round(share * sum(network[name][0].numel() for name in eligible))
    got = synflow(network, eligible, kept, rounds=20)
    for member in range(members):
        one = {name: weight[member] for name, weight in network.items()}
        expected = by_autograd(one, eligible, kept, 20)
        for name in eligible:
            assert torch.equal(got[name][member], expected[name]), name
        assert sum(int(got[name][member].sum()) for name in eligible) == kept


def test_synflow_by_hand() -> None:
    """Two layers, 2 -> 2 -> 1. What flows through the weights of the first is |w| times what leads on, 1 and 10:
    1, 2 and 30, 0; through the second 1 x (1 + 2) = 3 and 10 x (3 + 0) = 30. Three of six are kept: 30, 30, 3."""
    network = {"a": torch.tensor([[[1.0, -2.0], [3.0, 0.0]]]), "b": torch.tensor([[[-1.0, 10.0]]])}
    masks = synflow(network, ("a", "b"), 3, rounds=1)
    assert masks["a"].int().tolist() == [[[0, 0], [1, 0]]]
    assert masks["b"].int().tolist() == [[[1, 1]]]
    again = synflow(network, ("a", "b"), 2, rounds=2)
    assert again["a"].int().tolist() == [[[0, 0], [1, 0]]]
    assert again["b"].int().tolist() == [[[0, 1]]], "scored anew, the path that led nowhere is cut"


def test_no_layer_is_cut_through_where_magnitude_would_cut_one() -> None:
    """A layer of small weights: the largest 2 % of the network are all in the others."""
    network = drawn(0, 1, 20, 40, 40, 10)
    network["1.weight"] *= 1e-3
    kept = round(0.02 * sum(w.numel() for w in network.values()))
    masks = synflow(network, tuple(network), kept)
    assert all(bool(mask.any()) for mask in masks.values())
    sizes = torch.cat([w.abs().flatten() for w in network.values()])
    threshold = sizes.sort(descending=True).values[kept - 1]
    assert not bool((network["1.weight"].abs() >= threshold).any())
    flow = torch.ones(1, 20, 1, dtype=torch.float64)
    for name, weight in network.items():
        flow = (weight.abs().double() * masks[name]) @ flow
    assert float(flow.sum()) > 0, "something still flows from inputs to outputs"


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_learner_starts_with_it_and_its_slow_copy_too(execution: str) -> None:
    run = Agents(replace(SYNFLOW, allocation=part("erk", density=0.1)), execution)
    fresh = Agents(replace(SYNFLOW, eligible=part("none")), "masked")
    for each, plain in zip(run.sparsifiers, fresh.learners, strict=True):
        whole = {n: p.detach() for n, p in plain.module.named_parameters() if n.endswith("weight")}
        network = {n: w if w.dim() == 3 else w.unsqueeze(0) for n, w in whole.items()}
        kept = sum(int(mask.sum()) for mask in each.masks.values()) // len(next(iter(network.values())))
        expected = synflow(network, tuple(network), kept)
        for name, mask in each.masks.items():
            assert torch.equal(mask.view_as(expected[name]), expected[name])
        assert all(torch.equal(slow & each.masks[n], slow) for n, slow in each.target_masks().items())
    before = [each.masks for each in run.sparsifiers]
    for number in range(5):
        run.do(number)
    assert all(torch.equal(m[n], each.masks[n]) for m, each in zip(before, run.sparsifiers, strict=True) for n in m)


def test_weights_that_are_drawn_later_have_the_same_topology() -> None:
    method = replace(SYNFLOW, allocation=part("erk", density=0.2))
    masks = []
    for later in (False, True):
        if later:
            with deferring():
                agent = sac(4, 2, 0, CPU, torch.float32, actor_hidden=(9, 8), critic_hidden=(9, 8))
        else:
            agent = sac(4, 2, 0, CPU, torch.float32, actor_hidden=(9, 8), critic_hidden=(9, 8))
        masks.append([
            Sparsifier(each, method, seed=SeedSequence(0), execution="sparse").masks for each in agent.learners()
        ])  # fmt: skip
    for one, other in zip(*masks, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_network_that_is_no_chain_is_refused() -> None:
    network = {"a": torch.ones(1, 4, 3), "b": torch.ones(1, 2, 5)}
    with pytest.raises(ValueError, match="b reads 5 numbers and a puts out 4"):
        synflow(network, ("a", "b"), 3)
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        synflow(drawn(0, 1, 3, 3), ("0.weight",), 3, rounds=0)


# Scaled first weights.


def test_each_unit_is_scaled_to_what_enters_it() -> None:
    weight = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert unit_scaled(weight, mask).tolist() == [[1.0] * 4, [4.0] * 4, [6.0] * 4]


@pytest.mark.parametrize("density", [0.5, 0.1])
def test_a_units_input_varies_as_in_the_dense_network(density: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = (torch.rand(2000, 400, generator=generator, dtype=torch.float64) * 2 - 1) / 400**0.5
    mask = torch.rand(2000, 400, generator=generator) < density
    x = torch.randn(400, 50, generator=generator, dtype=torch.float64)
    variances = [((w * mask) @ x).var().item() for w in (weight, unit_scaled(weight, mask))]
    dense = (weight @ x).var().item()
    assert variances[0] == pytest.approx(density * dense, rel=0.1)
    assert variances[1] == pytest.approx(dense, rel=0.1)


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("later", [False, True])
def test_the_scaled_values_are_those_of_network_and_slow_copy(execution: str, later: bool) -> None:
    method = replace(STATIC_SCALED, allocation=part("uniform", density=0.3))
    plain = sac(4, 2, 0, CPU, torch.float64, actor_hidden=(9, 8), critic_hidden=(9, 8))
    if later and execution == "sparse":
        with deferring():
            agent = sac(4, 2, 0, CPU, torch.float64, actor_hidden=(9, 8), critic_hidden=(9, 8))
    else:
        agent = sac(4, 2, 0, CPU, torch.float64, actor_hidden=(9, 8), critic_hidden=(9, 8))
    critic, _ = agent.learners()
    sparsifier = Sparsifier(critic, method, seed=SeedSequence(0), execution=execution)  # type: ignore[arg-type]
    values = {n: v.to_dense() if v.is_sparse else v for n, v in critic.module.state_dict().items()}
    assert critic.target is not None
    slow = {n: v.to_dense() if v.is_sparse else v for n, v in critic.target.module.state_dict().items()}
    for name, mask in sparsifier.masks.items():
        entering = mask.sum(-1, keepdim=True).clamp(min=1)
        drawn_ = dict(plain.critics.named_parameters())[name].detach()
        expected = torch.where(mask, drawn_ * (mask.shape[-1] / entering).sqrt(), 0.0)
        assert torch.allclose(values[name], expected, atol=1e-12)
        assert torch.equal(values[name], slow[name])
    head = dict(plain.critics.named_parameters())["head.weight"]
    assert torch.equal(values["head.weight"], head.detach())


def test_a_network_trains_on_from_scaled_values_alike_in_both_executions() -> None:
    method = replace(SET, allocation=part("erk", density=0.3), weights=part("unit_scaled"),
                     schedule=part("periodic", fraction=0.3, every=4))  # fmt: skip
    masked, sparse = (Agents(method, execution) for execution in EXECUTIONS)
    for number in range(20):
        masked.do(number)
        sparse.do(number)
    assert_equal(masked, sparse)


def test_values_that_are_no_values_are_refused() -> None:
    registry = Registry(installed=False)
    entry = registry.entry("weights", "unit_scaled")
    object.__setattr__(entry, "value", lambda weight, mask: weight * float("nan"))
    agent = sac(4, 2, 0, CPU, torch.float32, actor_hidden=(9, 8), critic_hidden=(9, 8))
    with pytest.raises(ValueError, match=r"weights 'unit_scaled' .* gave \d+ scores that are not finite"):
        Sparsifier(agent.learners()[0], STATIC_SCALED, seed=SeedSequence(0), registry=registry)


def test_a_still_network_keeps_what_it_had() -> None:
    world = Still(replace(STATIC_SCALED, eligible=part("all"), allocation=part("uniform", density=0.5),
                          initial=part("magnitude")), [[4.0, 3.0, 2.0, 1.0], [0.1, 5.0, 0.2, 0.3]])  # fmt: skip
    assert world.masks() == [["xxx.", ".x.."]]
    assert world.weights()[0] == [
        [pytest.approx(4 * (4 / 3) ** 0.5), pytest.approx(3 * (4 / 3) ** 0.5), pytest.approx(2 * (4 / 3) ** 0.5), 0],
        [0, 10.0, 0, 0],
    ]


# Every row, in both executions.

ROWS = [n for n in REGISTRY.names("method") if n not in ("dense", "dense_small")]


def hurried(name: str) -> Method:
    """A row with all that it does within sixty updates."""
    row: Method = REGISTRY.entry("method", name).value
    changes: dict[str, Any] = {"allocation": part("uniform", density=0.4)}
    if row.schedule.name in ("periodic", "cosine"):
        keep = {k: v for k, v in row.schedule.settings.items() if k in ("fraction", "floor", "phase")}
        changes["schedule"] = part(row.schedule.name, **keep, every=5, until=1.0)
    elif row.schedule.name == "staged":
        fractions = row.schedule.settings.get("fractions", (0.1,) * 4)
        ends = row.schedule.settings.get("ends", (0.25, 0.5, 0.75, 1.0))
        changes["schedule"] = part("staged", fractions=fractions, ends=ends, periods=(3,) * len(fractions))
    elif row.schedule.name == "expanding":
        changes["schedule"] = part("expanding", every=3, exchange=0.05)
    if row.budget.name == "cubic":
        changes["budget"] = row.budget.with_settings(every=6)
    elif row.budget.name == "grow":
        changes["budget"] = part("grow", every=3, gain=0.1)
    elif row.budget.name == "final_cut":
        changes["budget"] = row.budget.with_settings(every=5)
    return replace(row, **changes)


def with_sac(method: Method, execution: str) -> Agents:
    run = Agents(replace(method, eligible=part("none")), "masked")
    run.agent = sac(  # type: ignore[assignment]
        4, 2, 0, CPU, torch.float64, learning_rate=1e-2, tau=0.1, actor_hidden=(16, 12), critic_hidden=(14, 10)
    )
    run.learners = run.agent.learners()
    run.attach(method, execution)
    return run


@pytest.mark.parametrize("build", [Agents, with_sac], ids=["td3", "sac"])
@pytest.mark.parametrize("name", ROWS)
def test_every_row_runs_under_both_agents_and_executions_alike(name: str, build: Any) -> None:
    """No weight outside its mask, as many connections as its events say, and both executions the same run."""
    method = hurried(name)
    runs = [build(method, "masked")]
    if not needs_dense(method.resolved(REGISTRY), REGISTRY):
        runs.append(build(method, "sparse"))
    counts = [{layer.name: layer.active for layer in each.densities()} for each in runs[0].sparsifiers]
    for number in range(40):
        for run in runs:
            run.do(number)
        for learner, each in zip(runs[0].learners, runs[0].sparsifiers, strict=True):
            parameters = dict(learner.module.named_parameters())
            assert all(not bool(parameters[n][~mask].any()) for n, mask in each.masks.items())
    for which, event in runs[0].events:
        for change in event.layers:
            counts[which][change.name] += change.grown - change.dropped
            assert counts[which][change.name] == change.active
    ends = [{layer.name: layer.active for layer in each.densities()} for each in runs[0].sparsifiers]
    assert ends == counts
    if name not in ("static", "static_scaled", "synflow"):
        assert {which for which, _ in runs[0].events} == {0, 1}
    if len(runs) == 2:
        assert_equal(*runs, tolerance=1e-9)
