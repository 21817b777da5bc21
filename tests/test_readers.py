"""Files of Stable-Baselines3: read as they were meant, refused where they are not, and never executed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from studies.problems import BadInput
from studies.readers import from_evaluations, from_monitor
from studies.statistics import standing, summary
from studies.table import table

MONITOR = '#{"t_start": 1.5, "env_id": "Pendulum-v1"}\nr,l,t\n-10.5,200,1.0\n-8.5,200,2.0\n-4.0,200,3.0\n'


NPY = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }".ljust(127) + b"\n"


def place(seed: int = 0) -> dict[str, object]:
    return {"label": "SB3", "agent": "td3", "env": "Pendulum-v1", "density": None, "seed": seed}


def test_evaluations_are_averaged_over_their_episodes(tmp_path: Path) -> None:
    file = tmp_path / "evaluations.npz"
    np.savez(file, timesteps=[100, 200], results=[[1.0, 3.0], [5.0, 6.0]], ep_lengths=[[9, 9], [9, 9]])
    run = from_evaluations(file, **place())
    assert (run.steps.tolist(), run.returns.tolist()) == ([100, 200], [2.0, 5.5])


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    import gymnasium
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.monitor import Monitor

    env = Monitor(gymnasium.make("Pendulum-v1"), str(tmp_path / "it"))
    look = Monitor(gymnasium.make("Pendulum-v1"))
    callback = EvalCallback(look, eval_freq=200, n_eval_episodes=2, log_path=str(tmp_path), verbose=0)
    sb3.TD3("MlpPolicy", env, learning_starts=1000, seed=0).learn(600, callback=callback)
    episodes = env.get_episode_rewards()
    env.close()
    look.close()
    evaluated = from_evaluations(tmp_path / "evaluations.npz", **place())
    assert evaluated.steps.tolist() == [200, 400, 600]
    trained = from_monitor(tmp_path / "it.monitor.csv", every=200, **place())
    assert trained.steps.tolist() == [200, 400, 600]
    assert trained.returns == pytest.approx(episodes, abs=1e-5)


def test_training_episodes_stand_at_the_end_of_their_steps(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(MONITOR)
    run = from_monitor(tmp_path / "m.csv", every=400, **place())
    assert (run.steps.tolist(), run.returns.tolist()) == ([400, 800], [-9.5, -4.0])


def test_a_line_torn_at_any_byte_costs_that_episode_alone(tmp_path: Path) -> None:
    last = MONITOR.rindex("-4.0")
    for end in range(last + 1, len(MONITOR)):
        (tmp_path / "m.csv").write_text(MONITOR[:end])
        with pytest.warns(UserWarning, match=r"m\.csv: the last line was torn"):
            run = from_monitor(tmp_path / "m.csv", every=200, **place())
        assert run.returns.tolist() == [-10.5, -8.5], end


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    file, trace = tmp_path / "evaluations.npz", tmp_path / "trace"
    np.savez(file, timesteps=np.array([1]), results=np.array([Canary(trace)], dtype=object))
    with pytest.raises(BadInput, match="never loaded"):
        from_evaluations(file, **place())
    assert not trace.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"timesteps": [1]}, "has no array 'results"),
        ({"timesteps": [1, 2], "results": [[1.0]]}, r"must be \(n,\)"),
        ({"timesteps": [1], "results": [1.0]}, r"must be \(n,\)"),
        ({"timesteps": [2, 1], "results": [[1.0], [2.0]]}, "do not rise"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    np.savez(tmp_path / "e.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=message):
        from_evaluations(tmp_path / "e.npz", **place())


@pytest.mark.parametrize(
    "text", ["", "r,l,t\n1,2,3\n", "#{}\nr,t\n1,2\n", "#{}\nr,l\n1,x\n", "#{}\nr,l\n1,0\n", "#no\nr,l\n"]
)
def test_what_is_no_monitor_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(BadInput, match=r"m\.csv"):
        from_monitor(tmp_path / "m.csv", every=10, **place())


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"nonsense", NPY])
def test_what_is_no_archive_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "e.npz").write_bytes(data)
    for path in (tmp_path / "e.npz", tmp_path / "absent.npz"):
        with pytest.raises(BadInput, match=path.name):
            from_evaluations(path, **place())


def test_statistics_and_tables_take_such_runs(tmp_path: Path) -> None:
    runs = []
    for seed, last in enumerate([5.0, 7.0, float("nan")]):
        np.savez(tmp_path / f"{seed}.npz", timesteps=[100, 200], results=[[1.0], [last]])
        runs.append(from_evaluations(tmp_path / f"{seed}.npz", **place(seed)))
    assert [standing(run) for run in runs] == ["done", "done", "diverged"]
    (row,) = summary(runs)
    assert (row.score.point, row.done, row.diverged) == (6.0, 2, 1)
    assert "2 of 3, 1 diverged" in table(runs, {}, format="text", title="")


def test_the_page_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for label, shift in (("dense", 0), ("sparse", 2)):
        for seed in range(2):
            folder = tmp_path / "logs" / label / str(seed)
            folder.mkdir(parents=True)
            np.savez(folder / "evaluations.npz", timesteps=[100, 200], results=[[0.0], [seed + shift]])
    page = (Path(__file__).parents[1] / "docs" / "your-runs.md").read_text()
    exec(page.split("```python\n")[1].split("```")[0], {})
    shown = capsys.readouterr().out
    assert "Mine" in shown
    assert "sparse Difference(point=2.0" in shown
