"""A finished run's policy at work: the returns that it was measured by, and what it looks like."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest
from lab import Lab, a_lab, no_figures  # noqa: F401
from painted import ID, LENGTH, SIDE, trained, trained_once, trained_with_a_plugin

from registry import Registry
from studies import drawing
from studies.play import play
from studies.store import Store

lab, once = a_lab, trained_once


@pytest.fixture
def run(lab: Lab, once: tuple[Path, str]) -> str:
    """A sparse run on the environment that draws itself, in this lab's store."""
    shutil.copytree(once[0], lab.store)
    return once[1]


@pytest.mark.parametrize("env", [ID, "InvertedPendulum-v5"])
@pytest.mark.parametrize("execution", ["sparse", "masked"])
def test_the_last_evaluation_is_repeated_to_the_last_bit(lab: Lab, env: str, execution: str) -> None:
    run = trained(lab, env, "--execution", execution, "--steps", "400")
    answer = lab("play", run[:7], "--episodes", "6")
    assert answer.code == 0, answer.err
    assert "as in the run's last evaluation: 4 of 4 returns are equal" in answer.out
    stored = Store(lab.store).read(run).episodes[-1]
    played = play(run, Store(lab.store), Registry(installed=False), episodes=6)
    assert list(played.returns[:4]) == stored
    assert len(set(played.returns)) > 1, "or equal returns would say nothing"


def test_a_policy_of_a_gpu_that_is_not_here_acts_on_the_cpu(lab: Lab, run: str) -> None:
    """And says which device was another."""
    from dataclasses import replace

    from studies.play import Played, words
    from studies.policies import device_here, find_run, policy_of_its_own

    store = Store(lab.store)
    there = replace(find_run(run, store)[0], device="cuda:99", execution="masked")
    assert device_here(there) == "cpu"
    (lab.store / "runs" / there.id).mkdir()
    shutil.copy(lab.store / "runs" / run / "weights.safetensors", lab.store / "runs" / there.id)
    assert policy_of_its_own(there, store, (3, 2), Registry(installed=False)).act(np.zeros(3), explore=False).size == 2
    played = Played(there, (1.0,), (6,), (2.0,), True, False, "device H, now cpu", False)
    assert words(played, "text").endswith("0 of 1 returns are equal: device H, now cpu")


def test_other_seeds_give_other_episodes_and_no_comparison(lab: Lab, run: str) -> None:
    answers = [lab("play", run, "--episodes", "3", "--format", "csv", "--seed", seed) for seed in (0, 0, 1)]
    assert answers[0].out == answers[1].out != answers[2].out
    head, *rows = answers[0].out.splitlines()
    assert (head, len(rows)) == ("episode,return,length", 3)
    assert all(row.endswith(f",{LENGTH}") for row in rows)
    assert "last evaluation:" not in lab("play", run, "--seed", "0").out
    store = Store(lab.store)
    mine = play(run, store, Registry(installed=False), seed=0, episodes=3).returns
    assert not set(mine) & {each for episodes in store.read(run).episodes for each in episodes}


def test_exploring_adds_the_agent_s_noise(lab: Lab, run: str) -> None:
    plain, noisy = (lab("play", run, "--format", "csv", *more).out for more in ((), ("--explore",)))
    assert plain != noisy
    assert "(with exploration)" in lab("play", run, "--explore").out


def test_mean_and_standard_error_are_over_episodes(lab: Lab, run: str) -> None:
    returns = np.array(play(run, Store(lab.store), Registry(installed=False), episodes=5).returns)
    told = re.search(r"return  (\S+) ± (\S+), 5 episodes", lab("play", run, "--episodes", "5").out)
    assert told is not None
    mean, error = (float(each.replace(",", "")) for each in told.groups())
    assert mean == pytest.approx(returns.mean(), abs=0.05)
    assert error == pytest.approx(returns.std(ddof=1) / 5**0.5, abs=0.05)


