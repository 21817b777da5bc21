"""`sparsity bench`: contestants run one at a time, and the tables say what was measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lab import sparsity
from numpy.random import SeedSequence

from registry import part
from rl.td3 import td3
from sparsity import STATIC, Sparsifier
from sparsity.execution import crossover
from studies import cli
from studies.bench import calibrate, layer, peers, race, words, worker
from studies.bench.drawing import draw, proportional
from studies.bench.paced import Paced
from studies.bench.plan import Contestant, Group, Plan, Setting
from studies.bench.results import GroupResult, Measured, Results, ratio
from studies.bench.sections import SECTIONS, kernels_of, page, speed_of
from studies.problems import BadInput
from studies.stored import stored

DENSE, MASKED, SPARSE, SBX = (
    Contestant("dense"),
    Contestant("masked", 0.1),
    Contestant("sparse", 0.1),
    Contestant("sbx"),
)
TINY = ("--widths", "16", "--batches", "8", "--densities", "0.5", "--threads", "1", "--repeats", "1")


def measured(who: Contestant, update: list[float], step: list[float] | None = None, **more: Any) -> Measured:
    """Times in milliseconds."""
    seconds = {"update": update, "step": step or update, **more}
    return Measured(who, seconds={work: [t / 1000 for t in times] for work, times in seconds.items()})


def a_group(**setting: Any) -> GroupResult:
    """Three repeats of three contestants, and one that could not start."""
    return GroupResult(
        Setting(**{"width": 256, "batch": 256} | setting),
        [
            measured(DENSE, [8, 8, 8], [9, 9, 9], fixed=[1, 1, 1]),
            measured(SPARSE, [2, 2, 4], [3, 3, 5]),
            measured(SBX, [4, 6, 10], [9, 12, 18]),
            Measured(MASKED, problem="ValueError: no"),
        ],
    )


# Numbers.


def test_a_ratio_is_of_medians_and_of_each_repeat() -> None:
    """4/2, 6/2, 10/4 = 2, 3, 2.5; the medians are 6 and 2."""
    found = ratio([4, 6, 10], [2, 2, 4])
    assert found.of_medians == 3
    assert found.repeats == (2.5, 2, 3)


def test_the_table_says_medians_ranges_rates_and_ratios() -> None:
    """The sparse row by hand: update 2 [2, 4], step 3 [3, 5], 333 a second; steps 9/3, 12/3, 18/5 = 3, 4, 3.6."""
    lines = speed_of(a_group()).splitlines()
    [sparse] = [line for line in lines if "sparse" in line]
    cells = [cell.strip() for cell in sparse.strip("|").split("|")]
    assert cells == [
        *("ours, sparse", "0.1", "2.00 [2.00, 4.00]", "3.00 [3.00, 5.00]", "333"),
        *("3.00; 2.50 [2.00, 3.00]", "4.00; 3.60 [3.00, 4.00]"),
    ]
    assert "update, x SBX" in lines[2]
    assert "Not measured: ours, masked (0.1): ValueError: no" in "\n".join(lines)


def test_ratios_are_to_the_next_best_where_sbx_is_missing() -> None:
    group = a_group()
    assert group.reference is group.find("sbx")
    group.measured[2].problem = "not installed"
    assert group.reference is group.find("dense")
    assert "update, x ours, dense" in speed_of(group)


def test_an_event_is_told_beside_the_median_that_hides_it() -> None:
    """4 ms every 1,000 updates of 2 ms: 0.2 %."""
    group = a_group()
    group.measured[1].facts["event"] = {"seconds": 0.004, "every": 1000}
    assert "Events of ours, sparse, 0.1: 4.0 ms every 1,000 updates, +0.2 % of an update" in speed_of(group)


def test_the_bars_are_met_or_missed() -> None:
    """Steps: dense 9/9, 12/9, 18/9, median 1.33 of 1.1; at 0.1 the median is 3.6 of 2.7 and 3.5."""
    text = page(Results([a_group()]))
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if "times SBX:" in line]
    assert rows[0][1:] == ["1.00", "1.10", "1.33 [1.00, 2.00]", "ok", "ok"]
    assert rows[2][1:] == ["2.70", "3.50", "3.60 [3.00, 4.00]", "ok", "ok"]
    assert rows[3][3:] == ["-", "-", "-"]
    slow = a_group()
    slow.measured[1] = measured(SPARSE, [2, 2, 2], [3, 4, 6])
    assert "| 3.00 [3.00, 3.00] |            ok |       missed |" in page(Results([slow]))


def test_bars_that_were_not_tried_are_left_out() -> None:
    assert "Bars" not in page(Results([a_group(width=16)]))


def test_time_in_proportion_leaves_the_fixed_part() -> None:
    assert proportional(np.array([1.0, 0.5, 0.0]), 8.0, 2.0).tolist() == [8.0, 5.0, 2.0]


def test_every_section_is_on_the_page() -> None:
    results = Results([a_group()], world={"torch": "2"})
    for section in SECTIONS:
        assert section(results) in page(results)


def test_bytes_of_a_dense_and_of_a_masked_agent() -> None:
    """float32, 17 and 6 inputs, width 16: an actor of 662 parameters, two critics of 673."""
    agent = td3(17, 6, 0, torch.device("cpu"), torch.float32, actor_hidden=(16, 16), critic_hidden=(16, 16))
    parameters = 4 * (662 + 2 * 673)
    kept = {"parameters": parameters, "moments": 0, "targets": parameters, "index": 0, "scratch": 0}
    assert stored(agent.learners(), []) == kept
    [critic, _] = agent.learners()
    sparsifier = Sparsifier(critic, STATIC, seed=SeedSequence(0))
    assert stored(agent.learners(), [sparsifier])["index"] >= 2 * 16 * (23 + 16), "a byte a connection at least"


def test_bytes_of_a_sparse_agent_count_index_tail_and_scratch() -> None:
    """Of hidden layers of 16 at 0.1, an index and a place of 8 bytes a connection; the slow copy shares the index."""
    agent = td3(17, 6, 0, torch.device("cpu"), torch.float32, actor_hidden=(16, 16), critic_hidden=(16, 16))
    [critic, _] = agent.learners()
    method = replace(STATIC, allocation=part("uniform", density=0.1))
    sparsifier = Sparsifier(critic, method, seed=SeedSequence(0), execution="sparse")
    assert critic.target is not None
    online, slow = critic.module.stack, critic.target.module.stack
    kept = stored([critic], [sparsifier])
    assert kept["parameters"] == kept["targets"] == 4 * online.values.numel()
    assert slow.pattern is online.pattern
    active = sum(each.active for each in sparsifier.densities())
    assert kept["index"] == pytest.approx(online.pattern.nbytes + 8 * active, abs=64)
    assert kept["scratch"] == 0
    slow.memory = torch.cat([slow.memory, torch.ones(3)])  # A tail of three, laid out as slow copies do it.
    slow.values.data = slow.memory[:-3]
    assert stored([critic], [sparsifier])["targets"] == kept["targets"] + 12


# One layer.


@pytest.fixture
def denormals() -> Iterator[None]:
    """Measuring flushes them in its process, which here is ours."""
    yield
    torch.set_flush_denormal(False)


def test_a_layer_is_the_difference_of_two_networks() -> None:
    """10 calls of 3 ms, of which 1 ms is taken off, over two layers: 10 ms."""
    now = [0.0]

    def lasting(seconds: float) -> Any:
        return lambda: now.__setitem__(0, now[0] + seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer.time, "perf_counter", lambda: now[0])
        assert layer.Work((lasting(0.003),), (lasting(0.001),), 2).seconds(10) == pytest.approx(0.01)


def test_sparse_passes_of_a_layer_are_timed_at_every_density(denormals: None) -> None:
    runner = layer.passes(Setting(16, 8))
    warm = runner.warm()
    works = [f"{name} {d}" for d in ("dense", "0.5", "0.2", "0.1", "0.05", "0.02")
             for name in ("forward", "weights", "inputs")]  # fmt: skip
    assert sorted(warm["seconds"]) == sorted(works)
    assert warm["facts"]["active"]["0.5"] == 0.5
    assert all(runner.block(work, 2) > 0 for work in works)


def test_the_table_of_kernels_says_shares_of_the_dense_rate() -> None:
    """By hand: 2 x 100 x 10 x 10 = 20,000 operations in 10 us are 2 GFLOP/s; a tenth of them in 2 us, half of that."""
    one = Measured(Contestant("layer"), facts={"active": {"0.1": 0.1}, "expanded": []})
    one.seconds = {"forward dense": [1e-5, 1e-5], "forward 0.1": [2e-6, 2e-6]}
    [row] = [line for line in kernels_of(GroupResult(Setting(10, 100), [one])).splitlines() if "0.1" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["forward", "0.1", "2.0", "10.0", "5.00 [5.00, 5.00]", "1.0", "2.0", "0.500"]


# The crossings.


def test_a_crossing_lies_between_densities_in_their_logarithms() -> None:
    """Gains 4, 2 and 0.5 at 0.1, 0.2 and 0.8: halfway from 0.2 to 0.8 on a scale of factors, which is 0.4."""
    gains = {0.8: (0.5, 0.5, 0.5), 0.1: (4.0, 4.0, 4.0), 0.2: (2.0, 2.0, 2.0)}
    assert calibrate.crossing(gains) == 0.4
    assert calibrate.crossing({0.2: (0.9, 0.9, 0.9), 0.5: (0.5, 0.5, 0.5)}) == 0, "it pays nowhere"
    assert calibrate.crossing({0.2: (3, 3, 3), 0.99: (1.5, 1.5, 1.5)}) == 0.95, "beyond, an index is worth nothing"


def test_the_table_is_rewritten_as_ruff_would_and_reads_back(tmp_path: Path) -> None:
    source = Path(crossover.__file__).read_text()
    expand, pays = {8: 0.5, 16: 0.333}, {(8, 100): 0.125, (8, 256): 0.95}
    written = calibrate.rewritten(source, EXPAND_FROM=expand, PAYS_BELOW=pays)
    read: dict[str, Any] = {}
    exec(written, read)
    assert read["EXPAND_FROM"] == {8: 0.5, 16: 0.33}
    assert read["PAYS_BELOW"] == {(8, 100): 0.12, (8, 256): 0.95}
    docstrings = [line for line in source.splitlines() if '"""' in line]
    assert [line for line in written.splitlines() if '"""' in line] == docstrings
    assert calibrate.rewritten(written, **{n: getattr(crossover, n) for n in ("EXPAND_FROM", "PAYS_BELOW")}) == source
    if ruff := shutil.which("ruff", path=str(Path(sys.executable).parent)):
        (tmp_path / "crossover.py").write_text(written)
        config = Path(__file__).parent.parent / "pyproject.toml"
        command = [ruff, "format", "--check", "--no-cache", "--config", str(config), str(tmp_path)]
        assert subprocess.run(command, capture_output=True).returncode == 0


