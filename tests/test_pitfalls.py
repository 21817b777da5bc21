"""Where implementations of sparse training go wrong, one test each, and the wrong versions caught."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from byhand import Still
from numpy.random import SeedSequence
from test_rl_td3 import batch
from toys_sparse import Agents
from toys_sparsity import REGISTRY, SEEN, World

from registry import part
from rl.sac import SAC, sac
from sparsity import DS, DS_RELEASED, RIGL, SET, Method, Sparsifier
from sparsity.allocation import counts, er
from sparsity.published import MEST_RELEASED

CPU = torch.device("cpu")
HALF = part("uniform", density=0.5)
NOW = part("periodic", fraction=0.5, every=1)
SWAPS = replace(SET, allocation=HALF, schedule=part("periodic", fraction=0.3, every=3))


def events(method: Method, updates: int = 24, **more: Any) -> dict[int, list[int]]:
    """Agent updates of the critic's (0) and the actor's (1) events; the actor steps on every second update."""
    run = Agents(method, "masked", **more)
    for number in range(updates):
        run.do(number)
    return {which: [event.step for number, event in run.events if number == which] for which in (0, 1)}


# (a) The schedule's phase and units.


def test_a_schedule_counts_agent_updates_for_all_networks_or_each_networks_own_steps() -> None:
    method = replace(SWAPS, schedule=part("periodic", fraction=0.3, every=6))
    assert events(method) == {0: [6, 12, 18, 24], 1: [6, 12, 18, 24]}
    assert events(replace(method, clock="optimizer")) == {0: [6, 12, 18, 24], 1: [6, 12]}


def test_an_odd_period_or_phase_loses_no_event_of_the_actor() -> None:
    """The released code asks `t mod e == 2` in the actor's branch too: with an odd e every second event is lost."""
    method = replace(SWAPS, schedule=part("periodic", fraction=0.3, every=5, phase=2))
    assert events(method) == {0: [2, 7, 12, 17, 22], 1: [2, 8, 12, 18, 22]}
    lost = [t for t in range(1, 25) if t % 5 == 2 and t % 2 == 0]
    assert lost == [2, 12, 22]


# (b) The actor's counter under a delay.


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_the_actor_is_rewired_as_often_as_the_critics_whatever_its_delay(delay: int) -> None:
    heard = events(replace(SWAPS, schedule=part("periodic", fraction=0.3, every=6)), policy_delay=delay)
    assert len(heard[0]) == len(heard[1]) == 4


# (c) The growth score is the critic's own gradient.


class Leaky(SAC):
    """RLx2's SAC: the actor's loss runs back into the critics, whose gradients the next growth takes for their own."""

    def _update_actor(self, observation: torch.Tensor, alpha: float) -> dict[str, float]:
        action, log_prob, _ = self._sample(self.actor(observation), self.policy_noise)
        q = self.critics(observation, action).min(dim=0).values
        (alpha * log_prob - q).mean().backward()
        return {"actor_loss": 0.0, "entropy": 0.0}


def scores_are_the_critics_own(agent: SAC) -> bool:
    """Growth by gradient at the second update, against autograd of the critics' loss alone."""
    SEEN.clear()
    method = replace(RIGL, allocation=HALF, grow=part("toy_recorded"), schedule=part("periodic", fraction=0.5, every=2))
    sparsifier = Sparsifier(
        agent.learners()[0], method, seed=SeedSequence(0), total=10, registry=REGISTRY, execution="masked"
    )
    agent.update(batch(0, torch.float64))
    seen, noise = batch(1, torch.float64), agent.target_noise.get_state()
    y = agent.bootstrap(seen, agent.temperature)
    agent.target_noise.set_state(noise)
    q = agent.critics(seen.observation, seen.action)
    own = torch.autograd.grad((q - y).square().mean(dim=1).sum(), list(agent.critics.parameters()))
    agent.update(seen)
    sparsifier.detach()
    return all(torch.allclose(score, grad) for score, grad in zip(SEEN, [g for g in own if g.dim() == 3], strict=True))


@pytest.mark.parametrize("analytic", [True, False])
def test_growth_by_gradient_does_not_see_the_actors_loss(analytic: bool) -> None:
    agent = sac(4, 2, 0, CPU, torch.float64, actor_hidden=(9, 8), critic_hidden=(9, 8), analytic=analytic)
    assert scores_are_the_critics_own(agent)


def test_an_agent_that_lets_it_through_is_seen_by_that_check() -> None:
    agent = sac(4, 2, 0, CPU, torch.float64, actor_hidden=(9, 8), critic_hidden=(9, 8), analytic=False)
    leaky = Leaky(**vars(agent))
    # Its critics clear their gradients before their own loss, as RLx2's do not.
    leaky._update_critics = lambda batch_, alpha: _uncleared(leaky, batch_, alpha)  # type: ignore[method-assign]
    assert not scores_are_the_critics_own(leaky)


