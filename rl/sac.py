"""SAC: soft actor-critic (Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications"), in the paper's order.

Departures from the authors' code, none of which moves the algorithm: actions live in [-1, 1]; noise has generators of
its own; the twin critics are one module; the actor's head gives means and log standard deviations at once; the actor's
loss leaves the critics' gradients alone; the gradients of the losses, which are short formulas, need no autograd.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from registry import hookimpl
from rl.adam import Adam
from rl.agent import Batch, Learner, bootstrapped, clear_gradients, learner_state, load_learner_state
from rl.networks import Critics, Drawn, GaussianActor
from rl.settings import demand, demand_horizon, demand_learning, demand_widths
from rl.streams import numpy_generator, stream, torch_generator
from rl.tracking import Target

LOG_2 = math.log(2)
HALF_LOG_2_PI = math.log(2 * math.pi) / 2


class LogStd(NamedTuple):
    """How the head's second half becomes a log standard deviation in [low, high]."""

    by: Literal["clamp", "tanh"]
    low: float
    high: float

    def of(self, raw: Tensor) -> Tensor:
        """clamp(raw, low, high), or low + (high - low) (tanh(raw) + 1) / 2."""
        if self.by == "clamp":
            return raw.clamp(self.low, self.high)
        return self.low + (self.high - self.low) / 2 * (torch.tanh(raw) + 1)

    def slope(self, raw: Tensor) -> Tensor:
        """d log_std / d raw."""
        if self.by == "clamp":
            return ((raw >= self.low) & (raw <= self.high)).to(raw.dtype)
        return (self.high - self.low) / 2 * (1 - torch.tanh(raw).square())


class Sampled(NamedTuple):
    """Actions (batch, action_size) of a squashed Gaussian, their log-probabilities (batch,), and u - mean."""

    action: Tensor
    log_prob: Tensor
    spread: Tensor


def squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> Sampled:
    """a = tanh(u), u = mean + exp(log_std) noise, and log pi(a) = sum_j log N(u_j) - log(1 - a_j^2).

    Haarnoja et al. 2018, appendix C; log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)) stays exact where tanh is 1.
    """
    spread = log_std.exp() * noise
    u = mean + spread
    squash = 2 * (LOG_2 - u - nn.functional.softplus(-2 * u))
    log_prob = -(noise.square() / 2 + log_std + HALF_LOG_2_PI + squash).sum(dim=-1)
    return Sampled(torch.tanh(u), log_prob, spread)


