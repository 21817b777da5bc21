"""The conformance suite, and a case worked by hand."""

import torch
import warm

from sparsity.check import assert_conforms


def test_it_conforms() -> None:
    assert_conforms(warm)


def test_heat_can_spare_the_smaller_weight() -> None:
    weight, noise = torch.tensor([[0.50, -0.45]]), torch.tensor([[0.0, 1.0]])
    assert torch.equal(warm.warm(weight, noise, heat=0.0), torch.tensor([[0.50, 0.45]]))
    assert torch.allclose(warm.warm(weight, noise, heat=0.1), torch.tensor([[0.50, 0.55]]))