class Inside:
    """A contestant that works in this process: starting one takes seconds."""

    def __init__(self, contestant: Contestant, setting: Setting, cores: tuple[int, ...]) -> None:
        self.runner = worker.built({"kind": contestant.kind, "density": contestant.density, "setting": asdict(setting)})

    def answer(self) -> dict[str, Any]:
        return {"cores": []}

    def ask(self, **order: Any) -> dict[str, Any]:
        return worker.done(self.runner, order)

    def close(self) -> None:
        pass


def test_calibration_measures_and_writes_both_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denormals: None
) -> None:
    monkeypatch.setattr(race, "Worker", Inside)
    table = tmp_path / "crossover.py"
    shutil.copy(crossover.__file__, table)
    for name, value in {"CALIBRATED_WIDTHS": (8,), "CALIBRATED_BATCHES": (4,), "DENSITIES": (0.3,)}.items():
        monkeypatch.setattr(calibrate, name, value)
    monkeypatch.setattr(calibrate, "EXPAND_BLOCK", 0.001)
    shown: list[str] = []
    calibrate.calibrate(Plan((), 1, block_seconds=0.005), lambda line: None, shown.append, table)
    read: dict[str, Any] = {}
    exec(table.read_text(), read)
    assert list(read["PAYS_BELOW"]) == [(8, 4)]
    assert list(read["EXPAND_FROM"]) == [8]
    assert 0 <= read["PAYS_BELOW"][8, 4] <= 0.95
    assert [each.split(":")[0] for each in shown[:2]] == ["before", "after"]
    assert str(crossover.PAYS_BELOW[256, 256]) in shown[0]


