"""Recorded float32 states, each stepped once by both executions: the same step, but for the last digits.

Running free in float32 any two implementations part ways after some events; from one state they may not.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_rl_td3 import agent
from torch import Tensor
from toys_sparse import RULES, SERVED, Agents, dense, swapping

from registry import part
from sparsity import Method

METHODS = {
    "static": SERVED["static"],
    "set": swapping(SERVED["set"], 2),
    "rigl": replace(swapping(SERVED["rigl"], 2), target=RULES["mask"]),
    "rigl_after": replace(swapping(SERVED["rigl_after"], 3), target=RULES["drift"]),
    "ds": replace(swapping(SERVED["ds"], 2, 0.2), target=RULES["nonzero"]),
    "gmp": replace(SERVED["gmp"], budget=part("cubic", begin=1, end=33, every=2)),
    "granet": replace(SERVED["granet"], budget=part("cubic", start=0.7, begin=1, end=33, every=2)),
}


class Recorded(Agents):
    """A float32 agent at TD3's own learning rate, of a width at which sums are long enough to round."""

    def __init__(self, method: Method, execution: str, width: int) -> None:
        self.agent = agent(0, torch.float32, actor_hidden=(width, width), critic_hidden=(width, width))
        self.learners, self.dtype = self.agent.learners(), torch.float32
        self.attach(method, execution)

    def magnitudes(self, name: str, which: int) -> Tensor:
        return dense(self.learners[which].module.state_dict()[name]).abs()


def compare(masked: Recorded, sparse: Recorded, tolerance: float) -> int:
    """Weights equal where both have them; the connections that they chose apart, if their magnitudes tie."""
    apart = 0
    for number, (one, two) in enumerate(zip(masked.sparsifiers, sparse.sparsifiers, strict=True)):
        others = two.masks
        for name, mask in one.masks.items():
            differ = mask ^ others[name]
            if differ.any():
                apart += int(differ.sum())
                kept = torch.cat([run.magnitudes(name, number)[differ] for run in (masked, sparse)])
                kept = kept[kept > 0]
                assert len(kept) == 0 or kept.max() - kept.min() <= tolerance, f"{name} chose what does not tie"
    others_by_name = dict(sparse.tensors())
    for name, tensor in masked.tensors():
        if " online " in name or " slow " in name:
            difference = (tensor - others_by_name[name]).abs()
            assert int((difference > tolerance).sum()) <= apart, f"{name}: {difference.max()}"
    return apart


def forced(method: Method, states: int, width: int) -> tuple[int, int]:
    """Step so many states in both; how many connections there were to choose, and how many were chosen apart."""
    teacher, *pupils = (Recorded(method, execution, width) for execution in ("masked", "masked", "sparse"))
    chosen = apart = 0
    for number in range(states):
        if number % 40 == 0:  # Schedules and budgets are over by then: begin again, from other batches.
            teacher = Recorded(method, "masked", width)
        state: Any = teacher.saved()
        for run in pupils:
            run.load(copy.deepcopy(state))  # Torch takes moments without copying them.
            run.do(1000 + number)
        teacher.do(1000 + number)
        apart += compare(pupils[0], pupils[1], 1e-5)
        chosen += sum(d.active for s in teacher.sparsifiers for d in s.densities())
    return chosen, apart


@pytest.mark.parametrize("name", METHODS)
def test_a_recorded_state_is_stepped_alike(name: str) -> None:
    chosen, apart = forced(METHODS[name], 40, 24)
    assert apart <= 1e-4 * chosen


@pytest.mark.reliability
@pytest.mark.parametrize("width", [24, 96])
@pytest.mark.parametrize("name", METHODS)
def test_thousands_of_recorded_states_are_stepped_alike(name: str, width: int) -> None:
    chosen, apart = forced(METHODS[name], 400, width)
    assert apart <= 1e-4 * chosen
