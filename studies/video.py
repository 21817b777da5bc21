"""What an environment looks like, frame by frame, in a file that is whole or not there."""

from __future__ import annotations

import importlib.util
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rl.files import sync
from studies.film import WRITERS, Frame, Writer
from studies.problems import BadInput

if TYPE_CHECKING:
    from studies.cli import Play

FRAMES: Final = 30.0
"""Frames a second where an environment does not say its own."""


@dataclass(frozen=True)
class Video:
    """Where episodes are drawn to, and how much of them."""

    path: Path
    """An .mp4, or a .gif."""
    size: tuple[int, int] | None = None
    """Width and height, in pixels; None is the environment's own."""
    episodes: int = 1
    """How many, the first first."""
    steps: int = 0
    """Environment steps of each; 0 is all of them."""
    every: int = 1
    """Draw every n-th step; time runs on as it does."""
    replace: bool = False
    """Take the place of a file that is there."""

    def drawing(self) -> dict[str, Any]:
        """What the environment is made with."""
        size = {} if self.size is None else {"width": self.size[0], "height": self.size[1]}
        return {"render_mode": "rgb_array", **size}

    def demand_writable(self) -> None:
        """BadInput with everything that stands in the way of writing it."""
        problems = [f"--video-{name} must be at least 1" for name in ("episodes", "every") if getattr(self, name) < 1]
        problems += ["--video-steps must be at least 1, or 0 for whole episodes"] if self.steps < 0 else []
        problems += [] if self.size is None or min(self.size) >= 2 else ["--size must be at least 2x2"]
        if self.path.suffix not in WRITERS:
            problems.append(f"--video {self.path} must end in {' or '.join(WRITERS)}")
        if not self.path.parent.is_dir():
            problems.append(f"--video {self.path}: there is no folder {self.path.parent}")
        elif self.path.exists() and (not self.replace or not self.path.is_file()):
            problems.append(f"--video {self.path} is there already: give another name, or --replace")
        if self.path.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
            problems.append("an .mp4 needs imageio-ffmpeg: pip install 'sparsity-rl[video]'; a .gif needs nothing more")
        if problems:
            raise BadInput(*problems)


def asked(command: Play) -> Video | None:
    """The video that a command asks for. BadInput if it says how one should be and asks for none."""
    how = {name: getattr(command, f"video_{name}") for name in ("episodes", "steps", "every")}
    if command.video is not None:
        return Video(command.video, _size(command.size), **how, replace=command.replace)
    if command.size is not None or command.replace or how != {"episodes": 1, "steps": 0, "every": 1}:
        raise BadInput("--size, --replace and --video-... say how a video is made: add --video FILE.mp4 or FILE.gif")
    return None


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    if not (found := re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)):
        raise BadInput(f"--size is {text!r}; it must be width x height in pixels: 480x360")
    return int(found[1]), int(found[2])


class Recorded:
    """An environment that is drawn as it goes: training and evaluating see no difference."""

    def __init__(self, env: Any, writer: Writer, video: Video) -> None:
        self._env, self._writer, self._video = env, writer, video
        self._episode = self._step = 0
        self._shape: tuple[int, ...] = ()

    @property
    def action_space(self) -> Any:
        return self._env.action_space

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        answer: tuple[Any, dict[str, Any]] = self._env.reset(seed=seed)
        self._episode, self._step = self._episode + 1, 0
        self._draw()
        return answer

    def step(self, action: Any, /) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        answer: tuple[Any, Any, bool, bool, dict[str, Any]] = self._env.step(action)
        self._step += 1
        self._draw()
        return answer

    def _draw(self) -> None:
        video, step = self._video, self._step
        if self._episode > video.episodes or step % video.every or (video.steps and step > video.steps):
            return
        frame = _frame(self._env)
        self._shape = self._shape or frame.shape
        if frame.shape != self._shape:
            raise BadInput(f"the environment draws {_said(frame)} after {self._shape}: a video has one size")
        self._writer.add(frame)


def _frame(env: Any) -> Frame:
    """What an environment looks like now. BadInput if it cannot be drawn."""
    try:
        frame = env.render()
    except Exception as error:  # Of mujoco, pygame, or whatever else draws.
        raise BadInput(f"the environment cannot be drawn: {type(error).__name__}: {error}") from error
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise BadInput(f"the environment draws no pictures: render() gave {_said(frame)}, not (height, width, 3) bytes")
    return frame


def _said(frame: Any) -> str:
    return f"{frame.dtype} of {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__


def per_second(env: Any, video: Video) -> float:
    """Frames a second at which time runs as it does in the environment."""
    told = (getattr(env, "metadata", None) or {}).get("render_fps") or FRAMES
    return float(told) / video.every


@contextmanager
def recording(env: Any, video: Video) -> Iterator[tuple[Recorded, Writer]]:
    """The environment as it is drawn, while it lasts, and what writes it; the file has its name once all went well."""
    temporary = video.path.with_name(f".{uuid.uuid4().hex[:12]}.tmp{video.path.suffix}")
    writer = WRITERS[video.path.suffix](temporary, per_second(env, video))
    try:
        try:
            yield Recorded(env, writer, video), writer
        finally:
            writer.close()
        sync(temporary)
        os.replace(temporary, video.path)
        sync(video.path.parent)
    finally:
        temporary.unlink(missing_ok=True)
