"""Topology kept through optimiser and target: the only stateful file of the package.

A sparsifier hangs on the step hooks of a learner's optimiser and on the update hook of its target. Agents know nothing
of it.
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.optim import Optimizer

from registry import Bound, Registry, default_registry, part
from sparsity.activity import Activity
from sparsity.adapt import Scored, adapt, shared_goals
from sparsity.allocation import counts
from sparsity.ask import ask, check_scores, who
from sparsity.event import Event, LayerChange, LayerDensity
from sparsity.execution import Masked, MaskedWeight
from sparsity.execution.choice import Execution, chosen_execution
from sparsity.first import first_masks, give_first_values
from sparsity.left_dense import LeftDense, left_dense
from sparsity.method import Method
from sparsity.timetable import Timetable
from sparsity.trained import Handle, Trained
from sparsity.weights import TRANSPOSED, candidate_weights, layer_of, member_shapes

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
        self.left_dense: dict[str, LeftDense] = {}
        """Weights that stay dense, by name, each with the reason."""
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
        self._timetable, self._final = self._allocate(total)
        self._budget = self._timetable.budget(0)
        self._fraction, self._goals, self._event_now = 0.0, self._goals_at(self._budget), False
        self._moments_checked, self._held_early = False, False
        self._ahead = (
            1,
            self._timetable.at(1),
        )  # What no schedule or budget can serve is refused here, not in an update.
        self._wants_dense = any(self._part[kind].asks("grad") for kind in ("prune", "grow", "born"))
        self._activity = self._find_activity()
        self._told: dict[str, Tensor] = {}
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

    @property
    def weights(self) -> tuple[MaskedWeight | SparseWeight, ...]:
        """The sparse weights, as the execution holds them."""
        return tuple(self._weights)

    @property
    def asks_dense(self) -> bool:
        """Whether somebody will ask for gradients of absent connections at the next step."""
        _, plan = self._ahead
        event = plan.fraction > 0 or plan.density != self._budget
        return bool(self._trace) or (event and self._wants_dense)

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

    # What a training loop of one's own may tell it.

    def mask_gradients(self) -> None:
        """Absent gradients become zero now, before a norm is taken over them; criteria still get the dense ones.

        For `clip_grad_norm_`: after the last backward pass of a step (and `unscale_`, under a GradScaler), before the
        clipping. Growth criteria see gradients as they are at this call. Where the method's optimiser is to see dense
        gradients they stay.
        """
        if not self._handles or self.method.optimizer_sees == "dense":
            return
        planned, plan = self._ahead
        due = planned == self.steps + 1 and (plan.fraction > 0 or plan.density != self._budget)
        if self._trace or (due and self._wants_dense):
            self._execution.hold_gradients()
            self._held_early = True
        self._execution.hide_gradients()

    def target_updated(self) -> None:
        """The slow copy was updated. To be called after each update, where the copy has no hook of its own."""
        if self._learner.target is None:
            raise ValueError(f"{self._learner.name} has no slow copy: give it as target when you attach")
        if self._handles:
            self._after_target_update()

    # Where it hangs, and what outlives it.

    def __deepcopy__(self, memo: dict[int, Any]) -> Sparsifier:
        """Within a copy of something that holds it, such as an agent: detached, as optimisers' hooks are not copied."""
        if not memo:
            self.__getstate__()
        copied = memo[id(self)] = object.__new__(type(self))
        copied.__dict__.update(copy.deepcopy({**self.__dict__, "_handles": [], "_on_event": None}, memo))
        return copied

    def __getstate__(self) -> None:
        raise TypeError(
            "a sparsifier hangs on its optimiser and can be neither copied nor pickled: copy the module, attach anew, "
            "and give the new sparsifier this one's state_dict()"
        )

    def detach(self) -> None:
        """Take the hooks off. Weights stay as they are; nothing keeps them sparse from now on."""
        self._unhook()
        self._execution.detach()

    def densify(self) -> None:
        """Detach, and give the module, its slow copy and its optimiser dense parameters back, with zeros where absent.

        Under masked execution they are dense already. Of sparsifiers that share an optimiser, the last one goes first.
        """
        self._unhook()
        self._execution.densify()

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
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
        lacking = [key for key in ("steps", "budget", "masks", "final", "traces", "generator") if key not in state]
        if lacking:
            raise ValueError(
                f"this is no state of a sparsifier, which state_dict() gives: it lacks {', '.join(lacking)}"
            )
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
        self.left_dense = left_dense(learner.module, names, self.method.eligible.name)
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
            if targets and (name not in targets or targets[name].shape != parameters[name].shape):
                raise ValueError(f"target of {learner.name}: {name} is shaped unlike the online one")
        weights = [MaskedWeight(name, parameters[name], shapes[name], targets.get(name)) for name in names]
        return Masked(learner, weights, moments, target)

    def _eligible(self) -> tuple[str, ...]:
        """The names of the weights that are to be sparse."""
        learner = self._learner
        if self.method.network == "shrunk":
            raise ValueError(
                "a shrunk network is built narrow, not masked: build the agent, or the module, with fewer units, or "
                "choose a method with network = 'given'"
            )
        if hasattr(learner.module, "stack") and not hasattr(learner.module.stack, "layers"):
            raise ValueError(
                f"{learner.name} is kept sparse already, in sparse form: build it anew for another sparsifier"
            )
        shapes, parameters = member_shapes(learner.module), candidate_weights(learner.module)
        trained = {id(p) for group in learner.optimizer.param_groups for p in group["params"]}
        taken = {id(w.parameter) for other in _attached for w in other._weights if isinstance(w, MaskedWeight)}
        chosen: tuple[str, ...] = self._part["eligible"](shapes=shapes)
        for name in chosen:
            if name not in parameters:
                raise ValueError(f"{self.method.eligible} chose {name!r}; {learner.name} has {', '.join(parameters)}")
        names = tuple(name for name in chosen if parameters[name].requires_grad)  # What is frozen stays as it is.
        for name in names:
            if id(parameters[name]) not in trained:
                raise ValueError(
                    f"the optimiser of {learner.name} does not train {name}: it cannot be kept sparse. Give the part "
                    "of the module that it trains, or freeze the rest by requires_grad_(False)"
                )
            if id(parameters[name]) in taken:
                raise ValueError(f"{name} of {learner.name} is kept sparse already: detach the other sparsifier first")
        self._demand_units(names)
        return names

    def _demand_units(self, names: Sequence[str]) -> None:
        """ValueError for parts that look at units where the rows of a weight are none."""
        looking = [self.method.weights] if self._part["weights"].asks("mask") else []
        looking += [self.method.initial] if self._part["initial"].asks("network") else []
        for name in names if looking else ():
            if isinstance(layer_of(self._learner.module, name), TRANSPOSED):
                raise ValueError(
                    f"{name} is of a transposed convolution, whose rows are inputs, and {looking[0]} looks at units: "
                    f"choose another part, or leave the layer out: eligible={{'part': 'named', 'without': ['{name}']}}"
                )

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
        # In float32 at least: half precision has some hundred numbers in [0, 1), and ties would go by place.
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return torch.rand(weight.dense_shape, generator=self._generator, device=weight.device, dtype=dtype)

    def _find_activity(self) -> Activity | None:
        asking = [self._part[kind] for kind in ("prune", "grow") if self._part[kind].asks("activity")]
        if not asking or not self._weights:
            return None
        module = self._learner.module
        names = list(member_shapes(module)) if isinstance(self._execution, Masked) else self._execution.names
        return Activity(module, names, who(asking[0]))

    def _allocate(self, total: int | None) -> tuple[Timetable, dict[str, Tensor]]:
        """The timetable of densities, and connections a member of every weight in the end."""
        shapes = {w.name: w.shape for w in self._weights}
        densities = self._part["allocation"](shapes=shapes) if shapes else {}
        if set(densities) != set(shapes):
            raise ValueError(f"{self.method.allocation} must give a density for each of {', '.join(shapes)}")
        kept = math.fsum(densities[w.name] * w.numel for w in self._weights)
        exact = counts(shapes, densities) if shapes else {}
        final = {w.name: torch.full(w.dense_shape[:1], exact[w.name], device=w.device) for w in self._weights}
        own, stride = self.method.clock == "optimizer", self._learner.stride
        timetable = Timetable(
            self._part["schedule"],
            self._part["budget"],
            stride=1 if own else stride,
            total=total // stride if total and own else total,
            densities=densities,
            density=kept / sum(w.numel for w in self._weights) if shapes else 1.0,
        )
        return timetable, final

    def _goals_at(self, density: float) -> list[Tensor]:
        return self._timetable.goals(density, self._final, {w.name: w.size for w in self._weights})

    def _start(self) -> None:
        """The first topology, of the online network and of its slow copy."""
        masks = first_masks(
            self._part["initial"],
            self._learner.module,
            self._weights,
            self._goals,
            density=self._budget,
            layer_density=lambda name: self._timetable.layer_density(name, self._budget),
            noise=self._noise,  # type: ignore[arg-type]
        )
        held: list[Any] = []
        for weight, mask in zip(self._weights, masks, strict=True):
            if self.method.weights.name != "ordinary":
                give_first_values(self._part["weights"], weight, mask)
            held.append(self._execution.first(weight, mask))  # type: ignore[arg-type]
        if held:
            self._execution.begin(held)
        if self._budget == self._timetable.density:  # A drawn number of connections is the budget from now on.
            self._final = {w.name: w.nnz for w in self._weights}
            self._goals = self._goals_at(self._budget)

    # When: phase 2.

    def _hang_on(self) -> list[Handle]:
        # A compiled step leaves the hooks as they are. It costs half a microsecond each.
        untraced: Callable[[Any], Any] = torch.compiler.disable
        handles: list[Handle] = [
            self._optimizer.register_step_pre_hook(untraced(self._before_step)),
            self._optimizer.register_step_post_hook(untraced(self._after_step)),
        ]
        if self._learner.target is not None:
            handles.append(self._learner.target.after_update(self._after_target_update))
        _attached.add(self)
        return handles

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
        self._check_step(optimizer)
        self.steps += 1
        planned, plan = self._ahead
        self._fraction, density = plan if planned == self.steps else self._timetable.at(self.steps)
        self._event_now = self._is_event(self._fraction, density)
        if self._trace:
            self._update_traces()
        if self._event_now and self._wants_dense and not self._held_early:
            self._execution.hold_gradients()
        self._held_early = False
        if self._event_now and self.method.event == "instead_of_step":
            self._execution.skip_step()
        elif self.method.optimizer_sees == "masked":
            self._execution.hide_gradients()

    def _check_step(self, optimizer: Optimizer) -> None:
        """ValueError, before anything is counted, for a step that would not be what it seems."""
        if getattr(optimizer, "found_inf", None) is not None:
            raise ValueError(
                "a fused optimiser under a GradScaler decides inside its step whether it takes place, out of a "
                "sparsifier's sight: make the optimiser with fused=False"
            )
        self._execution.check_unchanged()
        if self._held_early:
            self._execution.check_hidden()

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
        plan = self._timetable.at(self.steps + 1)
        self._ahead = (self.steps + 1, plan)
        event = plan.fraction > 0 or plan.density != self._budget
        self._execution.anticipate(event, self._wants_dense)
        if self._activity is not None:
            self._activity.expect(event)

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
        plans = (self._timetable.at(self.steps + ahead) for ahead in range(window))
        return self._event_now or any(fraction > 0 or density != self._budget for fraction, density in plans)

    def _grad(self, weight: MaskedWeight, asker: Bound) -> Tensor | None:
        grad = self._execution.gradient(weight) if self._held_early else weight.grad  # type: ignore[arg-type]
        if asker.asks("grad") and grad is None:
            raise self._no_gradient(weight, asker)
        if asker.asks("grad") and not bool(torch.isfinite(grad).all()):  # type: ignore[arg-type]
            raise FloatingPointError(f"gradient {self._learner.name}/{weight.name}")
        return grad

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
        if self._activity is not None:
            self._told = self._activity.told(self._weights)
        groups = [[pair] for pair in pairs] if self._layers_apart and self._execution.one_by_one else [pairs]
        changes = [change for group in groups for change in self._adapt_layers(group, stepped)]
        self._execution.commit()
        for name, trace in self._trace.items():
            if trace.entry.facts.get("window") is not None:
                self._forget(name)
        if self._on_event is not None:
            self._on_event(Event(self._timetable.clock(self.steps)[-1], tuple(changes)))

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
            activity=self._told.get(weight.name),
            **traces,
            **more,
        )
        return scores

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
