"""TD3 of Stable-Baselines3 with a tenth of its hidden weights, saved, and loaded again as a plain model.

python examples/sb3_sparse.py --env HalfCheetah-v5 --steps 100000
"""

import argparse

import numpy as np
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise

from sparsity.sb3 import SparseCallback


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--env", default="HalfCheetah-v5")
    given.add_argument("--steps", type=int, default=100_000)
    given.add_argument("--method", default="rigl")
    given.add_argument("--density", type=float, default=0.1)
    given.add_argument("--seed", type=int, default=0)
    arguments = given.parse_args()

    env = make_vec_env(arguments.env, seed=arguments.seed)
    noise = NormalActionNoise(np.zeros(env.action_space.shape), 0.1 * np.ones(env.action_space.shape))
    model = TD3("MlpPolicy", env, action_noise=noise, policy_kwargs={"net_arch": [256, 256]}, seed=arguments.seed)
    sparse = SparseCallback(
        arguments.method,
        density=arguments.density,
        eligible="hidden",
        schedule={"every": max(1, arguments.steps // 100)},
    )
    evaluation = EvalCallback(make_vec_env(arguments.env, seed=100), eval_freq=max(1, arguments.steps // 10))
    model.learn(arguments.steps, callback=[sparse, evaluation])
    for learner, density in sparse.densities().items():
        print(f"{learner}: {density:.3f} of its hidden weights")

    model.save("sparse_td3.zip")
    plain = TD3.load("sparse_td3.zip")
    mask = sparse.masks()["actor.mu.2.weight"]
    print("absent weights that are not zero:", int((plain.actor.mu[2].weight[~mask] != 0).sum()))


if __name__ == "__main__":
    main()