def test_a_calibration_that_fails_leaves_the_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "crossover.py"
    shutil.copy(crossover.__file__, table)
    monkeypatch.setattr(calibrate, "expanding", lambda *_: 0.5)
    monkeypatch.setattr(race, "Worker", Puppet)
    monkeypatch.setattr(Puppet, "fails", {"sparse": 1})
    with pytest.raises(BadInput, match=r"ours, sparse, 0.95 failed: gone"):
        calibrate.calibrate(Plan((), 1), lambda line: None, lambda line: None, table)
    assert table.read_text() == Path(crossover.__file__).read_text()


def test_calibration_of_a_package_that_is_not_ones_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate.os, "access", lambda path, how: False)
    answer = sparsity("bench", "--calibrate")
    assert answer.code == 2
    assert answer.err.count("\n") == len(answer.errors) == 1, answer.err
    assert str(Path(crossover.__file__).parent) in answer.err


# The race.


class Puppet:
    """A contestant's process that only notes what it is asked, and fails when it is told to."""

    log: list[tuple[str, str]] = []
    fails: Mapping[str, int] = {}

    def __init__(self, contestant: Contestant, setting: Setting, cores: tuple[int, ...]) -> None:
        self.kind, self.asked = contestant.kind, 0
        self.log.append((self.kind, "start"))

    def answer(self) -> dict[str, Any]:
        return {"cores": []}

    def ask(self, **order: Any) -> dict[str, Any]:
        self.log.append((self.kind, order["work"]))
        self.asked += 1
        if self.asked == self.fails.get(self.kind):
            raise race.Lost("gone")
        return {"seconds": {"update": 0.001}, "facts": {}} if order["work"] == "warm" else {"seconds": self.asked}

    def close(self) -> None:
        self.log.append((self.kind, "close"))


