"""Randomness by purpose: every consumer draws from a stream of its own, so that one more shifts no other."""

from typing import Final

import numpy as np
import torch

PURPOSES: Final[dict[str, int]] = {
    "networks": 0,
    "exploration": 1,
    "target_noise": 2,
    "replay": 3,
    "warmup": 4,
    "environment": 5,
    "evaluation": 6,
    "topology": 7,
    "policy_noise": 8,
    "diagnostics": 9,
    "play": 10,
}
"""Numbers are part of every result: add new ones, never renumber."""

SEEDS: Final = 2**32
"""Seeds are integers below this, the range that gymnasium, NumPy and torch all take."""


def stream(seed: int, purpose: str, *more: int) -> np.random.SeedSequence:
    """SeedSequence(seed, spawn_key=(PURPOSES[purpose], *more)), independent of all other purposes."""
    if purpose not in PURPOSES:
        raise ValueError(f"no random stream named {purpose!r}. Known: {', '.join(PURPOSES)}")
    if not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise ValueError(f"seed is {seed!r}; it must be an integer from 0 to {SEEDS - 1}")
    return np.random.SeedSequence(seed, spawn_key=(PURPOSES[purpose], *more))


def numpy_generator(sequence: np.random.SeedSequence) -> np.random.Generator:
    """A PCG64 generator, named so that a change of NumPy's default changes no result."""
    return np.random.Generator(np.random.PCG64(sequence))


def torch_generator(sequence: np.random.SeedSequence, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device`, seeded with 64 bits of the sequence."""
    return torch.Generator(device=device).manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def env_seed(sequence: np.random.SeedSequence) -> int:
    """A seed for `env.reset(seed=...)`, from 0 to 2**32 - 1."""
    return int(sequence.generate_state(1, np.uint32)[0])
