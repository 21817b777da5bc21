"""Passes through a stack of linear layers with ReLU between them, for all copies of a network at once.

`record` and `pull` are the two halves of backpropagation as plain calls, and `regress` and `slope` the two losses that
agents minimise: an agent whose loss has a short gradient needs no autograd, whose bookkeeping costs as much as small
layers do. Calling the stack is ordinary torch, autograd included. What trains sparsely may put an object with the same
methods in a stack's place.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Passes(Protocol):
    """What networks ask of a stack, and what may stand in its place."""

    remembers: bool
    """Whether passes leave their inputs in `remembered`, for somebody to look at their `activations`."""
    remembered: tuple[Tensor, ...] | None

    def __call__(self, inputs: tuple[Tensor, ...], copies: int | None = None) -> Tensor:
        """(copies, batch, out) from inputs (batch, size), concatenated; of the first `copies` only, if given."""

    def record(self, inputs: tuple[Tensor, ...], copies: int | None = None) -> tuple[Tensor, Any]:
        """The same without autograd, and a tape to pull gradients through, once."""

    def pull(self, tape: Any, gradient: Tensor, *, learns: bool = True, wanted: int | None = None) -> Tensor | None:
        """Add to the parameters' `grad` if `learns`; the gradient of input number `wanted`, summed over copies."""

    def regress(self, inputs: tuple[Tensor, ...], aim: Tensor) -> Tensor:
        """The outputs (copies, batch); adds the gradient of the sum over copies of mean (output - aim)^2."""

    def slope(self, inputs: tuple[Tensor, ...], factor: float, wanted: int) -> tuple[Tensor, Tensor]:
        """The first copy's outputs (batch,), and d (factor x their sum) / d input number `wanted`."""

    def activations(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """What each hidden layer puts out after ReLU, (copies, batch, width)."""

    def single(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The first copy's output (out,) for one sample (in,)."""


class Tape(NamedTuple):
    """What each layer read, features first: (in, batch), or (copies, in, batch)."""

    read: list[Tensor]
    sizes: tuple[int, ...]
    copies: int | None


class Stack:
    """Dense layers: `nn.Linear`, or layers with weights (copies, out, in)."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers: list[Any] = list(layers)
        self.remembers = False
        self.remembered: tuple[Tensor, ...] | None = None

    def __call__(self, inputs: tuple[Tensor, ...], copies: int | None = None) -> Tensor:
        if not torch.is_grad_enabled():
            return self.record(inputs, copies)[0]
        self._remember(inputs)
        x = _joined(inputs)
        population = self.layers[0].weight.dim() == 3
        if population:
            x = x.expand(copies or len(self.layers[0].weight), -1, -1)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        x = self.layers[-1](x)
        return x if population else x.unsqueeze(0)  # type: ignore[no-any-return]

    def _remember(self, inputs: tuple[Tensor, ...]) -> None:
        if self.remembers:
            self.remembered = tuple(x.detach() for x in inputs)

    def record(self, inputs: tuple[Tensor, ...], copies: int | None = None) -> tuple[Tensor, Tape]:
        self._remember(inputs)
        parameters = [self._values(layer, copies) for layer in self.layers]
        x = _joined(inputs).t()
        if parameters[0][0].dim() == 3:
            x = x.expand(len(parameters[0][0]), -1, -1)
        read = []
        for weight, bias in parameters[:-1]:
            read.append(x)
            x = _affine(weight, bias, x).relu_()
        read.append(x)
        out = _affine(*parameters[-1], x)
        return (out if out.dim() == 3 else out.unsqueeze(0)).mT, Tape(read, tuple(i.shape[1] for i in inputs), copies)

    def pull(self, tape: Tape, gradient: Tensor, *, learns: bool = True, wanted: int | None = None) -> Tensor | None:
        d = gradient.mT
        d = d if tape.read[0].dim() == 3 else d[0]
        for number in range(len(self.layers) - 1, 0, -1):
            layer, x = self.layers[number], tape.read[number]
            if learns:
                _learn(layer, d, x, tape.copies)
            d = self._values(layer, tape.copies)[0].mT @ d
            d = torch.ops.aten.threshold_backward(d, x, 0)
        if learns:
            _learn(self.layers[0], d, tape.read[0], tape.copies)
        if wanted is None:
            return None
        first = sum(tape.sizes[:wanted])
        weight = self._values(self.layers[0], tape.copies)[0][..., first : first + tape.sizes[wanted]]
        back = weight.mT @ d
        return (back.sum(0) if back.dim() == 3 else back).t()

    def regress(self, inputs: tuple[Tensor, ...], aim: Tensor) -> Tensor:
        out, tape = self.record(inputs)
        self.pull(tape, (out - aim.unsqueeze(-1)) * (2 / len(aim)))  # d mean (out - aim)^2 / d out
        return out.squeeze(-1)

    def slope(self, inputs: tuple[Tensor, ...], factor: float, wanted: int) -> tuple[Tensor, Tensor]:
        out, tape = self.record(inputs, copies=1)
        back = self.pull(tape, torch.full_like(out, factor), learns=False, wanted=wanted)
        assert back is not None
        return out[0].squeeze(-1), back

    def activations(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        _, tape = self.record(inputs)
        return [(x if x.dim() == 3 else x.unsqueeze(0)).mT for x in tape.read[1:]]

    def single(self, observation: NDArray[Any]) -> NDArray[Any]:
        parameters = [self._values(layer, 1) for layer in self.layers]
        x = torch.as_tensor(observation, dtype=parameters[0][0].dtype, device=parameters[0][0].device)
        for weight, bias in parameters[:-1]:
            x = torch.addmv(bias, weight, x).relu_()
        out: NDArray[Any] = torch.addmv(parameters[-1][1], parameters[-1][0], x).cpu().numpy()
        return out

    @staticmethod
    def _values(layer: Any, copies: int | None) -> tuple[Tensor, Tensor]:
        """Weight and bias, of one copy without its dimension."""
        weight, bias = layer.weight.detach(), layer.bias.detach()
        if weight.dim() == 2 or copies is None or copies == len(weight) > 1:
            return weight, bias
        return (weight[0], bias[0]) if copies == 1 else (weight[:copies], bias[:copies])


def _joined(inputs: tuple[Tensor, ...]) -> Tensor:
    return inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=-1)


def _affine(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """W x + b, features first: gradients then come in the weight's own layout, which saves a copy."""
    affine = torch.addmm if weight.dim() == 2 else torch.baddbmm
    return affine(bias.unsqueeze(-1), weight, x)


def _learn(layer: Any, d: Tensor, x: Tensor, copies: int | None) -> None:
    for parameter, gradient in ((layer.weight, d @ x.mT), (layer.bias, d.sum(-1))):
        if gradient.shape != parameter.shape:  # of some copies only
            whole = torch.zeros_like(parameter)
            (whole[0] if gradient.dim() < whole.dim() else whole[:copies]).copy_(gradient)
            gradient = whole
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
