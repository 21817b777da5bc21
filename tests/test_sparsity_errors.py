"""What cannot be carried out is refused, with a name and a way out, and leaves the network as it was."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from numpy.random import SeedSequence
from torch import nn
from toys_sparsity import METHODS, OPTIMIZERS, REGISTRY, Copy, Learner, World, network

from registry import Part, part
from sparsity import DENSE_SMALL, DS, DS_RELEASED, RIGL, SET, STATIC, Method, Sparsifier

EACH_STEP = part("periodic", fraction=0.3, every=1)


def attach(learner: Learner, method: Method = STATIC, **chosen: Any) -> Sparsifier:
    return Sparsifier(learner, method, seed=SeedSequence(0), registry=REGISTRY, **chosen)


def learner(module: nn.Module | None = None, **chosen: Any) -> Learner:
    module = module or network()
    chosen.setdefault("optimizer", OPTIMIZERS["adam"](module.parameters()))
    return Learner("critic", module, **chosen)


def refused(method: Method, match: str, total: int | None = 100) -> None:
    """ValueError on construction, and not a bit of the network has changed."""
    given = learner()
    before = copy.deepcopy(given.module.state_dict())
    with pytest.raises(ValueError, match=match):
        attach(given, method, total=total)
    assert all(torch.equal(before[name], value) for name, value in given.module.state_dict().items())
    assert not given.optimizer._optimizer_step_pre_hooks
    attach(given)  # And nothing hangs on it.


def test_a_shrunk_network_is_not_masked() -> None:
    refused(DENSE_SMALL, "shrunk")


def test_born_as_stepped_needs_dense_gradients_and_a_step() -> None:
    refused(replace(SET, born=part("as_stepped")), "optimizer_sees = 'dense'")
    refused(replace(RIGL, born=part("as_stepped"), optimizer_sees="dense"), "instead_of_step")


@pytest.mark.parametrize("prune", ["half_per_sign", "share_per_sign"])
@pytest.mark.parametrize("scope", ["scope", "swap_scope"])
def test_signed_ranks_cannot_be_compared_over_a_network(prune: str, scope: str) -> None:
    refused(replace(SET, prune=part(prune), **{scope: "network"}), f"{prune}.*scope")


@pytest.mark.parametrize("field", ["scope", "swap_scope", "optimizer_sees", "event", "clock", "network"])
def test_a_choice_outside_its_list_is_refused_by_name(field: str) -> None:
    refused(replace(SET, **{field: "nonsense"}), f"{field} must be one of .*not 'nonsense'")


@pytest.mark.parametrize(
    ("field", "chosen", "match"),
    [
        ("prune", part("magnitud"), "no prune named 'magnitud'. Did you mean 'magnitude'"),
        ("schedule", part("periodic", evry=3), "no setting 'evry'. Did you mean 'every'"),
        ("schedule", part("periodic", every=0), "every must be at least 1"),
        ("schedule", part("periodic", every=10, phase=10), "phase"),
        ("schedule", part("periodic", fraction=1.5), "fraction"),
        ("schedule", part("periodic", fraction=-0.1), "fraction"),
        ("schedule", part("periodic", every="often"), "every must be a whole number"),
        ("schedule", part("periodic", every=1, until=0), "until"),
        ("schedule", part("periodic", every=1, until=1.5), "until"),
        ("allocation", part("uniform", density=95.0), "did you mean 0.95"),
        ("budget", part("cubic", begin=0.8, end=0.2), "end after it begins"),
        ("budget", part("cubic", start=0.0), "start is a density"),
        ("budget", part("final_cut", fraction=1.0), "final_cut"),
        ("budget", part("toy_number"), "toy_number.* gave 2.0"),
        ("target", part("keep_largest", count="all"), "count must be one of"),
        ("initial", part("toy_nan"), r"toy_nan.*0\.weight.*not finite"),
        ("initial", part("toy_flat"), "toy_flat"),
        ("initial", part("toy_int"), "toy_int"),
        ("initial", part("toy_empty"), "toy_empty.*connection"),
    ],
    ids=str,
)
def test_a_bad_choice_is_refused_before_anything_changes(field: str, chosen: Part, match: str) -> None:
    refused(replace(SET, **{field: chosen}), match)


def test_a_start_that_fails_in_a_later_layer_leaves_the_first_one_alone() -> None:
    refused(replace(SET, initial=part("toy_nan_late")), r"toy_nan_late.*2\.weight")


@pytest.mark.parametrize(
    "method",
    [
        replace(STATIC, schedule=part("cosine", every=1, until=0.75)),
        replace(STATIC, schedule=part("periodic", every=1, until=0.5)),
        replace(STATIC, budget=part("cubic")),
        replace(STATIC, budget=part("at_once", at=0.2)),
        RIGL,
        replace(STATIC, schedule=part("periodic", every=1000, until=0.5)),
        replace(DS_RELEASED, allocation=part("uniform", density=0.5)),
    ],
    ids=["cosine", "periodic", "cubic", "at_once", "rigl", "periodic_1000", "ds_released"],
)
def test_a_share_of_unknown_many_updates_is_refused(method: Method) -> None:
    refused(method, "total", total=None)


def test_a_final_cut_after_a_share_of_unknown_many_updates_is_refused() -> None:
    refused(replace(STATIC, budget=part("final_cut", after=0.5)), "total", total=None)


def test_weights_that_the_optimiser_does_not_train_cannot_be_kept_sparse() -> None:
    module = network()
    given = learner(module, optimizer=OPTIMIZERS["adam"](module[4].parameters()))
    with pytest.raises(ValueError, match=r"optimiser of critic does not train 0\.weight"):
        attach(given)


def test_a_target_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"target of critic.*0\.weight"):
        attach(learner(target=Copy(network((6, 9, 7, 3)))))


def test_execution_has_two_names() -> None:
    with pytest.raises(ValueError, match=r"execution.*'fast'"):
        attach(learner(), execution="fast")


def test_one_weight_has_one_sparsifier() -> None:
    given = learner()
    first = attach(given)
    with pytest.raises(ValueError, match=r"0\.weight of critic is kept sparse already"):
        attach(given)
    first.detach()
    attach(given, METHODS["set"])


def test_two_sparsifiers_share_an_optimiser_if_their_weights_differ() -> None:
    one, other = network(seed=1), network(seed=2)
    optimizer = OPTIMIZERS["adam"]([*one.parameters(), *other.parameters()])
    pair = [
        attach(Learner(name, module, optimizer), method)
        for name, module, method in (("one", one, METHODS["set"]), ("other", other, METHODS["rigl_after"]))
    ]
    counts = [sum(d.active for d in s.densities()) for s in pair]
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    for _ in range(9):
        optimizer.zero_grad()
        (one(x) + other(x)).square().mean().backward()
        optimizer.step()
        for sparsifier, module, count in zip(pair, (one, other), counts, strict=True):
            assert sum(int(m.sum()) for m in sparsifier.masks.values()) == count
            for name, mask in sparsifier.masks.items():
                weight = module.get_parameter(name)
                assert torch.count_nonzero(weight[~mask]) == 0
                assert all(not v[~mask].any() for v in optimizer.state[weight].values() if v.shape == weight.shape)


def attach_and_step(given: Learner, method: Method, x: torch.Tensor) -> None:
    attach(given, method)
    given.module(x).square().mean().backward()
    given.optimizer.step()


@pytest.mark.parametrize("name", ["static", "set", "rigl", "ds"])
def test_an_optimiser_with_factored_state_is_refused_at_the_first_step_at_the_latest(name: str) -> None:
    module = network()
    optimizer = torch.optim.Adafactor(module.parameters())
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"Adafactor keeps .*0\.weight"):
        attach_and_step(learner(module, optimizer=optimizer), METHODS[name], x)


def test_an_optimiser_with_factored_state_is_refused_in_the_first_event() -> None:
    module = network()
    optimizer = torch.optim.Adafactor(module.parameters())
    attach(learner(module, optimizer=optimizer), replace(SET, schedule=EACH_STEP))
    module(torch.ones(2, 6)).square().mean().backward()
    with pytest.raises(ValueError, match=r"Adafactor keeps .* of shape .*0\.weight.*such as Adam"):
        optimizer.step()


@pytest.mark.parametrize(
    ("kind", "name", "match"),
    [
        ("prune", "toy_mutating", "prune 'toy_mutating' of toys_sparsity changed its input 'weight'"),
        ("prune", "toy_mask_mutating", "prune 'toy_mask_mutating' .* changed its input 'mask'"),
        ("grow", "toy_mutating", "grow 'toy_mutating' .* changed its input 'weight'"),
        ("prune", "toy_nan", r"prune 'toy_nan' .*0\.weight.* not finite"),
        ("grow", "toy_nan", r"grow 'toy_nan' .*0\.weight.* not finite"),
        ("prune", "toy_flat", r"prune 'toy_flat' .*0\.weight.* float tensor shaped \(1, 8, 6\), not .*\(48,\)"),
        ("grow", "toy_flat", "grow 'toy_flat' .*shaped"),
        ("prune", "toy_int", "prune 'toy_int' .*float tensor.*int64"),
        ("grow", "toy_int", "grow 'toy_int' .*float tensor.*int64"),
        ("prune", "toy_float", "prune 'toy_float' .*float tensor.*not 0.0"),
    ],
)
def test_a_criterion_that_breaks_its_contract_is_named(kind: str, name: str, match: str) -> None:
    world = World(replace(SET, schedule=EACH_STEP, **{kind: part(name)}))
    with pytest.raises(ValueError, match=match):
        world.step()


def test_a_growth_score_must_be_finite_for_connections_that_may_return() -> None:
    """With readmission the active ones are candidates too."""
    away = World(replace(SET, schedule=EACH_STEP, grow=part("toy_nan_where_active"), readmit=False))
    away.step()
    world = World(replace(SET, schedule=EACH_STEP, grow=part("toy_nan_where_active"), readmit=True))
    with pytest.raises(ValueError, match=r"toy_nan_where_active.*not finite"):
        world.step()


def test_a_gradient_that_never_came_is_an_error() -> None:
    world = World(replace(METHODS["rigl"], schedule=EACH_STEP))
    with pytest.raises(ValueError, match=r"grow 'gradient' asks for a gradient and 0\.weight has none"):
        world.optimizer.step()


@pytest.mark.parametrize("kind", ["state of another shape", "fewer layers", "other traces", "masks of floats"])
def test_a_state_of_another_network_or_method_is_refused(kind: str) -> None:
    world = World(METHODS["set"])
    states = {
        "state of another shape": lambda: World(METHODS["set"], sizes=(6, 9, 7, 3)).sparsifier.state_dict(),
        "fewer layers": lambda: World(METHODS["set"], sizes=(6, 8, 3)).sparsifier.state_dict(),
        "other traces": lambda: World(replace(METHODS["set"], prune=part("toy_age"))).sparsifier.state_dict(),
        "masks of floats": lambda: {
            **world.sparsifier.state_dict(),
            "masks": {name: mask.float() for name, mask in world.sparsifier.masks.items()},
        },
    }
    state, before = states[kind](), world.sparsifier.masks
    with pytest.raises(ValueError, match=r"another network|traces|must be bool"):
        world.sparsifier.load_state_dict(state)
    assert all(torch.equal(before[name], mask) for name, mask in world.sparsifier.masks.items())


def test_lambdas_that_leave_a_layer_dense_say_so_when_attached() -> None:
    with pytest.warns(UserWarning, match="dense"):
        attach(learner(), DS)


def test_a_weight_with_two_names_has_one_mask() -> None:
    """Two layers share their weight: it is one set of connections, and its number is the budget."""
    module = network((6, 6, 6, 3))
    module[2].weight = module[0].weight
    given = learner(module)
    sparsifier = attach(given, Method(allocation=part("uniform", density=0.5)))

    for name, mask in sparsifier.masks.items():
        weight = module.get_parameter(name)
        assert int((weight != 0).sum()) == int(mask.sum()) == 18


def test_a_convolution_in_channels_last_is_refused_in_words() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(6 * 9, 2)).to(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match=r"layer 0\.weight is laid out in memory unlike its shape.*contiguous"):
        attach(learner(module), METHODS["static"])
