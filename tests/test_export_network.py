"""Networks as arrays: what is read from modules, and what compaction may take away."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence
from torch import nn

from sparsity import SET, Sparsifier
from sparsity.export import Layer, Network, Unexportable, compact, network_of, unread_inputs


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Random sparse networks in float64: dead layers, layers of one unit, inputs that nobody reads."""
    draws = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    densities = draw(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.3, 1.0]), min_size=1, max_size=5))
    last = len(densities) - 1
    layers = []
    for number, (ins, outs) in enumerate(pairwise(draws.integers(1, 7, size=len(densities) + 1))):
        weight = draws.normal(size=(outs, ins)) * (draws.random((outs, ins)) < densities[number])
        activation = draws.choice(["identity", "tanh"] if number == last else ["identity", "relu", "tanh", "elu"])
        layers.append(Layer(weight, draws.normal(size=outs), str(activation)))
    return Network(tuple(layers))


@settings(deadline=None, max_examples=200)
@given(network=networks(), seed=st.integers(0, 1000))
def test_a_compact_network_is_the_same_function(network: Network, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(7, network.observation_size))
    small = compact(network)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-10, atol=1e-10)
    single = compact(network.single_precision())
    np.testing.assert_allclose(single(x.astype(np.float32)), network(x), rtol=1e-4, atol=1e-4)
    assert (small.observation_size, small.action_size) == (network.observation_size, network.action_size)
    assert small.connections <= network.connections


@settings(deadline=None, max_examples=200)
@given(network=networks())
def test_a_compact_network_has_no_dead_unit_left(network: Network) -> None:
    """Every hidden unit is entered and left, so that compacting again changes nothing."""
    small = compact(network)
    for layer, after in pairwise(small.layers):
        assert layer.weight.any(axis=1).all()
        assert after.weight.any(axis=0).all()
    again = compact(small)
    for one, other in zip(small.layers, again.layers, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
        np.testing.assert_array_equal(one.bias, other.bias)


def test_dead_units_by_hand() -> None:
    """Unit 0 is always 2, nobody reads unit 1, unit 2 works, unit 3 is relu(-1) = 0; nobody reads input 1."""
    first = Layer(np.array([[0, 0], [1, 0], [3, 0], [0, 0.0]]), np.array([2, 5, 1, -1.0]), "relu")
    head = Layer(np.array([[10, 0, 1, 7.0]]), np.array([0.5]), "identity")
    small = compact(Network((first, head)))
    assert small.units == (1,)
    np.testing.assert_array_equal(small.layers[0].weight, [[3, 0]])
    np.testing.assert_array_equal(small.layers[1].weight, [[1]])
    np.testing.assert_array_equal(small.layers[1].bias, [20.5])
    assert unread_inputs(small) == [1]


def test_a_network_that_reads_nothing_is_one_layer_without_connections() -> None:
    nothing = Layer(np.zeros((3, 4)), np.ones(3), "relu")
    small = compact(Network((nothing, Layer(np.ones((2, 3)), np.zeros(2), "tanh"))))
    (layer,) = small.layers
    assert layer.weight.shape == (2, 4)
    assert unread_inputs(small) == [0, 1, 2, 3]
    np.testing.assert_allclose(small(np.ones((1, 4))), np.tanh([[3, 3]]))


def test_modules_are_read_in_the_order_they_are_given() -> None:
    """As the parts of a policy are: nested sequences, layers without bias, modules that do nothing in use."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Sequential(nn.Linear(3, 5), nn.Tanh()), nn.Dropout(), nn.Linear(5, 4, bias=False), nn.ELU())
    head = nn.Linear(4, 2)
    network = network_of(body, head, nn.Tanh())
    body.eval()
    x = torch.randn(6, 3)
    expected = torch.tanh(head(body(x))).detach().numpy()
    np.testing.assert_allclose(network(x.numpy()), expected, atol=1e-6)
    assert network.units == (5, 4)


def test_the_action_of_a_q_network_is_the_index_of_its_largest_value() -> None:
    values = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
    network, x = network_of(values, argmax=True), torch.randn(9, 3)
    np.testing.assert_array_equal(network(x.numpy()), values(x).argmax(-1).numpy())
    assert network.action_size == 1


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_what_a_sparsifier_has_made_sparse_is_read(execution: str) -> None:
    module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    learner = SimpleNamespace(
        name="network", module=module, optimizer=torch.optim.Adam(module.parameters()), target=None, stride=1
    )
    Sparsifier(learner, SET, seed=SeedSequence(0), total=100, execution=execution)  # type: ignore[arg-type]
    x = torch.randn(5, 6)
    network = network_of(module)
    np.testing.assert_allclose(network(x.numpy()), module(x).detach().numpy(), atol=1e-6)
    assert network.connections < network.weights


class Wide(nn.Linear):
    """A linear layer that does something else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ([nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))], "layer 1 is a LayerNorm"),
        ([nn.Sequential(nn.Sequential(nn.Conv1d(1, 1, 1)))], r"layer 0\.0 is a Conv1d"),
        ([nn.Linear(2, 2), nn.ELU(0.5)], "layer 1 is a ELU"),
        ([nn.Sequential(Wide(2, 2))], "layer 0 is a Wide"),
        ([nn.ReLU()], "layer 0 is a ReLU that follows no linear layer"),
        ([nn.Linear(2, 3), nn.ReLU(), nn.Tanh()], "layer 2 is a Tanh that follows no linear layer"),
        ([nn.Linear(2, 3), nn.Linear(2, 3)], "layer 1 takes 2 numbers, and the one before it gives 3"),
        ([nn.Dropout()], "no linear layer"),
    ],
)
def test_what_cannot_be_expressed_is_named(modules: list[nn.Module], told: str) -> None:
    with pytest.raises(Unexportable, match=told):
        network_of(*modules)


def test_an_argmax_needs_values_as_they_are() -> None:
    with pytest.raises(Unexportable, match="this one ends in tanh"):
        network_of(nn.Linear(2, 2), nn.Tanh(), argmax=True)


def test_a_network_that_has_diverged_is_refused() -> None:
    module = nn.Linear(2, 2)
    module.weight.data[0, 0] = torch.nan
    with pytest.raises(Unexportable, match="layer 0 has weights that are not finite"):
        network_of(module)


def test_a_network_is_printed_as_its_sizes() -> None:
    weight = np.zeros((300, 200))
    weight[0, :5] = 1
    network = Network((Layer(weight, np.zeros(300), "tanh"),))
    assert repr(network) == "Network(layers=(Layer(200 -> 300, tanh, 5 of 60,000 weights),))"
