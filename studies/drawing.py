"""How mujoco environments are drawn: by which OpenGL where there is no screen, and by a camera that follows."""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library
from typing import Any, Final

import numpy as np

VARIABLE: Final = "MUJOCO_GL"
LIBRARIES: Final = {"egl": "EGL", "osmesa": "OSMesa"}
"""What draws where there is no screen: mujoco's name for it, and that of the library. The first is the faster."""
SCREENS: Final = ("DISPLAY", "WAYLAND_DISPLAY")
CAMERA: Final = "track"
"""The camera of Gymnasium's models that moves with the body."""
FARTHER: Final = 100
"""Times as far as the model says its floor is drawn: it is endless to the body, which is past the end in seconds."""


def without_screen() -> bool:
    """Whether drawing needs a library of its own here: on Linux, without a screen, and not chosen by the user."""
    return sys.platform.startswith("linux") and not any(map(os.environ.get, (VARIABLE, *SCREENS)))


def choose_backend() -> None:
    """Set MUJOCO_GL where there is no screen. Call it before an environment is made that will be drawn.

    Gymnasium reads the variable when it draws for the first time, and looks for a screen first where it is not set;
    mujoco reads it when it is imported, for a renderer of its own, which Gymnasium does not use.
    """
    found = next((name for name, library in LIBRARIES.items() if find_library(library)), None)
    if without_screen() and found:
        os.environ[VARIABLE] = found


def lacking(env: Any) -> str:
    """Why a mujoco environment cannot be drawn here; nothing if it can, or if it is another."""
    if not without_screen() or _renderer(env) is None:
        return ""
    return (
        "mujoco finds no OpenGL library to draw with, and there is no screen: install one (Debian, Ubuntu: "
        "apt install libegl1 libgl1-mesa-dri, or libosmesa6) or set MUJOCO_GL"
    )


def follow(env: Any) -> None:
    """Draw a mujoco environment by its model's camera that moves with the body, and a floor that the body stays on.

    Gymnasium 1.4 leaves that camera alone unless it is named, and draws where the body was at first. To the simulator a
    plane has no end, whatever its size: nothing but the picture changes.
    """
    renderer = _renderer(env)
    if renderer is None or renderer.camera_id != -1:
        return
    import mujoco

    model = renderer.model
    renderer.camera_id = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, CAMERA)  # -1: it has none.
    for plane in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) if renderer.camera_id != -1 else ():
        model.geom_size[plane, :2] *= FARTHER
        if model.geom_matid[plane] >= 0:
            model.mat_texrepeat[model.geom_matid[plane]] *= FARTHER


def _renderer(env: Any) -> Any:
    return getattr(getattr(env, "unwrapped", env), "mujoco_renderer", None)