@dataclass(eq=False)
class SAC:
    """A Gaussian actor squashed by tanh, twin critics with slow copies, and a temperature. Build it with `sac`."""

    actor: GaussianActor
    actor_optimizer: torch.optim.Optimizer
    critics: Critics
    critics_target: Target
    critics_optimizer: torch.optim.Optimizer
    log_temperature: nn.Parameter
    temperature_optimizer: torch.optim.Optimizer | None
    """None where the temperature is fixed."""
    exploration: np.random.Generator
    policy_noise: torch.Generator
    target_noise: torch.Generator
    log_std: LogStd
    explores: Literal["sample", "mean"]
    batch_size: int
    discount: float
    target_entropy: float
    reward_scale: float
    multi_step: int
    multi_step_after: int
    analytic: bool
    device: torch.device
    dtype: torch.dtype
    updates: int = 0

    @property
    def temperature(self) -> float:
        """alpha, the weight of entropy beside reward."""
        return math.exp(self.log_temperature.item())

    @property
    def horizon(self) -> int:
        """Environment steps that the next update's targets look ahead."""
        return self.multi_step if self.updates >= self.multi_step_after else 1

    def act(self, observation: NDArray[Any], *, explore: bool) -> NDArray[np.float32]:
        """tanh(mean + std noise); tanh(mean) if not exploring."""
        mean, raw = self.actor.single(observation)
        if explore and self.explores == "sample":
            noise = self.exploration.standard_normal(mean.shape)
            mean = mean + self.log_std.of(torch.from_numpy(raw)).exp().numpy() * noise
        action: NDArray[np.float32] = np.tanh(mean).astype(np.float32)
        return action

    @torch.no_grad()
    def mean_actions(self, observation: Tensor) -> Tensor:
        """tanh(mean), (batch, action_size), of observations (batch, size)."""
        actions: Tensor = torch.tanh(self.actor(observation)[:, : self.actor.action_size])
        return actions

    def update(self, batch: Batch) -> Mapping[str, float]:
        """Algorithm 1, from the mini-batch on: both critics, the policy, the temperature, the slow copies.

        Gives `critic_loss`, `q` (the mean of Q1 on the batch), `actor_loss`, `entropy` (the mean of -log pi) and
        `temperature` (that the losses were taken with).
        """
        self.updates += 1
        alpha = self.temperature
        figures = self._update_critics(batch, alpha)
        figures |= self._update_actor(batch.observation, alpha)
        self._update_temperature(figures["entropy"])
        self.critics_target.update()
        return figures | {"temperature": alpha}

    def _update_critics(self, batch: Batch, alpha: float) -> dict[str, float]:
        """Minimise sum_i mean (Q_i(s, a) - y)^2 (Eq. 5)."""
        y = self.bootstrap(batch, alpha)
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
    def bootstrap(self, batch: Batch, alpha: float) -> Tensor:
        """y = r + discount (1 - terminated) (min_i Q_i'(s', a') - alpha log pi(a'|s')), a' ~ pi(s') (Eq. 5, 3).

        Draws from `target_noise`: every call is another sample. Over several steps rewards add up, uncorrected and
        without the entropy of the steps between, as RLx2 does it (Tan et al. 2023).
        """
        following = self._sample(self.actor(batch.next_observation), self.target_noise)
        q: Tensor = self.critics_target.module(batch.next_observation, following.action).amin(dim=0)
        if self.reward_scale != 1:
            batch = batch._replace(reward=batch.reward * self.reward_scale)
        return bootstrapped(batch, q - alpha * following.log_prob, self.discount)

    def _sample(self, out: Tensor, generator: torch.Generator) -> Sampled:
        mean, raw = out.chunk(2, dim=-1)
        # Not empty_like: it would take over how `out` lies in memory, and with it the order in which noise is drawn.
        noise = torch.empty(mean.shape, dtype=mean.dtype, device=mean.device).normal_(generator=generator)
        return squashed(mean, self.log_std.of(raw), noise)

    def _update_actor(self, observation: Tensor, alpha: float) -> dict[str, float]:
        """Minimise mean (alpha log pi(a|s) - min_i Q_i(s, a)), a = tanh(mean + std noise) (Eq. 7, 9)."""
        clear_gradients(self.actor_optimizer)
        # Only the actor's gradients: those of the critics stay what the critics' own loss made them.
        if self.analytic:
            q, log_prob = self._actor_gradients(observation, alpha)
        else:
            action, log_prob, _ = self._sample(self.actor(observation), self.policy_noise)
            q = self.critics(observation, action).min(dim=0).values
            (alpha * log_prob - q).mean().backward(inputs=list(self.actor.parameters()))
        self.actor_optimizer.step()
        entropy = -log_prob.mean().item()
        return {"actor_loss": -alpha * entropy - q.mean().item(), "entropy": entropy}

    @torch.no_grad()
    def _actor_gradients(self, observation: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """The actor's gradients in closed form (Eq. 10): of u alpha log pi has 2 alpha a, of log std alpha less."""
        out, tape = self.actor.stack.record((observation,))
        sampled = self._sample(out[0], self.policy_noise)
        action, size = sampled.action, len(observation)
        q, slope = self._lesser(observation, action)
        by_mean = (2 * alpha * action - (1 - action * action) * slope) / size
        by_log_std = by_mean * sampled.spread - alpha / size
        raw = out[0][:, self.actor.action_size :]
        self.actor.stack.pull(tape, torch.cat([by_mean, by_log_std * self.log_std.slope(raw)], dim=-1).unsqueeze(0))
        return q, sampled.log_prob

    def _lesser(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """min_i Q_i(s, a), (batch,), and its derivative by the action, (batch, action_size)."""
        out, tape = self.critics.stack.record((observation, action))
        lesser = out.min(dim=0, keepdim=True)
        chosen = torch.zeros_like(out).scatter_(0, lesser.indices, 1)
        slope = self.critics.stack.pull(tape, chosen, learns=False, wanted=1)
        assert slope is not None
        return lesser.values.flatten(), slope

    def _update_temperature(self, entropy: float) -> None:
        """Minimise log(alpha) (entropy - target_entropy): more weight to entropy where there is too little (Eq. 18)."""
        if self.temperature_optimizer is None:
            return
        self.log_temperature.grad = torch.full_like(self.log_temperature, entropy - self.target_entropy)
        self.temperature_optimizer.step()

    def learners(self) -> tuple[Learner, ...]:
        return (
            Learner("critic", self.critics, self.critics_optimizer, self.critics_target, 1),
            Learner("actor", self.actor, self.actor_optimizer, None, 1),
        )

    def state_dict(self) -> dict[str, Any]:
        """Networks, targets, optimisers, the temperature, the update counter and all noise generators."""
        optimizer = self.temperature_optimizer
        return {
            "updates": self.updates,
            "learners": {learner.name: learner_state(learner) for learner in self.learners()},
            "log_temperature": self.log_temperature.detach(),
            "temperature_optimizer": None if optimizer is None else optimizer.state_dict(),
            "exploration": self.exploration.bit_generator.state,
            "policy_noise": self.policy_noise.get_state(),
            "target_noise": self.target_noise.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        learned = state["temperature_optimizer"]
        if (learned is None) != (self.temperature_optimizer is None):
            raise ValueError("this state's temperature is learned and the agent's fixed, or the other way round")
        for learner in self.learners():
            load_learner_state(learner, state["learners"][learner.name])
        self.updates = int(state["updates"])
        self.log_temperature.data.copy_(state["log_temperature"])
        if self.temperature_optimizer is not None:
            self.temperature_optimizer.load_state_dict(learned)
        self.exploration.bit_generator.state = state["exploration"]
        self.policy_noise.set_state(state["policy_noise"])
        self.target_noise.set_state(state["target_noise"])


def sac(
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
    target_every: int = 1,
    temperature: float = 1.0,
    learned_temperature: bool = True,
    target_entropy: float | None = None,
    log_std: Literal["clamp", "tanh"] = "clamp",
    log_std_low: float = -20.0,
    log_std_high: float = 2.0,
    explores: Literal["sample", "mean"] = "sample",
    reward_scale: float = 1.0,
    multi_step: int = 1,
    multi_step_after: int = 0,
    initial: Drawn = "uniform",
    actor_hidden: tuple[int, ...] = (256, 256),
    critic_hidden: tuple[int, ...] = (256, 256),
    analytic: bool = True,
) -> SAC:
    """SAC (Haarnoja et al. 2018, "Algorithms and Applications", Algorithm 1). Settings out of range raise ValueError.

    `tau` = 1 with `target_every` = 1000 is the hard update of their first paper. `temperature` is alpha at the start,
    and throughout if not `learned_temperature`; `target_entropy` is -action_size if not given. `explores` by a sample
    or, as RLx2's released code does, by the mean action. `multi_step` steps a target, after `multi_step_after` updates
    of one. `initial` is how weights are drawn. `weight_decay` is coupled L2 on all parameters of actor and critics,
    biases included. `analytic` takes the gradients of all losses in closed form; without, autograd does.
    """
    demand_learning(
        "sac",
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        discount=discount,
        tau=tau,
    )
    demand_widths("sac", actor_hidden=actor_hidden, critic_hidden=critic_hidden)
    demand_horizon("sac", multi_step, multi_step_after)
    demand(target_every >= 1, "target_every of sac", target_every, "at least 1 update; 1 moves targets at each")
    demand(0 < temperature < float("inf"), "temperature of sac", temperature, "finite and above 0, for instance 0.2")
    demand(log_std_low < log_std_high, "log_std_low of sac", log_std_low, f"below log_std_high = {log_std_high:g}")
    demand(0 < reward_scale < float("inf"), "reward_scale of sac", reward_scale, "finite and above 0; 1 leaves rewards")

    def adam(parameters: Any, decay: float = 0.0) -> Adam:
        return Adam(parameters, lr=learning_rate, weight_decay=decay)

    # A generator for each network, so that the width of one does not change the other's initial values.
    drawn = [torch_generator(stream(seed, "networks", i)) for i in range(2)]
    sizes = (observation_size, action_size)
    actor = GaussianActor(*sizes, actor_hidden, generator=drawn[0], drawn=initial, dtype=dtype, device=device)
    critics = Critics(*sizes, critic_hidden, generator=drawn[1], drawn=initial, dtype=dtype, device=device)
    log_temperature = nn.Parameter(torch.tensor(math.log(temperature), dtype=dtype, device=device))
    return SAC(
        actor=actor,
        actor_optimizer=adam(actor.parameters(), weight_decay),
        critics=critics,
        critics_target=Target(critics, tau=tau, every=target_every),
        critics_optimizer=adam(critics.parameters(), weight_decay),
        log_temperature=log_temperature,
        temperature_optimizer=adam([log_temperature]) if learned_temperature else None,
        exploration=numpy_generator(stream(seed, "exploration")),
        policy_noise=torch_generator(stream(seed, "policy_noise"), device),
        target_noise=torch_generator(stream(seed, "target_noise"), device),
        log_std=LogStd(log_std, log_std_low, log_std_high),
        explores=explores,
        batch_size=batch_size,
        discount=discount,
        target_entropy=-float(action_size) if target_entropy is None else target_entropy,
        reward_scale=reward_scale,
        multi_step=multi_step,
        multi_step_after=multi_step_after,
        analytic=analytic,
        device=torch.device(device),
        dtype=dtype,
    )


@hookimpl
def register_agent(register: Callable[[Callable[..., object]], None]) -> None:
    register(sac)
