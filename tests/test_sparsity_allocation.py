"""How many connections where: published tables, exact sums, and what is refused."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys_sparsity import REGISTRY, Population

from registry import part
from sparsity import DENSE, DS, Method, cost
from sparsity.adapt import apportion
from sparsity.allocation import counts
from sparsity.eligible import hidden
from sparsity.weights import member_shapes

often = settings(max_examples=200, deadline=None, database=None)


def actor(observation: int, action: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(observation, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, action), nn.Tanh()
    )


def critics(observation: int, action: int) -> nn.Sequential:
    sizes = ((observation + action, 256), (256, 256), (256, 1))
    return nn.Sequential(*(Population(2, i, o) for i, o in sizes))


def densities(name: str, shapes: Mapping[str, tuple[int, ...]], **chosen: Any) -> dict[str, float]:
    return REGISTRY.bind("allocation", part(name, **chosen))(shapes=shapes)


# ALGORITHMS 2.0: env, observation, action, densities of actor and critics, and the layers that follow.
ERK = [
    ("HalfCheetah", 17, 6, 0.10, 0.15, (0.4480, 0.0558, 1.0), (0.6288, 0.1037, 1.0), 0.1334),
    ("HalfCheetah", 17, 6, 0.03, 0.05, (0.1284, 0.0160, 0.3491), (0.1994, 0.0329, 1.0), 0.0433),
    ("Hopper", 11, 3, 0.02, 0.05, (0.1263, 0.0104, 0.4491), (0.3095, 0.0321, 1.0), 0.0400),
    ("Ant-v3", 111, 8, 0.04, 0.12, (0.0434, 0.0262, 0.4331), (0.1567, 0.0995, 1.0), 0.0934),
    ("Ant-v4", 27, 8, 0.04, 0.12, (0.1152, 0.0220, 0.3627), (0.3525, 0.0848, 1.0), 0.0934),
    ("Ant-v5", 105, 8, 0.04, 0.12, (0.0446, 0.0260, 0.4284), (0.1609, 0.0985, 1.0), 0.0934),
    ("Humanoid-v4", 376, 17, 0.10, 0.10, (0.0770, 0.0916, 0.7355), (0.0910, 0.1102, 1.0), 0.1000),
    ("Humanoid-v5", 348, 17, 0.10, 0.10, (0.0776, 0.0894, 0.7180), (0.0919, 0.1080, 1.0), 0.1000),
]


@pytest.mark.parametrize(("env", "obs", "act", "d_actor", "d_critic", "want_actor", "want_critic", "total"), ERK)
def test_erk_equals_the_published_table(
    env: str, obs: int, act: int, d_actor: float, d_critic: float, want_actor: Any, want_critic: Any, total: float
) -> None:
    active = dense = 0
    for module, density, want in ((actor(obs, act), d_actor, want_actor), (critics(obs, act), d_critic, want_critic)):
        got = densities("erk", member_shapes(module), density=density)
        assert list(got.values()) == pytest.approx(want, abs=6e-5)
        method = Method(eligible=part("all"), allocation=part("erk", density=density))
        size = cost.planned_size(module, method, REGISTRY)
        active, dense = active + size.active_weights, dense + size.weights
    assert active / dense == pytest.approx(total, abs=6e-5)


@pytest.mark.parametrize(
    ("shapes", "want"),
    [
        (((256, 17), (256, 256), (12, 256)), (0.4346, 0.0541, 0.6045)),
        (((256, 17), (256, 256), (6, 256), (6, 256)), (0.3496, 0.0435, 0.9507, 0.9507)),
        (((256, 23), (256, 256), (1, 256)), (0.4141, 0.0683, 1.0)),
    ],
)
def test_erk_equals_the_sac_vectors(shapes: tuple[tuple[int, ...], ...], want: tuple[float, ...]) -> None:
    named = {f"{i}.weight": shape for i, shape in enumerate(shapes)}
    assert list(densities("erk", named, density=0.1).values()) == pytest.approx(want, abs=6e-5)


def test_er_leaves_kernels_out_and_erk_counts_them() -> None:
    """Convolution 8 x 4 x 3 x 3: raw ER 12/32, raw ERK 18/288; linear 10 x 8: 18/80 in both."""
    shapes = {"conv": (8, 4, 3, 3), "linear": (10, 8)}
    for name, ratio in (("er", (12 / 32) / (18 / 80)), ("erk", (18 / 288) / (18 / 80))):
        got = densities(name, shapes, density=0.1)
        assert got["conv"] / got["linear"] == pytest.approx(ratio)
        assert got["conv"] * 288 + got["linear"] * 80 == pytest.approx(36.8)


def test_the_power_of_erk_goes_from_uniform_to_its_square() -> None:
    shapes = {"a": (30, 20), "b": (40, 30)}
    assert list(densities("erk", shapes, density=0.3, power=0.0).values()) == pytest.approx([0.3, 0.3])
    got = densities("erk", shapes, density=0.02, power=2.0)
    assert got["a"] / got["b"] == pytest.approx(((50 / 600) / (70 / 1200)) ** 2)


# ALGORITHMS 2.1: env, observation, action, first lambda, dense weights, sparse weights, sparsity, FLOP ratio.
PAPER = [
    ("HalfCheetah", 17, 6, 7.0, 214_784, 106_169, 0.506, 0.492),
    ("Hopper", 11, 3, 7.0, 207_872, 105_233, 0.494, 0.505),
    ("Ant", 111, 8, 40.0, 288_512, 145_544, 0.496, 0.502),
    ("Humanoid", 376, 17, 61.0, 498_944, 220_898, 0.557, 0.440),
]


def flops(weights: Mapping[str, float]) -> float:
    return 1e6 * cost.training_flops(weights, {"actor": 2, "critics": 1}, 100)


@pytest.mark.parametrize(("env", "obs", "act", "first", "dense", "sparse", "sparsity", "ratio"), PAPER)
def test_the_paper_s_sizes_and_flops_come_out(
    env: str, obs: int, act: int, first: float, dense: int, sparse: int, sparsity: float, ratio: float
) -> None:
    modules = {"actor": actor(obs, act), "critics": critics(obs, act)}
    method = Method(allocation=part("lambdas", first=first, rest=64.0))
    sizes = {name: cost.planned_size(module, method, REGISTRY) for name, module in modules.items()}
    assert sum(s.weights for s in sizes.values()) == dense
    assert sum(s.active_weights for s in sizes.values()) == sparse
    assert 1 - sparse / dense == pytest.approx(sparsity, abs=6e-4)
    active, all_ = ({n: getattr(s, f) for n, s in sizes.items()} for f in ("active_weights", "weights"))
    assert flops(active) / flops(all_) == pytest.approx(ratio, abs=6e-4)
    if env == "HalfCheetah":
        assert flops(all_) == pytest.approx(1.07e14, rel=5e-3)
        assert round(1 - sparse / dense, 2) == 0.51
        assert round(flops(active) / flops(all_), 2) == 0.49


def test_ds_td3_densities_on_halfcheetah() -> None:
    for module, first in ((actor(17, 6), 0.439), (critics(17, 6), 0.332)):
        shapes = {name: shape for name, shape in member_shapes(module).items() if name in hidden(member_shapes(module))}
        got = list(REGISTRY.bind("allocation", DS.allocation)(shapes=shapes).values())
        assert got == [pytest.approx(first, abs=5e-4), 0.5]


def test_parameters_count_biases_and_weights_do_not() -> None:
    size = cost.size(actor(17, 6))
    assert (size.weights, size.parameters) == (17 * 256 + 256 * 256 + 256 * 6, 17 * 256 + 256 * 256 + 256 * 6 + 518)
    assert size == cost.planned_size(actor(17, 6), DENSE, REGISTRY)
    assert size.realised_density == 1.0


def test_nothing_eligible_is_dense_under_any_allocation() -> None:
    for name in ("uniform", "er", "erk", "lambdas"):
        size = cost.planned_size(actor(5, 2), Method(eligible=part("none"), allocation=part(name)), REGISTRY)
        assert size.active_weights == size.weights


@pytest.mark.parametrize(("inputs", "p"), [(27, "1.638"), (35, "1.299")])
def test_lambdas_warn_where_they_ask_for_more_than_everything(inputs: int, p: str) -> None:
    """Ant-v4, actor and critics, with the paper's lambda of 40."""
    with pytest.warns(UserWarning, match=p):
        got = densities("lambdas", {"a": (256, inputs), "b": (256, 256)}, first=40.0, rest=64.0)
    assert got == {"a": 1.0, "b": 0.5}