@pytest.fixture
def puppets(monkeypatch: pytest.MonkeyPatch) -> type[Puppet]:
    monkeypatch.setattr(race, "Worker", Puppet)
    monkeypatch.setattr(Puppet, "log", [])
    return Puppet


def run_race(*contestants: Contestant) -> GroupResult:
    group = Group(Setting(16, 8), contestants)
    return race.measure(group, Plan((group,), repeats=2), lambda _: None)


def test_contestants_take_turns_there_and_back(puppets: type[Puppet]) -> None:
    result = run_race(DENSE, MASKED)
    there = [(kind, work) for kind in ("dense", "masked") for work in ("update", "step")]
    back = there[2:] + there[:2]
    warm = [(kind, what) for what in ("start", "warm") for kind in ("dense", "masked")]
    assert puppets.log == [*warm, *back, *there, *back, ("dense", "close"), ("masked", "close")]
    one = result.find("dense")
    assert one is not None
    assert one.sizes == {"update": 250, "step": 166}
    assert one.seconds == {"update": [4 / 250, 6 / 250], "step": [5 / 166, 7 / 166]}, "the first blocks do not count"


def test_a_contestant_that_fails_is_left_out_and_the_others_go_on(
    puppets: type[Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puppets, "fails", {"masked": 4})
    result = run_race(DENSE, MASKED)
    assert result.find("masked", 0.1) is None
    assert result.measured[1].problem == "gone"
    assert [len(times) for times in result.measured[0].seconds.values()] == [2, 2]
    assert puppets.log.count(("masked", "close")) == 1


@dataclass(frozen=True)
class Odd(Setting):
    """A setting that no worker knows: it fails before it has imported anything heavy."""

    colour: str = "red"


def test_a_process_that_fails_says_why_in_a_line() -> None:
    started = race.Worker(DENSE, Odd(16, 8), ())
    try:
        with pytest.raises(race.Lost, match=r"TypeError: .*'colour'"):
            started.answer()
    finally:
        started.close()


class Short:
    """An environment of episodes of five steps; an observation is (episode, step)."""

    action_space = None

    def __init__(self) -> None:
        self.at = [0, 0]

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        self.at = [self.at[0] + 1, 0]
        return tuple(self.at), {}

    def step(self, action: Any, /) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.at[1] += 1
        return tuple(self.at), 0.0, False, self.at[1] == 5, {}


def test_a_paced_environment_stops_every_n_steps_and_goes_on_where_it_was() -> None:
    env = Paced(Short(), 3)
    seen = [env.reset()[0]]
    ends = []
    for step in range(1, 8):
        following, _, _, truncated, _ = env.step(None)
        if truncated:
            ends.append(step)
            following = env.reset()[0]
        seen.append(following)
    assert ends == [3, 5, 6], "every third, and where the episode really ends"
    assert seen == [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0), (2, 1), (2, 2)]


# The command.


@pytest.fixture
def without_sbx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.MODULES, "sbx", "no_such_module")


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "Plan", partial(Plan, block_seconds=0.02))