def _uncleared(agent: SAC, batch_: Any, alpha: float) -> dict[str, float]:
    y = agent.bootstrap(batch_, alpha)
    q = agent.critics(batch_.observation, batch_.action)
    (q - y).square().mean(dim=1).sum().backward()
    agent.critics_optimizer.step()
    return {"critic_loss": 0.0, "q": 0.0}


# (d) Whether what was just dropped may grow, and with which value.


@pytest.mark.parametrize("readmit", [True, False])
def test_what_was_just_dropped_returns_with_its_value_or_not_at_all(readmit: bool) -> None:
    """0.5 and 1.0 leave; the gradient is largest at 1.0."""
    method = replace(RIGL, allocation=HALF, initial=part("magnitude"), schedule=NOW, readmit=readmit)
    world = Still(method, [[0.5, 1.0, 2.0, 3.0], [0.1, 0.2, 0.3, 0.4]])
    world.step([[0.0, 9.0, 0.0, 0.0], [8.0, 7.0, 0.0, 0.0]])
    assert world.masks() == [[".xxx", "x..."] if readmit else ["..xx", "xx.."]]
    assert world.weights()[0][0] == ([0.0, 1.0, 2.0, 3.0] if readmit else [0.0, 0.0, 2.0, 3.0])
    assert world.events[0].layers[0].readmitted == (1 if readmit else 0)


# (e) Decay and Adam's leftover moments where nothing is.


@pytest.mark.parametrize("optimizer", ["adam_decay_large", "adamw", "sgd_nesterov", "rmsprop"])
def test_no_decay_and_no_moment_moves_an_absent_weight(optimizer: str) -> None:
    world = World(SWAPS, optimizer=optimizer, total=40)
    assert world.sparsifier is not None
    for _ in range(20):
        world.step()
        for name, mask in world.sparsifier.masks.items():
            assert not world.weight(name)[~mask].any()
            assert all(not moment[~mask].any() for moment in world.moments(name).values())


# (f) Slow copies made before the mask.


def test_a_slow_copy_starts_with_the_online_topology_and_values() -> None:
    world = World(replace(DS, allocation=HALF, initial=part("random")), total=40)
    for name in ("0.weight", "2.weight"):
        assert torch.equal(world.slow(name), world.weight(name))
    assert not torch.equal(world.slow("4.weight") == 0, torch.ones_like(world.slow("4.weight"), dtype=torch.bool))


# (g) Rounding, and layers of one connection.


@pytest.mark.parametrize(
    ("fraction", "active", "left"), [(0.3, 10, 3), (0.1, 30, 3), (0.29, 10, 2), (0.7, 10, 7), (0.05, 19, 0)]
)
def test_swaps_are_rounded_down_and_products_that_fall_short_by_a_bit_are_not(
    fraction: float, active: int, left: int
) -> None:
    """0.7 x 10 and 0.1 x 30 are whole numbers, whatever their binary fractions say."""
    weights = np.arange(1.0, 2 * active + 1).reshape(2, active).tolist()
    method = replace(
        MEST_RELEASED, allocation=HALF, schedule=part("periodic", fraction=fraction, every=1), readmit=False
    )
    world = Still(method, weights)
    world.step()
    assert sum(event.layers[0].dropped for event in world.events) == left


def test_a_layer_of_one_connection_keeps_it() -> None:
    world = Still(
        replace(MEST_RELEASED, allocation=part("uniform", density=0.25), schedule=NOW), [[1.0, 2.0], [3.0, 4.0]]
    )
    for _ in range(5):
        world.step()
        assert world.counts() == [1]


# (h) Full layers, and units that lost all.