def test_lambdas_that_fit_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = densities("lambdas", {"a": (256, 105), "b": (256, 256)}, first=40.0, rest=64.0)
    assert got["a"] == pytest.approx(0.537, abs=5e-4)


@pytest.mark.parametrize("density", [0.05, 0.25, 0.5, 0.8, 1.0])
def test_scaled_lambdas_meet_the_density(density: float) -> None:
    shapes = {"a": (256, 17), "b": (256, 256)}
    got = densities("lambdas", shapes, density=density)
    kept = got["a"] * 256 * 17 + got["b"] * 256 * 256
    assert kept == pytest.approx(density * (256 * 17 + 256 * 256))
    if density < 0.8:
        assert got["a"] / got["b"] == pytest.approx((7 * 273 / (256 * 17)) / 0.5), "one factor scales all"


def test_hidden_layers_at_a_fifth_have_the_densities_of_the_specification() -> None:
    """ALGORITHMS 2.1.2, HalfCheetah's actor: scaled lambdas .177 and .202, ERK 1.0 and .147."""
    shapes = {"a": (256, 17), "b": (256, 256)}
    assert list(densities("lambdas", shapes, density=0.2).values()) == pytest.approx([0.177, 0.202], abs=6e-4)
    assert list(densities("erk", shapes, density=0.2).values()) == pytest.approx([1.0, 0.147], abs=6e-4)


