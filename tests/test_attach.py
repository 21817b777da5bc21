"""`attach`: what it takes, what it makes sparse, what it refuses."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence
from test_rl_td3 import agent
from torch import nn
from toys_attach import EVERY, adam, attached, batches, counts, is_sparse, network, short_plan, train

from registry import PartError, default_registry, part
from sparsity import RIGL, SET, Sparsifier, attach

REFUSED = {"dense_small": "built narrow", "ne": "needs a `stack`"}
METHODS = [name for name in default_registry().names("method") if name not in (*REFUSED, "dense")]

# What it takes.


@short_plan
def test_three_lines_make_a_module_sparse() -> None:
    module = network()
    optimizer = adam(module)
    sparsifier = attach(module, optimizer, method="rigl", density=0.1, total=100)
    before = [id(p) for p in module.parameters()]
    train(module, optimizer, batches(4, 8), 5)
    assert [id(p) for p in module.parameters()] == before
    assert sum(counts(sparsifier).values()) == round(0.1 * (8 * 16 + 16 * 16 + 16))
    assert is_sparse(module, sparsifier)


def test_the_methods_that_cannot_be_attached_are_these() -> None:
    module = network()
    for name, says in REFUSED.items():
        with pytest.raises(ValueError, match=says):
            attach(module, adam(module), name, density=0.5)


@short_plan
@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_density(name: str) -> None:
    module = network()
    with attached(module, None, name, density=0.4, total=100) as sparsifier:
        size = sum(layer.size for layer in sparsifier.densities())
        assert sparsifier.method.allocation.settings["density"] == 0.4
        if name in ("set", "rigl", "static", "anf"):
            assert sum(counts(sparsifier).values()) == round(0.4 * size)


def test_it_is_the_sparsifier_that_a_learner_of_one_s_own_gets() -> None:
    from types import SimpleNamespace

    module, twin = network(), network()
    learner = SimpleNamespace(name="module", module=twin, optimizer=adam(twin), target=None, stride=1)
    plain = Sparsifier(learner, SET, seed=SeedSequence(3), execution="masked")
    with attached(module, None, "set", seed=3) as sparsifier:
        assert all(torch.equal(sparsifier.masks[name], mask) for name, mask in plain.masks.items())
    plain.detach()


def test_keywords_change_a_method_as_a_row_of_a_study_does() -> None:
    words: dict[str, Any] = {"schedule": EVERY, "grow": "gradient", "moments": part("warm"), "readmit": False}
    with attached(network(), None, "set", density=0.3, **words) as sparsifier:
        method = sparsifier.method
    assert method.schedule.settings["every"] == 2
    assert method.schedule.settings["fraction"] == 0.3
    assert (method.grow.name, method.moments.name, method.readmit) == ("gradient", "warm", False)
    with attached(network(), None, replace(RIGL, schedule=part("periodic")), prune={"part": "saliency"}) as sparsifier:
        assert sparsifier.method.prune.name == "saliency"


def test_dense_is_a_method_like_any_other() -> None:
    module, other = network(), network()
    optimizer = adam(module)
    sparsifier = attach(module, optimizer, "dense")
    train(module, optimizer, batches(4, 8), 3)
    train(other, adam(other), batches(4, 8), 3)
    assert all(map(torch.equal, module.parameters(), other.parameters()))
    assert sparsifier.densities() == ()


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    with attached(network(), None, "set"):
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"method": "rigle"}, "no method named 'rigle'. Did you mean 'rigl'"),
        ({"density": 0}, r"in \(0, 1\], not 0"),
        ({"density": 1.5}, r"in \(0, 1\], not 1.5"),
        ({"density": 10}, "did you mean 0.1"),
        ({"density": "0.1"}, "density must be a number"),
        ({"method": "dense", "density": 0.5}, "dense weights have none"),
        ({"method": "gmp"}, r"share of the planned updates: say how many \(total"),
        ({"method": "dense_small", "density": 0.5}, "build the agent, or the module, with fewer units"),
        ({"shedule": EVERY}, "attach takes no 'shedule'. Did you mean 'schedule'"),
        ({"sparsity": 0.9}, "Did you mean 'density', the share that stays: 1 - sparsity"),
        ({"schedule": {"evry": 3}}, "no setting 'evry'. Did you mean 'every'"),
        ({"grow": "gradeint"}, "no grow named 'gradeint'. Did you mean 'gradient'"),
        ({"grow": 3}, "grow must be a part's name or a table"),
        ({"stride": 0}, "at least 1, not 0"),
        ({"stride": 2.0}, "at least 1, not 2.0"),
        ({"total": 0}, "at least 1, or None if nobody knows, not 0"),
        ({"total": -5}, "at least 1, or None if nobody knows, not -5"),
        ({"execution": "fast"}, "must be 'auto', 'masked' or 'sparse'"),
        ({"target": 3}, "target must be a module"),
        ({"eligible": {"part": "named", "layers": ["1.weight"]}}, "no weight is called '1.weight'"),
    ],
)
def test_a_bad_word_is_refused_before_anything_changes(words: dict[str, Any], says: str) -> None:
    module = network()
    before = copy.deepcopy(module.state_dict())
    optimizer = adam(module)
    with pytest.raises(ValueError, match=says):
        attach(module, optimizer, **words)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not optimizer._optimizer_step_pre_hooks


def test_an_optimiser_of_other_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not train 0.weight.*part of the module that it trains, or freeze"):
        attach(network(), adam(network()), "set")


def test_what_is_no_optimiser_or_needs_a_closure_is_refused() -> None:
    module = network()
    with pytest.raises(ValueError, match=r"must be a torch.optim.Optimizer"):
        attach(module, list(module.parameters()), "set")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="LBFGS computes gradients inside its step"):
        attach(module, torch.optim.LBFGS(module.parameters()), "set")


def test_a_module_without_a_weight_to_make_sparse_is_refused() -> None:
    norm = nn.LayerNorm((3, 4))
    with pytest.raises(ValueError, match=r"LayerNorm has no weight for this method to make sparse \(none\)\.$"):
        attach(norm, adam(norm), "rigl", total=10)
    lone = nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"weight: eligible = 'hidden' leaves it out.*Say eligible='all'"):
        attach(lone, adam(lone), "set")
    with attached(lone, None, "set", eligible="all"):
        pass


def test_a_lazy_or_memoryless_module_is_refused() -> None:
    lazy = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 1))
    with pytest.raises(ValueError, match=r"0.weight has no shape yet: pass a batch through"):
        attach(lazy, torch.optim.Adam(lazy.parameters()), "set")
    meta = nn.Linear(3, 3, device="meta")
    with pytest.raises(ValueError, match="on the meta device"):
        attach(meta, adam(meta), "rigl", total=10)


def test_two_sparsifiers_on_one_weight_are_refused() -> None:
    module = network()
    with attached(module, None, "set"), pytest.raises(ValueError, match="kept sparse already: detach"):
        attach(module, adam(module), "set")


# What it makes sparse.

LAYERS: dict[str, tuple[Any, tuple[int, ...], dict[str, tuple[int, ...]]]] = {
    "linear": (lambda: nn.Linear(5, 4), (5,), {"weight": (4, 5)}),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3), (3, 8), {"weight": (4, 3, 3)}),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3), (3, 8, 8), {"weight": (4, 3, 3, 3)}),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (2, 4, 4, 4), {"weight": (3, 2, 2, 2, 2)}),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 8, 8), {"weight": (6, 2, 3, 3)}),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (4, 8, 8), {"weight": (4, 1, 3, 3)}),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3), (3, 5, 5), {"weight": (3, 4, 3, 3)}),
    "transposed_grouped": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (4, 5), {"weight": (4, 3, 3)}),
    "lstm": (lambda: nn.LSTM(3, 4), (2, 3), {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4)}),
    "gru_cell": (lambda: nn.GRUCell(3, 4), (3,), {"weight_ih": (12, 3), "weight_hh": (12, 4)}),
    "attention": (
        lambda: _SelfAttention(),
        (4, 6),
        {"inner.in_proj_weight": (18, 6), "inner.out_proj.weight": (6, 6)},
    ),
}


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(x, x, x)[0]
        return out


@pytest.mark.parametrize("method", ["set", "rigl"])
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_of_this_kind_are_sparse_to_the_connection(layer: str, method: str) -> None:
    build, shape, weights = LAYERS[layer]
    torch.manual_seed(0)
    module = build()
    optimizer = adam(module)
    words: dict[str, Any] = {"eligible": "all", "allocation": "uniform", "schedule": EVERY}
    with attached(module, optimizer, method, density=0.5, total=20, **words) as sparsifier:
        assert {name: tuple(mask.shape) for name, mask in sparsifier.masks.items()} == weights
        first = sparsifier.masks
        train(module, optimizer, batches(4, *shape), 6)
        assert sum(counts(sparsifier).values()) == round(0.5 * sum(map(math.prod, weights.values())) + 1e-9)
        assert is_sparse(module, sparsifier)
        assert any(not torch.equal(first[name], mask) for name, mask in sparsifier.masks.items())
        assert sparsifier.left_dense == {}


def test_a_unit_scaled_weight_of_a_grouped_convolution_knows_its_fan_in() -> None:
    """Of groups of 2 inputs and kernels of 3 a unit has 6 connections, 3 of them at density 1/2: w sqrt(6 / n)."""
    module = nn.Conv1d(4, 4, 3, groups=2)
    drawn = module.weight.detach().clone()
    with attached(module, None, "static_scaled", density=0.5, eligible="all") as sparsifier:
        n = sparsifier.masks["weight"].sum((1, 2), keepdim=True)
        expected = torch.where(sparsifier.masks["weight"], drawn * (6 / n.clamp(min=1)).sqrt(), 0)
        torch.testing.assert_close(module.weight.detach(), expected)


def test_what_looks_at_units_refuses_a_transposed_convolution_and_says_how_to_leave_it_out() -> None:
    module = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ConvTranspose1d(3, 2, 3))
    with pytest.raises(ValueError, match=r"1.weight is of a transposed convolution.*unit_scaled\(\) looks at units"):
        attach(module, adam(module), "static_scaled", density=0.5, eligible="all")
    without = {"part": "named", "without": ["1.weight"]}
    with attached(module, None, "static_scaled", density=0.5, eligible=without) as sparsifier:
        assert list(sparsifier.left_dense) == ["1.weight"]


@short_plan
def test_a_bilinear_layer_is_no_population() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Bilinear(3, 4, 5))
    with attached(module, None, "rigl", density=0.5, total=10, allocation="uniform") as sparsifier:
        assert counts(sparsifier)["1.weight"] == 30


class _Language(nn.Module):
    """An embedding whose weight the output layer shares."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.hidden = nn.Linear(6, 6)
        self.output = nn.Linear(6, 20, bias=False)
        if tied:
            self.output.weight = self.embedding.weight
        self.scale = nn.Parameter(torch.ones(2, 2))
        self.norm = nn.LayerNorm((2, 6))


