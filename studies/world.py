"""The world of a run: versions of everything that computes, and the machine's kind. Never part of a run's id."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from registry import Registry

LIBRARIES = ("torch", "numpy", "scipy", "gymnasium", "mujoco", "pluggy", "safetensors", "numba", "sparsity-rl")


def world(registry: Registry, device: str) -> dict[str, Any]:
    """Versions of the libraries and plugins, threads, CPU capability, device and host."""
    import torch

    plugins = {
        _without_folders(str(entry.origin)): entry.source_hash
        for kind in ("prune", "grow", "agent", "method", "schedule", "budget", "target", "moments", "wrapper")
        for entry in registry.entries(kind)
        if not entry.origin.in_tree
    }
    return {
        "python": platform.python_version(),
        **{library: _version(library) for library in LIBRARIES},
        "plugins": plugins,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "platform": f"{sys.platform} {platform.machine()}",
        "host": os.uname().nodename,
    }


def _without_folders(origin: str) -> str:
    """A plugin by the name of its file: results are given away, and where files lie at home is nobody's business."""
    return origin.rpartition(os.sep)[2] if origin.endswith(".py") else origin


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


SAME = ("python", *LIBRARIES, "threads", "cpu_capability", "device", "platform")
"""What must be equal for a run to go on from a checkpoint bit for bit."""


def drift(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of the world has changed, as `torch 2.12.0, now 2.13.0`; nothing if nothing that counts has."""
    changed = [key for key in SAME if then.get(key) != now.get(key)]
    return ", ".join(f"{key.replace('_', ' ')} {then.get(key)}, now {now.get(key)}" for key in changed)
