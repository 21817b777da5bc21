"""Topology kept through optimiser and target: the only stateful file of the package.

A sparsifier hangs on the step hooks of a learner's optimiser and on the update hook of its target. Agents know nothing
of it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.optim import Optimizer

from registry import Bound, Registry, default_registry, part
from sparsity.adapt import Scored, adapt, shared_goals
from sparsity.allocation import counts
from sparsity.ask import ask, check_mask, check_scores, who
from sparsity.event import Event, LayerChange, LayerDensity
from sparsity.execution import Masked, MaskedWeight
from sparsity.execution.choice import Execution, chosen_execution
from sparsity.execution.find import initial as drawn
from sparsity.method import Method
from sparsity.rewire import rewire
from sparsity.trained import Handle, Trained
from sparsity.weights import as_matrices, candidate_weights, member_shapes

if TYPE_CHECKING:  # imported where it is chosen: compiled kernels take a while to load
    from sparsity.execution.sparse import Sparse, SparseWeight

_attached: weakref.WeakSet[Sparsifier] = weakref.WeakSet()


class Sparsifier:
    """Keeps a learner sparse by a method, from now on.

    `seed` decides the topology, `total` is the number of planned agent updates (schedules whose windows are shares need
    it), and `on_event` hears of every change of topology. Raises ValueError for choices that cannot be carried out,
    before anything is changed.
    """

    def __init__(
        self,
        learner: Trained,
        method: Method,
        *,
        seed: SeedSequence,
        total: int | None = None,
        execution: Execution = "auto",
        on_event: Callable[[Event], None] | None = None,
        registry: Registry | None = None,
    ) -> None:
        if execution not in ("auto", "masked", "sparse"):
            raise ValueError(f"execution must be 'auto', 'masked' or 'sparse', not {execution!r}")
        registry = registry or default_registry()
        self.method = method.resolved(registry)
        self._part = {kind: registry.bind(kind, choice) for kind, choice in self.method.parts().items()}
        self._learner, self._optimizer, self._on_event = learner, learner.optimizer, on_event
        self._total = total // learner.stride if total and self.method.clock == "optimizer" else total
        self._layer_density: dict[str, float] = {}
        self._execution = self._carried_out(execution, registry)
        self._weights: Sequence[MaskedWeight | SparseWeight] = self._execution.weights
        self._trace = self._find_traces(registry)
        self._traced: dict[str, dict[str, Tensor]] = {
            trace: {w.name: torch.zeros(w.dense_shape, dtype=w.dtype, device=w.device) for w in self._weights}
            for trace in self._trace
        }
        self._generator = self._seeded(seed)
        self.steps = 0
        """Optimiser steps so far, those that an event replaced included."""
        self._layer_density, self._density, self._final = self._allocate()
        self._budget = self._budget_at(0)
        self._fraction, self._goals, self._event_now = 0.0, self._goals_at(self._budget), False
        self._moments_checked = False
        self._ahead = (1, self._plan(1))  # What no schedule or budget can serve is refused here, not in an update.
        self._wants_dense = any(self._part[kind].asks("grad") for kind in ("prune", "grow", "born"))
        self._wants_activity = bool(self._weights) and any(self._part[k].asks("activity") for k in ("prune", "grow"))
        self._activity: dict[str, Tensor] = {}
        if self._wants_activity:
            self._check_tells_activity()
        self._start()
        self._look_ahead()
        self._handles = self._hang_on() if self._weights else []

    # What it tells.

    @property
    def masks(self) -> dict[str, Tensor]:
        """Mask of every sparse weight, shaped like the weight, True where active."""
        return {w.name: w.mask.view(w.full_shape).clone() for w in self._weights}

    @property
    def execution(self) -> str:
        """`masked` or `sparse`: how absence is carried out."""
        return "masked" if isinstance(self._execution, Masked) else "sparse"

    def densities(self) -> tuple[LayerDensity, ...]:
        """What is active in every sparse weight, all members together."""
        return tuple(LayerDensity(w.name, w.full_shape, w.active, w.numel) for w in self._weights)

    def target_densities(self) -> tuple[LayerDensity, ...]:
        """Non-zero weights of the slow copy; empty where there is none."""
        return tuple(
            LayerDensity(w.name, w.full_shape, active, w.numel)
            for w in self._weights
            if (active := w.target_active) is not None
        )

    def target_masks(self) -> dict[str, Tensor]:
        """Where the slow copy is not zero, shaped like the weights; empty where there is none."""
        kept = {w.name: (w.target_mask, w.full_shape) for w in self._weights}
        return {name: mask.view(shape) for name, (mask, shape) in kept.items() if mask is not None}

    # Where it hangs, and what outlives it.

    def detach(self) -> None:
        """Take the hooks off. Weights stay as they are; nothing keeps them sparse from now on."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._execution.detach()
        _attached.discard(self)

    def state_dict(self) -> dict[str, Any]:
        """Everything that this object remembers: steps, masks, budgets, traces, and the state of its generator."""
        return {
            "steps": self.steps,
            "budget": self._budget,
            "masks": self.masks,
            "final": {name: count.clone() for name, count in self._final.items()},
            "traces": {t: {n: v.clone() for n, v in kept.items()} for t, kept in self._traced.items()},
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. Weights, moments and targets are the learner's own: load them before this call."""
        self._check_state(state)
        self.steps, self._budget = int(state["steps"]), float(state["budget"])
        self._execution.set_masks(state["masks"])
        self._final = {name: count.clone().to(self._device) for name, count in state["final"].items()}
        self._goals = self._goals_at(self._budget)
        self._traced = {
            trace: {name: value.clone().to(self._device) for name, value in kept.items()}
            for trace, kept in state["traces"].items()
        }
        self._generator.set_state(state["generator"].cpu())
        self._look_ahead()

    def _check_state(self, state: Mapping[str, Any]) -> None:
        mine = {w.name: w.full_shape for w in self._weights}
        theirs = {name: tuple(mask.shape) for name, mask in state["masks"].items()}
        if mine != theirs:
            raise ValueError(f"this state is of another network: its masks are {theirs}, the learner's {mine}")
        for name, mask in state["masks"].items():
            if mask.dtype != torch.bool:
                raise ValueError(f"mask of {name} must be bool, not {mask.dtype}")
        if set(state["traces"]) != set(self._trace):
            raise ValueError(f"this state has traces {sorted(state['traces'])}, the method {sorted(self._trace)}")

    # How it starts: phase 1 of the paper.

    def _carried_out(self, execution: Execution, registry: Registry) -> Masked | Sparse:
        """The execution that was asked for, or under `auto` the one that serves the learner better."""
        learner, names = self._learner, self._eligible()
        moments, target = self._part["moments"], self._part["target"]
        shapes, parameters = member_shapes(learner.module), candidate_weights(learner.module)
        eligible = {name: shapes[name] for name in names}
        if chosen_execution(execution, learner.module, eligible, self.method, registry) == "sparse":
            from sparsity.execution.sparse import Sparse

            try:
                return Sparse(learner, names, moments, target)
            except ValueError:  # Not a learner that can be held so.
                if execution == "sparse":
                    raise
        targets = candidate_weights(learner.target.module) if learner.target is not None else {}
        for name in names:
            if targets and targets[name].shape != parameters[name].shape:
                raise ValueError(f"target of {learner.name}: {name} is shaped unlike the online one")
        weights = [MaskedWeight(name, parameters[name], shapes[name], targets.get(name)) for name in names]
        return Masked(learner, weights, moments, target)

    def _eligible(self) -> tuple[str, ...]:
        """The names of the weights that are to be sparse."""
        learner = self._learner
        if self.method.network == "shrunk":
            raise ValueError(
                "a shrunk network is built narrow, not masked: build the agent with fewer units, or choose a method "
                "with network = 'given'"
            )
        if hasattr(learner.module, "stack") and not hasattr(learner.module.stack, "layers"):
            raise ValueError(
                f"{learner.name} is kept sparse already, in sparse form: build it anew for another sparsifier"
            )
        shapes, parameters = member_shapes(learner.module), candidate_weights(learner.module)
        trained = {id(p) for group in learner.optimizer.param_groups for p in group["params"]}
        taken = {id(w.parameter) for other in _attached for w in other._weights if isinstance(w, MaskedWeight)}
        names: tuple[str, ...] = self._part["eligible"](shapes=shapes)
        for name in names:
            if name not in parameters:
                raise ValueError(f"{self.method.eligible} chose {name!r}; {learner.name} has {', '.join(parameters)}")
            if id(parameters[name]) not in trained:
                raise ValueError(f"the optimiser of {learner.name} does not train {name}: it cannot be kept sparse")
            if id(parameters[name]) in taken:
                raise ValueError(f"{name} of {learner.name} is kept sparse already: detach the other sparsifier first")
        return names

    def _find_traces(self, registry: Registry) -> dict[str, Bound]:
        chosen = {choice.name: choice for choice in self.method.traces}
        asked = {name for kind in ("prune", "grow", "born", "spread") for name in self._part[kind].entry.inputs}
        asked &= set(registry.names("trace"))
        return {name: registry.bind("trace", chosen.get(name, part(name))) for name in sorted(asked)}

    @property
    def _layers_apart(self) -> bool:
        """Whether every layer keeps its own number of connections, rather than trade with the others."""
        method = self.method
        return method.scope == method.swap_scope == "layer" and method.spread.name == "in_place"

    @property
    def _device(self) -> torch.device:
        return self._weights[0].device if self._weights else torch.device("cpu")

    def _seeded(self, seed: SeedSequence) -> torch.Generator:
        generator = torch.Generator(device=self._device)
        generator.manual_seed(int(seed.generate_state(1, dtype="uint64")[0] >> 1))
        return generator

    def _noise(self, weight: MaskedWeight | SparseWeight) -> Tensor:
        """Fresh uniform noise in [0, 1), for one call of one part or one tie-break."""
        return torch.rand(weight.dense_shape, generator=self._generator, device=weight.device, dtype=weight.dtype)

    def _allocate(self) -> tuple[dict[str, float], float, dict[str, Tensor]]:
        """In the end: density of every weight, of all together, and connections a member."""
        if not self._weights:
            return {}, 1.0, {}
        shapes = {w.name: w.shape for w in self._weights}
        densities = self._part["allocation"](shapes=shapes)
        if set(densities) != set(shapes):
            raise ValueError(f"{self.method.allocation} must give a density for each of {', '.join(shapes)}")
        kept = math.fsum(densities[w.name] * w.numel for w in self._weights)
        exact = counts(shapes, densities)
        final = {w.name: torch.full(w.dense_shape[:1], exact[w.name], device=w.device) for w in self._weights}
        return densities, kept / sum(w.numel for w in self._weights), final

    def _start(self) -> None:
        """The first topology, of the online network and of its slow copy."""
        held: list[Any] = []
        for weight, mask in zip(self._weights, self._first_masks(), strict=True):
            if self.method.weights.name != "ordinary":
                self._set_initial(weight, mask)
            held.append(self._execution.first(weight, mask))  # type: ignore[arg-type]
        if held:
            self._execution.begin(held)
        if self._budget == self._density:  # A drawn number of connections is the budget from now on.
            self._final = {w.name: w.nnz for w in self._weights}
            self._goals = self._goals_at(self._budget)

    def _first_masks(self) -> Iterator[Tensor]:
        """Layer by layer; a part that asks for the network is asked once."""
        if self._weights and self._part["initial"].asks("network"):
            yield from self._masks_of_network()
        else:
            for weight, goal in zip(self._weights, self._goals, strict=True):
                yield self._first_mask(weight, goal)

    def _masks_of_network(self) -> list[Tensor]:
        initial, module = self._part["initial"], self._learner.module
        shapes = member_shapes(module)
        network = {name: as_matrices(drawn(p), shapes[name]) for name, p in candidate_weights(module).items()}
        eligible = tuple(w.name for w in self._weights)
        connections = sum(int(goal[0]) for goal in self._goals)
        masks = ask(initial, network=network, eligible=eligible, connections=connections, density=self._budget)
        if not isinstance(masks, Mapping) or set(masks) != set(eligible):
            raise ValueError(f"{who(initial)} must give a mask for each of {', '.join(eligible)}")
        for weight in self._weights:
            self._check_first(f"{who(initial)} (layer {weight.name})", weight, masks[weight.name])
        return [masks[name] for name in eligible]

    def _set_initial(self, weight: MaskedWeight | SparseWeight, mask: Tensor) -> None:
        """Initial values that know the topology, in the slow copy too."""
        weights = self._part["weights"]
        value = ask(weights, weight=weight.value, mask=mask)
        check_scores(f"{who(weights)} (layer {weight.name})", value, mask, mask)
        weight.begin_with(value, mask)

    def _first_mask(self, weight: MaskedWeight | SparseWeight, goal: Tensor) -> Tensor:
        """A bool tensor is the mask itself; of scores, the highest enter, as many as the allocation says."""
        empty = torch.zeros(weight.dense_shape, dtype=torch.bool, device=weight.device)
        initial = self._part["initial"]
        value = weight.value.clone() if initial.asks("weight") else None
        density = self._layer_density_at(weight.name, self._budget)
        first = ask(initial, density=density, weight=value, noise=self._noise(weight), mask=empty)
        what = f"{who(self._part['initial'])} (layer {weight.name})"
        if not isinstance(first, Tensor) or first.dtype != torch.bool:
            check_scores(what, first, empty, ~empty)
            return rewire(empty, first, first, torch.zeros_like(goal), goal, tie=self._noise(weight)).mask
        self._check_first(what, weight, first)
        return first

    @staticmethod
    def _check_first(what: str, weight: MaskedWeight | SparseWeight, mask: Tensor) -> None:
        check_mask(what, mask, torch.empty(weight.dense_shape, device="meta"))
        if not bool(mask.flatten(1).any(dim=1).all()):
            raise ValueError(f"{what} left a layer without any connection: choose a higher density")

    # When: phase 2.

    def _hang_on(self) -> list[Handle]:
        handles: list[Handle] = [
            self._optimizer.register_step_pre_hook(self._before_step),
            self._optimizer.register_step_post_hook(self._after_step),
        ]
        if self._learner.target is not None:
            handles.append(self._learner.target.after_update(self._after_target_update))
        _attached.add(self)
        return handles

    def _clock(self, optimiser_step: int) -> range:
        """The steps on the method's clock that this optimiser step stands for."""
        stride = self._learner.stride if self.method.clock == "agent" else 1
        return range((optimiser_step - 1) * stride + 1, optimiser_step * stride + 1)

    def _plan(self, optimiser_step: int) -> tuple[float, float]:
        """Over the steps that passed, the largest fraction and the last budget; in the last step the final one."""
        steps = self._clock(optimiser_step)
        fraction = max(map(self._fraction_at, steps))
        if not 0 <= fraction <= 1:
            raise ValueError(f"{self.method.schedule} gave {fraction!r}: a fraction lies in [0, 1]")
        if self._total is not None and self._clock(optimiser_step + 1)[-1] > self._total:
            return fraction, self._budget_at(max(self._total, steps[-1]))
        return fraction, self._budget_at(steps[-1])

    def _fraction_at(self, step: int) -> float:
        schedule = self._part["schedule"]
        density = self._budget_at(step - 1) if schedule.asks("density") else None
        fraction: float = schedule(step=step, total=self._total, density=density, final=self._density)
        return fraction

    def _budget_at(self, step: int) -> float:
        density: float = self._part["budget"](step=step, total=self._total, density=self._density)
        if not 0 < density <= 1:
            raise ValueError(f"{self.method.budget} gave {density!r}: a density lies in (0, 1]")
        return density

    def _goals_at(self, density: float) -> list[Tensor]:
        """Connections a member of every weight when the network's budget stands at `density`.

        Above the final density a layer lies on the line between its final count and full, so that it only falls while
        the budget falls; below it all layers lose the same share.
        """
        final = [(self._final[w.name], w.size) for w in self._weights]
        if density >= self._density:
            open_ = (density - self._density) / (1 - self._density) if self._density < 1 else 0.0
            return [n + torch.floor(open_ * (size - n).double() + 1e-9).long() for n, size in final]
        cut = 1 - density / self._density
        return [n - torch.floor(cut * n.double() + 1e-9).long() for n, _ in final]

    def _layer_density_at(self, name: str, density: float) -> float:
        final = self._layer_density[name]
        if density >= self._density:
            return 1 - (1 - density) / (1 - self._density) * (1 - final) if self._density < 1 else 1.0
        return final * density / self._density

    def _is_event(self, fraction: float, density: float) -> bool:
        """Whether something is to be swapped, or the budget's count differs from what is active."""
        if density != self._budget:
            self._goals, self._budget = self._goals_at(density), density
            goals = self._shared(self._goals)
            return fraction > 0 or any(bool((g != w.nnz).any()) for g, w in zip(goals, self._weights, strict=True))
        return fraction > 0

    def _shared(self, goals: list[Tensor]) -> list[Tensor]:
        """Where layers trade connections, the budget holds in total only."""
        if self._layers_apart:
            return goals
        return shared_goals([w.nnz for w in self._weights], goals, [w.size for w in self._weights])

    # The hooks: phases 3 and 4.

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """With the dense gradient at hand: traces, the criteria's copy of it, and what the optimiser is to see."""
        if len(args) > 1 or kwargs.get("closure") is not None:
            raise ValueError(
                "optimizer.step was given a closure: its gradients are computed out of a sparsifier's sight. Call "
                "backward first, then step() without arguments"
            )
        self.steps += 1
        planned, plan = self._ahead
        self._fraction, density = plan if planned == self.steps else self._plan(self.steps)
        self._event_now = self._is_event(self._fraction, density)
        if self._trace:
            self._update_traces()
        if self._event_now and self._wants_dense:
            self._execution.hold_gradients()
        if self._event_now and self.method.event == "instead_of_step":
            self._execution.skip_step()
        elif self.method.optimizer_sees == "masked":
            self._execution.hide_gradients()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Absent weights are zero again, and if this step has an event the topology changes."""
        if not self._moments_checked:
            self._moments_checked = self._execution.check_moments()
        if self._event_now:
            self._adapt()
        else:
            self._execution.settle()
            # Under masked gradients a moment that is zero where absent stays so between events.
            if self.method.optimizer_sees == "dense" and self._part["moments"].asks("mask"):
                self._execution.tend(self._part["moments"])
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Plan the next step before its gradients form: dense ones are not made unless somebody will ask."""
        plan = self._plan(self.steps + 1)
        self._ahead = (self.steps + 1, plan)
        event = plan[0] > 0 or plan[1] != self._budget
        self._execution.anticipate(event, self._wants_dense)
        if self._wants_activity:
            self._learner.module.stack.remembers = event  # type: ignore[union-attr]

    def _after_target_update(self) -> None:
        self._execution.after_target_update()

    def _update_traces(self) -> None:
        for name, trace in self._trace.items():
            window = trace.entry.facts.get("window")
            if window is not None and not self._event_within(window):
                self._forget(name)
                continue
            kept = self._traced[name]
            for weight in self._weights:
                assert isinstance(weight, MaskedWeight), "methods with traces run masked"
                inputs = {"weight": weight.value, "mask": weight.mask, "grad": self._grad(weight, trace)}
                kept[weight.name] = ask(trace, trace=kept[weight.name], **inputs)
                check_scores(f"{who(trace)} (layer {weight.name})", kept[weight.name], weight.mask, weight.mask)

    def _event_within(self, window: int) -> bool:
        plans = (self._plan(self.steps + ahead) for ahead in range(window))
        return self._event_now or any(fraction > 0 or density != self._budget for fraction, density in plans)

    def _grad(self, weight: MaskedWeight, asker: Bound) -> Tensor | None:
        if asker.asks("grad") and weight.grad is None:
            raise self._no_gradient(weight, asker)
        if asker.asks("grad") and not bool(torch.isfinite(weight.grad).all()):  # type: ignore[arg-type]
            raise FloatingPointError(f"gradient {self._learner.name}/{weight.name}")
        return weight.grad

    @staticmethod
    def _no_gradient(weight: MaskedWeight | SparseWeight, asker: Bound) -> ValueError:
        return ValueError(
            f"{asker.entry.kind.name} {asker.entry.name!r} asks for a gradient and {weight.name} has none: "
            "no loss reached it before this step"
        )

    # How: one event.

    def _adapt(self) -> None:
        self._check_finite()
        stepped: dict[str, Tensor] = {}
        if self._part["born"].asks("stepped"):
            stepped = {w.name: w.value.clone() for w in self._weights if isinstance(w, MaskedWeight)}
        self._execution.settle()
        goals = self._shared(self._goals)
        pairs: list[tuple[MaskedWeight | SparseWeight, Tensor]] = list(zip(self._weights, goals, strict=True))
        if self._wants_activity:
            self._activity = self._activities()
        groups = [[pair] for pair in pairs] if self._layers_apart and self._execution.one_by_one else [pairs]
        changes = [change for group in groups for change in self._adapt_layers(group, stepped)]
        self._execution.commit()
        for name, trace in self._trace.items():
            if trace.entry.facts.get("window") is not None:
                self._forget(name)
        if self._on_event is not None:
            self._on_event(Event(self._clock(self.steps)[-1], tuple(changes)))

    def _adapt_layers(
        self, pairs: list[tuple[MaskedWeight | SparseWeight, Tensor]], stepped: Mapping[str, Tensor]
    ) -> list[LayerChange]:
        """Choose what changes in these layers; nothing is changed before all layers of the network have chosen."""
        gradients = [self._dense_gradient(weight) for weight, _ in pairs]
        scored = [self._scored(w, grad) for (w, _), grad in zip(pairs, gradients, strict=True)]
        done = adapt(
            scored,
            [goal for _, goal in pairs],
            self._fraction,
            readmit=self.method.readmit,
            scope=self.method.scope,
            swap_scope=self.method.swap_scope,
            spread=None if self.method.spread.name == "in_place" else partial(self._spread, [w for w, _ in pairs]),
        )
        changes = []
        for (weight, _), grad, change in zip(pairs, gradients, done, strict=True):
            born = self._criterion("born", weight, grad, stepped=stepped.get(weight.name))
            zeros = int((weight.mask & (weight.value == 0)).sum())
            self._execution.plan(weight, change, born)  # type: ignore[arg-type]
            active, dropped, grown, readmitted = (int(each.sum()) for each in change)
            changes.append(LayerChange(weight.name, active, dropped, grown, readmitted, zeros))
        return changes

    def _dense_gradient(self, weight: MaskedWeight | SparseWeight) -> Tensor | None:
        """Of this step's losses, absent connections included, if a criterion asks for it."""
        gradient = self._execution.gradient(weight) if self._wants_dense else None  # type: ignore[arg-type]
        if gradient is not None and not bool(torch.isfinite(gradient).all()):
            raise FloatingPointError(f"gradient {self._learner.name}/{weight.name}")
        return gradient

    def _check_finite(self) -> None:
        """A training that has diverged is not the criteria's fault."""
        for weight in self._weights:
            if not weight.finite():
                raise FloatingPointError(f"weight {self._learner.name}/{weight.name}")

    def _scored(self, weight: MaskedWeight | SparseWeight, grad: Tensor | None) -> Scored:
        mask = weight.mask
        drop, grow = (self._criterion(kind, weight, grad) for kind in ("prune", "grow"))
        layer = f"(layer {weight.name})"
        check_scores(f"{who(self._part['prune'])} {layer}", drop, mask, mask)
        candidates = torch.ones_like(mask) if self.method.readmit else ~mask
        check_scores(f"{who(self._part['grow'])} {layer}", grow, mask, candidates)
        return Scored(mask, drop, grow, self._noise(weight))

    def _criterion(
        self, kind: str, weight: MaskedWeight | SparseWeight, grad: Tensor | None, **more: Tensor | None
    ) -> Tensor:
        criterion = self._part[kind]
        if criterion.asks("grad") and grad is None:
            raise self._no_gradient(weight, criterion)
        traces = {name: kept[weight.name] for name, kept in self._traced.items()}
        scores: Tensor = ask(
            criterion,
            weight=weight.value if criterion.asks("weight") else None,
            grad=grad,
            mask=weight.mask if criterion.asks("mask") else None,
            noise=self._noise(weight) if criterion.asks("noise") else None,
            activity=self._activity.get(weight.name),
            **traces,
            **more,
        )
        return scores

    def _check_tells_activity(self) -> None:
        module = self._learner.module
        if not hasattr(getattr(module, "stack", None), "activations"):
            asking = next(self._part[k] for k in ("prune", "grow") if self._part[k].asks("activity"))
            raise ValueError(
                f"{who(asking)} asks for the activity of units, which {type(module).__name__} does not tell: it needs "
                "a `stack` with `activations`, as rl.Stack has"
            )
        self._order = list(member_shapes(module)) if isinstance(self._execution, Masked) else self._execution.names

    def _activities(self) -> dict[str, Tensor]:
        """s_i = E|h_i| / mean_k E|h_k| of every unit (Sokar et al. 2023), `(members, out, 1)`; 1 in output layers.

        On the inputs of the last pass before the step.
        """
        stack: Any = self._learner.module.stack
        if stack.remembered is None:
            raise ValueError(f"{self._learner.name} has no activity to tell: no pass went through it before this step")
        sizes = [layer.abs().mean(dim=-2) for layer in stack.activations(stack.remembered)]
        stack.remembered = None
        scores = [size / size.mean(dim=-1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny) for size in sizes]
        told = dict(zip(self._order, scores, strict=False))
        return {
            w.name: told[w.name].unsqueeze(-1) if w.name in told else torch.ones(*w.dense_shape[:2], 1, dtype=w.dtype)
            for w in self._weights
        }

    def _spread(
        self, weights: Sequence[MaskedWeight | SparseWeight], removed: Tensor, nnz: Tensor, room: Tensor
    ) -> Tensor:
        spread = self._part["spread"]
        traces = {name: [kept[weight.name] for weight in weights] for name, kept in self._traced.items()}
        masks = [weight.mask for weight in weights] if spread.asks("masks") else None
        shares: Tensor = ask(spread, removed=removed, nnz=nnz, room=room, masks=masks, **traces)
        if shares.shape != room.shape or not bool((torch.isfinite(shares) & (shares >= 0)).all()):
            raise ValueError(f"{who(spread)} must give {room.numel()} shares, finite and not negative, not {shares!r}")
        return shares

    def _forget(self, trace: str) -> None:
        """A trace with a window starts each time from zero."""
        for kept in self._traced[trace].values():
            kept.zero_()