@short_plan
def test_embeddings_stay_dense_and_that_is_told() -> None:
    module = _Language(tied=False)
    with pytest.warns(UserWarning, match=r"left dense: scale .*embedding.weight \(120 numbers: an embedding\)"):
        sparsifier = attach(module, adam(module), "rigl", density=0.5, total=10)
    assert list(sparsifier.masks) == ["hidden.weight", "output.weight"]
    assert {name: left.out_of_reach for name, left in sparsifier.left_dense.items()} == {
        "scale": True,
        "embedding.weight": True,
    }
    sparsifier.detach()


def test_who_says_what_is_eligible_is_not_told() -> None:
    module = _Language(tied=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words = {"eligible": {"part": "named", "layers": ["hidden*"]}, "schedule": {"every": 2}}
        with attached(module, None, "rigl", total=10, **words) as sparsifier:
            assert sparsifier.left_dense["output.weight"].reason == "eligible = 'named' leaves it out"


@short_plan
def test_an_output_layer_tied_to_an_embedding_stays_dense_with_it() -> None:
    module = _Language(tied=True)
    with attached(module, None, "rigl", density=0.5, total=10, eligible="all") as sparsifier:
        assert list(sparsifier.masks) == ["hidden.weight"]
        assert sparsifier.left_dense["embedding.weight"].reason == "an embedding"


@short_plan
def test_computed_weights_stay_dense_and_are_named() -> None:
    module = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
        nn.Linear(4, 4),
    )
    vectors = [b.clone() for b in module[1].buffers()]
    with pytest.warns(UserWarning, match="parametrised: the weight is computed from it"):
        sparsifier = attach(module, adam(module), "rigl", density=0.5, total=10)
    assert list(sparsifier.masks) == ["2.weight"]
    assert "0.parametrizations.weight.original1" in sparsifier.left_dense
    assert all(map(torch.equal, vectors, module[1].buffers())), "looking at a weight computed it"
    sparsifier.detach()


