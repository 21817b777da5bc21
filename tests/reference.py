"""TD3 and SAC, dense and sparsely trained, in NumPy: every derivative, Adam and every rewiring by hand.

Written from the papers for comparison, without a line of the project's own: no autograd, no criterion, no kernel. It
is given the initial weights, and clones of the random generators, as the order of draws is nobody's law.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cloned(generator: torch.Generator) -> torch.Generator:
    """A generator that draws what the other will."""
    return torch.Generator().manual_seed(0).set_state(generator.get_state())


def normal(generator: torch.Generator, *shape: int, std: float = 1.0) -> Array:
    drawn: Array = torch.empty(shape, dtype=torch.float64).normal_(0, std, generator=generator).numpy()
    return drawn


class Net:
    """Linear layers with ReLU between them."""

    def __init__(self, parameters: list[Array]) -> None:
        self.p = [p.copy() for p in parameters]
        self.m = [np.zeros_like(p) for p in parameters]
        self.v = [np.zeros_like(p) for p in parameters]
        self.adams = 0

    def forward(self, x: Array) -> tuple[Array, list[Array]]:
        seen = []
        for i in range(0, len(self.p), 2):
            seen.append(x)
            x = x @ self.p[i].T + self.p[i + 1]
            if i < len(self.p) - 2:
                x = np.maximum(x, 0)
        return x, seen

    def backward(self, seen: list[Array], slope: Array) -> tuple[list[Array], Array]:
        grads: list[Array] = []
        for i in reversed(range(0, len(self.p), 2)):
            grads = [slope.T @ seen[i // 2], slope.sum(0), *grads]
            slope = slope @ self.p[i]
            if i:
                slope = slope * (seen[i // 2] > 0)
        return grads, slope

    def adam(self, grads: list[Array], rate: float) -> None:
        self.adams += 1
        for p, g, m, v in zip(self.p, grads, self.m, self.v, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= rate * (m / (1 - 0.9**self.adams)) / (np.sqrt(v / (1 - 0.999**self.adams)) + 1e-8)


def lowest(score: Array, candidates: NDArray[np.bool_], k: int, tie: Array) -> NDArray[np.bool_]:
    """The k candidates with the lowest score; of equal ones those with the lower tie."""
    places = candidates.ravel().nonzero()[0]
    order = np.lexsort((tie.ravel()[places], score.ravel()[places]))
    chosen = np.zeros(score.size, dtype=bool)
    chosen[places[order[:k]]] = True
    return chosen.reshape(score.shape)


@dataclass
class Topology:
    """How one of the four methods keeps the layers of a learner's networks sparse."""

    method: str
    layers: list[int]
    """Indices of the sparse weight matrices among a net's parameters."""
    density: float
    every: int
    fraction: float
    generator: torch.Generator
    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    """(members, out, in) by index."""
    events: list[dict[int, NDArray[np.bool_]]] = field(default_factory=list)

    def noise(self, shape: tuple[int, ...]) -> Array:
        drawn: Array = torch.rand(shape, generator=self.generator, dtype=torch.float64).numpy()
        return drawn

    def start(self, nets: list[Net], targets: list[Net]) -> None:
        """As many of each layer as the density says, uniformly at random; slow copies take the same."""
        for i in self.layers:
            shape = (len(nets), *nets[0].p[i].shape)
            scores, tie = self.noise(shape), self.noise(shape)
            k = round(self.density * nets[0].p[i].size)
            every = np.ones(shape[1:], dtype=bool)
            self.masks[i] = np.stack([lowest(-s, every, k, 1 - t) for s, t in zip(scores, tie, strict=True)])
        self.apply(nets)
        if targets:
            self.apply(targets)

    def apply(self, nets: list[Net]) -> None:
        for i, mask in self.masks.items():
            for net, m in zip(nets, mask, strict=True):
                net.p[i] *= m

    def rewire(self, nets: list[Net], grads: list[list[Array]]) -> None:
        """One event: who leaves, who enters, what newcomers and the optimiser's moments start with."""
        for i in self.layers:
            shape = self.masks[i].shape
            if self.method == "ds":
                self.noise(shape)  # For equal weights of one sign, of which there are none.
            entering = self.noise(shape) if self.method in ("set", "ds") else None
            tie = self.noise(shape)
            for c, net in enumerate(nets):
                old, w = self.masks[i][c], net.p[i]
                k = math.floor(self.fraction * old.sum() + 1e-9)
                if self.method == "ds":
                    leaving = self.half_per_sign(w, old, k, tie[c])
                else:
                    leaving = lowest(np.abs(w), old, k, tie[c])
                score = np.abs(grads[c][i]) if entering is None else entering[c]
                absent = ~old if self.method == "ds" else ~old | leaving
                new = (old & ~leaving) | lowest(-score, absent, k, 1 - tie[c])
                grown = new & ~old
                self.masks[i][c] = new
                w *= new
                w[grown] = 0
                still = ~grown if self.method == "rigl" else new & ~grown
                net.m[i] *= still
                net.v[i] *= still
        self.events.append({i: mask.copy() for i, mask in self.masks.items()})

    @staticmethod
    def half_per_sign(w: Array, active: NDArray[np.bool_], k: int, tie: Array) -> NDArray[np.bool_]:
        """Active zeros first, then one of each sign in turn, nearest to zero first; an odd one by tie."""
        leaving = lowest(w, active & (w == 0), min(k, int((active & (w == 0)).sum())), tie)
        orders = []
        for sign in (w > 0, w < 0):
            places = (active & sign).ravel().nonzero()[0]
            orders.append(list(places[np.argsort(np.abs(w.ravel()[places]))]))
        flat = leaving.ravel()
        while flat.sum() < k:
            pair = [order[0] for order in orders if order]
            if k - flat.sum() == 1 and len(pair) == 2:
                pair = [min(pair, key=lambda place: tie.ravel()[place])]
            for place in pair:
                flat[place] = True
            orders = [[p for p in order if not flat[p]] for order in orders]
        return flat.reshape(w.shape)

    def keep_in(self, targets: list[Net]) -> None:
        """What of a slow copy stays: DS the largest, as many as there are online; the others what is online."""
        for i, mask in self.masks.items():
            for net, m in zip(targets, mask, strict=True):
                if self.method == "ds":
                    size = np.abs(net.p[i]).ravel()
                    keep = np.zeros(size.size, dtype=bool)
                    keep[np.lexsort((np.arange(size.size), -size))[: int(m.sum())]] = True
                    net.p[i] *= keep.reshape(m.shape)
                else:
                    net.p[i] *= m


