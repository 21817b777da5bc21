"""Invariants of sparse training as harnesses: each plays `scale` seeded cases and raises at the first that breaks one.

A failure names its case, which the same seed replays.
"""

from __future__ import annotations

import copy
import hashlib
import io
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import Phase, given, settings
from numpy.random import Generator, SeedSequence
from test_sparsity_rewire import Case, cases, check
from torch import Tensor, nn
from toy import Carry
from toys_sparse import dense, relu_network
from toys_sparsity import REGISTRY as TOYS
from toys_sparsity import SEEN, Learner, network
from training_play import OPTIMIZERS, Combination, Play, small_agent, small_batch

from registry import Part, part
from rl import Target, activity, evaluate, save_weights
from rl.checkpoint import named_tensors
from rl.train import check_weights, norms
from sparsity import RIGL, SET, Event, Method, Rewired, Sparsifier, rewire
from sparsity.cost import inference_flops, size, thinned
from sparsity.diagnostics import Watch
from sparsity.weights import member_shapes
from studies.stored import stored


class Refused(Exception):
    """A case that is rightly refused, and so counts for nothing."""


def each(scale: int, seed: int, case: Callable[[Generator], None]) -> None:
    """Play `scale` cases, each from random numbers of its own."""
    played = 0
    for number in itertools.count():
        try:
            case(np.random.default_rng([seed, number]))
        except Refused:
            continue
        except Exception as error:
            error.add_note(f"case {number} of seed {seed}")
            raise
        played += 1
        if played == scale:
            return


def pick(draw: Generator, *values: Any) -> Any:
    return values[int(draw.integers(len(values)))]


class Net:
    """A network of given widths whose optimiser is stepped on whatever gradients one likes."""

    def __init__(
        self,
        method: Method,
        widths: list[int],
        *,
        execution: str = "masked",
        optimizer: Callable[[Any], Any] = lambda p: torch.optim.SGD(p, lr=0.1),
        members: int = 0,
        stride: int = 1,
        total: int | None = None,
        tau: float | None = None,
        seed: int = 0,
    ) -> None:
        made = network(widths, seed=seed, members=members) if members else relu_network(widths, seed=seed)
        self.module: nn.Module = made.float()
        self.optimizer = optimizer(self.module.parameters())
        self.target = None if tau is None else Target(self.module, tau=tau)
        learner = Learner("net", self.module, self.optimizer, self.target, stride)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.sparsifier = Sparsifier(
            learner,
            method,
            seed=SeedSequence(seed),
            total=total,
            execution=execution,  # type: ignore[arg-type]
            on_event=self.events.append,
            registry=TOYS,
        )

    def step(self, draw: Generator | None = None) -> None:
        """On random gradients, absent connections' among them where there is room; on zeros without `draw`."""
        for parameter in self.module.parameters():
            zeros = torch.zeros_like(parameter)
            parameter.grad = zeros if draw is None else torch.from_numpy(draw.normal(size=zeros.shape)).float()
        self.optimizer.step()

    def learn(self, draw: Generator, widths: list[int]) -> None:
        """On the gradients of a loss."""
        x = torch.from_numpy(draw.normal(size=(4, widths[0]))).float()
        self.optimizer.zero_grad()
        self.module(x).square().mean().backward()
        self.optimizer.step()


# A2: budgets are exact. The oracle reckons in whole fractions.


def exact_densities(kind: str, shapes: Mapping[str, tuple[int, ...]], density: Fraction) -> dict[str, Fraction]:
    """What the allocation of that name means, unrounded: min(1, eps raw), eps re-solved where a layer is full."""
    if kind == "uniform":
        return dict.fromkeys(shapes, density)
    factors = {name: Fraction(7 if kind == "lambdas" and not i else 64) for i, name in enumerate(shapes)}
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: factors[name] * sum(shapes[name]) / sizes[name] for name in shapes}
    found: dict[str, Fraction] = {}
    while len(found) < len(shapes):
        free = [name for name in shapes if name not in found]
        left = density * sum(sizes.values()) - sum(sizes[name] for name in found)
        eps = left / sum(raw[name] * sizes[name] for name in free)
        over = [name for name in free if eps * raw[name] > 1]
        if not over:
            return found | {name: eps * raw[name] for name in free}
        found |= dict.fromkeys(over, Fraction(1))
    return found