@short_plan
def test_pruned_weights_stay_as_they_are_and_are_named() -> None:
    from torch.nn.utils import prune

    module = nn.Sequential(prune.random_unstructured(nn.Linear(4, 4), "weight", 0.5), nn.Linear(4, 4))
    with pytest.warns(UserWarning, match="0.weight_orig .16 numbers: weight_norm, spectral_norm or prune"):
        sparsifier = attach(module, adam(module), "rigl", density=0.5, total=10)
    sparsifier.detach()


def test_frozen_weights_stay_as_they_are() -> None:
    module = network()
    module[0].requires_grad_(False)
    before = module[0].weight.clone()
    optimizer = adam(module)
    with attached(module, optimizer, "rigl", density=0.5, total=20, schedule=EVERY) as sparsifier:
        train(module, optimizer, batches(4, 8), 4)
        assert sparsifier.left_dense["0.weight"].reason == "frozen"
        assert torch.equal(module[0].weight, before)
        assert is_sparse(module, sparsifier)


def test_what_is_compiled_or_wrapped_has_the_names_of_what_is_inside() -> None:
    module = network()
    with attached(torch.compile(module, backend="eager"), adam(module), "set") as sparsifier:
        assert list(sparsifier.masks) == ["0.weight", "2.weight"]
    with attached(nn.DataParallel(module), adam(module), "set") as sparsifier:
        assert list(sparsifier.masks) == ["0.weight", "2.weight"]