@often
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    density=st.floats(0.01, 1.0),
    name=st.sampled_from(("er", "erk", "lambdas")),
)
def test_budgeted_allocations_meet_the_density_with_no_layer_over_one(
    sizes: list[int], density: float, name: str
) -> None:
    shapes = {str(i): (o, n) for i, (n, o) in enumerate(pairwise(sizes))}
    got = densities(name, shapes, density=density)
    total = sum(math.prod(s) for s in shapes.values())
    assert sum(got[n] * math.prod(s) for n, s in shapes.items()) == pytest.approx(density * total)
    assert all(0 < d <= 1 for d in got.values())
    factors = dict.fromkeys(shapes, 1.0) | ({"0": 7 / 64} if name == "lambdas" else {})
    free = {n: got[n] / (factors[n] * sum(shapes[n]) / math.prod(shapes[n])) for n in shapes if got[n] < 1 - 1e-9}
    assert max(free.values(), default=0) == pytest.approx(min(free.values(), default=0)), "one epsilon for all that fit"


@often
@given(layers=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60), st.floats(0.02, 1.0)), min_size=1, max_size=6))
def test_counts_sum_exactly_and_lie_within_one_of_the_quota(layers: list[tuple[int, int, float]]) -> None:
    shapes = {str(i): (o, n) for i, (o, n, _) in enumerate(layers)}
    quota = {str(i): d * (o * n) for i, (o, n, d) in enumerate(layers)}  # rounded as `counts` rounds it
    got = None
    try:
        got = counts(shapes, {str(i): d for i, (_, _, d) in enumerate(layers)})
    except ValueError as error:
        assert min(quota.values()) < 1 + 1e-9 and "no connection" in str(error)  # noqa: PT017, PT018
    if got is not None:
        assert sum(got.values()) == math.floor(math.fsum(quota.values()) + 0.5 + 1e-9)
        assert all(1 <= got[n] <= math.prod(shapes[n]) and abs(got[n] - quota[n]) < 1 + 1e-6 for n in shapes)


@pytest.mark.parametrize(
    ("size", "density", "want"), [(1000, 1 - 0.9, 100), (1000, 0.1, 100), (10, 0.3, 3), (10, 0.7, 7), (3, 1 / 3, 1)]
)
def test_counts_do_not_lose_one_to_rounding(size: int, density: float, want: int) -> None:
    """int((1 - 0.9) * 1000) is 99."""
    assert counts({"a": (size, 1)}, {"a": density}) == {"a": want}


