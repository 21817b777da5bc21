"""Passes without autograd, weights drawn late, and a leaner Adam: all equal to what torch does."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl import Actor, Batch, Critics, Target, td3
from rl.adam import Adam
from rl.deferred import Deferred, deferring, materialise

F64 = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def critics(hidden: tuple[int, ...] = (7, 5), copies: int = 2) -> Critics:
    return Critics(3, 2, hidden, generator=generator(), copies=copies, dtype=F64)


def inputs(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = generator(1)
    return torch.randn(batch, 3, dtype=F64, generator=draw), torch.randn(batch, 2, dtype=F64, generator=draw)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 3), st.lists(st.integers(1, 9), min_size=0, max_size=3), st.data())
def test_recorded_passes_equal_autograd(batch: int, copies: int, hidden: list[int], data: st.DataObject) -> None:
    network, given_ = critics(tuple(hidden), copies), inputs(batch)
    wanted = data.draw(st.sampled_from([None, 0, 1]))
    few = data.draw(st.sampled_from([None, 1, copies]))
    leaves = tuple(x.clone().requires_grad_() for x in given_)
    out = network.stack(leaves, few)
    gradient = torch.randn(out.shape, dtype=F64, generator=generator(2))
    out.backward(gradient)
    expected = [p.grad for p in network.parameters()]
    for parameter in network.parameters():
        parameter.grad = None
    recorded, tape = network.stack.record(given_, few)
    back = network.stack.pull(tape, gradient, wanted=wanted)
    assert torch.allclose(recorded, out, atol=1e-12)
    for parameter, other in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, other, atol=1e-12)
    assert back is None if wanted is None else torch.allclose(back, leaves[wanted].grad, atol=1e-12)


def test_gradients_of_several_passes_add_up_and_others_are_left_alone() -> None:
    network, given_ = critics(), inputs(6)
    for _ in range(2):
        out, tape = network.stack.record(given_)
        network.stack.pull(tape, torch.ones_like(out))
    twice = [p.grad.clone() for p in network.parameters()]
    out, tape = network.stack.record(given_)
    network.stack.pull(tape, torch.ones_like(out), learns=False, wanted=1)
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), twice, strict=True))
    network.zero_grad()
    out, tape = network.stack.record(given_)
    network.stack.pull(tape, torch.ones_like(out))
    assert all(torch.allclose(2 * p.grad, g) for p, g in zip(network.parameters(), twice, strict=True))


def test_the_two_losses_equal_autograd() -> None:
    network, (observation, action) = critics(), inputs(9)
    aim = torch.randn(9, dtype=F64, generator=generator(3))
    q = network(observation, action)
    (q - aim).square().mean(dim=1).sum().backward()
    expected = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    assert torch.allclose(network.stack.regress((observation, action), aim), q, atol=1e-12)
    assert all(torch.allclose(p.grad, g, atol=1e-12) for p, g in zip(network.parameters(), expected, strict=True))
    action.requires_grad_()
    first = network(observation, action, copies=1)
    (slope,) = torch.autograd.grad(-first.mean(), action)
    out, mine = network.stack.slope((observation, action.detach()), -1 / 9, 1)
    assert torch.allclose(out, first[0], atol=1e-12)
    assert torch.allclose(mine, slope, atol=1e-12)


def test_one_sample_alone_is_the_same_as_in_a_batch() -> None:
    actor = Actor(3, 2, (7, 5), generator=generator(), dtype=F64)
    observation = inputs(1)[0]
    assert torch.allclose(torch.from_numpy(actor.act(observation[0].numpy())), actor(observation)[0], atol=1e-12)


def test_closed_form_and_autograd_train_the_same_agent() -> None:
    agents = [
        td3(3, 2, 0, torch.device("cpu"), F64, batch_size=8, actor_hidden=(9,), critic_hidden=(9, 8), analytic=analytic)
        for analytic in (True, False)
    ]
    draw = generator(5)
    for _ in range(60):
        shapes = ((8, 3), (8, 2), (8,), (8, 3))
        batch = Batch(*(torch.randn(s, dtype=F64, generator=draw) for s in shapes), torch.zeros(8, dtype=F64))
        one, other = (agent.update(batch) for agent in agents)
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9)
    for mine, theirs in zip(agents[0].learners(), agents[1].learners(), strict=True):
        for p, q in zip(mine.module.parameters(), theirs.module.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-10)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_equals_torchs_and_calls_every_hook_once(weight_decay: float) -> None:
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]).step()  # Torch wraps hooks around its own step then.
    start = [torch.randn(4, generator=generator()), torch.randn(3, 2, generator=generator(1))]
    mine, theirs = ([torch.nn.Parameter(t.clone()) for t in start] for _ in range(2))
    lean = Adam(mine, lr=0.01, weight_decay=weight_decay)
    plain = torch.optim.Adam(theirs, lr=0.01, weight_decay=weight_decay, fused=True)
    calls: list[str] = []
    lean.register_step_pre_hook(lambda *_: calls.append("before"))
    lean.register_step_post_hook(lambda *_: calls.append("after"))
    draw = generator(2)
    for step in range(8):
        for p, q in zip(mine, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=draw)
            q.grad = p.grad.clone()
        if step == 4:
            mine[0].grad = theirs[0].grad = None
        lean.step()
        plain.step()
    assert calls == ["before", "after"] * 8
    assert all(torch.equal(p, q) for p, q in zip(mine, theirs, strict=True))
    plain.load_state_dict(lean.state_dict())


def test_weights_drawn_late_are_those_drawn_at_once() -> None:
    with deferring():
        late = Critics(3, 2, (8, 8), generator=generator())
        target = Target(late)
    assert all(isinstance(p, Deferred) and p.untyped_storage().nbytes() == 4 for p in late.parameters())
    now = Critics(3, 2, (8, 8), generator=generator())
    for network in (target.module, late):
        materialise(network)
        assert not any(isinstance(p, Deferred) for p in network.parameters())
        assert all(torch.equal(p, q) for p, q in zip(network.parameters(), now.parameters(), strict=True))
    assert not any(p.requires_grad for p in target.module.parameters())
    late(torch.ones(1, 3), torch.ones(1, 2)).sum().backward()


def test_a_layers_values_do_not_depend_on_the_widths_of_others() -> None:
    narrow, wide = (Critics(3, 2, (width, 6, 4), generator=generator()) for width in (5, 9))
    assert torch.equal(narrow.head.weight, wide.head.weight)
    assert torch.equal(narrow.hidden[2].weight, wide.hidden[2].weight)


def test_a_copied_agent_trains_on_by_itself() -> None:
    agent = td3(3, 2, 0, torch.device("cpu"), F64, batch_size=4, actor_hidden=(5,), critic_hidden=(5,))
    other = copy.deepcopy(agent)
    before = [p.detach().clone() for p in agent.critics.parameters()]
    s, a = inputs(4)
    other.update(Batch(s, a, torch.zeros(4, dtype=F64), s, torch.zeros(4, dtype=F64)))
    assert all(torch.equal(p, q) for p, q in zip(agent.critics.parameters(), before, strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(other.critics.parameters(), before, strict=True))
