"""The sparsifiers of a model's networks, and all hooks by which they see what Stable-Baselines3 does not tell."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from numpy.random import SeedSequence
from torch import Tensor

from registry import Registry, part
from sparsity.clipping import EarlyMask
from sparsity.event import Event
from sparsity.execution.choice import Execution
from sparsity.method import Method
from sparsity.sb3.demands import demand_weights, tell_of_eventless, tell_of_unknown, with_method
from sparsity.sb3.held import put_into, save_densely, take_out
from sparsity.sb3.kept import State, going_on, packed, was_sparse
from sparsity.sb3.networks import Chain, Network
from sparsity.sb3.slow import Bell, Slow
from sparsity.sb3.words import Choice
from sparsity.sparsifier import Sparsifier
from sparsity.trained import Handle
from sparsity.weights import candidate_weights


@dataclass(frozen=True)
class Settings:
    """What the callback was given for its sparsifiers. `planned` counts the updates from now on."""

    choice: Choice
    seed: int
    planned: int | None
    total: int | None
    execution: Execution
    registry: Registry
    demands_state: bool
    """Whether the state was given by hand, so that what does not fit is refused; what a model has kept may not fit."""


class Attached:
    """From now on until `detach` a model trains sparsely. If that cannot be, ValueError, and the model is as it was."""

    def __init__(self, model: Any, settings: Settings, kept: State, on_event: Callable[[Network, Event], None]) -> None:
        self.networks = with_method(model, settings.choice)
        self.sparsifiers: dict[str, Sparsifier] = {}
        self._model, self._settings, self._on_event = model, settings, on_event
        self._names = {id(p): name for name, p in model.policy.named_parameters()}
        self.named = {n.name: {w: self._names[id(p)] for w, p in candidate_weights(n.chain).items()}
                      for n in self.networks}  # fmt: skip
        """The name in `policy.state_dict()` of every weight of a network."""
        self._bells: dict[int, Bell] = {}
        self._handles: list[Handle] = []
        self._early: list[EarlyMask] = []
        before = copy.deepcopy(model.get_parameters())
        try:
            self._attach_all(kept)
            demand_weights({n.learner: self.connections(n.learner)[1] for n in self.networks}, settings.choice)
            if self.networks:
                tell_of_unknown(model)
            if settings.planned != 0:  # A `learn` without an update has no event, whatever the method.
                tell_of_eventless(self.sparsifiers)
        except Exception:
            self.detach()
            model.set_parameters(before)
            raise

    def settle(self) -> None:
        """Slow copies obey their rule from now on, if they have been moved since they did."""
        for bell in self._bells.values():
            bell.settle()

    def state_dict(self) -> State:
        """Of every network its method and its sparsifier's state."""
        methods = {n.name: repr(self._settings.choice.of(n.learner)) for n in self.networks}
        return {name: {"method": methods[name], **packed(s.state_dict())} for name, s in self.sparsifiers.items()}

    def detach(self) -> None:
        """Take everything off: the model is one of plain Stable-Baselines3, with zeros in its weights."""
        self.settle()
        for handle in self._handles:
            handle.remove()
        for early in self._early:
            early.detach()
        for bell in self._bells.values():
            bell.detach()
        for network in reversed(self.networks):  # Of those that share an optimiser, the last one first.
            if network.name in self.sparsifiers:
                self._let_go(network, self.sparsifiers[network.name])

    # How a network gets its sparsifier.

    def _attach_all(self, kept: State) -> None:
        optimizers = list({id(n.optimizer): n.optimizer for n in self.networks}.values())
        early = {}
        if hasattr(self._model, "max_grad_norm"):
            early = {id(optimizer): EarlyMask(optimizer) for optimizer in optimizers}
            self._early = list(early.values())
        for network in self.networks:
            sparsifier = self._attach(network, kept.get(network.name))
            if id(network.optimizer) in early:
                early[id(network.optimizer)].follow(sparsifier)
        self._handles += [save_densely(optimizer) for optimizer in optimizers]
        settle = lambda *_: self.settle()  # noqa: E731  (torch marks its hooks, which bound methods do not take)
        self._handles.append(self._model.policy.register_state_dict_pre_hook(settle))

    def _attach(self, network: Network, kept: State | None) -> Sparsifier:
        method, weights = self._settings.choice.of(network.learner), candidate_weights(network.chain)
        state, instead = going_on(kept, repr(method), weights)
        if state is None and self._settings.demands_state:
            raise ValueError(
                f"the state that was loaded has {instead} for {network.name}: give the callback the method that the "
                "state was saved with, and load the model's weights before"
            )
        if state is None and was_sparse(weights):
            method = replace(method, initial=part("magnitude"), weights=part("ordinary"))
        before = self._values(network) if state is not None else []
        sparsifier = self._made(network, method, 0 if state is None else int(state["steps"]))
        if state is not None:
            for each, values in before:
                each.load_state_dict(values)
            sparsifier.load_state_dict(state)
        return sparsifier

    def _slow(self, network: Network) -> Slow | None:
        if network.slow is None or network.modules is None:
            return None
        bell = self._bells.get(id(network.modules[1]))
        if bell is None:
            bell = self._bells[id(network.modules[1])] = Bell(*network.modules)
        return Slow(network.slow, self._model.tau, bell)

    def _values(self, network: Network) -> list[tuple[Any, Any]]:
        """What a first topology would cut, in the order in which it is to be put back."""
        whole = [network.chain, network.slow, network.optimizer]
        return [(each, copy.deepcopy(each.state_dict())) for each in whole if each is not None]

    def _made(self, network: Network, method: Method, steps: int) -> Sparsifier:
        given = self._settings
        planned = None if given.planned is None else max(1, given.planned + steps * network.stride)
        sparsifier = Sparsifier(
            SimpleNamespace(
                name=network.name,
                module=network.chain,
                optimizer=network.optimizer,
                target=self._slow(network),
                stride=network.stride,
            ),
            method,
            seed=SeedSequence([given.seed, zlib.crc32(network.name.encode())]),
            total=given.total if given.total is not None else planned,
            execution=given.execution,
            on_event=partial(self._on_event, network),
            registry=given.registry,
        )
        self.sparsifiers[network.name] = sparsifier
        if sparsifier.execution == "sparse":
            for chain in _chains(network):
                self._handles += put_into(chain.body, chain)
        return sparsifier

    @staticmethod
    def _let_go(network: Network, sparsifier: Sparsifier) -> None:
        if sparsifier.execution == "sparse":
            for chain in _chains(network):
                take_out(chain.body)
        sparsifier.densify()
        if network.slow is not None:
            network.slow.requires_grad_(True)  # As Stable-Baselines3 makes it.

    # What it tells.

    def masks(self) -> dict[str, Tensor]:
        """By the name of the weight in `policy.state_dict()`."""
        return {self.named[name][w]: m for name, s in self.sparsifiers.items() for w, m in s.masks.items()}

    def connections(self, learner: str) -> tuple[int, int]:
        """Active ones of the sparse weights of a learner, and all."""
        layers = [d for n in self.networks if n.learner == learner for d in self.sparsifiers[n.name].densities()]
        return sum(layer.active for layer in layers), sum(layer.size for layer in layers)


def _chains(network: Network) -> list[Chain]:
    return [network.chain] if network.slow is None else [network.chain, network.slow]