# Videos.


def frames_of(path: Path) -> tuple[float, list[np.ndarray]]:
    """Frames a second, and the frames."""
    if path.suffix == ".gif":
        from PIL import Image, ImageSequence

        with Image.open(path) as gif:
            pace = 1000 / gif.info["duration"]
            return pace, [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    words = [ffmpeg, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    read = subprocess.run(words, capture_output=True, check=True)
    found = re.search(r"h264.* yuv420p.* (\d+)x(\d+)\b.* ([\d.]+) fps", read.stderr.decode())
    assert found is not None, read.stderr
    width, height, pace = int(found[1]), int(found[2]), float(found[3])
    return pace, list(np.frombuffer(read.stdout, np.uint8).reshape(-1, height, width, 3))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_shows_every_step_at_the_environment_s_pace(lab: Lab, run: str, suffix: str) -> None:
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    path = lab.folder / f"film{suffix}"
    answer = lab("play", run, "--video", path, "--episodes", "2")
    assert answer.code == 0, answer.err
    pace, frames = frames_of(path)
    even = SIDE // 2 * 2 if suffix == ".mp4" else SIDE
    assert f"film{suffix}: {LENGTH + 1} frames of {even} x {even}" in answer.out
    assert (pace, len(frames), frames[0].shape) == (25, LENGTH + 1, (even, even, 3))
    for at, frame in enumerate(frames):
        assert frame[:, 4 * at + 3].mean() > 230, "the column is where it was"
        assert frame[:, (4 * at + 20) % even].mean(0) == pytest.approx([200, 0, 0], abs=25)
    assert [each.name for each in lab.folder.iterdir() if "tmp" in each.name] == []


@pytest.mark.parametrize(("fps", "frames"), [(20, 7), (30, 7), (67, 4), (125, 3), (1000, 1)])
def test_a_gif_is_never_faster_than_what_shows_it_and_runs_as_long_as_the_episode(
    lab: Lab, run: str, fps: int, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame of one hundredth of a second, or of none, is shown for ten by browsers: Hopper has 125 a second."""
    from painted import Painted
    from PIL import Image, ImageSequence

    monkeypatch.setitem(Painted.metadata, "render_fps", fps)
    path = lab.folder / "film.gif"
    answer = lab("play", run, "--video", path)
    assert f"film.gif: {frames} frames of" in answer.out, answer.err
    with Image.open(path) as gif:
        paces = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
    assert (len(paces), min(paces) >= 20) == (frames, True)
    assert sum(paces) == pytest.approx(max(1000 * (LENGTH + 1) / fps, 20), abs=15)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_pictures_that_change_their_size_are_told(
    lab: Lab, run: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from painted import Painted

    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    paint = Painted.render
    monkeypatch.setattr(Painted, "render", lambda self: paint(self)[: SIDE - 4 * self.at])
    answer = lab("play", run, "--video", lab.folder / f"film{suffix}")
    assert (answer.code, "draws uint8 of (29, 33, 3) after (33, 33, 3)" in answer.err) == (2, True), answer
    assert not (lab.folder / f"film{suffix}").exists()


@pytest.mark.parametrize("words", [(), ("--seed", "3"), ("--explore",)])
def test_a_video_changes_no_return(lab: Lab, run: str, words: tuple[str, ...]) -> None:
    """And neither does the one that comes after another."""
    plain = lab("play", run, "--format", "csv", *words).out
    for name in ("one.gif", "two.gif"):
        assert lab("play", run, "--format", "csv", "--video", lab.folder / name, *words).out == plain


@pytest.mark.parametrize(
    ("words", "frames", "pace"),
    [
        (("--video-episodes", "2"), 2 * (LENGTH + 1), 25),
        (("--video-steps", "2"), 3, 25),
        (("--video-every", "2"), 4, 12.5),
        (("--video-every", "2", "--video-steps", "3", "--video-episodes", "5", "--episodes", "3"), 6, 12.5),
    ],
)
def test_a_part_of_the_episodes_can_be_shown(
    lab: Lab, run: str, words: tuple[str, ...], frames: int, pace: float
) -> None:
    path = lab.folder / "film.gif"
    answer = lab("play", run, "--video", path, *words)
    assert f"{frames} frames" in answer.out, answer.err
    assert frames_of(path)[0] == pace


REFUSED = {
    "no such kind": (("--video", "film.avi"), "must end in .mp4 or .gif"),
    "no folder": (("--video", "no/film.gif"), "there is no folder"),
    "no episodes": (("--episodes", "0"), "--episodes must be at least 1"),
    "no episodes in the video": (("--video", "f.gif", "--video-episodes", "0"), "--video-episodes must be at least 1"),
    "every none": (("--video", "f.gif", "--video-every", "0"), "--video-every must be at least 1"),
    "steps below none": (("--video", "f.gif", "--video-steps", "-1"), "--video-steps must be at least 1, or 0"),
    "size in words": (("--video", "f.gif", "--size", "large"), "--size is 'large'; it must be width x height"),
    "size of none": (("--video", "f.gif", "--size", "0x9"), "--size must be at least 2x2"),
    "size it cannot have": (("--video", "f.gif", "--size", "64x64"), "cannot be drawn with render_mode, width, height"),
    "size of nothing": (("--size", "64x64"), "add --video FILE.mp4 or FILE.gif"),
    "steps of nothing": (("--video-steps", "4"), "add --video"),
    "seed": (("--seed", "-1"), "--seed: seed is -1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_played_is_told_in_a_line_and_nothing_is_written(
    lab: Lab, run: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.folder)
    before = sorted(lab.folder.rglob("*"))
    words, told = REFUSED[case]
    answer = lab("play", run, *words)
    assert (answer.code, len(answer.errors)) == (2, 1), answer.err
    assert told in answer.errors[0]
    assert sorted(lab.folder.rglob("*")) == before


def test_a_video_that_is_there_is_replaced_on_request_alone(lab: Lab, run: str) -> None:
    path = lab.folder / "film.gif"
    path.write_text("mine")
    answer = lab("play", run, "--video", path)
    assert (answer.code, "is there already" in answer.err, path.read_text()) == (2, True, "mine")
    assert lab("play", run, "--video", path, "--replace").code == 0
    assert path.read_bytes().startswith(b"GIF8")


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_video_that_fails_half_way_leaves_nothing(
    lab: Lab, run: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from painted import Painted

    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg")

    paint = Painted.render
    monkeypatch.setattr(Painted, "render", lambda self: paint(self) if self.at < 3 else 1 / 0)
    path = lab.folder / f"film{suffix}"
    before = sorted(lab.folder.rglob("*"))
    answer = lab("play", run, "--video", path)
    assert (answer.code, answer.errors) == (
        2, ["error: the environment cannot be drawn: ZeroDivisionError: division by zero"]
    )  # fmt: skip
    assert sorted(lab.folder.rglob("*")) == before


def test_pictures_that_are_none_are_told(lab: Lab, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("painted.Painted.render", lambda self: None)
    answer = lab("play", run, "--video", lab.folder / "film.gif")
    assert "draws no pictures: render() gave NoneType" in answer.err


def test_an_mp4_without_its_extra_says_what_to_install(lab: Lab, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "imageio_ffmpeg" else found(name))
    answer = lab("play", run, "--video", lab.folder / "film.mp4")
    assert answer.code == 2
    assert "pip install 'sparsity-rl[video]'" in answer.errors[0]


def test_a_wrapper_s_noise_is_not_that_of_the_evaluation_and_is_said_so(lab: Lab) -> None:
    run = trained(lab, ID, "--set", 'wrappers=["noise_features"]')
    answer = lab("play", run)
    assert answer.code == 0, answer.err
    assert re.search(r"[0-3] of 4 returns are equal: a wrapper", answer.out)


def test_a_plugin_that_was_changed_since_is_refused(lab: Lab) -> None:
    folder, plugin = trained_with_a_plugin(lab)
    run = folder.name
    assert lab("play", run, "--plugin", plugin).code == 0
    assert "no prune named 'mine'" in lab("play", run).err
    plugin.write_text(plugin.read_text() + "# changed\n")
    answer = lab("play", run, "--plugin", plugin)
    assert (answer.code, "the source of prune/mine is not that" in answer.err) == (2, True)


# Without a screen.


def no_screen(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in (*drawing.SCREENS, drawing.VARIABLE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(drawing, "find_library", lambda name: f"lib{name}.so" if name in found else None)


@pytest.mark.parametrize(
    ("found", "chosen"), [(("EGL", "OSMesa"), "egl"), (("OSMesa",), "osmesa"), ((), None), (("EGL",), "egl")]
)
def test_what_is_there_draws_without_a_screen(
    found: tuple[str, ...], chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_screen(monkeypatch, *found)
    drawing.choose_backend()
    assert os.environ.get(drawing.VARIABLE) == chosen


@pytest.mark.parametrize("name", [*drawing.SCREENS, drawing.VARIABLE])
def test_a_screen_and_a_choice_of_the_user_s_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    no_screen(monkeypatch, "EGL")
    monkeypatch.setenv(name, "glfw")
    before = dict(os.environ)
    drawing.choose_backend()
    assert dict(os.environ) == before


def test_mujoco_without_opengl_says_what_to_install(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    no_screen(monkeypatch)
    run = trained(lab, "InvertedPendulum-v5")
    answer = lab("play", run, "--video", lab.folder / "film.gif")
    assert answer.code == 2
    assert "apt install libegl1 libgl1-mesa-dri, or libosmesa6" in answer.errors[0]
    assert not (lab.folder / "film.gif").exists()


def test_an_opengl_that_mujoco_does_not_know_is_told_in_a_line(
    lab: Lab, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for the variable when it is imported, whether anything is drawn or not."""
    import gymnasium

    def imported(*_: object, **__: object) -> None:
        raise RuntimeError("invalid value for environment variable MUJOCO_GL: bogus")

    monkeypatch.setattr(gymnasium, "make", imported)
    monkeypatch.setenv("MUJOCO_GL", "bogus")
    monkeypatch.delitem(sys.modules, "mujoco", raising=False)
    answer = lab("play", run)
    assert (answer.code, len(answer.errors)) == (2, 1), answer
    assert "mujoco cannot be imported with MUJOCO_GL='bogus'" in answer.errors[0]


HALF_CHEETAH = """
import sys
import numpy as np
from studies.drawing import choose_backend, follow
choose_backend()
from rl.environment import make
env = make("HalfCheetah-v5", render_mode="rgb_array", width=64, height=48)
follow(env)
env.reset(seed=0)
first = env.render()
state = env.unwrapped
state.data.qpos[0] = 200
state.set_state(state.data.qpos, state.data.qvel)
far = env.render()
orange = [int((frame[..., 0] > frame[..., 2] + 40.0).sum()) for frame in (first, far)]
print(first.shape, orange[0] > 20, orange[1] > 20, far[-8:].std() > 10)
env.close()
"""


@pytest.mark.skipif(not (find_library("EGL") or find_library("OSMesa")), reason="no OpenGL library")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems draw with a screen")
def test_the_camera_follows_the_cheetah_and_the_floor_goes_on() -> None:
    """In a process of its own: which OpenGL a process draws with is chosen once."""
    told = subprocess.run([sys.executable, "-c", HALF_CHEETAH], capture_output=True, text=True, timeout=120)
    if "eglInitialize" in told.stderr or "Cannot initialize" in told.stderr:
        pytest.skip("an OpenGL library without a driver")
    assert told.stdout == "(48, 64, 3) True True True\n", told.stderr