def test_truly_sparse_on_request() -> None:
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = adam(module)
    sparsifier = attach(module, optimizer, "set", density=0.25, execution="sparse", schedule=EVERY)
    train(module, optimizer, batches(4, 8), 5)
    assert sparsifier.execution == "sparse"
    assert counts(sparsifier) == {"0.weight": 32}
    assert [p.numel() for p in module.parameters()] == [32 + 16 + 16 + 1]
    assert list(sparsifier.left_dense) == ["2.weight"]
    with pytest.raises(ValueError, match="kept sparse already"):
        attach(module, optimizer, "set")
    sparsifier.detach()
    with attached(network(), None, "set", density=0.25, execution="auto") as sparsifier:
        assert sparsifier.execution == "masked"


# Events, slow copies, copies.


def test_every_event_is_told() -> None:
    events: list[Any] = []
    module = network()
    optimizer = adam(module)
    with attached(module, optimizer, "set", density=0.5, schedule=EVERY, on_event=events.append, stride=1):
        train(module, optimizer, batches(4, 8), 5)
    assert [event.step for event in events] == [2, 4]
    assert all(layer.dropped == layer.grown for event in events for layer in event.layers)


def test_a_stride_is_how_many_updates_a_step_stands_for() -> None:
    events: list[Any] = []
    module = network()
    optimizer = adam(module)
    with attached(module, optimizer, "set", schedule={"every": 4}, on_event=events.append, stride=2):
        train(module, optimizer, batches(4, 8), 4)
    assert [event.step for event in events] == [4, 8]


def _polyak(slow: nn.Module, module: nn.Module) -> None:
    with torch.no_grad():
        for s, p in zip(slow.parameters(), module.parameters(), strict=True):
            s.lerp_(p, 0.3)


@pytest.mark.parametrize("rule", ["follow", "keep_largest"])
def test_a_plain_slow_copy_is_kept_sparse_when_its_updates_are_told(rule: str) -> None:
    module = network()
    slow, optimizer, data = copy.deepcopy(module), adam(module), batches(4, 8)
    method = replace(SET, target=part(rule))
    with attached(module, optimizer, method, density=0.3, target=slow, schedule=EVERY) as sparsifier:
        for _ in range(6):
            train(module, optimizer, data, 1)
            _polyak(slow, module)
            sparsifier.target_updated()
            kept = {layer.name: layer.active for layer in sparsifier.target_densities()}
            assert all(kept[name] <= active for name, active in counts(sparsifier).items())
        if rule == "follow":
            assert all(not slow.get_parameter(n)[~mask].any() for n, mask in sparsifier.masks.items())


def test_a_slow_copy_that_is_another_network_or_none_is_refused() -> None:
    module = network()
    with pytest.raises(ValueError, match="shaped unlike the online one"):
        attach(module, adam(module), "set", target=nn.Sequential(nn.Linear(8, 16)))
    with attached(module, None, "set") as sparsifier, pytest.raises(ValueError, match="has no slow copy"):
        sparsifier.target_updated()


