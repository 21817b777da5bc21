"""Stable-Baselines3 trained sparse by one callback: `model.learn(100_000, callback=SparseCallback("ds", density=0.5))`.

What is saved is a plain model of Stable-Baselines3, which loads where this package is not installed.
"""

try:
    import stable_baselines3  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":
        raise
    raise ImportError("sparsity.sb3 needs Stable-Baselines3: pip install 'sparsity-rl[sb3]'") from None

from sparsity.sb3.callback import SparseCallback
from sparsity.sb3.planned import planned_updates

__all__ = ["SparseCallback", "planned_updates"]
