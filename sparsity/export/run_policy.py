"""The policy of policy.npz, with NumPy alone: p = Policy(); environment.step(p.scaled(p.act(observation)))."""

# mypy: ignore-errors
import json
from pathlib import Path

import numpy as np

APPLY = {"identity": lambda x: x, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "argmax": lambda x: x.argmax(-1),
         "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))}  # fmt: skip


def product(file, n):  # x -> W x, by the whole matrix wherever one core does that in less time (measured)
    data, indices, indptr, shape = (file[f"{n}.{key}"] for key in ("data", "indices", "indptr", "shape"))
    rows = np.repeat(np.arange(shape[0]), np.diff(indptr))
    if 20 * len(data) + 60_000 > shape[0] * shape[1]:
        dense = np.bincount(rows * shape[1] + indices, data, shape.prod()).reshape(shape).astype(np.float32)
        return lambda x: x @ dense.T
    empty = np.diff(indptr) == 0  # reduceat gives no 0 for a row without connections: let it have one of weight 0
    data, indices = (np.insert(array, indptr[:-1][empty], 0) for array in (data, indices.astype(np.intp)))
    starts = indptr[:-1] + np.cumsum(empty) - empty
    return lambda x: np.add.reduceat(x.take(indices, -1) * data, starts, -1)


class Policy:
    def __init__(self, path=None):
        file = np.load(path or Path(__file__).with_name("policy.npz"), allow_pickle=False)
        about = self.about = json.loads(file["about"].item())
        self.layers = [(product(file, n), file[f"{n}.bias"], APPLY[a]) for n, a in enumerate(about["activations"])]

    def act(self, observation):  # (size,) or (batch, size)
        x = np.asarray(observation, np.float32).reshape(*np.shape(observation)[:-1], self.about["observation_size"])
        for weight, bias, activation in self.layers:
            x = activation(weight(x) + bias)
        return x

    def scaled(self, action):  # from [-1, 1] to the environment's bounds
        assert self.about["low"], "the bounds are not known: export again where the environment is installed"
        low, high = np.array(self.about["low"]), np.array(self.about["high"])
        return (low + (np.asarray(action, "f8") + 1) / 2 * (high - low)).clip(low, high).astype(self.about["dtype"])
