"""Files of Stable-Baselines3: read as they were meant, refused where they are not, and never executed."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.outcome import Outcome
from studies.problems import BadInput
from studies.readers import from_evaluations, from_monitor
from studies.statistics import standing

HEAD = '#{"t_start": 1700000000.5, "env_id": "Pendulum-v1"}\n'
MONITOR = HEAD + "r,l,t\r\n-10.5,200,1.0\r\n-8.5,200,2.0\r\n-4.0,200,3.25\r\n"
"""As Monitor writes it: a first line that ends in a line feed, and csv's own ends of lines after it."""
NPY = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }".ljust(127) + b"\n"


def place(seed: int = 0) -> dict[str, Any]:
    return {"label": "SB3", "agent": "td3", "env": "Pendulum-v1", "density": None, "seed": seed}


def written(path: Path, returns: Any = ((1.0, 3.0), (5.0, 6.0)), steps: Any = None) -> Path:
    """An `evaluations.npz` as EvalCallback writes it, evaluated every hundred steps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = [100 * (1 + number) for number in range(len(returns))] if steps is None else steps
    np.savez(path, timesteps=steps, results=returns, ep_lengths=np.full(np.shape(returns), 200))
    return path


def monitored(path: Path, text: str | bytes = MONITOR) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def curve(run: Outcome) -> tuple[list[int], list[float]]:
    return run.steps.tolist(), run.returns.tolist()


# What the library writes ------------------------------------------------------------------------------------


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    import gymnasium
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.monitor import Monitor

    env = Monitor(gymnasium.make("Pendulum-v1"), str(tmp_path / "it"))
    look = Monitor(gymnasium.make("Pendulum-v1"))
    callback = EvalCallback(look, eval_freq=200, n_eval_episodes=2, log_path=str(tmp_path), verbose=0)
    sb3.TD3("MlpPolicy", env, learning_starts=1000, seed=0).learn(600, callback=callback)
    env.close()
    look.close()
    evaluated = from_evaluations(tmp_path / "evaluations.npz", **place())
    assert curve(evaluated) == ([200, 400, 600], [float(np.mean(one)) for one in callback.evaluations_results])
    trained = from_monitor(tmp_path / "it.monitor.csv", every=200, **place())
    assert trained.steps.tolist() == [200, 400, 600]
    assert trained.returns == pytest.approx(env.get_episode_rewards(), abs=1e-5)


def test_files_of_a_vector_are_merged_as_the_library_merges_them(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.monitor import load_results
    from stable_baselines3.common.results_plotter import ts2xy

    several = make_vec_env("Pendulum-v1", n_envs=3, seed=0, monitor_dir=str(tmp_path))
    several.reset()
    for _ in range(450):
        several.step(np.zeros((3, 1), dtype=np.float32))
    several.close()
    steps, returns = ts2xy(load_results(str(tmp_path)), "timesteps")
    assert len(returns) == 6
    run = from_monitor(tmp_path, every=1, **place())
    assert (run.steps.tolist(), run.returns.tolist()) == (steps.tolist(), returns.tolist())


# Evaluations ------------------------------------------------------------------------------------------------


def test_evaluations_are_averaged_over_their_episodes(tmp_path: Path) -> None:
    run = from_evaluations(written(tmp_path / "e.npz"), label="a", env="b", seed=3, density=0.5, axes={"hidden": "9"})
    assert curve(run) == ([100, 200], [2.0, 5.5])
    assert (run.label, run.agent, run.env, run.seed, run.density) == ("a", "", "b", 3, 0.5)
    assert (run.axes, run.status) == ({"hidden": "9"}, "done")


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["timesteps", "results"])
def test_code_in_a_file_is_never_run(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "trace"
    arrays: dict[str, Any] = {"timesteps": [1], "results": [[1.0]], name: np.array([Canary(trace)], dtype=object)}
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(BadInput, match=r"e\.npz holds pickled Python objects.* never loaded"):
        from_evaluations(tmp_path / "e.npz", **place())
    assert not trace.exists()
    np.load(tmp_path / "e.npz", allow_pickle=True)[name]
    assert trace.exists(), "the canary does not sing, so its silence shows nothing"


def test_a_pickle_in_place_of_an_archive_is_never_run(tmp_path: Path) -> None:
    file, trace = tmp_path / "e.npy", tmp_path / "trace"
    np.save(file, np.array([Canary(trace)], dtype=object))
    with pytest.raises(BadInput, match=r"no npz archive"):
        from_evaluations(file, **place())
    assert not trace.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"timesteps": [1]}, "has no array 'results', only timesteps"),
        ({"results": [[1.0]]}, "has no array 'timesteps'"),
        ({}, "has no array 'timesteps', only none"),
        ({"timesteps": [1, 2], "results": [[1.0]]}, r"must be \(n,\)"),
        ({"timesteps": [1], "results": [1.0]}, r"must be \(n,\)"),
        ({"timesteps": [[1]], "results": [[1.0]]}, r"must be \(n,\)"),
        ({"timesteps": np.zeros(0, int), "results": np.zeros((0, 2))}, r"must be \(n,\)"),
        ({"timesteps": [1], "results": np.zeros((1, 0))}, r"must be \(n,\)"),
        ({"timesteps": [2, 1], "results": [[1.0], [2.0]]}, "do not rise"),
        ({"timesteps": [1, 1], "results": [[1.0], [2.0]]}, "do not rise"),
        ({"timesteps": [-1, 1], "results": [[1.0], [2.0]]}, "do not rise"),
        ({"timesteps": np.array([2, 1], np.uint64), "results": [[1.0], [2.0]]}, "do not rise"),
        ({"timesteps": np.array([1, 2**63 + 1], np.uint64), "results": [[1.0], [2.0]]}, "do not rise"),
        ({"timesteps": [1.0, np.nan], "results": [[1.0], [2.0]]}, "must be integers"),
        ({"timesteps": [1.2, 1.7], "results": [[1.0], [2.0]]}, "must be integers"),
        ({"timesteps": [1], "results": [["1.0"]]}, "real numbers"),
        ({"timesteps": [1], "results": [[1j]]}, "real numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path: Path, arrays: Mapping[str, Any], message: str) -> None:
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(BadInput, match=rf"e\.npz.*{message}"):
        from_evaluations(tmp_path / "e.npz", **place())


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"nonsense", NPY])
def test_what_is_no_archive_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "e.npz").write_bytes(data)
    for path in (tmp_path / "e.npz", tmp_path / "absent.npz", tmp_path):
        with pytest.raises(BadInput, match=re.escape(str(path))):
            from_evaluations(path, **place())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_byte_is_refused_or_harmless(tmp_path: Path, save: Any) -> None:
    """Flip every byte of an archive: the numbers are right, or there are none."""
    archive, file = io.BytesIO(), tmp_path / "e.npz"
    save(archive, timesteps=[100, 200], results=[[1.0, 3.0], [5.0, 6.0]])
    refused = 0
    for index in range(len(archive.getvalue())):
        damaged = bytearray(archive.getvalue())
        damaged[index] ^= 0xFF
        file.write_bytes(damaged)
        try:
            assert curve(from_evaluations(file, **place())) == ([100, 200], [2.0, 5.5]), index
        except BadInput:
            refused += 1
    assert refused > len(archive.getvalue()) / 2


def test_an_archive_torn_at_any_byte_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.npz").read_bytes()
    for end in range(0, len(whole), 7):
        (tmp_path / "e.npz").write_bytes(whole[:end])
        with pytest.raises(BadInput, match=r"e\.npz"):
            from_evaluations(tmp_path / "e.npz", **place())


@pytest.mark.parametrize(
    "header", [b"{'descr': ((", b"{'descr': '<f8', 'shape': (01,), }", b"{'descr': '<f8', b'shape': (0,), }"]
)
def test_a_header_that_is_no_header_is_refused(tmp_path: Path, header: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("timesteps.npy", NPY[:10] + header.ljust(117) + b"\n")
    with pytest.raises(BadInput, match=r"e\.npz cannot be read"):
        from_evaluations(tmp_path / "e.npz", **place())


@pytest.mark.parametrize("length", [10**15, 10**18, 10**30])
def test_an_array_that_claims_more_than_memory_is_refused(tmp_path: Path, length: int) -> None:
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        for name in ("timesteps.npy", "results.npy"):
            shape = f"({length},), }}".encode()
            archive.writestr(name, NPY[:10] + NPY[10:].replace(b"(0,), }", shape).ljust(118)[:117] + b"\n")
    with pytest.raises(BadInput, match=r"e\.npz cannot be read"):
        from_evaluations(tmp_path / "e.npz", **place())


@pytest.mark.parametrize("bad", [(np.nan, 1.0), (np.inf, 1.0), (np.inf, -np.inf)])
def test_returns_that_are_not_finite_are_a_diverged_run(tmp_path: Path, bad: tuple[float, float]) -> None:
    run = from_evaluations(written(tmp_path / "e.npz", [(1.0, 2.0), bad]), **place())
    assert (run.status, standing(run)) == ("diverged", "diverged")
    lines = "".join(f"{value},10,{time}\n" for time, value in enumerate(bad))
    assert (
        from_monitor(monitored(tmp_path / "m.csv", HEAD + "r,l,t\n" + lines), every=20, **place()).status == "diverged"
    )


@pytest.mark.parametrize("density", [0.0, -0.1, 90.0, float("nan")])
def test_a_density_is_a_share(tmp_path: Path, density: float) -> None:
    with pytest.raises(BadInput, match=r"in \(0, 1\]"):
        from_evaluations(written(tmp_path / "e.npz"), **{**place(), "density": density})


# Monitor ----------------------------------------------------------------------------------------------------


def test_training_episodes_stand_at_the_end_of_their_steps(tmp_path: Path) -> None:
    file = monitored(tmp_path / "m.csv")
    assert curve(from_monitor(file, every=400, **place())) == ([400, 800], [-9.5, -4.0])
    assert curve(from_monitor(str(file), every=150, **place())) == ([300, 450, 600], [-10.5, -8.5, -4.0])


@settings(deadline=None)
@given(
    episodes=st.lists(st.tuples(st.integers(-1000, 1000), st.integers(1, 50)), min_size=1),
    every=st.integers(1, 200),
)
def test_bins_are_the_means_of_the_episodes_that_ended_in_them(
    tmp_path_factory: pytest.TempPathFactory, episodes: list[tuple[int, int]], every: int
) -> None:
    """Against the definition, written as a loop."""
    bins: dict[int, list[int]] = {}
    end = 0
    for gained, length in episodes:
        end += length
        step = next(step for step in range(every, end + every, every) if step - every < end <= step)
        bins.setdefault(step, []).append(gained)
    lines = "".join(f"{gained},{length},{time}\r\n" for time, (gained, length) in enumerate(episodes))
    file = monitored(tmp_path_factory.mktemp("bins") / "m.csv", f"{HEAD}r,l,t\r\n{lines}")
    steps, returns = curve(from_monitor(file, every=every, **place()))
    assert steps == list(bins)
    assert returns == pytest.approx([sum(values) / len(values) for values in bins.values()])


FURTHER = MONITOR.replace("r,l,t", "r,l,t,why").replace("0\r\n", '0,"é ""so"", and\nso"\r\n')
LAST = '-4.0,200,3.25,"é ""so"", and\nso"\r\n'


@pytest.mark.parametrize(
    ("text", "last"),
    [(MONITOR, "-4.0,200,3.25\r\n"), (FURTHER.replace("-4.0,200,3.25\r\n", LAST), LAST)],
    ids=["plain", "a quoted column with line feeds"],
)
def test_a_line_torn_at_any_byte_costs_that_episode_alone(tmp_path: Path, text: str, last: str) -> None:
    whole = text.encode()
    begin = len(whole) - len(last.encode())
    assert curve(from_monitor(monitored(tmp_path / "m.csv", whole), every=200, **place()))[1] == [-10.5, -8.5, -4.0]
    assert curve(from_monitor(monitored(tmp_path / "m.csv", whole[:begin]), every=200, **place()))[1] == [-10.5, -8.5]
    for end in range(begin + 1, len(whole)):
        monitored(tmp_path / "m.csv", whole[:end])
        with pytest.warns(UserWarning, match=r"m\.csv: the last line was torn"):
            run = from_monitor(tmp_path / "m.csv", every=200, **place())
        assert curve(run) == ([200, 400], [-10.5, -8.5]), end


@pytest.mark.filterwarnings("ignore:.*the last line was torn")
def test_a_file_torn_at_any_byte_gives_its_first_episodes_or_is_refused(tmp_path: Path) -> None:
    for end in range(len(MONITOR)):
        monitored(tmp_path / "m.csv", MONITOR[:end])
        if end < len(HEAD) - 1:
            with pytest.raises(BadInput, match=r"m\.csv"):
                from_monitor(tmp_path / "m.csv", every=200, **place())
        else:
            returns = from_monitor(tmp_path / "m.csv", every=200, **place()).returns.tolist()
            assert returns == [-10.5, -8.5, -4.0][: MONITOR[:end].count("\n") - 2 if end > len(HEAD) + 7 else 0], end


def test_blank_lines_are_no_episodes(tmp_path: Path) -> None:
    """Older versions ended lines twice on Windows."""
    file = monitored(tmp_path / "m.csv", MONITOR.replace("\r\n", "\r\r\n"))
    assert curve(from_monitor(file, every=200, **place()))[1] == [-10.5, -8.5, -4.0]


def test_a_run_in_which_no_episode_ended_has_failed(tmp_path: Path) -> None:
    for text in (HEAD, HEAD + "r,l,t\r\n"):
        run = from_monitor(monitored(tmp_path / "m.csv", text), every=200, **place())
        assert (run.status, run.note, curve(run)) == ("failed", "no episode ended", ([], []))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("r,l,t\n1,2,3\n", "does not begin with #"),
        ("#no\nr,l,t\n", "JSON"),
        ("#[]\nr,l,t\n", "JSON"),
        ("#{}\nr,t\n1,2\n", "needs r, l and t"),
        ("#{}\nr,l,t\n1,x,1\n", "line 3 is no episode"),
        ("#{}\nr,l,t\n1,1,1\n1,0,1\n", "line 4 has an episode of 0 steps"),
        ("#{}\nr,l,t\n1,1.5,1\n", "1.5 steps"),
        ("#{}\nr,l,t\n1,nan,1\n", "nan steps"),
        ("#{}\nr,l,t\n1,1e300,1\n", r"1e\+300 steps"),
        ("#{}\nr,l,t\n-4.0,10,200,1.0\n", "line 3 has 4 fields under 3 columns"),
        ("#{}\nr,l,t\n-4.0,10\n", "line 3 has 2 fields"),
        (f"#{{}}\nr,l,t\n{'1' * 200_000},2,3\n", "is no CSV"),
    ],
)
def test_what_is_no_monitor_file_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=rf"m\.csv.*{message}"):
        from_monitor(monitored(tmp_path / "m.csv", text), every=10, **place())


def test_an_absent_monitor_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"m\.csv cannot be read \(No such file"):
        from_monitor(tmp_path / "m.csv", every=10, **place())
    with pytest.raises(BadInput, match=r"has no file named \*monitor\.csv"):
        from_monitor(tmp_path, every=10, **place())


@pytest.mark.parametrize("every", [0, -1, True, 1e3, None, 10**30])
def test_bins_are_counted_in_steps(tmp_path: Path, every: Any) -> None:
    with pytest.raises(BadInput, match="every is"):
        from_monitor(monitored(tmp_path / "m.csv"), every=every, **place())


def vector(folder: Path) -> Path:
    """Two environments of one run: the second began half a second later."""
    monitored(folder / "0.monitor.csv", '#{"t_start": 10.0, "env_id": "P"}\nr,l,t\n1,10,1.0\n3,30,3.0\n')
    monitored(folder / "1.monitor.csv", '#{"t_start": 10.5, "env_id": "P"}\nr,l,t\n2,20,0.75\n4,40,9.0\n')
    return folder


def test_files_of_a_vector_are_merged_by_time_and_their_steps_add_up(tmp_path: Path) -> None:
    run = from_monitor(vector(tmp_path), every=1, **place())
    assert curve(run) == ([10, 30, 60, 100], [1.0, 2.0, 3.0, 4.0])
    files = [tmp_path / "1.monitor.csv", tmp_path / "0.monitor.csv"]
    assert curve(from_monitor(files, every=1, **place())) == curve(run)
    assert curve(from_monitor(files[0], every=1, **place())) == ([20, 60], [2.0, 4.0])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('#{"t_start": 1.0, "env_id": "Q"}\nr,l,t\n1,1,1\n', "is of Q and .* of P"),
        ('#{"env_id": "P"}\nr,l,t\n1,1,1\n', "no number t_start"),
        ('#{"t_start": NaN, "env_id": "P"}\nr,l,t\n1,1,1\n', "no number t_start"),
        (f'#{{"t_start": {"1" * 400}, "env_id": "P"}}\nr,l,t\n1,1,1\n', "no number t_start"),
        ('#{"t_start": 1.0, "env_id": "P"}\nr,l,t\n1,1,5\n1,1,2\n', "times t that fall"),
        ('#{"t_start": 1.0, "env_id": "P"}\nr,l,t\n1,1,nan\n', "times t that fall"),
    ],
)
def test_files_without_a_common_clock_are_not_merged(tmp_path: Path, second: str, message: str) -> None:
    monitored(vector(tmp_path) / "1.monitor.csv", second)
    with pytest.raises(BadInput, match=message):
        from_monitor(tmp_path, every=1, **place())


def test_a_file_counts_once(tmp_path: Path) -> None:
    file = monitored(tmp_path / "m.csv")
    with pytest.raises(BadInput, match="names a file twice"):
        from_monitor([file, str(file)], every=1, **place())


def test_a_run_that_was_continued_in_its_file_is_read_on(tmp_path: Path) -> None:
    file = monitored(tmp_path / "m.csv", MONITOR + "-1.0,100,0.5\r\n")
    assert curve(from_monitor(file, every=100, **place())) == ([200, 400, 600, 700], [-10.5, -8.5, -4.0, -1.0])