def test_a_half_is_rounded_up_whichever_way_its_binary_fractions_fall() -> None:
    """0.42 x (30 + 195) is 94.5, and 0.42 x 30 + 0.42 x 195 a bit less."""
    shapes = {"a": (15, 2), "b": (13, 15)}
    assert 0.42 * 30 + 0.42 * 195 < 94.5
    assert sum(counts(shapes, dict.fromkeys(shapes, 0.42)).values()) == 95


def test_the_largest_remainder_gets_what_is_left() -> None:
    """Quotas 2.6, 2.5, 1.2 of 6.3: six, so 3, 2, 1."""
    shapes = {"a": (10, 1), "b": (10, 1), "c": (10, 1)}
    assert counts(shapes, {"a": 0.26, "b": 0.25, "c": 0.12}) == {"a": 3, "b": 2, "c": 1}


@often
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), min_size=1, max_size=6), st.integers(0, 120))
def test_apportioning_gives_all_that_fits_and_no_more_than_there_is_room(
    pairs: list[tuple[int, int]], total: int
) -> None:
    shares, room = (torch.tensor(column) for column in zip(*pairs, strict=True))
    given_ = apportion(shares.double(), total, room)
    assert int(given_.sum()) == min(total, int(room.sum()))
    assert bool(((given_ >= 0) & (given_ <= room)).all())


def test_apportioning_with_room_is_by_largest_remainder() -> None:
    """Quotas 1.8, 0.9, 0.3 of three: 2, 1, 0."""
    given_ = apportion(torch.tensor([6.0, 3.0, 1.0]), 3, torch.tensor([9, 9, 9]))
    assert given_.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("density", "says"),
    [
        (0.0, "not 0"),
        (-0.1, "not -0.1"),
        (95.0, "did you mean 0.95 .*keep 95.* or 0.05 .*prune 95"),
        (1.5, "in (0, 1]"),
        (math.nan, "not nan"),
        (math.inf, "inf"),
    ],
)
@pytest.mark.parametrize("name", ["uniform", "er", "erk", "lambdas"])
def test_a_density_outside_its_range_is_refused_with_what_was_meant(name: str, density: float, says: str) -> None:
    pattern = says.replace("(0, 1]", r"\(0, 1\]")
    with pytest.raises(ValueError, match=pattern):
        densities(name, {"a": (8, 8), "b": (8, 8)}, density=density)


@pytest.mark.parametrize(("first", "rest"), [(0.0, 1.0), (7.0, -1.0)])
def test_lambdas_must_be_positive(first: float, rest: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        densities("lambdas", {"a": (8, 8), "b": (8, 8)}, first=first, rest=rest)


def test_an_empty_layer_is_refused_by_name() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 100), nn.Linear(100, 1))
    with pytest.raises(ValueError, match=r"no connection in layer 0\.weight"):
        cost.planned_size(module, Method(allocation=part("uniform", density=0.05)), REGISTRY)


def test_explicit_densities_are_taken_and_others_dense() -> None:
    shapes = {"a": (8, 8), "b": (8, 8)}
    assert densities("explicit", shapes, layers={"a": 0.25}) == {"a": 0.25, "b": 1.0}
    with pytest.raises(ValueError, match="no eligible layer 'c'"):
        densities("explicit", shapes, layers={"c": 0.25})
    with pytest.raises(ValueError, match="density is the share"):
        densities("explicit", shapes, layers={"a": 0.0})


def test_eligible_layers_are_those_that_the_paper_sparsifies() -> None:
    shapes = member_shapes(actor(17, 6))
    chosen = {name: REGISTRY.bind("eligible", part(name))(shapes=shapes) for name in ("hidden", "all", "input", "none")}
    assert chosen == {
        "hidden": ("0.weight", "2.weight"),
        "all": ("0.weight", "2.weight", "4.weight"),
        "input": ("0.weight",),
        "none": (),
    }
    heads = {"body.0.weight": (8, 4), "head.mean.weight": (2, 8), "head.std.weight": (2, 8)}
    assert hidden(heads) == ("body.0.weight",)
    assert member_shapes(critics(17, 6)) == {"0.weight": (256, 23), "1.weight": (256, 256), "2.weight": (1, 256)}
