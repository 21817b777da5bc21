"""Random numbers of a topology: noise for parts and ties, drawn from a generator of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from numpy.random import SeedSequence
from torch import Tensor

if TYPE_CHECKING:
    from sparsity.execution import Weight


class Noise:
    """Fresh uniform noise in [0, 1) shaped like a weight, for one call of one part or one tie-break."""

    def __init__(self, seed: SeedSequence, device: torch.device) -> None:
        self._generator = torch.Generator(device=device)
        self._generator.manual_seed(int(seed.generate_state(1, dtype="uint64")[0] >> 1))

    def __call__(self, weight: Weight) -> Tensor:
        # In float32 at least: half precision has some hundred numbers in [0, 1), and ties would go by place.
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return torch.rand(weight.dense_shape, generator=self._generator, device=weight.device, dtype=dtype)

    def get_state(self) -> Tensor:
        return self._generator.get_state()

    def set_state(self, state: Tensor) -> None:
        self._generator.set_state(state.cpu())
