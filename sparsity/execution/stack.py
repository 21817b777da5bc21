"""A stack of layers that holds the weights of its connections only, and passes through it forwards and backwards."""

from __future__ import annotations

import copy
import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsity.execution import kernels
from sparsity.execution.pattern import Pattern
from sparsity.execution.vector import LANES

_spare: dict[tuple[int, np.dtype[Any]], list[NDArray[Any]]] = {}
"""Memory of tapes that are done with, for the next passes of that size: fresh pages cost more than a small layer."""


def _borrow(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    spare = _spare.setdefault((size, dtype), [])
    # torch's memory begins at a cache line, and so do the tiles.
    return spare.pop() if spare else torch.empty(size, dtype=_TORCH[dtype]).numpy()


def _give_back(memory: NDArray[Any]) -> None:
    if len(_spare) > _SIZES:  # Batches of ever other sizes: begin anew rather than keep them all.
        _spare.clear()
    spare = _spare.setdefault((len(memory), memory.dtype), [])
    if len(spare) < 2:
        spare.append(memory)


_SIZES = 16
_NOTHING: dict[np.dtype[Any], NDArray[Any]] = {np.dtype(kind): np.zeros(0, kind) for kind in (np.float32, np.float64)}
_TORCH = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}


class Tape(NamedTuple):
    """What a pass forward leaves for the pass back, which uses it up."""

    tiles: NDArray[Any]
    sizes: tuple[int, ...]
    copies: int
    samples: int
    pattern: Pattern
    version: int
    """Of the values that it was made with."""
    used: list[bool]


class Kept(NamedTuple):
    """Of one pass: what every layer read and put out, in tiles, and the gradients of what it put out."""

    read: NDArray[Any]
    gradients: NDArray[Any]
    copies: int
    samples: int


