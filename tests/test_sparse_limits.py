"""What sparse execution does not serve: refused before anything is changed, and left to masked execution by `auto`."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence
from test_rl_td3 import agent
from torch import Tensor, nn
from toys_sparse import Agents, Case, Layered, dense, relu_network
from toys_sparsity import ERK, METHODS, REGISTRY, Copy, Learner

from registry import Registry, hookimpl, part
from registry.tables import DEFAULT_PLUGINS
from rl import Target
from rl.deferred import deferring
from rl.networks import Actor
from sparsity import RIGL, STATIC, Method, Sparsifier
from sparsity.execution.pattern import Pattern, Shape


def everything(mask: Tensor) -> Tensor:
    """A target rule of somebody's plugin."""
    return torch.ones_like(mask)


@hookimpl
def register_target(register: Callable[..., object]) -> None:
    register(everything)


OURS = Registry([p for p in DEFAULT_PLUGINS if p.startswith("sparsity")] + [__name__], installed=False)
THIN = replace(STATIC, allocation=part("erk", density=0.05))


def actor(dtype: torch.dtype = torch.float32, width: int = 64) -> Actor:
    return Actor(4, 2, (width, width), generator=torch.Generator().manual_seed(0), dtype=dtype)


def groups(module: nn.Module) -> Any:
    weights, biases = ([p for p in module.parameters() if (p.dim() > 1) == many] for many in (True, False))
    return [{"params": weights, "weight_decay": 0.1}, {"params": biases}]


def learner(module: nn.Module, parameters: Any = None, target: Any = "default") -> Learner:
    """With an optimiser that has stepped, so that there is more to leave untouched."""
    optimizer = torch.optim.Adam(parameters or module.parameters(), lr=1e-2)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return Learner("net", module, optimizer, Target(module) if target == "default" else target)  # type: ignore[arg-type]


def without_bias() -> nn.Module:
    module = actor()
    module.hidden[0].bias = None
    return module


def tied() -> nn.Module:
    module = actor(width=4)
    module.hidden[1].weight = module.hidden[0].weight
    return module


def frozen() -> nn.Module:
    module = actor()
    module.hidden[0].bias.requires_grad_(False)
    return module


