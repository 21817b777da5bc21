"""TD3 in one file, in the manner of CleanRL: what makes it sparse is marked `# sparse`, three calls and a loop.

python examples/cleanrl_td3.py                     # Pendulum, 6,000 steps: about 30 seconds on one core
python examples/cleanrl_td3.py --method dense
python examples/cleanrl_td3.py --env-id HalfCheetah-v5 --total-timesteps 1000000 --learning-starts 25000 --seed 1
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import Tensor, nn

from sparsity import Sparsifier, attach


@dataclass
class Args:
    env_id: str = "Pendulum-v1"
    total_timesteps: int = 6000
    learning_starts: int = 1000
    method: str = "rigl"
    density: float = 0.2
    """Share of the weights that stays, in each of the three networks."""
    seed: int = 0
    learning_rate: float = 1e-3
    batch_size: int = 128
    hidden: int = 128
    gamma: float = 0.99
    tau: float = 0.005
    policy_frequency: int = 2
    policy_noise: float = 0.2
    exploration_noise: float = 0.1
    noise_clip: float = 0.5
    evaluations: int = 5
    """Episodes of the evaluation at the end."""


class Batch(NamedTuple):
    observation: Tensor
    action: Tensor
    reward: Tensor
    following: Tensor
    terminated: Tensor


class Memory:
    """Everything that was seen, drawn from uniformly."""

    def __init__(self, size: int, observation: int, action: int) -> None:
        self.kept = Batch(*(torch.zeros(size, width) for width in (observation, action, 1, observation, 1)))
        self.length = 0

    def add(self, *transition: np.ndarray | float | bool) -> None:
        for column, value in zip(self.kept, transition, strict=True):
            column[self.length] = torch.as_tensor(value, dtype=torch.float32)
        self.length += 1

    def sample(self, size: int) -> Batch:
        rows = torch.randint(self.length, (size,))
        return Batch(*(column[rows] for column in self.kept))


class Critic(nn.Module):
    def __init__(self, observation: int, action: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(observation + action, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        x = torch.relu(self.fc1(torch.cat([observation, action], 1)))
        q: Tensor = self.head(torch.relu(self.fc2(x)))
        return q


class Actor(nn.Module):
    scale: Tensor
    bias: Tensor

    def __init__(self, observation: int, space: gym.spaces.Box, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(observation, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, int(np.prod(space.shape)))
        self.register_buffer("scale", torch.tensor((space.high - space.low) / 2))
        self.register_buffer("bias", torch.tensor((space.high + space.low) / 2))

    def forward(self, observation: Tensor) -> Tensor:
        x = torch.relu(self.fc2(torch.relu(self.fc1(observation))))
        return torch.tanh(self.head(x)) * self.scale + self.bias


def evaluate(actor: Actor, args: Args) -> float:
    """Mean return of whole episodes without noise."""
    env, returns = gym.make(args.env_id), []
    for episode in range(args.evaluations):
        observation, _ = env.reset(seed=10_000 + episode)
        total, over = 0.0, False
        while not over:
            with torch.no_grad():
                action = actor(torch.as_tensor(observation, dtype=torch.float32)).numpy()
            observation, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    env.close()
    return float(np.mean(returns))


def polyak(target: nn.Module, online: nn.Module, tau: float) -> None:
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
            slow.lerp_(fast, tau)


def main(args: Args) -> tuple[dict[str, tuple[nn.Module, Sparsifier]], float]:
    """Train; give back the networks, each with what keeps it sparse, and the return of the policy."""
    torch.manual_seed(args.seed)
    env = gym.make(args.env_id)
    env.action_space.seed(args.seed)
    space = env.action_space
    assert isinstance(space, gym.spaces.Box), "continuous actions only"
    assert env.observation_space.shape is not None
    observations, actions = int(np.prod(env.observation_space.shape)), int(np.prod(space.shape))

    actor = Actor(observations, space, args.hidden)
    qf1, qf2 = (Critic(observations, actions, args.hidden) for _ in range(2))
    actor_target, qf1_target, qf2_target = copy.deepcopy(actor), copy.deepcopy(qf1), copy.deepcopy(qf2)
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=args.learning_rate)
    q_optimizer = torch.optim.Adam([*qf1.parameters(), *qf2.parameters()], lr=args.learning_rate)

    updates = args.total_timesteps - args.learning_starts
    words = {"method": args.method, "density": args.density if args.method != "dense" else None, "total": updates}
    sparse_actor = attach(  # sparse
        actor, actor_optimizer, target=actor_target, stride=args.policy_frequency, seed=args.seed, **words
    )
    sparse_qf1 = attach(qf1, q_optimizer, target=qf1_target, seed=args.seed + 1, **words)  # sparse
    sparse_qf2 = attach(qf2, q_optimizer, target=qf2_target, seed=args.seed + 2, **words)  # sparse

    memory = Memory(args.total_timesteps, observations, actions)
    observation, _ = env.reset(seed=args.seed)
    for step in range(1, args.total_timesteps + 1):
        if step <= args.learning_starts:
            action = space.sample()
        else:
            with torch.no_grad():
                action = actor(torch.as_tensor(observation, dtype=torch.float32))
                action += torch.randn(actions) * actor.scale * args.exploration_noise
            action = action.numpy().clip(space.low, space.high)
        following, reward, terminated, truncated, _ = env.step(action)
        memory.add(observation, action, float(reward), following, terminated)
        observation = env.reset()[0] if terminated or truncated else following
        if step <= args.learning_starts:
            continue

        data = memory.sample(args.batch_size)
        with torch.no_grad():
            noise = (torch.randn_like(data.action) * args.policy_noise).clamp(-args.noise_clip, args.noise_clip)
            next_action = actor_target(data.following) + noise * actor.scale
            next_action = next_action.clamp(torch.tensor(space.low), torch.tensor(space.high))
            q_next = torch.min(qf1_target(data.following, next_action), qf2_target(data.following, next_action))
            goal = data.reward + (1 - data.terminated) * args.gamma * q_next
        q_loss = sum((qf(data.observation, data.action) - goal).square().mean() for qf in (qf1, qf2))
        q_optimizer.zero_grad()
        q_loss.backward()
        q_optimizer.step()

        if step % args.policy_frequency == 0:
            actor_optimizer.zero_grad()
            (-qf1(data.observation, actor(data.observation)).mean()).backward()
            actor_optimizer.step()
            polyak(actor_target, actor, args.tau)
            polyak(qf1_target, qf1, args.tau)
            polyak(qf2_target, qf2, args.tau)
            for sparsifier in (sparse_actor, sparse_qf1, sparse_qf2):  # sparse
                sparsifier.target_updated()
    env.close()
    return {"actor": (actor, sparse_actor), "qf1": (qf1, sparse_qf1), "qf2": (qf2, sparse_qf2)}, evaluate(actor, args)


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = tyro.cli(Args)
    networks, score = main(chosen)
    print(f"{chosen.method} on {chosen.env_id}, {chosen.total_timesteps:,} steps, seed {chosen.seed}: {score:,.0f}")
    for name, (_, sparsifier) in networks.items():
        for layer in sparsifier.densities():
            print(f"{name}/{layer.name:<12} {layer.active:>8,} of {layer.size:>8,} ({layer.density:.3f})")
