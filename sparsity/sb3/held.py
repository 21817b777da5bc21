"""A sparse network in the place of a model's own layers, while it trains."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from sparsity.execution.canonical import densified
from sparsity.sb3.networks import Chain
from sparsity.trained import Handle


class HeldSequential(nn.Sequential):
    """A sequence whose linear layers are held sparsely by its `stack`; `after` is what follows the last of them.

    It has one parameter, `values`, and is saved and loaded as what it was: dense, under the old names.
    """

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.stack((x,))[0]  # type: ignore[operator]
        for child in self.after:  # type: ignore[union-attr]
            out = child(out)
        return out


def put_into(body: nn.Sequential, chain: Chain) -> list[Handle]:
    """Let the body pass through the chain's stack, with its parameter in the place of theirs."""
    linear = [place for place, child in enumerate(body) if isinstance(child, nn.Linear)]
    body.__class__ = HeldSequential
    body.stack, body.after = chain.stack, list(body)[linear[-1] + 1 :]  # type: ignore[assignment]
    body.register_parameter("values", chain.values)  # type: ignore[arg-type]
    names = {f"{here}.{kind}": f"{there}.{kind}" for here, there in chain.in_body.items() if int(there) in linear
             for kind in ("weight", "bias")}  # fmt: skip
    return [
        body.register_state_dict_post_hook(partial(_save, chain, names)),
        body.register_load_state_dict_pre_hook(partial(_load, chain, names)),
    ]


def take_out(body: nn.Sequential) -> None:
    """The body is what it was."""
    del body._parameters["values"]
    del body.stack, body.after
    body.__class__ = nn.Sequential


def save_densely(optimizer: Optimizer) -> Handle:
    """The optimiser's states have zeros where moments are absent, for those who know nothing of sparse tensors."""
    handle: Handle = optimizer.register_state_dict_post_hook(lambda _, state: densified(state))
    return handle


def _save(chain: Chain, names: dict[str, str], body: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    state.pop(f"{prefix}values")
    saved = chain.state_dict()
    state.update({prefix + there: densified(saved[here]) for here, there in names.items()})


def _load(chain: Chain, names: dict[str, str], body: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    mine = {here: state.pop(prefix + there) for here, there in names.items() if prefix + there in state}
    if len(mine) == len(names):
        chain.load_state_dict(mine, strict=False)
        state[f"{prefix}values"] = chain.values.detach().clone()  # type: ignore[operator]