class Scaled(nn.Sequential):
    """A sequence with a forward pass of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * super().forward(x)


class NoTau(Target):
    def __init__(self, online: nn.Module) -> None:
        super().__init__(online)
        del self.tau


def convolved() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 2))


STACKS: dict[str, tuple[Callable[[], Learner], str]] = {
    "groups": (lambda: learner(m := actor(), groups(m)), "several parameter groups"),
    "no bias": (lambda: learner(without_bias()), "weight and a bias in every layer"),
    "tied": (lambda: learner(tied()), "share parameters"),
    "half": (lambda: learner(actor(torch.float16)), "float32 or float64"),
    "bfloat": (lambda: learner(actor(torch.bfloat16)), "float32 or float64"),
    "part": (lambda: learner(m := actor(), list(m.parameters())[:4]), "groups|does not train"),
    "no tau": (lambda: learner(m := actor(), None, NoTau(m)), "no attribute `tau`"),
    "narrow target": (lambda: learner(actor(), None, Target(actor(width=32))), "shaped unlike"),
    "frozen": (lambda: learner(frozen()), "frozen|requires_grad|not train"),
}
OTHERS: dict[str, tuple[Callable[[], Learner], str]] = {
    "tanh": (lambda: learner(nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2))), "ReLU"),
    "relu last": (lambda: learner(nn.Sequential(nn.Linear(4, 9), nn.ReLU())), "the last one Linear"),
    "convolution": (lambda: learner(convolved()), "Linear layers"),
    "no sequence": (lambda: learner(nn.ModuleDict({"a": nn.Linear(4, 9)})), "nn.Sequential"),
    "own forward": (lambda: learner(Scaled(*relu_network())), "nn.Sequential|forward"),
}


def frozen_picture(one: Learner) -> Any:
    """All that an attempt may not change, with the identity of what is changed in place."""
    modules = [one.module, one.target.module]  # type: ignore[union-attr]
    return (
        [[(n, id(p), p.detach().clone().tolist()) for n, p in m.named_parameters()] for m in modules],
        [type(m) for m in modules],
        [[id(p) for p in group["params"]] for group in one.optimizer.param_groups],
        copy.deepcopy([{k: str(v) for k, v in state.items()} for state in one.optimizer.state.values()]),
        len(one.optimizer._optimizer_step_pre_hooks) + len(one.optimizer._optimizer_step_post_hooks),
        [len(m._state_dict_hooks) + len(m._load_state_dict_pre_hooks) for m in modules],
    )


@pytest.mark.parametrize("name", STACKS | OTHERS)
def test_a_learner_that_cannot_be_held_sparsely_is_refused_untouched(name: str) -> None:
    make, reason = (STACKS | OTHERS)[name]
    one, method = make(), replace(STATIC, eligible=part("all"), allocation=part("uniform", density=0.3))
    before = frozen_picture(one)
    with pytest.raises(ValueError, match=reason):
        Sparsifier(one, method, seed=SeedSequence(0), execution="sparse", registry=REGISTRY)
    assert frozen_picture(one) == before


@pytest.mark.parametrize("name", ["groups", "no bias", "half", "bfloat", "no tau", "convolution", "tanh"])
def test_auto_serves_masked_what_cannot_be_held_sparsely(name: str) -> None:
    make, _ = (STACKS | OTHERS)[name]
    one = make()
    method = replace(STATIC, allocation=part("uniform", density=0.3))
    assert Sparsifier(one, method, seed=SeedSequence(0), registry=REGISTRY).execution == "masked"


def test_auto_serves_a_thin_stack_sparsely() -> None:
    assert Sparsifier(learner(actor()), THIN, seed=SeedSequence(0), registry=REGISTRY).execution == "sparse"


METHOD_REASONS: dict[str, tuple[Method, str]] = {
    "keep": (replace(THIN, moments=part("keep")), "moments = 'keep'"),
    "dense": (replace(THIN, optimizer_sees="dense"), "dense gradients"),
    "trace": (replace(THIN, grow=part("toy_average")), "trace 'averaged_gradient'"),
    "released": (METHODS["ds_released"], "dense gradients|moments"),
}


@pytest.mark.parametrize("name", METHOD_REASONS)
def test_a_method_that_needs_dense_tensors_is_refused_untouched_and_auto_is_masked(name: str) -> None:
    method, reason = METHOD_REASONS[name]
    one = learner(actor())
    before = frozen_picture(one)
    with pytest.raises(ValueError, match=reason):
        Sparsifier(one, method, seed=SeedSequence(0), total=40, execution="sparse", registry=REGISTRY)
    assert frozen_picture(one) == before
    assert Sparsifier(one, method, seed=SeedSequence(0), total=40, registry=REGISTRY).execution == "masked"


def test_somebodys_target_rule_is_refused_and_auto_is_masked() -> None:
    one, method = learner(actor()), replace(THIN, target=part("everything"))
    with pytest.raises(ValueError, match="target = 'everything'"):
        Sparsifier(one, method, seed=SeedSequence(0), execution="sparse", registry=OURS)
    assert Sparsifier(one, method, seed=SeedSequence(0), registry=OURS).execution == "masked"


@pytest.mark.parametrize("execution", ["sparse", "masked", "auto"])
def test_a_network_that_is_sparse_already_is_refused_a_second_sparsifier(execution: Any) -> None:
    run = Layered(METHODS["set"], "sparse")
    with pytest.raises(ValueError, match="already"):
        Sparsifier(run.learners[0], METHODS["set"], seed=SeedSequence(0), execution=execution, registry=REGISTRY)


def test_an_optimiser_that_looks_at_whole_parameters_is_refused_as_in_masked_execution() -> None:
    """Adafactor keeps rows and columns of a matrix; of one flat vector it would make something else."""
    module = relu_network(dtype=torch.float32)
    optimizer = torch.optim.Adafactor(module.parameters())
    one = Learner("net", module, optimizer, Copy(module))
    with pytest.raises(ValueError, match="Adafactor"):
        Sparsifier(one, METHODS["set"], seed=SeedSequence(0), execution="sparse", registry=REGISTRY)


def test_learners_that_share_an_optimiser_are_saved_and_resumed() -> None:
    def pair() -> tuple[list[Any], Any]:
        modules = [relu_network(seed=n) for n in (0, 1)]
        optimizer = torch.optim.Adam([p for m in modules for p in m.parameters()], lr=0.01)
        for m in modules:
            one = Learner("net", m, optimizer, Copy(m))
            Sparsifier(one, METHODS["static"], seed=SeedSequence(0), execution="sparse", registry=REGISTRY)
        return modules, optimizer

    (modules, optimizer), (fresh, other) = pair(), pair()
    sum(m(torch.ones(4, 6, dtype=torch.float64)).sum() for m in modules).backward()
    optimizer.step()
    saved = optimizer.state_dict()
    assert len(saved["state"]) == 12
    for mine, theirs in zip(modules, fresh, strict=True):
        theirs.load_state_dict(mine.state_dict())
    other.load_state_dict(saved)
    assert [dense(s["exp_avg"]).tolist() for s in other.state_dict()["state"].values()] == [
        dense(s["exp_avg"]).tolist() for s in saved["state"].values()
    ]


@pytest.mark.parametrize("kind", [Agents, Layered])
def test_a_sparse_network_can_be_printed(kind: Any) -> None:
    run = kind(METHODS["set"], "sparse")
    for learner in run.learners:
        assert type(learner.module).__name__ in repr(learner.module)


def test_a_sparse_network_moves_to_another_precision_and_other_memory() -> None:
    method = replace(RIGL, allocation=ERK, schedule=part("periodic", fraction=0.3, every=3))
    run = Layered(method, "sparse", dtype=torch.float32)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    before = run.module(x)
    run.module.values.data = run.module.values.data.clone()
    assert torch.equal(run.module(x), before)
    run.module.to(torch.float64)
    run.target.module.to(torch.float64)
    run.dtype = torch.float64
    torch.testing.assert_close(run.module(x.double()), before.double())
    run.go(0, 8)
    assert {tensor.dtype for tensor in run.module.state_dict().values()} == {torch.float64}
    run.module.values.data = run.module.values.data[:-1].clone()
    with pytest.raises(ValueError, match="exchanged"):
        run.module(x.double())


def test_a_lagging_copy_moves_to_another_precision() -> None:
    run = Layered(replace(METHODS["set"], target=part("drift")), "sparse", dtype=torch.float32)
    run.go(0, 5)
    x = torch.ones(2, 6)
    before = run.target.module(x)
    run.target.module.to(torch.float64)
    torch.testing.assert_close(run.target.module(x.double()), before.double())


def test_shapes_that_do_not_fit_are_refused_by_the_stack() -> None:
    """Kernels check no bounds: what they are given is checked before."""
    case = Case((5, 9, 1), 2, [np.arange(20), None])
    x = (torch.ones(20, 5, dtype=torch.float64),)
    for bad in (torch.ones(20, 4, dtype=torch.float64), torch.ones(20, 5), torch.ones(5, dtype=torch.float64)):
        with pytest.raises(ValueError, match="reads"):
            case.stack((bad,))
    for shape in ((1, 20, 1), (2, 19, 1), (2, 20, 2)):
        _, tape = case.stack.record(x)
        with pytest.raises((ValueError, RuntimeError)):
            case.stack.pull(tape, torch.ones(shape, dtype=torch.float64))
    for samples in (1, 19):
        with pytest.raises((ValueError, RuntimeError)):
            case.stack.regress(x, torch.ones(samples, dtype=torch.float64))


CRASH = """
import torch
from toys_sparse import Case
case = Case((5, 9, 1), 2, [None, None])
try:
    case.stack((torch.ones(2000, 5, dtype=torch.float64),), 500)
