"""`rewire`: exact counts, whatever the scores, shapes and ties; and the property catches bugs of published code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparsity import Rewired, rewire
from sparsity.rewire import lowest

DENORMAL = 1e-45
SPECIAL = (0.0, -0.0, DENORMAL, -DENORMAL, 1e-38, 0.5, -0.5, 0.5 + 2**-24, 1.0, -1.0, 3e38, -3e38)
exactly = settings(max_examples=200, deadline=None, database=None)
briefly = settings(exactly, max_examples=60)


class Case(NamedTuple):
    mask: Tensor
    drop_score: Tensor
    grow_score: Tensor
    drop: Tensor
    grow: Tensor
    tie: Tensor
    readmit: bool

    def call(self, operation: Callable[..., Rewired] = rewire) -> Rewired:
        return operation(*self[:5], tie=self.tie, readmit=self.readmit)


@st.composite
def scores(draw: st.DrawFn, shape: tuple[int, ...]) -> Tensor:
    """All equal, all zero, a few values many times, zeros of both signs and denormals, or random."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(("equal", "zero", "few", "special", "random")))
    if kind == "equal":
        return torch.full(shape, draw(st.sampled_from(SPECIAL)))
    if kind == "zero":
        return torch.zeros(shape) * torch.sign(torch.rand(shape, generator=generator) - 0.5)
    if kind == "random":
        return torch.randn(shape, generator=generator)
    values = torch.tensor((0.1, 0.2, 0.3) if kind == "few" else SPECIAL)
    return values[torch.randint(len(values), shape, generator=generator)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Shapes from (1, 1), with and without members; densities from 0 to exactly 1; counts up to all that is there."""
    members = draw(st.sampled_from(((), (1,), (2,), (3,), (2, 2))))
    shape = (*members, draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    density = draw(st.sampled_from((0.0, 0.1, 0.5, 0.9, 1.0)))
    mask = torch.rand(shape, generator=generator) < density
    readmit = draw(st.booleans())
    nnz, size = mask.sum((-2, -1)), shape[-1] * shape[-2]
    drop = (torch.rand(members, generator=generator) * (nnz + 1)).long().clamp(max=nnz)
    room = size - nnz + (drop if readmit else 0)
    share = 1.0 if draw(st.booleans()) else 0.5
    grow = (torch.rand(members, generator=generator) * share * (room + 1)).long().minimum(room)
    return Case(
        mask,
        draw(scores(shape)),
        draw(scores(shape)),
        drop,
        grow,
        torch.rand(shape, generator=generator),
        readmit,
    )


def check(case: Case, done: Rewired) -> None:
    """What every rewiring must satisfy; AssertionError if one thing does not hold."""
    mask, new = case.mask, done.mask
    count = lambda chosen: chosen.sum((-2, -1))  # noqa: E731
    assert all(field.dtype == torch.bool and field.shape == mask.shape for field in done)
    left, entered = done.dropped | done.readmitted, done.grown | done.readmitted
    assert torch.equal(count(left), case.drop)
    assert torch.equal(count(entered), case.grow)
    assert torch.equal(count(new), count(mask) - case.drop + case.grow)
    assert not (left & ~mask).any(), "dropped a connection that was absent"
    kept = mask & ~left
    assert not (done.grown & mask).any(), "grew where a connection was"
    assert not (entered & kept).any()
    assert torch.equal(new, kept | entered)
    assert torch.equal(done.dropped, mask & ~new)
    assert torch.equal(done.grown, new & ~mask)
    assert not (done.readmitted & ~new).any(), "a readmitted connection survives"
    assert case.readmit or not done.readmitted.any()
    candidates = ~mask | left if case.readmit else ~mask
    for i in range(max(1, mask[..., 0, 0].numel())):
        at = lambda t: t.reshape(-1, *mask.shape[-2:])[i]  # noqa: B023, E731
        out, stay = at(case.drop_score)[at(left)], at(case.drop_score)[at(kept)]
        assert not len(out) or not len(stay) or out.max() <= stay.min(), "a higher score left before a lower one"
        into, not_in = at(case.grow_score)[at(entered)], at(case.grow_score)[at(candidates & ~entered)]
        assert not len(into) or not len(not_in) or into.min() >= not_in.max(), "a lower score grew before a higher one"


@exactly
@given(cases())
def test_rewiring_drops_and_grows_exactly_what_was_asked(case: Case) -> None:
    check(case, case.call())


@briefly
@given(cases())
def test_rewiring_does_not_depend_on_memory_layout(case: Case) -> None:
    def transposed(tensor: Tensor) -> Tensor:
        return tensor.mT.contiguous().mT if tensor.dim() >= 2 else tensor

    def strided(tensor: Tensor) -> Tensor:
        return torch.stack([tensor, torch.zeros_like(tensor)], dim=-1)[..., 0]

    plain = case.call()
    for layout in (transposed, strided):
        other = Case(*(layout(f) if isinstance(f, Tensor) else f for f in case)).call()
        assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


@briefly
@given(cases(), st.integers(0, 2**31))
def test_rewiring_knows_no_index(case: Case, seed: int) -> None:
    """Shuffled entries give the shuffled answer: ties are decided by the noise that moves with them."""
    shape, generator = case.mask.shape, torch.Generator().manual_seed(seed)
    size = shape[-1] * shape[-2]
    distinct = torch.randperm(size, generator=generator).double() / size
    case = case._replace(tie=distinct.expand(*shape[:-2], size).unflatten(-1, shape[-2:]))
    order = torch.randperm(size, generator=generator)

    def shuffled(tensor: Tensor) -> Tensor:
        return tensor.flatten(-2)[..., order].unflatten(-1, shape[-2:])

    moved = case._replace(
        mask=shuffled(case.mask),
        drop_score=shuffled(case.drop_score),
        grow_score=shuffled(case.grow_score),
        tie=shuffled(case.tie),
    )
    for plain, other in zip(case.call(), moved.call(), strict=True):
        assert torch.equal(shuffled(plain), other)


@briefly
@given(cases())
def test_members_of_a_population_are_rewired_each_by_itself(case: Case) -> None:
    together = case.call()
    shape = case.mask.shape[-2:]
    for i in range(case.drop.numel()):
        alone = Case(*(t.reshape(-1, *shape)[i] for t in case[:3]), *(t.reshape(-1)[i] for t in case[3:5]),
                     case.tie.reshape(-1, *shape)[i], case.readmit).call()  # fmt: skip
        for a, b in zip(together, alone, strict=True):
            assert torch.equal(a.reshape(-1, *shape)[i], b)


def test_equal_scores_leave_and_enter_uniformly_often() -> None:
    """Ten of twenty equal entries active, three swapped, 3,000 times: each active one leaves 900 +- 5 sigma times."""
    mask, generator = torch.arange(20).reshape(1, 4, 5) % 2 == 0, torch.Generator().manual_seed(0)
    left, entered, flat = torch.zeros(1, 4, 5), torch.zeros(1, 4, 5), torch.full((1, 4, 5), 0.25)
    k = torch.tensor([3])
    for _ in range(3000):
        done = rewire(mask, flat, flat, k, k, tie=torch.rand(1, 4, 5, generator=generator))
        left, entered = left + done.dropped, entered + done.grown
    bound = 5 * (3000 * 0.3 * 0.7) ** 0.5
    assert (left[mask] - 900).abs().max() < bound
    assert (entered[~mask] - 900).abs().max() < bound


def test_zeros_of_both_signs_are_one_value() -> None:
    """Ten zeros, signs alternating: which five leave is up to the noise alone, not to the sign."""
    plain, signed = torch.zeros(1, 2, 5), torch.zeros(1, 2, 5) * torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    mask, tie = torch.ones(1, 2, 5, dtype=torch.bool), torch.rand(1, 2, 5, generator=torch.Generator().manual_seed(3))
    k, none = torch.tensor([5]), torch.tensor([0])
    first, second = (rewire(mask, score, plain, k, none, tie=tie) for score in (plain, signed))
    assert torch.equal(first.mask, second.mask)


def test_a_denormal_score_is_above_zero() -> None:
    mask, score = torch.ones(1, 1, 3, dtype=torch.bool), torch.tensor([[[DENORMAL, 0.0, DENORMAL]]])
    done = rewire(mask, score, score, torch.tensor([1]), torch.tensor([0]), tie=torch.tensor([[[0.1, 0.9, 0.2]]]))
    assert done.dropped.flatten().tolist() == [False, True, False]


#   entry       0    1    2    3    4    5    6    7
#   active      x    x    .    x    .    x    x    .
#   drop score  5    1    0    2    0    4    3    0      the two lowest active ones: 1 and 3
#   grow score  9    8    1    0    3    7    6    2      absent: 2, 4, 7;  with those that left: 1, 2, 3, 4, 7
HAND = {
    "mask": torch.tensor([[[1, 1, 0, 1, 0, 1, 1, 0]]]).bool(),
    "drop_score": torch.tensor([[[5.0, 1, 0, 2, 0, 4, 3, 0]]]),
    "grow_score": torch.tensor([[[9.0, 8, 1, 0, 3, 7, 6, 2]]]),
    "drop": torch.tensor([2]),
    "grow": torch.tensor([2]),
    "tie": torch.linspace(0.1, 0.9, 8).reshape(1, 1, 8),
}


def active(mask: Tensor) -> list[int]:
    return mask.flatten().nonzero().flatten().tolist()


def test_a_dropped_connection_stays_away_without_readmission() -> None:
    done = rewire(**HAND, readmit=False)
    assert [active(field) for field in done] == [[0, 4, 5, 6, 7], [1, 3], [4, 7], []]


def test_a_readmitted_connection_is_neither_dropped_nor_grown() -> None:
    done = rewire(**HAND, readmit=True)
    assert [active(field) for field in done] == [[0, 1, 4, 5, 6], [3], [4], [1]]


@pytest.mark.parametrize(
    ("drop", "grow", "readmit"), [(6, 0, False), (0, 4, False), (2, 6, True), (-1, 0, False), (0, -1, True)]
)
def test_more_than_there_is_cannot_be_asked_for(drop: int, grow: int, readmit: bool) -> None:
    with pytest.raises(ValueError, match="cannot choose"):
        rewire(**{**HAND, "drop": torch.tensor([drop]), "grow": torch.tensor([grow])}, readmit=readmit)


def test_without_room_everything_that_leaves_must_return() -> None:
    full = torch.ones(1, 2, 3, dtype=torch.bool)
    score, k = torch.arange(6.0).reshape(1, 2, 3), torch.tensor([4])
    done = rewire(full, score, -score, k, k, tie=torch.rand(1, 2, 3), readmit=True)
    assert torch.equal(done.mask, full)
    assert active(done.readmitted) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="cannot choose"):
        rewire(full, score, -score, k, k, tie=torch.rand(1, 2, 3), readmit=False)


def test_inputs_are_left_alone() -> None:
    before = {name: tensor.clone() for name, tensor in HAND.items()}
    rewire(**HAND, readmit=True)
    assert all(torch.equal(before[name], HAND[name]) for name in HAND)


# Bugs of published code, planted: the property above must catch each of them.


def by_threshold(mask: Tensor, drop_score: Tensor, grow_score: Tensor, drop: Tensor, grow: Tensor, **_: Any) -> Rewired:
    """Keeps what lies at or above the k-th score: with ties, too much."""
    kept = torch.zeros_like(mask)
    for i, k in enumerate((mask.sum((-2, -1)) - drop).reshape(-1).tolist()):
        row, here = drop_score.reshape(-1, *mask.shape[-2:])[i], mask.reshape(-1, *mask.shape[-2:])[i]
        if k:
            threshold = row[here].sort(descending=True).values[k - 1]
            kept.view(-1, *mask.shape[-2:])[i] = here & (row >= threshold)
    new = kept | lowest(-grow_score, ~mask, grow.minimum((~mask).sum((-2, -1))), grow_score)
    return Rewired(new, mask & ~new, new & ~mask, torch.zeros_like(mask))


def over_all_entries(
    mask: Tensor, drop_score: Tensor, grow_score: Tensor, drop: Tensor, grow: Tensor, *, tie: Tensor, readmit: bool
) -> Rewired:
    """Keeps the top k of all entries times the mask: an absent zero may be 'kept' and an active one lost."""
    everywhere = torch.ones_like(mask)
    kept = ~lowest(drop_score, everywhere, everywhere.sum((-2, -1)) - (mask.sum((-2, -1)) - drop), tie)
    new = kept | lowest(-grow_score, ~mask, grow.minimum((~mask).sum((-2, -1))), tie)
    return Rewired(new, mask & ~new, new & ~mask, torch.zeros_like(mask))


def grows_where_active(
    mask: Tensor, drop_score: Tensor, grow_score: Tensor, drop: Tensor, grow: Tensor, *, tie: Tensor, readmit: bool
) -> Rewired:
    """Looks for growth over all entries."""
    leaving = lowest(drop_score, mask, drop, tie)
    entering = lowest(-grow_score, torch.ones_like(mask), grow, tie)
    new = (mask & ~leaving) | entering
    return Rewired(new, mask & ~new, new & ~mask, leaving & entering)


def one_too_many(
    mask: Tensor, drop_score: Tensor, grow_score: Tensor, drop: Tensor, grow: Tensor, **more: Any
) -> Rewired:
    """floor + 1, as in the released code."""
    return rewire(mask, drop_score, grow_score, (drop + 1).minimum(mask.sum((-2, -1))), grow, **more)


def holds(operation: Callable[..., Rewired], case: Case) -> bool:
    try:
        check(case, case.call(operation))
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("planted", [by_threshold, over_all_entries, grows_where_active, one_too_many])
def test_the_property_catches_a_planted_bug(planted: Callable[..., Rewired]) -> None:
    caught = find(cases(), lambda case: not holds(planted, case), settings=settings(exactly, phases=[Phase.generate]))
    assert holds(rewire, caught)
