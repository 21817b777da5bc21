"""Deep reinforcement learning for continuous actions, ignorant of sparsity: agents, memory, training."""

from rl.agent import Agent, Batch, Learner, Policy
from rl.asking_replays import dynamic, reviewed
from rl.checkpoint import WeightsRefused, load_weights, save_weights
from rl.ddpg import ddpg
from rl.environment import Environment, EnvironmentRefused, make, sizes
from rl.networks import Actor, Critics, GaussianActor, PopulationLinear
from rl.random_policy import RandomPolicy, random
from rl.replay import Replay, UniformReplay, bytes_needed, uniform
from rl.sac import SAC, sac
from rl.signals import Diverged
from rl.streams import PURPOSES, env_seed, numpy_generator, stream, torch_generator
from rl.td3 import TD3, td3
from rl.tracking import Target
from rl.train import Episode, Evaluation, Record, Signals, Training, evaluate

__all__ = [
    "PURPOSES",
    "SAC",
    "TD3",
    "Actor",
    "Agent",
    "Batch",
    "Critics",
    "Diverged",
    "Environment",
    "EnvironmentRefused",
    "Episode",
    "Evaluation",
    "GaussianActor",
    "Learner",
    "Policy",
    "PopulationLinear",
    "RandomPolicy",
    "Record",
    "Replay",
    "Signals",
    "Target",
    "Training",
    "UniformReplay",
    "WeightsRefused",
    "bytes_needed",
    "ddpg",
    "dynamic",
    "env_seed",
    "evaluate",
    "load_weights",
    "make",
    "numpy_generator",
    "random",
    "reviewed",
    "sac",
    "save_weights",
    "sizes",
    "stream",
    "td3",
    "torch_generator",
    "uniform",
]