except (ValueError, RuntimeError, IndexError):
    print("refused")
"""


def run(code: str, **environment: str) -> str:
    """In a process of its own, as it may crash."""
    folders = os.pathsep.join(["tests", "."])
    given = {**os.environ, "PYTHONPATH": folders, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=120).stdout


def test_more_copies_than_there_are_do_not_crash_the_process() -> None:
    assert run(CRASH) == "refused\n"


UNCACHED = """
import numba.core.caching as caching
for thing in vars(caching).values():
    if isinstance(thing, type) and hasattr(thing, "_locator_classes"):
        thing._locator_classes = []
import numpy as np, torch
from toys_sparse import Case
case = Case((2, 1), 1, [np.array([1])])
print(case.stack.single(np.ones(2)) == case.dense([torch.ones(1, 2, dtype=torch.float64)]).item())
"""


def test_compiled_code_that_cannot_be_kept_on_disk_is_compiled_anew() -> None:
    assert run(UNCACHED) == "[ True]\n"


@pytest.mark.parametrize(
    "places",
    [
        np.array([3, 2]),
        np.array([2, 2]),
        np.array([-1, 2]),
        np.array([2, 6]),
        np.array([1, 2], np.int32),
        np.array([[1, 2]]),
    ],
)
def test_places_that_no_kernel_may_see_are_refused(places: Any) -> None:
    with pytest.raises(ValueError, match="connections of layer 0"):
        Pattern([Shape(1, 2, 3)], [places])


def test_a_network_whose_weights_are_drawn_late_is_the_same_network() -> None:
    early = Agents(METHODS["set"], "sparse")
    with deferring():
        late = agent(0, torch.float64, learning_rate=1e-2, tau=0.1)
    for number, one in enumerate(late.learners()):
        Sparsifier(
            one, METHODS["set"], seed=SeedSequence([0, number]), total=60, execution="sparse", registry=REGISTRY
        )  # fmt: skip
    for mine, theirs in zip(early.learners, late.learners(), strict=True):
        other = theirs.module.state_dict()
        assert all(torch.equal(dense(t), dense(other[name])) for name, t in mine.module.state_dict().items())
