"""TD3: twin delayed deep deterministic policy gradient (Fujimoto et al. 2018), in the paper's order.

Departures from the authors' code (sfujim/TD3), none of which moves the algorithm: actions live in [-1, 1];
noise has generators of its own; the twin critics are one module; the actor's loss leaves their gradients alone; the
gradients of the losses, which are short formulas, need no autograd.
The learning rate, batch and widths are those of the code (3e-4, 256, 256-256), not of the paper's text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from registry import hookimpl
from rl.adam import Adam
from rl.agent import Batch, Learner, bootstrapped, clear_gradients, learner_state, load_learner_state
from rl.networks import Actor, Critics
from rl.settings import demand, demand_horizon, demand_learning, demand_widths
from rl.streams import numpy_generator, stream, torch_generator
from rl.tracking import Target


@dataclass(eq=False)
class TD3:
    """A deterministic actor, twin critics, and slow copies of both. Build it with `td3`."""

    actor: Actor
    actor_target: Target
    actor_optimizer: torch.optim.Optimizer
    critics: Critics
    critics_target: Target
    critics_optimizer: torch.optim.Optimizer
    exploration: np.random.Generator
    smoothing: torch.Generator
    batch_size: int
    discount: float
    policy_delay: int
    exploration_noise: float
    target_noise: float
    noise_clip: float
    multi_step: int
    multi_step_after: int
    analytic: bool
    device: torch.device
    dtype: torch.dtype
    updates: int = 0

    def act(self, observation: NDArray[Any], *, explore: bool) -> NDArray[np.float32]:
        """clip(pi(s) + N(0, exploration_noise), -1, 1), without the noise if not exploring."""
        action = self.actor.act(observation)
        if explore:
            action = action + self.exploration.normal(0, self.exploration_noise, action.shape)
        return action.clip(-1, 1).astype(np.float32)

    @property
    def horizon(self) -> int:
        """Environment steps that the next update's targets look ahead."""
        return self.multi_step if self.updates >= self.multi_step_after else 1

    @torch.no_grad()
    def mean_actions(self, observation: Tensor) -> Tensor:
        """pi(s), (batch, action_size), of observations (batch, size)."""
        actions: Tensor = self.actor(observation)
        return actions

    def update(self, batch: Batch) -> Mapping[str, float]:
        """Algorithm 1, from the mini-batch on: both critics, then every `policy_delay` updates the rest.

        Gives `critic_loss` and `q` (the mean of Q1 on the batch), and `actor_loss` when the actor moved.
        """
        self.updates += 1
        figures = self._update_critics(batch)
        if self.updates % self.policy_delay == 0:
            figures |= self._update_actor(batch.observation)
            self.critics_target.update()
            self.actor_target.update()
        return figures

    def _update_critics(self, batch: Batch) -> dict[str, float]:
        """Minimise sum_i mean (Q_i(s, a) - y)^2."""
        y = self.bootstrap(batch)
        clear_gradients(self.critics_optimizer)
        if self.analytic:
            q = self.critics.stack.regress((batch.observation, batch.action), y)
        else:
            q = self.critics(batch.observation, batch.action)
            (q - y).square().mean(dim=1).sum().backward()
        self.critics_optimizer.step()
        errors = (q.detach() - y).flatten()
        return {"critic_loss": torch.dot(errors, errors).item() / len(y), "q": q[0].mean().item()}

    @torch.no_grad()
    def bootstrap(self, batch: Batch) -> Tensor:
        """y = r + discount (1 - terminated) min_i Q_i'(s', a'), a' = clip(pi'(s') + clip(noise, -c, c), -1, 1)

        where noise ~ N(0, target_noise). Draws from `smoothing`: every call is another sample. Over several steps
        rewards add up, uncorrected for the policy that has changed since.
        """
        noise = torch.empty_like(batch.action).normal_(0, self.target_noise, generator=self.smoothing)
        noise.clamp_(-self.noise_clip, self.noise_clip)
        action = (self.actor_target.module(batch.next_observation) + noise).clamp_(-1, 1)
        q: Tensor = self.critics_target.module(batch.next_observation, action).amin(dim=0)
        return bootstrapped(batch, q, self.discount)

    def _update_actor(self, observation: Tensor) -> dict[str, float]:
        """Minimise -mean Q_1(s, pi(s)), the deterministic policy gradient (Silver et al. 2014)."""
        clear_gradients(self.actor_optimizer)
        # Only the actor's gradients: those of the critics stay what the critics' own loss made them.
        if self.analytic:
            out, tape = self.actor.stack.record((observation,))
            action = torch.tanh(out[0])
            q, slope = self.critics.stack.slope((observation, action), -1 / len(action), 1)
            self.actor.stack.pull(tape, (slope * (1 - action * action)).unsqueeze(0))
        else:
            q = self.critics(observation, self.actor(observation), copies=1)
            (-q.mean()).backward(inputs=list(self.actor.parameters()))
        self.actor_optimizer.step()
        return {"actor_loss": -q.mean().item()}

    def learners(self) -> tuple[Learner, ...]:
        return (
            Learner("critic", self.critics, self.critics_optimizer, self.critics_target, 1),
            Learner("actor", self.actor, self.actor_optimizer, self.actor_target, self.policy_delay),
        )

    def state_dict(self) -> dict[str, Any]:
        """Networks, targets, optimisers, the update counter and both noise generators."""
        return {
            "updates": self.updates,
            "learners": {learner.name: learner_state(learner) for learner in self.learners()},
            "exploration": self.exploration.bit_generator.state,
            "smoothing": self.smoothing.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for learner in self.learners():
            load_learner_state(learner, state["learners"][learner.name])
        self.updates = int(state["updates"])
        self.exploration.bit_generator.state = state["exploration"]
        self.smoothing.set_state(state["smoothing"])


def td3(
    observation_size: int,
    action_size: int,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    *,
    learning_rate: float = 3e-4,
    weight_decay: float = 0.0,
    batch_size: int = 256,
    discount: float = 0.99,
    tau: float = 0.005,
    policy_delay: int = 2,
    exploration_noise: float = 0.1,
    target_noise: float = 0.2,
    noise_clip: float = 0.5,
    actor_hidden: tuple[int, ...] = (256, 256),
    critic_hidden: tuple[int, ...] = (256, 256),
    critics: int = 2,
    multi_step: int = 1,
    multi_step_after: int = 0,
    analytic: bool = True,
) -> TD3:
    """TD3 (Fujimoto, van Hoof & Meger 2018, Algorithm 1). Settings out of range raise ValueError.

    `weight_decay` is coupled L2 (added to the gradient before Adam) on all parameters, biases included. `multi_step`
    steps a target, after `multi_step_after` updates of one (RLx2: 3 after 300,000).
    `analytic` takes the gradients of both losses in closed form; without, autograd does, more slowly and equal but for
    rounding.
    """
    demand_learning(
        "td3",
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        discount=discount,
        tau=tau,
    )
    demand_widths("td3", actor_hidden=actor_hidden, critic_hidden=critic_hidden)
    demand_horizon("td3", multi_step, multi_step_after)
    demand(policy_delay >= 1, "policy_delay of td3", policy_delay, "at least 1 critic update an actor update")
    demand(exploration_noise >= 0, "exploration_noise of td3", exploration_noise, "at least 0; 0 is none")
    demand(target_noise >= 0, "target_noise of td3", target_noise, "at least 0; 0 is none")
    demand(noise_clip >= 0, "noise_clip of td3", noise_clip, "at least 0")
    demand(critics >= 1, "critics of td3", critics, "at least 1; TD3 has 2, DDPG 1")

    def adam(network: nn.Module) -> Adam:
        return Adam(network.parameters(), lr=learning_rate, weight_decay=weight_decay)

    # A generator for each network, so that the width of one does not change the other's initial values.
    drawn = [torch_generator(stream(seed, "networks", i)) for i in range(2)]
    sizes = (observation_size, action_size)
    actor = Actor(*sizes, actor_hidden, generator=drawn[0], dtype=dtype, device=device)
    population = Critics(*sizes, critic_hidden, generator=drawn[1], copies=critics, dtype=dtype, device=device)
    return TD3(
        actor=actor,
        actor_target=Target(actor, tau=tau),
        actor_optimizer=adam(actor),
        critics=population,
        critics_target=Target(population, tau=tau),
        critics_optimizer=adam(population),
        exploration=numpy_generator(stream(seed, "exploration")),
        smoothing=torch_generator(stream(seed, "target_noise"), device),
        batch_size=batch_size,
        discount=discount,
        policy_delay=policy_delay,
        exploration_noise=exploration_noise,
        target_noise=target_noise,
        noise_clip=noise_clip,
        multi_step=multi_step,
        multi_step_after=multi_step_after,
        analytic=analytic,
        device=torch.device(device),
        dtype=dtype,
    )


@hookimpl
def register_agent(register: Callable[[Callable[..., object]], None]) -> None:
    register(td3)