def test_full_layers_have_nothing_to_grow_and_cut_off_units_may_be_reached_again() -> None:
    method = replace(RIGL, allocation=part("explicit", layers={"1.weight": 0.5}), schedule=NOW, readmit=False,
                     initial=part("magnitude"))  # fmt: skip
    world = Still(method, [[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [0.1, 0.2]])
    assert world.masks() == [["xx", "xx"], ["xx", ".."]]
    world.step([[9.0, 9.0], [9.0, 9.0]], [[0.0, 0.0], [0.0, 9.0]])
    assert world.masks() == [["xx", "xx"], [".x", ".x"]], "the second unit had no connection left"


# (i) Ties everywhere.


@pytest.mark.parametrize("value", [0.0, 0.25])
@pytest.mark.parametrize("row", [SET, RIGL, DS])
def test_weights_that_all_tie_give_exact_counts_and_no_pattern(value: float, row: Method) -> None:
    method = replace(row, eligible=part("all"), allocation=HALF, initial=part("random"), schedule=NOW, readmit=False)
    world = Still(method, [[value] * 20] * 20)
    before = world.sparsifier.masks["0.weight"]
    world.step([[0.0] * 20] * 20)
    after = world.sparsifier.masks["0.weight"]
    assert world.counts() == [200]
    assert int((before & ~after).sum()) == 100
    left = (before & ~after).double().mean(0)
    assert left.std() > 0, "ties are broken by noise, not by place"


# (j) No gradient yet.


def test_growth_by_gradient_without_one_is_a_clear_error_and_other_growth_needs_none() -> None:
    world = World(replace(RIGL, allocation=HALF, schedule=NOW), total=10)
    with pytest.raises(ValueError, match=r"asks for a gradient and 0\.weight has none: no loss reached it before"):
        world.optimizer.step()
    other = World(replace(SET, allocation=HALF, schedule=NOW), total=10)
    other.optimizer.step()
    assert other.events


# (k) Masks in states.


def test_masks_outlive_a_file_and_are_not_drawn_anew() -> None:
    world = World(SWAPS, total=40)
    assert world.sparsifier is not None
    for _ in range(7):
        world.step()
    file = io.BytesIO()
    torch.save({"world": world.state(), "sparsifier": world.sparsifier.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = World(SWAPS, total=40, seed=9)
    assert other.sparsifier is not None
    drawn = other.sparsifier.masks
    other.load(state["world"])
    other.sparsifier.load_state_dict(state["sparsifier"])
    assert all(mask.dtype == torch.bool for mask in state["sparsifier"]["masks"].values())
    assert all(torch.equal(mask, world.sparsifier.masks[n]) for n, mask in other.sparsifier.masks.items())
    assert any(not torch.equal(mask, drawn[n]) for n, mask in other.sparsifier.masks.items())
    for _ in range(7):
        world.step()
        other.step()
    assert all(torch.equal(mask, world.sparsifier.masks[n]) for n, mask in other.sparsifier.masks.items())


# (l) The last update.


@pytest.mark.parametrize("row", [SET, RIGL, DS])
def test_the_last_event_grows_what_it_drops(row: Method) -> None:
    method = replace(row, allocation=HALF, initial=part("random"), schedule=part("periodic", fraction=0.3, every=5))
    world = World(method, total=20)
    for _ in range(20):
        world.step()
    assert world.events[-1].step == 20
    assert all(change.dropped == change.grown for change in world.events[-1].layers)


def test_a_last_cut_without_growth_is_a_budget_that_a_row_names() -> None:
    method = replace(
        DS_RELEASED, allocation=HALF, initial=part("random"),
        schedule=part("periodic", fraction=0.2, every=4, phase=2, until=10),
        budget=part("final_cut", fraction=0.2, after=10, every=4, phase=2),
    )  # fmt: skip
    world = World(method, total=20)
    for _ in range(20):
        world.step()
    assert [event.step for event in world.events] == [2, 6, 10, 14]
    last = world.events[-1].layers
    assert all(change.dropped > 0 == change.grown for change in last)


# (m) What a step is.


def test_two_updates_an_environment_step_are_two_steps_of_the_schedule() -> None:
    """In `sparsity` a step is an update of the agent, however many the environment takes."""
    run = Agents(replace(SWAPS, schedule=part("periodic", fraction=0.3, every=6)), "masked", policy_delay=1)
    for environment_step in range(12):
        for _ in range(2):
            run.do(environment_step)
    assert [event.step for number, event in run.events if number == 0] == [6, 12, 18, 24]


# Wrong versions of allocations.


def test_layers_over_one_are_solved_anew() -> None:
    """sparse_learning's ER caps a layer at 1 and leaves the rest as it was: the network is too sparse."""
    shapes = {"a": (256, 17), "b": (256, 256), "c": (1, 256)}
    sizes = {name: out * ins for name, (out, ins) in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    eps = 0.1 * sum(sizes.values()) / sum(raw[name] * sizes[name] for name in shapes)
    capped = sum(min(1.0, eps * raw[name]) * sizes[name] for name in shapes)
    assert capped < 0.099 * sum(sizes.values())
    assert sum(counts(shapes, er(shapes, density=0.1)).values()) == round(0.1 * sum(sizes.values()))


def test_newcomers_are_drawn_one_by_one() -> None:
    """ANF's code draws one number for all newcomers. Here what a newcomer is born with is a value a connection."""
    method = replace(SWAPS, born=part("as_stepped"), optimizer_sees="dense", moments=part("keep"), target=part("drift"))
    world = World(method, total=20)
    assert world.sparsifier is not None
    before = world.sparsifier.masks
    for _ in range(3):
        world.step()
    grown = {n: mask & ~before[n] for n, mask in world.sparsifier.masks.items()}
    values = torch.cat([world.weight(n)[g] for n, g in grown.items()])
    assert len(values.unique()) == len(values) > 5