def test_a_module_with_a_sparsifier_is_copied_and_pickled_without_it() -> None:
    module = network()
    optimizer = adam(module)
    with attached(module, optimizer, "set", density=0.3) as sparsifier:
        train(module, optimizer, batches(4, 8), 2)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert all(map(torch.equal, twin.parameters(), module.parameters()))
            assert is_sparse(twin, sparsifier)
            train(twin, adam(twin), batches(4, 8), 1)
            assert not is_sparse(twin, sparsifier)
        pickle.loads(pickle.dumps(optimizer))


def test_a_sparsifier_is_neither_copied_nor_pickled() -> None:
    module = network()
    with attached(module, None, "set") as sparsifier:
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="attach anew, and give the new sparsifier this one's state_dict"):
                way(sparsifier)
        module.keeper = sparsifier  # type: ignore[assignment]
        twin = copy.deepcopy(module)
    train(twin, adam(twin), batches(4, 8), 1)
    assert not is_sparse(twin, twin.keeper), "a copy within a copy is detached"  # type: ignore[arg-type]
    twin.keeper.mask_gradients()  # type: ignore[operator, union-attr]


def test_what_is_no_state_of_a_sparsifier_is_refused() -> None:
    module = network()
    with attached(module, None, "set") as sparsifier, pytest.raises(ValueError, match="it lacks steps, budget, masks"):
        sparsifier.load_state_dict(module.state_dict())


@pytest.mark.parametrize("let_go", [Sparsifier.detach, Sparsifier.densify])
def test_no_hook_stays_when_it_lets_go(let_go: Callable[[Sparsifier], None]) -> None:
    module, slow = network(), network()
    optimizer = adam(module)
    let_go(attach(module, optimizer, "set", target=slow))
    for held in (module, slow, optimizer):
        assert not [name for name, value in vars(held).items() if "hooks" in name and value]


def test_an_average_of_the_module_may_be_its_slow_copy() -> None:
    module = network()
    optimizer, average = adam(module), torch.optim.swa_utils.AveragedModel(module)
    with attached(module, optimizer, "set", density=0.3, schedule=EVERY, target=average) as sparsifier:
        for _ in range(6):
            train(module, optimizer, batches(4, 8), 1)
            average.update_parameters(module)
            sparsifier.target_updated()
        assert is_sparse(average.module, sparsifier)


def test_it_holds_on_without_a_name_for_it_and_lets_go_when_detached() -> None:
    module = network()
    optimizer = adam(module)
    attach(module, optimizer, "set", density=0.3)
    train(module, optimizer, batches(4, 8), 2)
    assert int(module[0].weight.count_nonzero()) < module[0].weight.numel()
    other = network()
    own = adam(other)
    sparsifier = attach(other, own, "set", density=0.3)
    sparsifier.detach()
    sparsifier.mask_gradients()
    train(other, own, batches(4, 8), 1)
    assert not is_sparse(other, sparsifier)
    assert not own._optimizer_step_pre_hooks


# By hand.


def test_an_event_of_rigl_worked_by_hand() -> None:
    """x = (1, 4, 3), loss 2 y1 + y2, half of each layer swapped of half active, the largest initial weights first.

    W = [.9 . .5; . .7 .], V = [1 .; . .8]: h = (2.4, 2.8), dV = [4.8 5.6; 2.4 2.8], dW = [2 8 6; .8 3.2 2.4].
    Of W .5 leaves, its gradient of 6 is less than the absent 8: (0, 1) enters. Of V .8 leaves, 5.6 enters at (0, 1).
    """
    module = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.7, 0.3]]))
        module[1].weight.copy_(torch.tensor([[1.0, 0.1], [0.4, 0.8]]))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    schedule = part("periodic", fraction=0.5, every=1)
    words: dict[str, Any] = {"allocation": "uniform", "initial": "magnitude", "schedule": schedule}
    with attached(module, optimizer, "rigl", density=0.5, **words) as sparsifier:
        assert torch.equal(module[0].weight.detach(), torch.tensor([[0.9, 0, 0.5], [0, 0.7, 0]]))
        assert torch.equal(module[1].weight.detach(), torch.tensor([[1.0, 0], [0, 0.8]]))
        (module(torch.tensor([1.0, 4.0, 3.0])) @ torch.tensor([2.0, 1.0])).backward()
        torch.testing.assert_close(module[0].weight.grad, torch.tensor([[2, 8, 6], [0.8, 3.2, 2.4]]))
        optimizer.step()
        masks = sparsifier.masks
    assert masks["0.weight"].tolist() == [[True, True, False], [False, True, False]]
    assert masks["1.weight"].tolist() == [[True, True], [False, False]]
    assert torch.equal(module[0].weight.detach(), torch.tensor([[0.9, 0, 0], [0, 0.7, 0]]))
    assert torch.equal(module[1].weight.detach(), torch.tensor([[1.0, 0], [0, 0]]))


