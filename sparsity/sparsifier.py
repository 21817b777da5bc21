"""A learner kept sparse by a method: what hangs on its optimiser and its target, and when each of the others is asked.

A sparsifier hangs on the step hooks of a learner's optimiser and on the update hook of its target. Agents know nothing
of it.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.optim import Optimizer

from registry import Registry, default_registry
from sparsity.activity import Activity, activity_asked
from sparsity.change import Change
from sparsity.criteria import Criteria
from sparsity.event import Event, LayerDensity
from sparsity.eventless import rewires
from sparsity.execution import Masked, MaskedWeight
from sparsity.execution.choice import Execution
from sparsity.first import first_masks, give_first_values
from sparsity.goals import Goals
from sparsity.left_dense import LeftDense, left_dense
from sparsity.made_sparse import carried_out, made_sparse
from sparsity.method import Method
from sparsity.noise import Noise
from sparsity.remembered import Traces
from sparsity.trained import Handle, Trained
from sparsity.weights import member_shapes

if TYPE_CHECKING:
    from sparsity.execution import Weight

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
        names = made_sparse(learner, self.method, self._part, taken=_taken())
        self.left_dense: dict[str, LeftDense] = left_dense(learner.module, names, self.method.eligible.name)
        """Weights that stay dense, by name, each with the reason."""
        self._execution = carried_out(learner, names, self.method, self._part, execution, registry)
        self._weights: Sequence[Weight] = self._execution.weights
        self._traces = Traces(self.method, self._part, registry, learner.name, self._weights)
        self._noise = Noise(seed, self._device)
        self.total = total
        """Agent updates that are planned; None if nobody knows."""
        self.steps = 0
        """Optimiser steps so far, those that an event replaced included."""
        self._goals = Goals(self.method, self._part, self._weights, stride=learner.stride, total=total)
        self._fraction, self._event_now, self._moments_checked, self._held_early = 0.0, False, False, False
        # What no schedule or budget can serve is refused here, not in an update.
        self._ahead = (1, self._goals.timetable.at(1))
        self._criteria = self._find_criteria()
        self._change = Change(self.method, learner.name, self._execution, self._goals, self._criteria)
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
    def weights(self) -> tuple[Weight, ...]:
        """The sparse weights, as the execution holds them."""
        return tuple(self._weights)

    @property
    def asks_dense(self) -> bool:
        """Whether somebody will ask for gradients of absent connections at the next step."""
        _, plan = self._ahead
        return bool(self._traces) or (self._goals.may_move(plan) and self._criteria.want_dense)

    @property
    def eventless(self) -> bool:
        """Whether the method is to change the topology, but in no step of the plan."""
        return bool(self._weights) and rewires(self.method) and not self._goals.timetable.has_event()

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
        if self.asks_dense:
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
            "budget": self._goals.budget,
            "masks": self.masks,
            "final": self._goals.final,
            "traces": self._traces.state_dict(),
            "generator": self._noise.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. Weights, moments and targets are the learner's own: load them before this call."""
        self._check_state(state)
        self.steps = int(state["steps"])
        self._execution.set_masks(state["masks"])
        self._goals.go_on(float(state["budget"]), state["final"], self._device)
        self._traces.load_state_dict(state["traces"], self._device)
        self._noise.set_state(state["generator"])
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
        self._traces.check_state(state["traces"])

    # How it starts: phase 1 of the paper.

    @property
    def _device(self) -> torch.device:
        return self._weights[0].device if self._weights else torch.device("cpu")

    def _find_criteria(self) -> Criteria:
        activity = self._find_activity() if self._weights else None
        return Criteria(
            self._part, readmit=self.method.readmit, noise=self._noise, traces=self._traces, activity=activity
        )

    def _find_activity(self) -> Activity | None:
        module = self._learner.module
        names = list(member_shapes(module)) if isinstance(self._execution, Masked) else self._execution.names
        return activity_asked(self._part["prune"], self._part["grow"], module, names)

    def _start(self) -> None:
        """The first topology, of the online network and of its slow copy."""
        timetable, budget = self._goals.timetable, self._goals.budget
        masks = first_masks(
            self._part["initial"],
            self._learner.module,
            self._weights,
            self._goals.by_budget,
            density=budget,
            layer_density=lambda name: timetable.layer_density(name, budget),
            noise=self._noise,  # type: ignore[arg-type]
        )
        held: list[Any] = []
        for weight, mask in zip(self._weights, masks, strict=True):
            if self.method.weights.name != "ordinary":
                give_first_values(self._part["weights"], weight, mask)
            held.append(self._execution.first(weight, mask))  # type: ignore[arg-type]
        if held:
            self._execution.begin(held)
        self._goals.keep_drawn()

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
        due = plan if planned == self.steps else self._goals.timetable.at(self.steps)
        self._fraction, self._event_now = due.fraction, self._goals.move(due)
        self._traces.update(self._weights, self._gradient_of_step, self._event_within)
        if self._event_now and self._criteria.want_dense and not self._held_early:
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
            changes = self._change(self._fraction)
            self._traces.end_windows()
            if self._on_event is not None:
                self._on_event(Event(self._goals.timetable.clock(self.steps)[-1], changes))
        else:
            self._execution.settle()
            # Under masked gradients a moment that is zero where absent stays so between events.
            if self.method.optimizer_sees == "dense" and self._part["moments"].asks("mask"):
                self._execution.tend(self._part["moments"])
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Plan the next step before its gradients form: dense ones are not made unless somebody will ask."""
        plan = self._goals.timetable.at(self.steps + 1)
        self._ahead = (self.steps + 1, plan)
        event = self._goals.may_move(plan)
        self._execution.anticipate(event, self._criteria.want_dense)
        self._criteria.expect(event)

    def _after_target_update(self) -> None:
        self._execution.after_target_update()

    def _event_within(self, window: int) -> bool:
        """Whether one of this many steps, the present one the first, has an event."""
        plans = (self._goals.timetable.at(self.steps + ahead) for ahead in range(window))
        return self._event_now or any(map(self._goals.may_move, plans))

    def _gradient_of_step(self, weight: MaskedWeight) -> Tensor | None:
        return self._execution.gradient(weight) if self._held_early else weight.grad  # type: ignore[arg-type]


def _taken() -> set[int]:
    """The ids of all parameters that a sparsifier keeps sparse by a mask."""
    return {id(w.parameter) for other in _attached for w in other._weights if isinstance(w, MaskedWeight)}
