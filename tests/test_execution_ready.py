"""Kernels are compiled before a run's clock starts, so that no seconds of a table are those of a compiler."""

from __future__ import annotations

import numpy as np
import pytest
from lab import Lab, a_lab, no_figures  # noqa: F401
from test_rl_td3 import agent, batch

import studies.underway
from sparsity import attach
from sparsity.execution import kernels, ready, selection

KERNELS = (kernels.forward, kernels.straight, kernels.backward, kernels.single, selection._cut)


lab = a_lab


def test_training_asks_for_no_kernel_that_was_not_compiled_before_it() -> None:
    ready.compile_kernels()
    before = [len(kernel.signatures) for kernel in KERNELS]
    assert min(before) > 0
    made = agent()
    for learner in made.learners():
        attach(
            learner.module,
            learner.optimizer,
            "set",
            density=0.5,
            execution="sparse",
            target=learner.target,
            schedule={"every": 2},
            name=learner.name,
        )
    for number in range(4):
        made.update(batch(number))
    made.act(np.zeros(4), explore=False)
    assert [len(kernel.signatures) for kernel in KERNELS] == before


def test_a_sparse_run_compiles_before_its_clock_starts_and_says_so_and_a_dense_one_does_not(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    clock = studies.underway.Clock
    monkeypatch.setattr(ready, "are_compiled", lambda: False)
    monkeypatch.setattr(ready, "compile_kernels", lambda: told.append("compiled"))
    monkeypatch.setattr(studies.underway, "Clock", lambda: told.append("clock") or clock())
    answer = lab.grid("dense,set", "--densities", "0.2", "--execution", "sparse")
    assert answer.code == 0, answer.err
    assert told == ["clock", "compiled", "clock", "clock"], "dense, set, random policy"
    (line,) = [line for line in answer.err.splitlines() if "compiles the kernels" in line]
    assert line.startswith("set 0.2")
