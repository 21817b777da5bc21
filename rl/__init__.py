"""Deep reinforcement learning for continuous actions, ignorant of sparsity: agents, memory, training."""

from rl.agent import Agent, Batch, Learner
from rl.checkpoint import WeightsRefused, load_weights, save_weights
from rl.environment import Environment, EnvironmentRefused, make, sizes
from rl.networks import Actor, Critics, PopulationLinear
from rl.random_policy import RandomPolicy, random
from rl.replay import Replay, UniformReplay, bytes_needed, uniform
from rl.streams import PURPOSES, env_seed, numpy_generator, stream, torch_generator
from rl.td3 import TD3, td3
from rl.tracking import Target
from rl.train import Diverged, Episode, Evaluation, Record, Signals, evaluate, train

__all__ = [
    "PURPOSES",
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
    "Learner",
    "PopulationLinear",
    "RandomPolicy",
    "Record",
    "Replay",
    "Signals",
    "Target",
    "UniformReplay",
    "WeightsRefused",
    "bytes_needed",
    "env_seed",
    "evaluate",
    "load_weights",
    "make",
    "numpy_generator",
    "random",
    "save_weights",
    "sizes",
    "stream",
    "td3",
    "torch_generator",
    "train",
    "uniform",
]
