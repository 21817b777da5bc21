"""Networks and their slow copies."""

import pytest
import torch
from torch import nn

from rl import Actor, Critics, PopulationLinear, Target


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def critics(**settings: object) -> Critics:
    return Critics(3, 2, (8, 8), generator=generator(), **settings)


def test_a_population_equals_two_linear_layers_and_their_gradients() -> None:
    layer = PopulationLinear(2, 5, 4, dtype=torch.float64)
    x = torch.randn(2, 7, 5, dtype=torch.float64, generator=generator())
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator(1))
    apart = [nn.Linear(5, 4, dtype=torch.float64) for _ in range(2)]
    for i, one in enumerate(apart):
        one.load_state_dict({"weight": layer.weight[i].detach(), "bias": layer.bias[i].detach()})
    y, expected = layer(x), torch.stack([one(x[i]) for i, one in enumerate(apart)])
    assert torch.allclose(y, expected, rtol=1e-13, atol=1e-13)
    y.square().sum().backward()
    expected.square().sum().backward()
    for i, one in enumerate(apart):
        assert torch.allclose(layer.weight.grad[i], one.weight.grad, rtol=1e-12)
        assert torch.allclose(layer.bias.grad[i], one.bias.grad, rtol=1e-12)


def test_the_first_critic_alone_is_the_first_of_both() -> None:
    observation, action = torch.randn(6, 3, generator=generator()), torch.randn(6, 2, generator=generator(1))
    both, first = critics()(observation, action), critics()(observation, action, copies=1)
    assert both.shape == (2, 6)
    assert first.shape == (1, 6)
    assert torch.allclose(both[:1], first, atol=1e-6)
    assert not torch.allclose(both[0], both[1], atol=1e-2)


def test_initial_values_are_uniform_within_one_over_root_fan_in() -> None:
    actor = Actor(100, 6, (400, 25), generator=generator())
    for layer, fan_in in ((actor.hidden[0], 100), (actor.hidden[1], 400), (actor.head, 25)):
        values = torch.cat([layer.weight.flatten(), layer.bias])
        assert values.abs().max() <= fan_in**-0.5
        assert values.std().item() == pytest.approx(fan_in**-0.5 / 3**0.5, rel=0.1)


def test_networks_draw_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    Actor(3, 2, (8,), generator=generator())
    critics()
    assert torch.equal(before, torch.get_rng_state())


def test_a_seed_means_the_same_network_in_every_dtype() -> None:
    single, double = critics(), critics(dtype=torch.float64)
    for one, two in zip(single.parameters(), double.parameters(), strict=True):
        assert torch.equal(one, two.float())


def test_actions_stay_within_bounds_and_parameters_have_their_names() -> None:
    actor = Actor(3, 2, (8, 8), generator=generator())
    assert actor(1e4 * torch.randn(50, 3, generator=generator())).abs().max() <= 1
    names = [f"{layer}.{kind}" for layer in ("hidden.0", "hidden.1", "head") for kind in ("weight", "bias")]
    assert list(actor.state_dict()) == names == list(critics().state_dict())


def test_a_target_moves_by_tau() -> None:
    online = nn.Linear(4, 3)
    target = Target(online, tau=0.25)
    old = target.module.weight.clone()
    with torch.no_grad():
        online.weight += 1
    target.update()
    assert torch.allclose(target.module.weight, old + 0.25, atol=1e-7)
    assert not any(p.requires_grad for p in target.module.parameters())
    assert online.weight.requires_grad


def test_a_hard_update_copies_exactly_on_every_nth_call() -> None:
    online = nn.BatchNorm1d(4)
    target = Target(online, tau=1, every=3)
    with torch.no_grad():
        online.weight.normal_(generator=generator())
        online.running_mean.normal_(generator=generator())
        online.num_batches_tracked += 5
    changed = []
    for _ in range(6):
        target.update()
        changed.append(torch.equal(target.module.weight, online.weight))
    assert changed == [False, False, True, True, True, True]
    for name, tensor in online.state_dict().items():
        assert torch.equal(tensor, target.module.state_dict()[name])


def test_hooks_follow_real_updates_only_in_order_until_removed() -> None:
    target, calls = Target(nn.Linear(2, 2), every=2), list[str]()
    first = target.after_update(lambda: calls.append("first"))
    target.after_update(lambda: calls.append("second"))
    target.update()
    assert calls == []
    target.update()
    assert calls == ["first", "second"]
    first.remove()
    target.update()
    target.update()
    assert calls == ["first", "second", "second"]


def test_a_target_follows_parameters_that_were_replaced() -> None:
    online = nn.Linear(2, 2)
    target = Target(online, tau=1)
    for module in (online, target.module):
        module.weight = nn.Parameter(torch.zeros(5))
    with torch.no_grad():
        online.weight += 1
    target.update()
    assert torch.equal(target.module.weight, torch.ones(5))


@pytest.mark.parametrize("settings", [{"tau": 0}, {"tau": 1.1}, {"tau": float("nan")}, {"every": 0}])
def test_target_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="of a target is"):
        Target(nn.Linear(2, 2), **settings)
