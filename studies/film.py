"""Films, frame by frame: MP4 by ffmpeg, GIF by pillow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

COLOURS: Final = 128
"""Of a GIF's frame: it holds 256 at most, and half of them are a smaller file that looks the same."""
SHORTEST: Final = 2
"""Hundredths of a second that a GIF's frame is shown."""

Frame = NDArray[np.uint8]
"""(height, width, 3)."""


class Writer(Protocol):
    """Takes frames of one size, one by one; the file is whole once it is closed."""

    size: tuple[int, int]
    """Width and height, as they are in the file."""

    @property
    def frames(self) -> int:
        """In the file."""
        ...

    def add(self, frame: Frame) -> None: ...
    def close(self) -> None: ...


class _Mp4:
    """H.264 as browsers and papers' sites play it."""

    def __init__(self, path: Path, per_second: float) -> None:
        self._path, self._per_second = path, per_second
        self._ffmpeg: Any = None
        self.frames, self.size = 0, (0, 0)

    def add(self, frame: Frame) -> None:
        even = np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])  # Its colours need it.
        if self._ffmpeg is None:
            from imageio_ffmpeg import write_frames

            self.size = even.shape[1], even.shape[0]
            how = {"codec": "libx264", "macro_block_size": 1, "quality": 7, "ffmpeg_log_level": "error"}
            self._ffmpeg = write_frames(str(self._path), self.size, fps=self._per_second, **how)
            self._ffmpeg.send(None)
        self._ffmpeg.send(even)
        self.frames += 1

    def close(self) -> None:
        if self._ffmpeg is not None:
            self._ffmpeg.close()


class _Gif:
    """Repeated for ever. Frames are kept until the end, a byte a pixel; those that come too fast are left out.

    A GIF counts hundredths of a second, and what shows it takes one of them for ten: Hopper's 125 frames a second would
    creep. So a frame begins at the nearest hundredth of its time, and stays for two at least.
    """

    def __init__(self, path: Path, per_second: float) -> None:
        self._path, self._per_second = path, per_second
        self._seen = 0
        self._frames: list[Any] = []
        self._begins: list[int] = []
        self.size = (0, 0)

    @property
    def frames(self) -> int:
        return len(self._frames)

    def add(self, frame: Frame) -> None:
        from PIL import Image

        begins, self._seen = self._hundredths(), self._seen + 1
        self.size = frame.shape[1], frame.shape[0]
        if not self._begins or begins >= self._begins[-1] + SHORTEST:
            self._begins.append(begins)
            self._frames.append(Image.fromarray(frame).quantize(COLOURS, dither=Image.Dither.NONE))

    def _hundredths(self) -> int:
        """When the next frame begins."""
        return round(100 * self._seen / self._per_second)

    def close(self) -> None:
        if self._frames:
            first, *others = self._frames
            ends = [*self._begins[1:], max(self._hundredths(), self._begins[-1] + SHORTEST)]
            pace = [10 * (end - begin) for begin, end in zip(self._begins, ends, strict=True)]
            first.save(self._path, save_all=True, append_images=others, loop=0, duration=pace)


WRITERS: Mapping[str, Callable[[Path, float], Writer]] = {".mp4": _Mp4, ".gif": _Gif}