@dataclass
class Learner:
    """Networks that one optimiser trains, with their slow copies."""

    nets: list[Net]
    targets: list[Net]
    rate: float
    tau: float
    stride: int
    topology: Topology | None = None
    steps: int = 0

    def step(self, grads: list[list[Array]]) -> None:
        """An optimiser step under masked gradients, or in its place or after it an event."""
        self.steps += 1
        t = self.topology
        if t is None:
            for net, mine in zip(self.nets, grads, strict=True):
                net.adam(mine, self.rate)
            return
        passed = range((self.steps - 1) * self.stride + 1, self.steps * self.stride + 1)
        due = any(update % t.every == 0 for update in passed)
        if not (due and t.method == "rigl"):
            for c, (net, mine) in enumerate(zip(self.nets, grads, strict=True)):
                net.adam([g * t.masks[i][c] if i in t.masks else g for i, g in enumerate(mine)], self.rate)
        t.apply(self.nets)
        if due:
            t.rewire(self.nets, grads)

    def follow(self) -> None:
        """The slow copies move, and keep what they may."""
        for slow, net in zip(self.targets, self.nets, strict=True):
            for s, p in zip(slow.p, net.p, strict=True):
                s += self.tau * (p - s)
        if self.topology is not None:
            self.topology.keep_in(self.targets)


def nets_of(module: Any) -> list[Net]:
    """The members of a network of the project."""
    parameters = [p.detach().numpy() for p in module.parameters()]
    if parameters[0].ndim == 2:
        return [Net(parameters)]
    return [Net([p[c] for p in parameters]) for c in range(len(parameters[0]))]