class SparseStack:
    """Takes the place of a network's `stack`: the same calls, on a flat parameter `values`.

    Weights come first, layer by layer and row by row, then biases. A slow copy has a tail: connections that its online
    network has no more, whose weights lie behind the biases in the same memory.
    """

    def __init__(self, pattern: Pattern, values: nn.Parameter) -> None:
        self.values = values
        self.remembers = False
        """Whether passes leave their inputs in `remembered`."""
        self.remembered: tuple[Tensor, ...] | None = None
        self.keeps = False
        """Whether passes back keep what dense gradients are made of."""
        self._kept: list[Kept]
        self._pending: list[tuple[int, Kept]]
        self.adopt(pattern)
        if values.requires_grad:
            me = weakref.ref(self)  # The hook lives as long as the parameter, which is ours.

            def accumulated(_: Tensor) -> None:
                stack = me()
                if stack is not None:
                    stack._accumulated()

            values.register_post_accumulate_grad_hook(accumulated)

    def adopt(self, pattern: Pattern, memory: Tensor | None = None) -> None:
        """Take a new index, and the memory that it speaks of: the values, and behind them a tail if there is one."""
        self.pattern, self._kept, self._pending, self._fresh, self._seen = pattern, [], [], True, (0, 0)
        self.memory = self.values.detach() if memory is None else memory
        self._numbers = self.memory.numpy()
        self._pointer = self.values.data_ptr()
        self._scratch = np.zeros(pattern.scratch_size, self._numbers.dtype)
        self._index = (pattern.at, pattern.columns, pattern.rows)
        self._turned = (pattern.t_at, pattern.t_columns, pattern.t_rows)

    def __deepcopy__(self, memo: dict[int, Any]) -> SparseStack:
        values = copy.deepcopy(self.values, memo)
        copied = SparseStack(self.pattern, values)
        memory = self.memory.clone()
        values.data = memory[: self.pattern.size]
        copied.adopt(self.pattern, memory)
        memo[id(self)] = copied
        return copied

    @property
    def tail(self) -> Tensor:
        """Weights of connections that only this slow copy has."""
        return self.memory[self.pattern.size :]

    def __call__(self, inputs: tuple[Tensor, ...], copies: int | None = None) -> Tensor:
        """(copies, batch, out) from inputs (batch, size), concatenated; of the first `copies` members, if given."""
        if torch.is_grad_enabled() and (self.values.requires_grad or any(x.requires_grad for x in inputs)):
            out: Tensor = _Pass.apply(self, copies, self.values, *inputs)  # type: ignore[no-untyped-call]
            return out
        return torch.from_numpy(self._straight(inputs, self._members(copies), None, 0.0, False)[0])

    def regress(self, inputs: tuple[Tensor, ...], aim: Tensor) -> Tensor:
        """The outputs (copies, batch), and the gradient of the sum over copies of mean (output - aim)^2 added.

        Both passes in one, a part of the batch at a time, so that activations stay in the cache.
        """
        if aim.shape != (len(inputs[0]),) or aim.dtype != self.memory.dtype or self.pattern.widths[-1] != 1:
            raise ValueError(
                f"an aim is ({len(inputs[0])},) of {self.memory.dtype} for networks with one output, not "
                f"{tuple(aim.shape)} of {aim.dtype}"
            )
        if self.keeps:  # Dense gradients are made of the whole batch's activations.
            out, tape = self.record(inputs)
            self.pull(tape, (out - aim.unsqueeze(-1)) * (2 / len(aim)))
            return out.squeeze(-1)
        outputs, grad, _ = self._straight(inputs, self.pattern.members, aim, 2 / len(aim), True)
        if grad is not None:
            self.values.grad = grad if self.values.grad is None else self.values.grad.add_(grad)
        return torch.from_numpy(outputs[..., 0])

    def slope(self, inputs: tuple[Tensor, ...], factor: float, wanted: int) -> tuple[Tensor, Tensor]:
        """The first member's outputs (batch,), and d (factor x their sum) / d input number `wanted`."""
        out, _, dx = self._straight(inputs, 1, None, factor, False, wanted)
        return torch.from_numpy(out[0, :, 0]), torch.from_numpy(dx)

    def _straight(
        self,
        inputs: tuple[Tensor, ...],
        copies: int,
        aim: Tensor | None,
        slope: float,
        learns: bool,
        wanted: int | None = None,
    ) -> tuple[NDArray[Any], Tensor | None, NDArray[Any]]:
        numbers, x = self.current(), self._read(inputs)
        first = sum(i.shape[1] for i in inputs[:wanted]) if wanted is not None else 0
        width = inputs[wanted].shape[1] if wanted is not None else 0
        tape = _borrow(kernels.group_size(self.pattern.widths), numbers.dtype)
        y = np.empty((copies, len(x), self.pattern.widths[-1]), numbers.dtype)
        grad = torch.zeros(self.pattern.size, dtype=self.memory.dtype) if learns else None
        dx = np.zeros((len(x), width), numbers.dtype)
        kernels.straight(
            numbers, self._scratch, *self._index, *self._turned, self.pattern.plan, copies, x, tape, y,
            _NOTHING[numbers.dtype] if aim is None else aim.detach().contiguous().numpy(), numbers.dtype.type(slope),
            _NOTHING[numbers.dtype] if grad is None else grad.numpy(), learns, dx, first,
        )  # fmt: skip
        _give_back(tape)
        return y, grad, dx

    def _members(self, copies: int | None) -> int:
        if copies is None:
            return self.pattern.members
        if not 1 <= copies <= self.pattern.members:
            raise ValueError(
                f"copies must lie in 1 ... {self.pattern.members}, the members of this network, not {copies}"
            )
        return copies

    def _read(self, inputs: tuple[Tensor, ...]) -> NDArray[Any]:
        if self.remembers:
            self.remembered = tuple(x.detach() for x in inputs)
        x = (inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=-1)).detach().contiguous()
        if x.dtype != self.memory.dtype or x.dim() != 2 or x.shape[1] != self.pattern.widths[0]:
            raise ValueError(
                f"this network reads (batch, {self.pattern.widths[0]}) of {self.memory.dtype}, "
                f"not {tuple(x.shape)} of {x.dtype}"
            )
        return x.numpy()

    def record(self, inputs: tuple[Tensor, ...], copies: int | None = None) -> tuple[Tensor, Tape]:
        """The output without autograd, and a tape to pull gradients through, once."""
        numbers, copies, x = self.current(), self._members(copies), self._read(inputs)
        widths, samples = self.pattern.widths, len(x)
        tiles = _borrow(kernels.tape_size(widths, copies, samples), numbers.dtype)
        y = np.empty((copies, samples, widths[-1]), numbers.dtype)
        kernels.forward(numbers, self._scratch, *self._index, self.pattern.plan, copies, x, tiles, y)
        sizes = tuple([i.shape[1] for i in inputs])
        return torch.from_numpy(y), Tape(tiles, sizes, copies, samples, self.pattern, self.values._version, [False])

    def pull(self, tape: Tape, gradient: Tensor, *, learns: bool = True, wanted: int | None = None) -> Tensor | None:
        """Add to the values' `grad` if `learns`; the gradient of input number `wanted`, summed over members."""
        first = sum(tape.sizes[:wanted]) if wanted is not None else 0
        width = tape.sizes[wanted] if wanted is not None else 0
        grad, dx, kept = self.back(tape, gradient, learns, first, width)
        if grad is not None:
            if kept is not None:
                self._keep([kept], fresh=self._cleared())
            self.values.grad = grad if self.values.grad is None else self.values.grad.add_(grad)
            self._saw_gradient()
        return dx if wanted is not None else None

    def back(
        self, tape: Tape, gradient: Tensor, learns: bool, first: int, width: int
    ) -> tuple[Tensor | None, Tensor, Kept | None]:
        """The gradients of the values (if any learn) and of `width` inputs from `first` on, and what is to be kept."""
        if tape.used[0]:
            raise RuntimeError(
                "a second backward pass through the same forward pass: sparse execution uses its activations up. "
                "Run the forward pass again, or sum the losses and go back once"
            )
        if tape.pattern is not self.pattern or tape.version != self.values._version:
            raise RuntimeError(
                "the weights have changed since the forward pass whose gradient is asked for: go back before the step"
            )
        expected = (tape.copies, tape.samples, self.pattern.widths[-1])
        if gradient.shape != expected or gradient.dtype != self.memory.dtype:
            raise ValueError(
                f"a gradient of the outputs is {expected} of {self.memory.dtype}, not {tuple(gradient.shape)} of "
                f"{gradient.dtype}"
            )
        tape.used[0] = True
        keeps = self.keeps and learns
        read = tape.tiles.copy() if keeps else tape.tiles
        dtype = self.memory.dtype
        grad = torch.zeros(self.pattern.size if learns else 0, dtype=dtype)
        dx = torch.zeros((tape.samples, width), dtype=dtype)
        kernels.backward(
            self.current(), self._scratch, *self._index, *self._turned, self.pattern.plan, tape.copies,
            tape.tiles, gradient.detach().contiguous().numpy(), grad.numpy(), learns, dx.numpy(), first,
        )  # fmt: skip
        kept = Kept(read, tape.tiles, tape.copies, tape.samples) if keeps else None
        if not keeps:
            _give_back(tape.tiles)
        return (grad if learns else None), dx, kept

    def _keep(self, kept: list[Kept], fresh: bool) -> None:
        self._kept = kept if fresh else [*self._kept, *kept]

    def _cleared(self) -> bool:
        """Whether what was kept belongs to gradients that have been cleared, by `None` or by zeros."""
        grad = self.values.grad
        return grad is None or ((id(grad), grad._version) != self._seen and not bool(grad.any()))

    def _saw_gradient(self) -> None:
        grad = self.values.grad
        self._seen = (0, 0) if grad is None else (id(grad), grad._version)

    def confirm(self) -> None:
        """Before a step: let go of what was kept if its gradient has been cleared since."""
        if self._cleared():
            self._kept = []

    def wait(self, kept: Kept) -> None:
        """Keep this if the gradient that it belongs to reaches the values: `backward(inputs=...)` may leave it out."""
        task = torch._C._current_graph_task_id()
        self._pending = [(number, one) for number, one in self._pending if number == task]
        if not self._pending:
            self._fresh = self._cleared()
        self._pending.append((task, kept))

    def _accumulated(self) -> None:
        task = torch._C._current_graph_task_id()
        mine = [kept for number, kept in self._pending if number == task]
        self._pending = []
        if mine:
            self._keep(mine, self._fresh)
            self._saw_gradient()

    def single(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The first member's output (out,) for one sample (in,)."""
        numbers = self.current()
        x = np.ascontiguousarray(observation, dtype=numbers.dtype)
        if x.shape != (self.pattern.shapes[0].fan_in,):
            raise ValueError(f"this network reads {self.pattern.shapes[0].fan_in} numbers, not {x.shape}")
        y = np.empty(self.pattern.shapes[-1].out, numbers.dtype)
        kernels.single(numbers, *self._index, self.pattern.plan, x, y)
        return y

    def activations(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """What each hidden layer puts out after ReLU, (members, batch, width)."""
        _, tape = self.record(inputs)
        seen = Kept(tape.tiles, tape.tiles, tape.copies, tape.samples)
        layers = [
            torch.stack([
                self._tiled(seen, seen.read, layer, member)[:, : tape.samples].t() for member in range(tape.copies)
            ])
            for layer in range(len(self.pattern.shapes) - 1)
        ]  # fmt: skip
        _give_back(tape.tiles)
        return layers

    def dense_gradient(self, layer: int) -> Tensor | None:
        """Of one layer `(members, out, in)`, absent connections included, from what the passes back kept.

        d loss / d W = sum over samples of (d loss / d output) x^T, which needs no pass of its own.
        """
        if not self._kept:
            return None
        shape = self.pattern.shapes[layer]
        gradient = torch.zeros(tuple(shape), dtype=self.memory.dtype)
        for kept in self._kept:
            for member in range(kept.copies):
                d = self._tiled(kept, kept.gradients, layer, member)
                x = self._tiled(kept, kept.read, layer - 1, member)
                gradient[member].addmm_(d, x.t())
        return gradient

    def forget(self) -> None:
        """Let go of what passes back have kept."""
        self._kept = []

    def _tiled(self, kept: Kept, tape: NDArray[Any], layer: int, member: int) -> Tensor:
        """(features, lanes) that a layer put out in a pass; layer -1 is the input, the same for all members."""
        tiles = -(-kept.samples // LANES)
        sizes = [self.pattern.shapes[0].fan_in, *(shape.out for shape in self.pattern.shapes)]
        lengths = [tiles * (size + 1) * LANES for size in sizes]
        start = lengths[0] + sum(kept.copies * n for n in lengths[1 : layer + 1]) if layer >= 0 else 0
        start += member * lengths[layer + 1] if layer >= 0 else 0
        rows = torch.from_numpy(tape[start : start + lengths[layer + 1]]).view(tiles, -1, LANES)
        return rows[:, : sizes[layer + 1]].transpose(0, 1).reshape(sizes[layer + 1], -1)

    def current(self) -> NDArray[Any]:
        """The numbers as the kernels read them; the parameter may have been given other memory (`.data`, `.to`)."""
        if self.values.data_ptr() != self._pointer:
            if self.values.numel() != self.pattern.size:
                raise ValueError("the values of a sparse network were exchanged: load a state into it instead")
            if self.values.device.type != "cpu":
                raise ValueError(f"sparse execution runs on the CPU; the values are on {self.values.device}")
            memory = torch.cat([self.values.detach(), self.tail.to(self.values.dtype)])
            self.values.data = memory[: self.pattern.size]
            self.adopt(self.pattern, memory)
        return self._numbers


class _Pass(torch.autograd.Function):
    """A whole stack as one node of autograd."""

    @staticmethod
    def forward(ctx: Any, stack: SparseStack, copies: int | None, values: Tensor, *inputs: Tensor) -> Tensor:
        out, ctx.tape = stack.record(inputs, copies)
        ctx.stack = stack
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        learns, wanted = ctx.needs_input_grad[2], ctx.needs_input_grad[3:]
        tape: Tape = ctx.tape
        stack: SparseStack = ctx.stack
        grad, dx, kept = stack.back(tape, gradient, learns, 0, sum(tape.sizes) if any(wanted) else 0)
        if kept is not None:
            stack.wait(kept)
        parts = dx.split(tape.sizes, dim=1) if any(wanted) else [None] * len(tape.sizes)
        return (None, None, grad, *(part if asked else None for part, asked in zip(parts, wanted, strict=True)))
