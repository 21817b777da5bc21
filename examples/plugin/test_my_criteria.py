"""The conformance suite, and one case worked by hand."""

import my_criteria
import torch

from registry import Registry
from sparsity.check import check_part


def test_warm_conforms() -> None:
    registry = Registry(installed=False)
    registry.load_file(my_criteria.__file__)
    assert check_part(registry.entry("prune", "warm"), registry) == []


def test_heat_can_spare_the_smaller_weight() -> None:
    weight, noise = torch.tensor([[0.50, -0.45]]), torch.tensor([[0.0, 1.0]])
    assert torch.equal(my_criteria.warm(weight, noise, heat=0.0), torch.tensor([[0.50, 0.45]]))
    assert torch.allclose(my_criteria.warm(weight, noise, heat=0.1), torch.tensor([[0.50, 0.55]]))