class TD3:
    """Fujimoto et al. 2018, Algorithm 1."""

    def __init__(self, agent: Any, *, rate: float) -> None:
        critics, actor = nets_of(agent.critics), nets_of(agent.actor)
        tau, self.delay = agent.critics_target.tau, agent.policy_delay
        self.critic = Learner(critics, copy.deepcopy(critics), rate, tau, 1)
        self.actor = Learner(actor, copy.deepcopy(actor), rate, tau, self.delay)
        self.smoothing, self.noise, self.clip = cloned(agent.smoothing), agent.target_noise, agent.noise_clip
        self.discount, self.updates = agent.discount, 0

    def update(self, batch: Any) -> None:
        s, a, r, following, end = (column.numpy() for column in batch[:5])
        n = len(r)
        self.updates += 1
        noise = normal(self.smoothing, *a.shape, std=self.noise).clip(-self.clip, self.clip)
        after = (np.tanh(self.actor.targets[0].forward(following)[0]) + noise).clip(-1, 1)
        joined = np.concatenate([following, after], 1)
        y = r + self.discount * (1 - end) * np.min([c.forward(joined)[0][:, 0] for c in self.critic.targets], 0)
        self.critic.step(regression(self.critic.nets, np.concatenate([s, a], 1), y))
        if self.updates % self.delay:
            return
        out, seen = self.actor.nets[0].forward(s)
        chosen = np.tanh(out)
        critic = self.critic.nets[0]
        _, through = critic.forward(np.concatenate([s, chosen], 1))
        _, slope = critic.backward(through, np.full((n, 1), -1 / n))
        grads, _ = self.actor.nets[0].backward(seen, slope[:, s.shape[1] :] * (1 - chosen**2))
        self.actor.step([grads])
        self.critic.follow()
        self.actor.follow()


class SAC:
    """Haarnoja et al. 2018, Algorithm 1 of the second paper, with a fixed or a learned temperature."""

    def __init__(self, agent: Any, *, rate: float) -> None:
        critics, actor = nets_of(agent.critics), nets_of(agent.actor)
        self.critic = Learner(critics, copy.deepcopy(critics), rate, agent.critics_target.tau, 1)
        self.actor = Learner(actor, [], rate, 1.0, 1)
        self.every, self.discount, self.updates = agent.critics_target.every, agent.discount, 0
        self.target_noise, self.policy_noise = cloned(agent.target_noise), cloned(agent.policy_noise)
        self.learned, self.rate = agent.temperature_optimizer is not None, rate
        self.temperature = Net([np.array([math.log(agent.temperature)])])
        self.size = agent.actor.action_size

    def sampled(self, out: Array, noise: Array) -> tuple[Array, Array, Array]:
        """Actions, log-probabilities by the density of a change of variables, and standard deviations."""
        mean, log_std = out[:, : self.size], out[:, self.size :].clip(-20, 2)
        std = np.exp(log_std)
        u = mean + std * noise
        density = np.exp(-((u - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
        return np.tanh(u), (np.log(density) - np.log1p(-(np.tanh(u) ** 2))).sum(1), std

    def update(self, batch: Any) -> None:
        s, a, r, following, end = (column.numpy() for column in batch[:5])
        n = len(r)
        self.updates += 1
        alpha = math.exp(self.temperature.p[0][0])
        after, log_prob, _ = self.sampled(
            self.actor.nets[0].forward(following)[0], normal(self.target_noise, n, self.size)
        )
        joined = np.concatenate([following, after], 1)
        q = np.min([c.forward(joined)[0][:, 0] for c in self.critic.targets], 0)
        y = r + self.discount * (1 - end) * (q - alpha * log_prob)
        self.critic.step(regression(self.critic.nets, np.concatenate([s, a], 1), y))

        out, seen = self.actor.nets[0].forward(s)
        noise = normal(self.policy_noise, n, self.size)
        chosen, log_prob, std = self.sampled(out, noise)
        passes = [c.forward(np.concatenate([s, chosen], 1)) for c in self.critic.nets]
        lesser = np.argmin([q[:, 0] for q, _ in passes], 0)
        slope = np.zeros_like(chosen)
        for c, (net, (_, through)) in enumerate(zip(self.critic.nets, passes, strict=True)):
            _, back = net.backward(through, (lesser == c).astype(float)[:, None])
            slope += back[:, s.shape[1] :]
        by_u = alpha * 2 * chosen - slope * (1 - chosen**2)
        raw = out[:, self.size :]
        inside = (raw >= -20) & (raw <= 2)
        by_raw = (by_u * std * noise - alpha) * inside
        grads, _ = self.actor.nets[0].backward(seen, np.concatenate([by_u, by_raw], 1) / n)
        self.actor.step([grads])

        if self.learned:
            self.temperature.adam([np.array([-(log_prob - self.size).mean()])], self.rate)
        if self.updates % self.every == 0:
            self.critic.follow()


def regression(nets: list[Net], x: Array, y: Array) -> list[list[Array]]:
    """Gradients of each net's mean squared error."""
    grads = []
    for net in nets:
        q, seen = net.forward(x)
        grads.append(net.backward(seen, 2 / len(y) * (q - y[:, None]))[0])
    return grads