def test_the_command_measures_prints_and_keeps(tmp_path: Path, without_sbx: None, short_blocks: None) -> None:
    out = tmp_path / "made" / "bench"
    answer = sparsity("bench", *TINY, "--contestants", "dense,masked,sbx", "--method", "set", "--out", out)
    assert answer.code == 0, answer.err
    assert "plan: 3 contestants" in answer.err.splitlines()[0]
    assert "Not measured: SBX: no_such_module is not installed" in answer.out
    assert sorted(path.name for path in out.iterdir()) == [
        *("bench.json", "bench.md", "update-time.pdf", "update-time.png")
    ]
    kept = json.loads((out / "bench.json").read_text())
    dense, masked, sbx = kept["groups"][0]["measured"]
    assert all(len(dense["seconds"][work]) == 1 for work in ("update", "step", "fixed"))
    assert all(0 < dense["seconds"][work][0] < 1 for work in ("update", "step", "fixed"))
    assert masked["facts"]["flops"] < 1 == dense["facts"]["flops"]
    assert masked["facts"]["event"]["every"] == 1000
    assert sbx["problem"]
    assert kept["world"]["torch"] == torch.__version__
    assert "ours, masked" in (out / "bench.md").read_text()
    if sys.platform == "linux":
        assert dense["cores"] == [max(os.sched_getaffinity(0))]


BAD = {
    "widths": (("--widths", "0,16"), ("--widths", "0")),
    "word": (("--batches", "many"), ("--batches", "'many'")),
    "density": (("--densities", "1.5,0.5"), ("--densities", "1.5")),
    "nothing": (("--densities", ","), ("--densities", "nothing")),
    "contestants": (("--contestants", "dense,sbxx"), ("'sbxx'", "sbx, sb3")),
    "repeats": (("--repeats", "0"), ("--repeats", "0")),
    "core": (("--core", "4096"), ("--core", "4096")),
    "threads": (("--threads", "4096"), ("--threads", "4096")),
    "calibrate": (("--calibrate", "--widths", "32"), ("--calibrate", "leave --widths out")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_flags_are_a_line_and_exit_2(case: str, tmp_path: Path) -> None:
    flags, said = BAD[case]
    if case == "threads" and sys.platform != "linux":
        pytest.skip("the system does not say how many cores there are")
    answer = sparsity("bench", *flags, "--out", tmp_path / "bench")
    assert answer.code == 2
    assert answer.err.count("\n") == len(answer.errors) == 1, answer.err
    assert all(each in answer.err for each in said)
    assert not any(tmp_path.iterdir()), "nothing is written on exit 2"


def test_all_bad_flags_are_told_at_once(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    answer = sparsity("bench", "--widths", "x", "--repeats", "-1", "--out", taken)
    assert answer.code == 2
    assert len(answer.errors) == 3


def test_the_default_plan_has_both_threads_and_the_papers_setting() -> None:
    plan = words.plan(cli.Bench(out=Path("none")), (0, 1))
    titles = [group.setting.title for group in plan.groups]
    assert len(titles) == 7
    assert [title for title in titles if "2 threads" in title] == [
        "width 256, batch 256, 2 threads",
        "width 1024, batch 256, 2 threads",
    ]
    assert any("Sokar" in title for title in titles)
    assert plan.cores == (1, 0), "interrupts are served on the first"
    assert plan.minutes < 20


def test_quick_is_quick() -> None:
    plan = words.plan(cli.Bench(quick=True, out=Path("none")), (0, 1))
    assert [group.setting for group in plan.groups] == [Setting(256, 256)]
    assert plan.minutes < 2.5


def test_default_threads_that_there_are_no_cores_for_are_a_note() -> None:
    plan = words.plan(cli.Bench(out=Path("none")), (1,))
    assert all(group.setting.threads == 1 for group in plan.groups)
    assert any("2 threads" in line for line in plan.told())


# The figure.


def test_the_figure_is_drawn_as_png_and_pdf(tmp_path: Path) -> None:
    groups = [a_group(), a_group(batch=100), a_group(width=1024), a_group(threads=2)]
    paths = draw(Results(groups), tmp_path / "update-time")
    assert [path.name for path in paths] == ["update-time.png", "update-time.pdf"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_bytes().startswith(b"%PDF")


def test_no_figure_without_a_row_of_ours(tmp_path: Path) -> None:
    group = a_group()
    alone = replace(group, measured=[one for one in group.measured if one.contestant == SBX])
    assert draw(Results([alone]), tmp_path / "update-time") == []
