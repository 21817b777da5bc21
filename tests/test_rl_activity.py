"""What activations tell, by hand; dense and truly sparse networks put out the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence

from rl.activity import active_share, dead_share, dormant_share, effective_rank, unit_scores
from rl.sac import sac
from sparsity import SET, Sparsifier

H = torch.tensor([[[1.0, 0.0, 4.0, 0.05], [3.0, 0.0, 0.0, 0.15]]])
"""One network, two samples, four units: means 2, 0, 2 and 0.1, whose mean is 1.025."""


def test_the_measures_by_hand() -> None:
    assert unit_scores(H)[0].tolist() == pytest.approx([2 / 1.025, 0, 2 / 1.025, 0.1 / 1.025])
    assert dormant_share([H]) == 0.5  # 0 and 0.098
    assert dormant_share([H], tau=0.09) == 0.25
    assert dead_share([H]) == 0.25
    assert active_share([H]) == 5 / 8
    assert dead_share([H, torch.zeros(1, 2, 4)]) == 5 / 8
    assert unit_scores(torch.zeros(1, 2, 3)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(("values", "rank"), [([1, 1, 1, 1], 4), ([100, 1, 0.1, 0.1], 2), ([1, 0, 0, 0], 1)])
def test_the_effective_rank_is_of_singular_values(values: list[float], rank: int) -> None:
    """98 % and 99.8 % of the sum are reached by one and two of the second row's."""
    generator = np.random.default_rng(0)
    left, right = (np.linalg.qr(generator.normal(size=(n, 4)))[0] for n in (20, 6))
    features = torch.from_numpy(left @ np.diag(values) @ right.T)
    assert effective_rank([features.unsqueeze(0)]) == rank
    assert effective_rank([features.expand(3, -1, -1)]) == rank


def test_a_truly_sparse_network_puts_out_what_the_masked_one_does() -> None:
    inputs = torch.randn(37, 4, dtype=torch.float64), torch.randn(37, 2, dtype=torch.float64)
    seen = []
    for execution in ("masked", "sparse"):
        agent = sac(4, 2, 0, torch.device("cpu"), torch.float64, actor_hidden=(9, 7), critic_hidden=(9, 7))
        for learner in agent.learners():
            Sparsifier(learner, SET, seed=SeedSequence(0), execution=execution)  # type: ignore[arg-type]
        seen.append([*agent.critics.stack.activations(inputs), *agent.actor.stack.activations(inputs[:1])])
    for masked, sparse in zip(*seen, strict=True):
        assert torch.allclose(masked, sparse, atol=1e-12)
    assert [tuple(layer.shape) for layer in seen[0]] == [(2, 37, 9), (2, 37, 7), (1, 37, 9), (1, 37, 7)]
