"""Criteria that ask how active units are: by hand, in both executions, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from numpy.random import SeedSequence
from test_rl_td3 import batch
from toys_sparse import EXECUTIONS, Agents, Layered, assert_equal
from toys_sparsity import World

from registry import part
from rl.activity import unit_scores
from rl.sac import sac
from rl.td3 import td3
from sparsity import SET, Sparsifier
from sparsity.activity import Activity
from sparsity.change import Change
from sparsity.prune import dormancy
from sparsity.published import NE

CPU = torch.device("cpu")
METHOD = replace(
    SET, prune=part("dormancy"), allocation=part("uniform", density=0.5), readmit=False,
    schedule=part("periodic", fraction=0.4, every=2),
)  # fmt: skip


def test_connections_of_dormant_units_leave_first_and_the_smallest_of_a_unit_first() -> None:
    weight = torch.tensor([[1.0, -3.0], [0.5, 2.0], [0.1, 0.2]])
    scores = dormancy(weight, torch.tensor([[0.0], [2.5], [0.5]]))
    assert scores.flatten().argsort().tolist() == [0, 1, 4, 5, 2, 3]
    assert dormancy(torch.zeros(2, 2), torch.ones(2, 1)).tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("build", [td3, sac])
@pytest.mark.parametrize("analytic", [True, False])
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_the_activity_is_that_of_the_batch_that_was_just_learnt_from(
    build: Any, analytic: bool, execution: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against ReDo's score of the critics, as they are after the step, on that batch."""
    agent = build(4, 2, 0, CPU, torch.float64, actor_hidden=(9, 8), critic_hidden=(9, 8), analytic=analytic)
    critic = agent.learners()[0]
    sparsifier = Sparsifier(critic, METHOD, seed=SeedSequence(0), total=20, execution=execution)
    told: list[dict[str, torch.Tensor]] = []
    expected: list[list[torch.Tensor]] = []
    measured = Activity.told

    def seen(self: Activity, weights: Any) -> dict[str, torch.Tensor]:
        told.append(measured(self, weights))
        return told[-1]

    monkeypatch.setattr(Activity, "told", seen)
    hooked = Change.__call__

    def changing(self: Change, fraction: float) -> Any:
        expected.append([unit_scores(x) for x in agent.critics.stack.activations((now.observation, now.action))])
        return hooked(self, fraction)

    monkeypatch.setattr(Change, "__call__", changing)
    for number in range(4):
        now = batch(number, torch.float64)
        agent.update(now)
    assert len(told) == len(expected) == 2
    for mine, theirs in zip(told, expected, strict=True):
        for layer, scores in zip(("hidden.0.weight", "hidden.1.weight"), theirs, strict=True):
            assert torch.allclose(mine[layer].squeeze(-1), scores, atol=1e-12)
    sparsifier.detach()


def test_rows_that_ask_are_the_same_run_in_both_executions() -> None:
    masked, sparse = (Agents(METHOD, execution) for execution in EXECUTIONS)
    for number in range(20):
        masked.do(number)
        sparse.do(number)
    assert_equal(masked, sparse)
    assert len(masked.events) == 20


def test_dead_units_lose_their_connections_first() -> None:
    cut = replace(METHOD, schedule=part("never"), budget=part("at_once", start=1.0, at=1),
                  allocation=part("uniform", density=0.75))  # fmt: skip
    other = td3(4, 2, 0, CPU, torch.float64, actor_hidden=(9, 8), critic_hidden=(40, 8))
    with torch.no_grad():
        other.critics.hidden[0].bias[:, :10] = -100.0
    sparse = Sparsifier(other.learners()[0], cut, seed=SeedSequence(0), total=20)
    other.update(batch(0, torch.float64))
    mask = sparse.masks["hidden.0.weight"]
    assert not mask[:, :10].any(), "ten of forty units are dead, and a quarter of the connections leaves"
    assert mask[:, 10:].all()


def test_nobody_remembers_inputs_but_before_an_event() -> None:
    run = Agents(METHOD, "masked", policy_delay=1)
    stack: Any = run.agent.critics.stack
    remembers = []
    for number in range(4):
        remembers.append(stack.remembers)
        run.do(number)
    assert remembers == [False, True, False, True]
    plain = Agents(SET, "masked")
    plain.do(0)
    assert plain.agent.critics.stack.remembered is None  # type: ignore[attr-defined]


def test_a_network_that_tells_nothing_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"prune 'dormancy' .* which Sequential does not tell: it needs a `stack`"):
        World(METHOD, total=10)
    twin = Layered(None, "masked")
    with pytest.raises(ValueError, match="does not tell"):
        Sparsifier(twin.learners[0], NE, seed=SeedSequence(0), total=10)
