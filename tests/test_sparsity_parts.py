"""Every criterion and rule on eight to twelve entries, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toys_sparsity import REGISTRY

from registry import part
from sparsity import rewire


def row(*entries: float) -> Tensor:
    """A layer with one row of entries, `(1, 1, n)`."""
    return torch.tensor([[entries]])


def yes(entries: str) -> Tensor:
    """A mask from a drawing, x for active: `yes("x.x")`."""
    return torch.tensor([[[c == "x" for c in entries.replace(" ", "")]]])


def noise(n: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 1, n, generator=torch.Generator().manual_seed(seed))


def call(kind: str, name: str, given: dict[str, Any], **settings: Any) -> Any:
    return REGISTRY.bind(kind, part(name, **settings))(**given)


def leaves(name: str, k: int, *, seed: int = 0, **inputs: Tensor) -> set[int]:
    """Which entries leave when k do."""
    mask = inputs["mask"]
    score = call("prune", name, {"noise": noise(mask.numel(), seed), **inputs})
    done = rewire(mask, score, score, torch.tensor([k]), torch.tensor([0]), tie=noise(mask.numel(), seed + 100))
    return set(done.dropped.flatten().nonzero().flatten().tolist())


def enters(name: str, k: int, *, seed: int = 0, settings: dict[str, Any] | None = None, **inputs: Tensor) -> set[int]:
    """Which entries enter when k do."""
    mask = inputs["mask"]
    score = call("grow", name, {"noise": noise(mask.numel(), seed), **inputs}, **(settings or {}))
    done = rewire(mask, score, score, torch.tensor([0]), torch.tensor([k]), tie=noise(mask.numel(), seed + 100))
    return set(done.grown.flatten().nonzero().flatten().tolist())


#  entry       0     1    2    3     4    5     6    7    8     9
#  weight    +.5   -.1    0  +.2   -.9    0   -.3  +.1    0   +.7
#  active      x     x    .    x     x    x     x    x    .     x        entry 5 is active and exactly zero
#  gradient  +.1   -.8   +9  -.3   +.2   -4   +.5   -6   -7     0
#  |w g|     .05   .08    -  .06   .18    0   .15   .6    -     0
WEIGHT = row(0.5, -0.1, 0, 0.2, -0.9, 0, -0.3, 0.1, 0, 0.7)
GRAD = row(0.1, -0.8, 9, -0.3, 0.2, -4, 0.5, -6, -7, 0)
MASK = yes("xx.xxxxx.x")
LAYER = {"weight": WEIGHT, "grad": GRAD, "mask": MASK}


@pytest.mark.parametrize(
    ("k", "gone"), [(0, set()), (1, {5}), (3, {5, 1, 7}), (4, {5, 1, 7, 3}), (7, {0, 1, 3, 5, 6, 7, 9})]
)
def test_magnitude_lets_the_smallest_weights_leave(k: int, gone: set[int]) -> None:
    assert leaves("magnitude", k, **LAYER) == gone


@pytest.mark.parametrize(("k", "gone"), [(1, {9}), (2, {9, 0}), (4, {9, 0, 4, 3}), (7, {9, 0, 4, 3, 6, 1, 5})])
def test_gradient_lets_the_smallest_gradients_leave(k: int, gone: set[int]) -> None:
    assert leaves("gradient", k, **LAYER) == gone


@pytest.mark.parametrize(("k", "gone"), [(2, {5, 9}), (3, {5, 9, 0}), (5, {5, 9, 0, 3, 1}), (6, {5, 9, 0, 3, 1, 6})])
def test_saliency_lets_the_smallest_products_leave(k: int, gone: set[int]) -> None:
    assert leaves("saliency", k, **LAYER) == gone


#  positive, nearest to zero first: 7 (.1), 3 (.2), 0 (.5), 9 (.7)      negative: 1 (-.1), 6 (-.3), 4 (-.9)      zero: 5
@pytest.mark.parametrize(
    ("k", "gone"),
    [
        (1, {5}),
        (3, {5, 7, 1}),
        (5, {5, 7, 1, 3, 6}),
        (7, {5, 7, 1, 3, 6, 0, 4}),
        (8, {5, 7, 1, 3, 6, 0, 4, 9}),
    ],
)
def test_half_per_sign_takes_zeros_first_then_half_from_each_sign(k: int, gone: set[int]) -> None:
    assert leaves("half_per_sign", k, **LAYER) == gone


def test_half_per_sign_decides_an_odd_one_by_noise() -> None:
    seen = {frozenset(leaves("half_per_sign", 2, seed=seed, **LAYER)) for seed in range(30)}
    assert seen == {frozenset({5, 7}), frozenset({5, 1})}


#  entry     0    1    2    3    4    5    6    7
#  weight  +.1  +.2  +.3  +.4  +.5  -.1    0  +.6       one negative; entry 6 absent
def test_half_per_sign_passes_the_rest_of_an_exhausted_sign_to_the_other() -> None:
    layer = {"weight": row(0.1, 0.2, 0.3, 0.4, 0.5, -0.1, 0, 0.6), "mask": yes("xxxxxx.x")}
    assert leaves("half_per_sign", 2, **layer) == {0, 5}
    assert leaves("half_per_sign", 4, **layer) == {0, 1, 2, 5}
    assert leaves("half_per_sign", 6, **layer) == {0, 1, 2, 3, 4, 5}


def test_half_per_sign_treats_all_of_one_sign_as_magnitude() -> None:
    layer = {"weight": -row(0.3, 0.1, 0.4, 0.15, 0.9, 0.2, 0.6, 0.5), "mask": yes("xxxxxxxx")}
    assert leaves("half_per_sign", 3, **layer) == {1, 3, 5}


#  entry     0    1    2    3    4    5    6    7    8    9
#  weight  +.1  +.2  +.3  +.4  +.5  +.6  -.7  -.8  -.9    0      six positive, three negative: two leave for one
@pytest.mark.parametrize(("k", "gone"), [(3, {0, 1, 6}), (6, {0, 1, 2, 3, 6, 7}), (9, set(range(9)))])
def test_share_per_sign_takes_the_same_share_of_each_sign(k: int, gone: set[int]) -> None:
    layer = {"weight": row(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, -0.7, -0.8, -0.9, 0), "mask": yes("xxxxxxxxx.")}
    assert leaves("share_per_sign", k, **layer) == gone


def test_share_per_sign_takes_zeros_first() -> None:
    assert leaves("share_per_sign", 1, **LAYER) == {5}
    # shares: 7 .25, 3 .5, 0 .75, 9 1 and 1 .333, 6 .667, 4 1
    assert leaves("share_per_sign", 4, **LAYER) == {5, 7, 1, 3}
    assert leaves("share_per_sign", 6, **LAYER) == {5, 7, 1, 3, 6, 0}


@pytest.mark.parametrize("name", ["half_per_sign", "share_per_sign"])
def test_signed_ranks_are_each_member_s_own(name: str) -> None:
    """The second member is the first with its signs turned: its scores are the same."""
    weight = torch.cat([WEIGHT, -WEIGHT])
    fair = noise(10).expand(2, 1, 10)
    score = call("prune", name, {"weight": weight, "mask": MASK.expand(2, 1, 10), "noise": fair})
    assert torch.equal(score[0], score[1])
    alone = call("prune", name, {"weight": WEIGHT, "mask": MASK, "noise": noise(10)})
    assert torch.equal(score[0], alone[0])


def test_random_pruning_follows_the_noise_alone() -> None:
    u = row(0.9, 0.2, 0.1, 0.8, 0.3, 0.7, 0.5, 0.6, 0.05, 0.4)
    score = call("prune", "random", {**LAYER, "noise": u})
    assert torch.equal(score, u)
    assert leaves("random", 3, seed=1, **LAYER) != leaves("random", 3, seed=2, **LAYER)


def test_random_growth_follows_the_noise_alone() -> None:
    u = row(0.9, 0.2, 0.1, 0.8, 0.3, 0.7, 0.5, 0.6, 0.05, 0.4)
    assert torch.equal(call("grow", "random", {**LAYER, "noise": u}), u)


#  entry       0    1    2    3    4    5    6    7
#  active      x    x    .    .    x    .    .    x
#  gradient   +9   -8  -.4  +.2   +7  +.1  -.3  -.6        absent by |g|: 2, 6, 3, 5
ABSENT_LAYER = {"grad": row(9, -8, -0.4, 0.2, 7, 0.1, -0.3, -0.6), "mask": yes("xx..x..x")}


@pytest.mark.parametrize(("k", "new"), [(1, {2}), (2, {2, 6}), (3, {2, 6, 3}), (4, {2, 6, 3, 5})])
def test_gradient_growth_takes_the_largest_absent_gradients(k: int, new: set[int]) -> None:
    assert enters("gradient", k, **ABSENT_LAYER) == new
    assert enters("mixture", k, settings={"chance": 0.0}, **ABSENT_LAYER) == new


def test_mixture_at_chance_one_is_random_growth() -> None:
    u = noise(8)
    assert torch.equal(call("grow", "mixture", {**ABSENT_LAYER, "noise": u}, chance=1.0)[~ABSENT_LAYER["mask"]],
                       u[~ABSENT_LAYER["mask"]])  # fmt: skip


def test_mixture_weighs_the_rank_within_the_layer() -> None:
    """|g| of all eight entries ranks 2, 6, 3, 5 as 4, 3, 2, 1 (the active ones are larger); half of n/8, half noise."""
    u = row(0, 0, 0.1, 0.2, 0, 0.3, 0.4, 0)
    score = call("grow", "mixture", {**ABSENT_LAYER, "noise": u}, chance=0.5)
    want = {2: 0.25 + 0.05, 6: 0.1875 + 0.2, 3: 0.125 + 0.1, 5: 0.0625 + 0.15}
    got = {i: round(score[0, 0, i].item(), 6) for i in want}
    assert got == pytest.approx(want)


@pytest.mark.parametrize("chance", [-0.1, 1.1])
def test_mixture_refuses_a_chance_outside_the_unit_interval(chance: float) -> None:
    with pytest.raises(ValueError, match="chance"):
        call("grow", "mixture", {**ABSENT_LAYER, "noise": noise(8)}, chance=chance)


#  entry      0    1    2    3    4    5    6    7
#  weight   +.3  -.8  +.1    0  -.5  +.6  -.2  +.7
#  noise    .10  .95  .40  .30  .60  .20  .90  .50
FIRST = {
    "weight": row(0.3, -0.8, 0.1, 0, -0.5, 0.6, -0.2, 0.7),
    "noise": row(0.10, 0.95, 0.40, 0.30, 0.60, 0.20, 0.90, 0.50),
    "mask": yes("........"),
    "density": 0.5,
}


def first_mask(name: str, k: int) -> set[int]:
    score = call("initial", name, FIRST)
    none = torch.tensor([0])
    done = rewire(FIRST["mask"], score, score, none, torch.tensor([k]), tie=noise(8))
    return set(done.mask.flatten().nonzero().flatten().tolist())


@pytest.mark.parametrize(("k", "chosen"), [(1, {1}), (3, {1, 6, 4}), (8, set(range(8)))])
def test_a_random_start_is_where_the_noise_is_highest(k: int, chosen: set[int]) -> None:
    assert first_mask("random", k) == chosen


@pytest.mark.parametrize(("k", "chosen"), [(1, {1}), (3, {1, 7, 5}), (7, {0, 1, 2, 4, 5, 6, 7})])
def test_a_magnitude_start_is_where_weights_are_largest(k: int, chosen: set[int]) -> None:
    assert first_mask("magnitude", k) == chosen


def test_a_bernoulli_start_is_a_mask_drawn_entry_by_entry() -> None:
    mask = call("initial", "bernoulli", FIRST)
    assert torch.equal(mask, yes("x.xx.x.."))
    assert call("initial", "bernoulli", {**FIRST, "density": 1.0}).all()


#  entry     0    1    2    3    4    5    6    7    8    9
#  target  +.5  -.2    0  +.2  -.9  +.2    0  -.3  -.2  +.1
#  online  +.4    0    0  -.1  -.8    0  +.2    0    0    0
#  active    x    .    .    x    x    x    x    .    .    .       five active, four of them not zero
SLOW = {
    "target": row(0.5, -0.2, 0, 0.2, -0.9, 0.2, 0, -0.3, -0.2, 0.1),
    "online": row(0.4, 0, 0, -0.1, -0.8, 0, 0.2, 0, 0, 0),
    "mask": yes("x..xxxx..."),
}


def test_follow_keeps_the_online_mask() -> None:
    assert torch.equal(call("target", "follow", SLOW), SLOW["mask"])


def test_keep_largest_keeps_as_many_as_the_mask_has_ties_to_the_lower_index() -> None:
    """By size: 4 (.9), 0 (.5), 7 (.3), then .2 at 1, 3, 5 and 8: two of them are among the five."""
    assert torch.equal(call("target", "keep_largest", SLOW, count="mask"), yes("xx.xx..x.."))
    assert torch.equal(call("target", "keep_largest", SLOW), yes("xx.xx..x.."))


def test_keep_largest_may_count_the_values_that_are_not_zero() -> None:
    assert torch.equal(call("target", "keep_largest", SLOW, count="nonzero"), yes("xx..x..x.."))


def test_keep_largest_keeps_exactly_k_of_equal_values() -> None:
    mask = yes("x.xx.x.x").view(1, 2, 4)
    given = {"target": torch.full((1, 2, 4), -0.5), "online": torch.ones(1, 2, 4), "mask": mask}
    kept = call("target", "keep_largest", given)
    assert kept.flatten().tolist() == [True] * 5 + [False] * 3


def test_keep_largest_counts_member_by_member() -> None:
    target = torch.arange(1.0, 17).view(2, 2, 4)
    mask = torch.cat([yes("x.......").view(1, 2, 4), yes("xxxx.xxx").view(1, 2, 4)])
    kept = call("target", "keep_largest", {"target": target, "online": target, "mask": mask})
    assert kept.sum((-2, -1)).tolist() == [1, 7]
    assert kept[0, 1, 3]
    assert not kept[1, 0, 0]


def test_drift_keeps_the_union() -> None:
    assert torch.equal(call("target", "drift", SLOW), yes("xx.xxxxxxx"))


#  entry     0    1    2    3    4    5    6    7
#  moment   .1   .2   .3   .4   .5   .6   .7   .8
#  active    x    x    .    x    x    .    x    .
#  grown     .    x    .    x    .    .    .    .       older active ones: 0, 4, 6, mean 1.3 / 3
MOMENT = {
    "moment": row(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "mask": yes("xx.xx.x."),
    "grown": yes(".x.x...."),
    "second": False,
}


@pytest.mark.parametrize(
    ("rule", "second", "want"),
    [
        ("keep", False, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
        ("mask", False, (0.1, 0, 0, 0, 0.5, 0, 0.7, 0)),
        ("reset_grown", False, (0.1, 0, 0.3, 0, 0.5, 0.6, 0.7, 0.8)),
        ("warm", False, (0.1, 0, 0, 0, 0.5, 0, 0.7, 0)),
        ("warm", True, (0.1, 1.3 / 3, 0, 1.3 / 3, 0.5, 0, 0.7, 0)),
    ],
)
def test_moments_rules_by_hand(rule: str, second: bool, want: tuple[float, ...]) -> None:
    got = call("moments", rule, {**MOMENT, "second": second})
    torch.testing.assert_close(got, row(*want))


def test_warm_moments_of_a_layer_without_older_connections_are_zero() -> None:
    got = call("moments", "warm", {**MOMENT, "mask": MOMENT["grown"], "second": True})
    assert torch.equal(got, torch.zeros(1, 1, 8))


def test_a_connection_is_born_at_zero_or_as_the_step_left_it() -> None:
    stepped = row(0.1, -0.2)
    assert call("born", "zero", {"stepped": stepped}) == 0.0
    assert torch.equal(call("born", "as_stepped", {"stepped": stepped}), stepped)


#  layer       0    1    2    3
#  connections 40   10   30   20
#  removed     10    2    3    5
def test_spread_shares_by_hand() -> None:
    nnz, removed = torch.tensor([40, 10, 30, 20]), torch.tensor([10, 2, 3, 5])
    given = {"nnz": nnz, "removed": removed, "room": torch.tensor([50, 50, 50, 50])}
    assert call("spread", "in_place", given).tolist() == [10, 2, 3, 5]
    assert call("spread", "by_survivors", given).tolist() == [30, 8, 27, 15]


#  step        1     2     3     4
#  gradient   +1    -2    +3    +4
def test_traces_by_hand() -> None:
    momentum, total, age, ever = (torch.zeros(1) for _ in range(4))
    for g, here in ((1.0, True), (-2.0, False), (3.0, True), (4.0, True)):
        grad, mask = torch.tensor([g]), torch.tensor([here])
        momentum = call("trace", "momentum", {"trace": momentum, "grad": grad}, beta=0.5)
        total = call("trace", "averaged_gradient", {"trace": total, "grad": grad})
        age = call("trace", "age", {"trace": age, "mask": mask})
        ever = call("trace", "ever_active", {"trace": ever, "mask": mask})
    assert momentum.item() == pytest.approx(((0.5 * 0.5 - 1.0) * 0.5 + 1.5) * 0.5 + 2.0)
    assert (total.item(), age.item(), ever.item()) == (6.0, 2.0, 1.0)