def whole(quotas: Mapping[str, Fraction], got: Mapping[str, int]) -> None:
    """The counts are those of the largest remainder; which of equal remainders is rounded up is left open."""
    total = math.floor(sum(quotas.values()) + Fraction(1, 2))
    assert sum(got.values()) == total, f"{sum(got.values())} connections, not {total}"
    up = [quota - math.floor(quota) for name, quota in quotas.items() if got[name] == math.floor(quota) + 1]
    down = [quota - math.floor(quota) for name, quota in quotas.items() if got[name] == math.floor(quota)]
    assert len(up) + len(down) == len(got), f"{dict(got)} is not within one of {quotas}"
    assert float(max(down, default=Fraction(0)) - min(up, default=Fraction(1))) < 1e-9, "the largest remainder first"


class Stairs(NamedTuple):
    """A budget, and the network's density after each step, exact."""

    choice: Part
    at: Callable[[int], Fraction]


def stairs(draw: Generator, density: Fraction, total: int) -> Stairs:
    every = int(draw.integers(1, 4))
    begin = int(draw.integers(0, total // 2))
    end = int(draw.integers(begin + 1, total + 1))
    start = max(density, Fraction(int(draw.integers(1, 11)), 10))

    def cubic(step: int) -> Fraction:
        done = Fraction(max(0, (step - begin) // every) * every, end - begin)
        return density if step >= end else density + (start - density) * (1 - done) ** 3

    shares = {"start": float(start)}
    cut = Fraction(1, 5)
    return pick(
        draw,
        Stairs(part("constant"), lambda step: density),
        Stairs(part("cubic", **shares, begin=begin, end=end, every=every), cubic),
        Stairs(part("at_once", **shares, at=end), lambda step: density if step >= end else start),
        Stairs(
            part("final_cut", fraction=0.2, after=begin, every=every, phase=every - 1),
            lambda step: density * (1 - cut) if step >= first_beyond(begin, every) else density,
        ),
    )  # type: ignore[no-any-return]


def first_beyond(after: int, every: int) -> int:
    return next(step for step in range(after + 1, after + every + 2) if step % every == every - 1)


def goal(count: int, size_: int, now: Fraction, density: Fraction) -> int:
    """Connections of a layer that ends with `count`: on the line to full above its density, in proportion below."""
    if now < density:
        return count - math.floor((1 - now / density) * count)
    return count + math.floor((now - density) / (1 - density) * (size_ - count)) if density < 1 else count


def budgets_hold(scale: int, seed: int = 0) -> None:
    """A2: every layer has exactly its number of connections after every step, and the network its sum."""
    each(scale, seed, _budget_holds)


def _budget_holds(draw: Generator) -> None:
    widths = [int(draw.choice((1, 2, int(draw.integers(1, 12)), int(draw.integers(1, 50))))) for _ in range(3)]
    members, execution = pick(draw, (0, "masked"), (0, "sparse"), (2, "masked"))
    widths = widths[: int(draw.integers(2, 4))]
    shapes = {f"{2 * n}.weight": (out, ins) for n, (ins, out) in enumerate(itertools.pairwise(widths))}
    entries = sum(math.prod(shape) for shape in shapes.values())
    thousandths = int(draw.choice((0, 500, 999, int(draw.integers(1000)))))
    sparsity = pick(draw, 1 - Fraction(1, entries), *[Fraction(thousandths, 1000)] * 4)
    density, total = 1 - sparsity, 12
    kind, scope = pick(draw, "uniform", "er", "erk", "lambdas"), pick(draw, "layer", "layer", "network")
    budget = stairs(draw, density, total)
    method = Method(
        eligible=part("all"),
        allocation=part(kind, density=float(density)),
        schedule=part("periodic", fraction=float(draw.uniform(0, 1)), every=int(draw.integers(1, 4))),
        budget=budget.choice,
        scope=scope,
        readmit=bool(draw.integers(2)),
    )
    quotas = {name: d * math.prod(shapes[name]) for name, d in exact_densities(kind, shapes, density).items()}
    try:
        net = Net(method, widths, execution=execution, members=members, total=total)
    except ValueError as refused:
        assert "no connection" in str(refused)  # noqa: PT017
        assert min(quotas.values()) < 1, "a layer with room for a connection was refused"
        raise Refused from refused
    final = {name: int(count[0]) for name, count in net.sparsifier.state_dict()["final"].items()}
    whole(quotas, final)
    for step in range(total + 1):
        if step:
            net.step()
        now, per = budget.at(step), max(1, members)
        goals = {name: goal(final[name], math.prod(shapes[name]), now, density) for name in shapes}
        for name, mask in net.sparsifier.masks.items():
            nnz = mask.reshape(per, -1).sum(-1).tolist()
            assert scope == "network" or nnz == [goals[name]] * per, f"{name} at step {step}: {nnz}, not {goals[name]}"
        told = sum(layer.active for layer in net.sparsifier.densities())
        assert told == sum(int(mask.sum()) for mask in net.sparsifier.masks.values()), "the count that it tells"
        assert told == per * sum(goals.values()), f"step {step}: {told}, not {per * sum(goals.values())}"


# A3: ties, zeros and layouts.


def rewiring_is_exact(scale: int, operation: Callable[..., Rewired] = rewire, *, shrink: bool = True) -> None:
    """A3: ties, zeros of both signs and denormals: what is dropped was active, what is grown was not, counts agree.

    Each case thrice: as it is, transposed in memory, and with gaps in it.
    """

    @settings(
        max_examples=scale,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
    )
    @given(cases())
    def exact(case: Case) -> None:
        done = case.call(operation)
        check(case, done)
        for layout in (lambda t: t.mT.contiguous().mT, lambda t: torch.stack([t, torch.zeros_like(t)], dim=-1)[..., 0]):
            moved = case._replace(**{name: layout(getattr(case, name)) for name in LAID_OUT})
            assert all(torch.equal(a, b) for a, b in zip(done, moved.call(operation), strict=True)), "memory layout"

    exact()


LAID_OUT = ("mask", "drop_score", "grow_score", "tie")


# A4: no ghosts in the optimiser.


def no_ghosts(optimizer: str, scale: int, seed: int = 0) -> None:
    """A4: after every step, moments are 0 where a connection is absent and where it has just grown."""
    make = OPTIMIZERS[optimizer] or (lambda p: torch.optim.Adam(p, lr=1e-2))
    each(scale, seed, lambda draw: _no_ghosts(draw, make))


def _no_ghosts(draw: Generator, make: Callable[[Any], Any]) -> None:
    widths = [int(n) for n in draw.integers(2, 9, size=4)]
    sees, execution = pick(draw, ("masked", "masked"), ("dense", "masked"), ("masked", "sparse"))
    method = Method(
        eligible=pick(draw, part("all"), part("hidden")),
        allocation=part("uniform", density=float(draw.uniform(0.3, 0.8))),
        grow=pick(draw, part("random"), part("gradient")),
        schedule=part("periodic", fraction=float(draw.uniform(0.2, 0.9)), every=int(draw.integers(2, 4))),
        budget=pick(draw, part("constant"), part("constant"), part("cubic", begin=1, end=6, every=2)),
        moments=pick(draw, part("mask"), part("mask"), part("reset_grown")),
        readmit=bool(draw.integers(2)),
        event=pick(draw, "after_step", "instead_of_step"),
        optimizer_sees=sees,
    )
    net = Net(method, widths, execution=execution, optimizer=make, total=8, seed=int(draw.integers(100)))
    before, seen = net.sparsifier.masks, 0
    for _ in range(7):
        net.learn(draw, widths)
        masks = net.sparsifier.masks
        for name, mask in masks.items():
            for key, moment in moments(net, name, mask.shape):
                seen += 1
                grown = mask & ~before[name]
                assert torch.count_nonzero(moment[grown]) == 0, f"{key} of {name} where it has just grown"
                if method.moments.name == "mask":
                    assert torch.count_nonzero(moment[~mask]) == 0, f"{key} of {name} where it is absent"
        before = masks
    assert seen, "an optimiser without moments"


def moments(net: Net, name: str, shape: torch.Size) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the optimiser's state with the weight's shape, by whatever name, as it is saved."""
    number = list(net.module.state_dict()).index(name)
    for key, value in net.optimizer.state_dict()["state"].get(number, {}).items():
        if isinstance(value, Tensor) and value.shape == shape:
            yield key, dense(value)


# A5: slow copies stay sparse.

SLOW_RULES = {
    "follow": part("follow"),
    "mask": part("keep_largest", count="mask"),
    "nonzero": part("keep_largest", count="nonzero"),
}


def targets_stay_sparse(rule: str, scale: int, *, execution: str = "masked", seed: int = 0) -> None:
    """A5: through `scale` steps with an event each 20, a slow copy has no more than its rule lets it keep."""
    method = replace(
        SET, target=SLOW_RULES[rule], allocation=part("uniform", density=0.1), eligible=part("all"),
        schedule=part("periodic", fraction=0.3, every=20),
    )  # fmt: skip
    draw = np.random.default_rng(seed)
    net = Net(method, [9, 12, 5], execution=execution, tau=0.02, seed=seed)
    assert net.target is not None
    masks, before = net.sparsifier.masks, slow(net)
    budget = sum(layer.active for layer in net.sparsifier.densities())
    for step in range(1, scale + 1):
        net.step(draw)
        if len(net.events) and net.events[-1].step == step:
            masks = net.sparsifier.masks
        net.target.update()
        after, online = slow(net), net.module.state_dict() if rule == "nonzero" else {}
        for name, mask in masks.items():
            kept = after[name] != 0
            allowed = mask if rule == "follow" else mask | (before[name] != 0)
            assert not (kept & ~allowed).any(), f"step {step}: {name} outside its mask"
            most = int((dense(online[name]) != 0).sum()) if rule == "nonzero" else int(mask.sum())
            assert int(kept.sum()) <= most, f"step {step}: {name} has {int(kept.sum())} of {most}"
        assert sum(int((s != 0).sum()) for s in after.values()) <= budget, f"step {step}: over the budget"
        before = after
    assert len(net.events) == scale // 20


def slow(net: Net) -> dict[str, Tensor]:
    assert net.target is not None
    return {name: dense(t).clone() for name, t in net.target.module.state_dict().items() if name.endswith("weight")}


# A6: growth goes by the critic's own gradient.


class Growth(NamedTuple):
    """Of one agent: the actor's delay, the period of events, how many gradients are summed, and who takes them."""

    agent: str
    delay: int
    every: int
    window: int
    analytic: bool
    execution: str = "masked"


GROWTHS = [
    *(Growth("td3", d, e, n, a) for d in (1, 2, 3) for e in (5, 6) for n in (1, 4) for a in (False, True)),
    *(Growth("sac", 1, e, n, a) for e in (5, 6) for n in (1, 4) for a in (False, True)),
    *(Growth("td3", d, e, 1, True, "sparse") for d in (1, 2, 3) for e in (5, 6)),
]


def growth_sees_the_critics_own(growth: Growth, scale: int) -> None:
    """A6: scores are autograd's gradient of the critics' loss alone: to the bit where autograd trains them too."""
    for seed in range(scale):
        _growth(growth, seed)


def _growth(growth: Growth, seed: int) -> None:
    delay = {"policy_delay": growth.delay} if growth.agent == "td3" else {}
    agent = small_agent(growth.agent, seed, dtype=torch.float64, analytic=growth.analytic, **delay)
    method = replace(
        RIGL,
        grow=part("toy_recorded" if growth.window == 1 else "toy_average"),
        schedule=part("periodic", fraction=0.5, every=growth.every),
        event=("after_step", "instead_of_step")[seed % 2],
    )
    heard: list[Event] = []
    for number, learner in enumerate(agent.learners()):
        Sparsifier(
            learner,
            method if number == 0 else replace(method, grow=part("random")),
            seed=SeedSequence([seed, number]),
            total=40,
            execution=growth.execution,  # type: ignore[arg-type]
            on_event=heard.append if number == 0 else None,
            registry=TOYS,
        )
    own: list[list[Tensor]] = []
    for update in range(1, 2 * growth.every + 1):
        seen = small_batch(100 * seed + update, torch.float64)
        own.append(critics_gradient(agent, growth.agent, seen))
        SEEN.clear()
        agent.update(seen)
        if update % growth.every:
            assert not SEEN
            continue
        wanted = [sum(grads[1:], grads[0]) for grads in zip(*own[-growth.window :], strict=True)]
        assert len(SEEN) == len(wanted) == 3
        for score, grad in zip(SEEN, wanted, strict=True):
            if growth.analytic:
                torch.testing.assert_close(score, grad, rtol=1e-9, atol=1e-12)
            else:
                assert torch.equal(score, grad), f"update {update}: {(score - grad).abs().max()} apart"
    assert [event.step for event in heard] == [growth.every, 2 * growth.every]


def critics_gradient(agent: Any, kind: str, seen: Any) -> list[Tensor]:
    """Of the critics' loss by their dense weights, on dense copies, by autograd; the agent's noise is put back."""
    noise = agent.smoothing if kind == "td3" else agent.target_noise
    state = noise.get_state()
    y = agent.bootstrap(seen) if kind == "td3" else agent.bootstrap(seen, agent.temperature)
    noise.set_state(state)
    critics = small_agent(kind, 0, dtype=torch.float64).critics
    critics.load_state_dict({name: dense(t).clone() for name, t in agent.critics.state_dict().items()})
    q = critics(seen.observation, seen.action)
    weights = [p for p in critics.parameters() if p.dim() == 3]
    return list(torch.autograd.grad((q - y).square().mean(dim=1).sum(), weights))


# A7: observers change nothing.


def observers(play: Play, folder: Any) -> dict[str, Callable[[], object]]:
    """Everything that only reads, by name."""
    agent, seen = play.agent, small_batch(3)
    observation, learners, sparsifiers = np.ones(2, dtype=np.float32), play.learners, play.sparsifiers
    return {
        "act": lambda: agent.act(observation, explore=False),
        "mean_actions": lambda: agent.mean_actions(seen.observation),
        "evaluate": lambda: evaluate(agent, Carry(), episodes=2, seed=3),
        "norms": lambda: norms(learners),
        "check_weights": lambda: check_weights(agent, 1),
        "agent.state_dict": agent.state_dict,
        "named_tensors": lambda: named_tensors(agent),
        "save_weights": lambda: save_weights(folder / "weights", agent),
        "repr": lambda: repr([agent, learners, sparsifiers]),
        "learners": agent.learners,
        "masks": lambda: [[m.fill_(True) for m in s.masks.values()] for s in sparsifiers],
        "target_masks": lambda: [[m.fill_(True) for m in s.target_masks().values()] for s in sparsifiers],
        "densities": lambda: [s.densities() for s in sparsifiers],
        "target_densities": lambda: [s.target_densities() for s in sparsifiers],
        "sparsifier.state_dict": lambda: [
            [count.zero_() for count in s.state_dict()["final"].values()] for s in sparsifiers
        ],
        "execution": lambda: [(s.execution, s.method, s.steps) for s in sparsifiers],
        "watch": lambda: [Watch(s).look() for s in sparsifiers],
        "activations": lambda: [
            activity.effective_rank(agent.critics.stack.activations((seen.observation, seen.action))),
            activity.dormant_share(agent.actor.stack.activations((seen.observation,))),
        ],
        "cost": lambda: [
            inference_flops(thinned(size(learner.module), s.densities()).active_weights)
            for learner, s in zip(learners, sparsifiers, strict=True)
            if s.execution == "masked"
        ],
        "member_shapes": lambda: [member_shapes(learner.module) for learner in learners],
        "stored": lambda: stored(learners, sparsifiers),
    }  # fmt: skip


def observers_are_pure(combination: Combination, scale: int, folder: Any, seed: int = 0) -> None:
    """A7: the hash of all state is the same after every call that only reads, at `scale` moments of a training."""
    play = Play(combination, seed)
    for moment in range(scale):
        for number in range(1 + moment % 3):
            play.update((moment + number) % 20)
        before = digest(play)
        for name, call in observers(play, folder).items():
            call()
            assert digest(play) == before, f"{name} at moment {moment} changed the state of {combination}"


def digest(play: Play) -> str:
    """SHA-256 of agent, gradients, sparsifiers, and the global generators."""
    file = io.BytesIO()
    gradients = [[p.grad for p in learner.module.parameters()] for learner in play.learners]
    state = [play.agent.state_dict(), [s.state_dict() for s in play.sparsifiers], gradients]
    torch.save([copy.deepcopy(state), torch.get_rng_state(), np.random.get_state(), random.getstate()], file)  # noqa: NPY002
    return hashlib.sha256(file.getvalue()).hexdigest()


# A8: when topologies change.


def schedules_equal_their_closed_form(scale: int, seed: int = 0) -> None:
    """A8: events are on the steps of the closed form, whatever period, phase, end, stride, clock and resumption."""
    each(scale, seed, _schedule)


def _schedule(draw: Generator) -> None:
    stride, total = int(draw.integers(1, 6)), int(draw.integers(20, 41))
    steps, clock = total // stride, pick(draw, "agent", "agent", "optimizer")
    planned = steps if clock == "optimizer" else total
    choice, on = due(draw, planned)
    at = int(draw.integers(1, planned + 1))
    budget = pick(draw, part("constant"), part("at_once", at=at))
    unit = 1 if clock == "optimizer" else stride
    expected = {-(-step // unit) for step in on} | ({min(-(-at // unit), steps)} if budget.name == "at_once" else set())
    event = pick(draw, "after_step", "instead_of_step")
    method = Method(
        allocation=part("uniform", density=0.5), schedule=choice, budget=budget, clock=clock, event=event, readmit=True
    )

    def fresh(seed: int) -> Net:
        make, execution = (lambda p: torch.optim.Adam(p, lr=1e-3)), ("masked", "sparse")[total % 2]
        return Net(method, [4, 5, 2], optimizer=make, stride=stride, total=total, seed=seed, execution=execution)

    net, told = fresh(0), list[int]()
    stops = set(draw.integers(0, steps + 1, size=int(draw.integers(0, 4))).tolist())
    for step in range(1, steps + 1):
        if step - 1 in stops:
            told += [e.step for e in net.events]
            other = fresh(step)
            other.module.load_state_dict(net.module.state_dict())
            other.optimizer.load_state_dict(copy.deepcopy(net.optimizer.state_dict()))
            other.sparsifier.load_state_dict(net.sparsifier.state_dict())
            net = other
        net.step()
        assert net.sparsifier.steps == step, f"{net.sparsifier.steps} steps counted after {step}"
    told += [e.step for e in net.events]
    wanted = sorted(step for step in expected if step <= steps)
    assert told == [step * unit for step in wanted], f"{choice} {budget} stride {stride}: {told}, not {wanted}"
    taken = steps - (len(wanted) if event == "instead_of_step" else 0)
    counted = {int(state["step"]) for state in net.optimizer.state.values()}
    assert counted <= {taken}, f"{counted} optimiser steps, not {taken}"


def due(draw: Generator, total: int) -> tuple[Part, set[int]]:
    """A schedule, and the steps on which it swaps, by another hand: sets, and ends reckoned in fractions."""
    every = int(draw.integers(1, 13))
    phase, last = int(draw.integers(every)), int(draw.integers(1, total + 11))
    hundredths = int(draw.integers(1, 101))
    until, end = pick(draw, (last, Fraction(last)), (hundredths / 100, Fraction(hundredths * total, 100)))
    steps = {step for step in range(1, total + 1) if step % every == phase and step <= end}
    given = {"every": every, "phase": phase, "until": until}
    ends, periods = (0.3, 0.7, 1.0), tuple(int(n) for n in draw.integers(1, 8, size=3))
    bounds = [Fraction(3 * total, 10), Fraction(7 * total, 10), Fraction(total)]
    staged = {s for s in range(1, total + 1) if s % periods[next(i for i, b in enumerate(bounds) if s <= b)] == 0}
    fractions = (0.4, 0.3, 0.2)
    return pick(
        draw,
        (part("periodic", fraction=0.3, **given), steps),
        (part("cosine", fraction=0.5, **given), {step for step in steps if step < end}),
        (part("cosine", fraction=0.5, floor=0.1, **given), steps),
        (part("linear", fraction=0.5, **given), {step for step in steps if step < end}),
        (part("staged", fractions=fractions, periods=periods, ends=ends), staged),
        (part("never"), set()),
    )  # type: ignore[no-any-return]


# A9: off means off.


def off_is_off(kind: str, attach: Callable[[Any], object], scale: int) -> None:
    """A9: after `scale` updates an agent with sparsity switched off has the bytes of one that never heard of it."""
    plain, switched = small_agent(kind, 7), small_agent(kind, 7)
    generators = torch.get_rng_state()
    attached = attach(switched)
    for number in range(scale):
        figures = [agent.update(small_batch(number % 50)) for agent in (plain, switched)]
        assert figures[0] == figures[1], f"update {number}"
    assert torch.equal(torch.get_rng_state(), generators), "a global generator was drawn from"
    one, other = (bytes_of(agent) for agent in (plain, switched))
    assert one == other, f"another state after {scale} updates"
    del attached


def bytes_of(agent: Any) -> bytes:
    """Networks, targets, moments, counters and the states of all generators."""
    file = io.BytesIO()
    torch.save(copy.deepcopy(agent.state_dict()), file)
    return file.getvalue()
