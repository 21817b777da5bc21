"""A thousand updates of TD3 and SAC, dense and sparse, against an independent reference: masks equal exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
import torch
from numpy.random import SeedSequence

from registry import part
from rl import Batch, td3
from rl.sac import sac
from sparsity import DS, RIGL, SET, Method, Sparsifier

CPU = torch.device("cpu")
UPDATES, EVERY, FRACTION, DENSITY, RATE = 1000, 50, 0.3, 0.5, 1e-3
SIZES = (8, 2)
HIDDEN = (24, 16)


def batches(count: int = 40, size: int = 32) -> list[Batch]:
    """Fixed ones, drawn once."""
    draw = np.random.default_rng(5)
    columns = [
        (draw.normal(size=(size, SIZES[0])), draw.uniform(-1, 1, (size, SIZES[1])), draw.normal(size=size),
         draw.normal(size=(size, SIZES[0])), draw.integers(2, size=size))
        for _ in range(count)
    ]  # fmt: skip
    return [Batch(*(torch.tensor(column, dtype=torch.float64) for column in row)) for row in columns]


AGENTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "TD3": (td3, reference.TD3, {}),
    "SAC": (sac, reference.SAC, {}),
    "SAC, fixed temperature, hard targets": (
        sac, reference.SAC,
        {"temperature": 0.2, "learned_temperature": False, "tau": 1.0, "target_every": 30, "initial": "xavier"},
    ),
}  # fmt: skip
METHODS: dict[str, Method] = {"set": SET, "rigl": replace(RIGL, eligible=part("all")), "ds": DS}


def sparse(name: str) -> Method:
    """The row with a density that leaves whole numbers of connections, and an event every 50 updates."""
    return replace(
        METHODS[name],
        allocation=part("uniform", density=DENSITY),
        initial=part("random"),
        schedule=part("periodic", fraction=FRACTION, every=EVERY),
    )


@pytest.mark.parametrize("execution", ["masked", "sparse"])
@pytest.mark.parametrize("method", ["dense", "set", "rigl", "ds"])
@pytest.mark.parametrize("kind", AGENTS)
def test_a_thousand_updates_equal_the_reference(kind: str, method: str, execution: str) -> None:
    if method == "dense" and execution == "sparse":
        pytest.skip("dense networks have one execution")
    build, refer, settings = AGENTS[kind]
    agent = build(
        *SIZES, 0, CPU, torch.float64, learning_rate=RATE, actor_hidden=HIDDEN, critic_hidden=HIDDEN, **settings
    )
    other = refer(agent, rate=RATE)
    sparsifiers: dict[str, Sparsifier] = {}
    history: dict[str, list[dict[str, torch.Tensor]]] = {"critic": [], "actor": []}
    for number, learner in enumerate(agent.learners() if method != "dense" else ()):
        seed = SeedSequence(number)
        mine: Any = getattr(other, learner.name)
        generator = torch.Generator().manual_seed(int(seed.generate_state(1, dtype="uint64")[0] >> 1))
        layers = [0, 2, 4] if method == "rigl" else [0, 2]
        mine.topology = reference.Topology(method, layers, DENSITY, EVERY, FRACTION, generator)
        mine.topology.start(mine.nets, mine.targets)
        name = learner.name
        sparsifiers[name] = Sparsifier(
            learner, sparse(method), seed=seed, total=UPDATES, execution=execution,  # type: ignore[arg-type]
            on_event=lambda _, name=name: history[name].append(sparsifiers[name].masks),
        )  # fmt: skip

    fixed = batches()
    for update in range(UPDATES):
        agent.update(fixed[update % len(fixed)])
        other.update(fixed[update % len(fixed)])

    for name, sparsifier in sparsifiers.items():
        events = getattr(other, name).topology.events
        assert len(events) == len(history[name]) == UPDATES // EVERY
        for mine, theirs in zip(history[name], events, strict=True):
            for (layer, mask), (_, expected) in zip(mine.items(), sorted(theirs.items()), strict=True):
                assert np.array_equal(mask.numpy().reshape(expected.shape), expected), (name, layer)
        assert sparsifier.execution == execution
    for learner in agent.learners():
        expected = getattr(other, learner.name)
        assert_equal(learner.module, expected.nets)
        if learner.target is not None:
            assert_equal(learner.target.module, expected.targets)
    if kind.startswith("SAC"):
        assert agent.log_temperature.item() == pytest.approx(float(other.temperature.p[0][0]), abs=1e-9)


def assert_equal(module: Any, nets: list[reference.Net]) -> None:
    for number, (name, value) in enumerate(module.state_dict().items()):
        whole = (value.to_dense() if value.is_sparse else value).numpy()
        expected = np.stack([net.p[number] for net in nets])
        assert np.allclose(whole.reshape(expected.shape), expected, rtol=0, atol=1e-9), name
