"""Streams of randomness: apart by purpose, equal by seed, and nothing global."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from rl import PURPOSES, env_seed, numpy_generator, stream, torch_generator


def test_every_purpose_seed_and_index_has_a_stream_of_its_own() -> None:
    keys = [(seed, purpose, *more) for seed in (0, 1) for purpose in PURPOSES for more in ((), (0,), (1,))]
    draws = {tuple(numpy_generator(stream(*key)).integers(2**32, size=4)) for key in keys}
    assert len(draws) == len(keys)


def test_equal_streams_give_equal_numbers() -> None:
    one, two = (torch_generator(stream(3, "target_noise")) for _ in range(2))
    assert torch.equal(torch.randn(5, generator=one), torch.randn(5, generator=two))
    assert env_seed(stream(3, "evaluation", 2)) == env_seed(stream(3, "evaluation", 2))
    assert 0 <= env_seed(stream(2**32 - 1, "evaluation")) < 2**32


def test_streams_do_not_move_when_purposes_are_added() -> None:
    assert list(numpy_generator(stream(0, "replay")).integers(1000, size=3)) == list(
        np.random.Generator(np.random.PCG64(np.random.SeedSequence(0, spawn_key=(3,)))).integers(1000, size=3)
    )


@pytest.mark.parametrize("seed", [-1, 2**32, 3.0, "3"])
def test_seeds_out_of_range_are_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="from 0 to 4294967295"):
        stream(seed, "replay")


def test_an_unknown_purpose_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no random stream named 'reply'. Known: networks"):
        stream(0, "reply")


def test_importing_rl_imports_no_simulator_and_no_plots() -> None:
    heavy = "{'gymnasium', 'mujoco', 'matplotlib', 'pandas', 'sparsity', 'studies'}"
    code = f"import rl, sys; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
