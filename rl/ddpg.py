"""DDPG: deep deterministic policy gradient (Lillicrap et al. 2016), which is TD3 without its three additions.

One critic, an actor that moves at every update, and no noise on the target's action. Departures from the paper: one
learning rate for both networks, actions enter the critic at its first layer, exploration is Gaussian where theirs is an
Ornstein-Uhlenbeck process, and the widths are TD3's; there is no batch normalisation.
"""

from collections.abc import Callable

import torch

from registry import hookimpl
from rl.td3 import TD3, td3


def ddpg(
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
    exploration_noise: float = 0.1,
    multi_step: int = 1,
    multi_step_after: int = 0,
    actor_hidden: tuple[int, ...] = (256, 256),
    critic_hidden: tuple[int, ...] = (256, 256),
    analytic: bool = True,
) -> TD3:
    """DDPG (Lillicrap et al. 2016, Algorithm 1): TD3 with one critic, no delay and no target noise."""
    return td3(
        observation_size,
        action_size,
        seed,
        device,
        dtype,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        discount=discount,
        tau=tau,
        policy_delay=1,
        exploration_noise=exploration_noise,
        target_noise=0.0,
        critics=1,
        multi_step=multi_step,
        multi_step_after=multi_step_after,
        actor_hidden=actor_hidden,
        critic_hidden=critic_hidden,
        analytic=analytic,
    )


@hookimpl
def register_agent(register: Callable[[Callable[..., object]], None]) -> None:
    register(ddpg)