def test_a_swap_that_falls_with_the_run_stays_where_nobody_says_how_long_it_is() -> None:
    module = network()
    optimizer = adam(module)
    with pytest.warns(UserWarning, match=r"the swap of 0.3 is to fall .* total=..., or when it ends"):
        sparsifier = attach(module, optimizer, method="rigl", density=0.1)
    assert sparsifier.method.schedule == part("periodic", fraction=0.3, every=100, phase=0, until=1.0)
    sparsifier.detach()
    ended = attach(module, optimizer, method="rigl", density=0.1, schedule={"until": 50})  # No warning: it says when.
    assert ended.method.schedule.name == "cosine"
    ended.detach()


def test_biases_of_a_population_are_biases_too() -> None:
    """pytest makes an error of the warning that `attach` would give."""
    critic = next(learner for learner in agent().learners() if learner.name == "critic")
    assert any(p.dim() > 1 for name, p in critic.module.named_parameters() if name.endswith(".bias"))
    sparsifier = attach(critic.module, critic.optimizer, "set", density=0.2)
    assert list(sparsifier.left_dense) == ["head.weight"]


# Plans that are too short.


def test_a_plan_without_a_change_of_topology_is_told_once() -> None:
    says = (
        r"^the topology would change every 1,000 updates, and no change falls into the 500 that are planned: "
        r"choose schedule={'every': 50}, say total=... if more will come, or take the method 'static'$"
    )
    with pytest.warns(UserWarning, match=says) as told:
        attach(module := network(), adam(module), "set", total=500)
    assert [warning.filename for warning in told] == [__file__]
    with pytest.warns(UserWarning, match=r"would change by cosine\(.*every=100.* falls into the 100"):
        attach(module := network(), adam(module), "rigl", total=100)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("set", {"total": 1000}),
        ("set", {"total": 500, "schedule": {"every": 50}}),
        ("set", {}),
        ("set", {"total": 500, "budget": "cubic"}),
        ("static", {"total": 500}),
        ("dense", {"total": 500}),
        ("gmp", {"total": 500}),
    ],
)
def test_a_plan_with_a_change_of_topology_or_a_method_without_is_not_told(method: str, words: dict[str, Any]) -> None:
    with attached(network(), None, method, **words) as sparsifier:  # Warnings are errors.
        assert not sparsifier.eventless


def test_the_advice_for_a_plan_without_a_change_mends_it() -> None:
    for method, total in (("set", 2), ("rigl", 2), ("rigl", 99), ("ds", 999), ("itop_set", 1000)):
        with attached(
            network(), None, method, density=0.5, total=total, schedule={"every": max(1, total // 10)}
        ) as sparsifier:
            assert not sparsifier.eventless


def test_an_optimiser_that_steps_seldom_has_its_change_in_the_step_that_covers_it() -> None:
    with attached(network(), None, "set", total=6, stride=2, schedule={"every": 5}) as sparsifier:
        assert not sparsifier.eventless
    with pytest.warns(UserWarning, match="no change falls into the 5"):
        attach(module := network(), adam(module), "set", total=5, stride=2, schedule={"every": 5})


# Numbers of NumPy.


@pytest.mark.parametrize("number", [np.float16, np.float32, np.float64])
def test_a_density_may_be_a_number_of_numpy(number: Any) -> None:
    with attached(network(), None, "static", density=number(0.25)) as sparsifier:
        density = sparsifier.method.allocation.settings["density"]
        assert (type(density), density) == (float, 0.25)
    words = {"schedule": {"every": np.int64(3), "until": np.int32(1)}}
    with attached(network(), None, "set", **words) as sparsifier:
        chosen = sparsifier.method.schedule.settings
        assert [(type(chosen[name]), chosen[name]) for name in ("every", "until")] == [(int, 3), (int, 1)]
    with pytest.raises(PartError, match="density must be a number, not True"):
        attach(module := network(), adam(module), "static", density=True)
    with pytest.raises(PartError, match="density must be a number"):
        attach(module := network(), adam(module), "static", density=number("nan"))
