"""What tests of sparse execution share: a network and its twin, views of both, and what must be equal in them."""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray
from test_rl_td3 import agent, batch
from torch import Tensor, nn
from toys_sparsity import METHODS, OPTIMIZERS, REGISTRY, Learner

from registry import Part, part
from rl import TD3, Target
from sparsity import Event, Method, Sparsifier
from sparsity.execution.pattern import Pattern, Shape
from sparsity.execution.stack import SparseStack

SERVED = {name: method for name, method in METHODS.items() if name not in ("ds_released", "dense_gradient")}
"""The methods that need no dense tensor between events."""
RULES: dict[str, Part] = {
    "follow": part("follow"),
    "mask": part("keep_largest", count="mask"),
    "nonzero": part("keep_largest", count="nonzero"),
    "drift": part("drift"),
}
EXECUTIONS = ("masked", "sparse")


def dense(tensor: Tensor) -> Tensor:
    """A saved tensor, absent connections as zeros."""
    return tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()


def through_a_file(state: Any) -> Any:
    """The state as a file without code in it gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def relu_network(sizes: Sequence[int] = (6, 9, 7, 3), *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Any:
    """Linear layers with ReLU between them; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs, dtype=dtype), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Twin:
    """A learner or several, with what keeps them sparse; all that follows works on either execution."""

    learners: Sequence[Any]
    sparsifiers: list[Sparsifier]
    events: list[tuple[int, Event]]

    def attach(self, method: Method, execution: Any, *, seed: int = 0, total: int | None = 60) -> None:
        self.events, self.sparsifiers = [], []
        for number, learner in enumerate(self.learners):
            sparsifier = Sparsifier(
                learner,
                method,
                seed=SeedSequence([seed, number]),
                total=total,
                execution=execution,
                on_event=lambda event, number=number: self.events.append((number, event)),
                registry=REGISTRY,
            )
            self.sparsifiers.append(sparsifier)

    def do(self, number: int) -> None:
        """Update number so and so."""
        raise NotImplementedError

    def go(self, first: int, last: int) -> None:
        for number in range(first, last):
            self.do(number)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Weights and biases, online and slow, and the moments of active connections, by name."""
        for learner, sparsifier in zip(self.learners, self.sparsifiers, strict=True):
            masks, modules = sparsifier.masks, {"online": learner.module}
            if learner.target is not None:
                modules["slow"] = learner.target.module
            for which, module in modules.items():
                for name, tensor in module.state_dict().items():
                    yield f"{learner.name} {which} {name}", dense(tensor)
            names = list(learner.module.state_dict())
            for number, moments in learner.optimizer.state_dict()["state"].items():
                for key, moment in moments.items():
                    if isinstance(moment, Tensor):
                        whole, mask = dense(moment), masks.get(names[number])
                        seen = whole if mask is None or not whole.dim() else torch.where(mask, whole, 0.0)
                        yield f"{learner.name} {key} {names[number]}", seen


class Agents(Twin):
    """TD3 in float64, with small layers."""

    def __init__(
        self, method: Method, execution: str, *, seed: int = 0, dtype: torch.dtype = torch.float64, **chosen: Any
    ) -> None:
        total = chosen.pop("total", 60)
        self.agent: TD3 = agent(seed, dtype, learning_rate=1e-2, tau=0.1, **chosen)
        self.learners, self.dtype = self.agent.learners(), dtype
        self.attach(method, execution, seed=seed, total=total)
        self.figures: dict[str, float] = {}

    def do(self, number: int) -> None:
        self.figures = dict(self.agent.update(batch(number, self.dtype)))

    def saved(self) -> Any:
        """All of it through a file, but the generator of exploration, which is no tensor."""
        state = self.agent.state_dict()
        kept = state.pop("exploration")
        told = through_a_file({"agent": state, "sparsifiers": [s.state_dict() for s in self.sparsifiers]})
        told["agent"]["exploration"] = copy.deepcopy(kept)
        return told

    def load(self, state: Any) -> None:
        self.agent.load_state_dict(state["agent"])
        for sparsifier, one in zip(self.sparsifiers, state["sparsifiers"], strict=True):
            sparsifier.load_state_dict(one)


class Layered(Twin):
    """A sequence of layers that learns random targets, any optimiser, and a slow copy."""

    def __init__(
        self,
        method: Method | None,
        execution: str,
        *,
        optimizer: str = "adam",
        seed: int = 0,
        tau: float = 0.3,
        every: int = 1,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.module, self.dtype = relu_network(seed=seed, dtype=dtype), dtype
        self.optimizer = OPTIMIZERS[optimizer](self.module.parameters())
        self.target = Target(self.module, tau=tau, every=every)
        self.learners = [Learner("net", self.module, self.optimizer, self.target)]  # type: ignore[arg-type]
        if method is not None:
            self.attach(method, execution, seed=seed)

    def do(self, number: int) -> None:
        x = torch.tensor(np.random.default_rng(number).normal(size=(16, 6)), dtype=self.dtype)
        self.optimizer.zero_grad()
        (self.module(x) - x.sum(-1, keepdim=True)).square().mean().backward()
        self.optimizer.step()
        self.target.update()


def assert_equal(one: Twin, two: Twin, tolerance: float = 1e-10) -> None:
    """Masks, events and densities equal; weights, slow copies and moments within the tolerance (0: to the bit)."""
    for mine, theirs in zip(one.sparsifiers, two.sparsifiers, strict=True):
        other = theirs.masks
        for name, mask in mine.masks.items():
            assert torch.equal(mask, other[name]), f"mask of {name}"
        assert mine.densities() == theirs.densities()
        assert mine.target_densities() == theirs.target_densities()
    assert one.events == two.events
    theirs_by_name = dict(two.tensors())
    mine_by_name = dict(one.tensors())
    assert mine_by_name.keys() == theirs_by_name.keys()
    for name, tensor in mine_by_name.items():
        apart = (tensor - theirs_by_name[name]).abs().max().item()
        assert apart <= tolerance, f"{name} is {apart} apart"


def swapping(method: Method, every: int, fraction: float = 0.3) -> Method:
    return replace(method, schedule=part("periodic", fraction=fraction, every=every))


# Stacks with a dense twin.


class Case:
    """A stack with random weights in given places, and the same weights as dense tensors."""

    def __init__(
        self,
        widths: Sequence[int],
        members: int,
        places: Sequence[NDArray[np.int64] | None],
        *,
        seed: int = 0,
        biased: bool = True,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.draw = np.random.default_rng(seed)
        self.shapes = [Shape(members, o, i) for i, o in itertools.pairwise(widths)]
        self.places = [np.arange(s.size) if p is None else p for s, p in zip(self.shapes, places, strict=True)]
        self.pattern, self.dtype, self.members = Pattern(self.shapes, places), dtype, members
        self.weights, self.biases, flat = [], [], []
        for shape, kept in zip(self.shapes, self.places, strict=True):
            weight = torch.zeros(shape.size, dtype=dtype)
            weight[torch.from_numpy(kept)] = self.normal(len(kept))
            flat.append(weight[torch.from_numpy(kept)])
            self.weights.append(weight.view(tuple(shape)).requires_grad_())
        for shape in self.shapes:
            bias = self.normal(members, shape.out) * biased
            flat.append(bias.reshape(-1))
            self.biases.append(bias.clone().requires_grad_())
        self.stack = SparseStack(self.pattern, nn.Parameter(torch.cat(flat)))

    def normal(self, *size: int) -> Tensor:
        return torch.tensor(self.draw.normal(size=size), dtype=self.dtype)

    def inputs(self, samples: int, pieces: int = 1) -> list[Tensor]:
        """The input in so many pieces, if it is wide enough."""
        whole = self.normal(samples, self.pattern.widths[0])
        return [piece.clone().requires_grad_() for piece in whole.tensor_split(pieces, dim=1) if piece.shape[1]]

    def dense(self, inputs: Sequence[Tensor], copies: int | None = None) -> Tensor:
        """The outputs in plain torch, of dense weights."""
        n = copies or self.members
        x = torch.cat(list(inputs), dim=1).expand(n, -1, -1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight[:n].mT + bias[:n].unsqueeze(1)
            x = torch.relu(x) if number < len(self.weights) - 1 else x
        return x

    def gradients(self) -> Tensor:
        """What autograd found, laid out as the stack has it."""
        found = [w.grad.reshape(-1)[torch.from_numpy(p)] for w, p in zip(self.weights, self.places, strict=True)]  # type: ignore[union-attr]
        return torch.cat([*found, *(b.grad.reshape(-1) for b in self.biases)])  # type: ignore[union-attr]

    def clear(self) -> None:
        for parameter in (*self.weights, *self.biases, self.stack.values):
            parameter.grad = None
