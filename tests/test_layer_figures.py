"""Figures of layers, churn and topologies: what is drawn is what the stored rows say, and every study gives a file or a
reason."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_plot
from lab import Lab
from matplotlib.figure import Figure
from matplotlib.text import Text
from safetensors.numpy import save_file

from studies.figures.churn import mask_churn
from studies.figures.layers import layer_densities
from studies.figures.page import NothingToDraw
from studies.figures.survival import survival
from studies.figures.topology import ABSENT, GONE, GROWN, ORIGINAL, TONES, tones, topology
from studies.history import histories, in_order
from studies.outcome import Outcome
from studies.plot import plot_study
from studies.sealed import write_sealed
from studies.store import Store
from studies.topologies import records

WARMUP, STEPS = 100, 1000
COLUMNS = ("update", "learner", "layer", "active", "dropped", "grown", "readmitted", "zeros")
LAYERS = {"actor": {"hidden.0.weight": (8, 4), "hidden.1.weight": (8, 8)}, "critic": {"hidden.0.weight": (2, 8, 6)}}
DRAWN: dict[str, Callable[..., list[Path]]] = {
    "layer-densities": layer_densities,
    "mask-churn": mask_churn,
    "topology": topology,
    "survival": survival,
}
Change = Callable[[int, int, np.random.Generator], tuple[int, int, int]]
"""Of the connections of a layer and the place of its event: how many leave, come, and leave and come back."""


def swap(active: int, event: int, draw: np.random.Generator) -> tuple[int, int, int]:
    k = active // 5
    return k, k, 1


def cut(active: int, event: int, draw: np.random.Generator) -> tuple[int, int, int]:
    return active // 4, 0, 0


def cut_and_swap(active: int, event: int, draw: np.random.Generator) -> tuple[int, int, int]:
    """The seed decides how much is swapped."""
    k = int(draw.integers(0, 3))
    return min(active, k + 2), k, 0


def still(active: int, event: int, draw: np.random.Generator) -> tuple[int, int, int]:
    return 0, 0, 0


class Made:
    """A store in which runs stand that never took place: rows of events, results and topologies by hand."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store")
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def run(
        self,
        label: str,
        seed: int = 0,
        *,
        change: Change | None = swap,
        every: int = 150,
        layers: Mapping[str, Mapping[str, tuple[int, ...]]] = LAYERS,
        density: float | None = 0.5,
        recorded: bool = True,
        **more: Any,
    ) -> Outcome:
        """A run with events at every so many updates; `change` None is dense."""
        number = len(self.tables)
        name = f"{number:016x}"
        folder = self.store.run_folder(name)
        folder.mkdir(parents=True)
        draw = np.random.default_rng([number, seed])
        masks = {
            (who, layer): draw.permuted(np.arange(np.prod(shape)) < np.prod(shape) // 2)
            for who, of in (layers if change else {}).items()
            for layer, shape in of.items()
        }
        first = {key: int(mask.sum()) for key, mask in masks.items()}
        rows, looks = [], {"000000000000": self.bits(masks)}
        for event, update in enumerate(range(every, STEPS - WARMUP + 1, every)):
            for key, mask in masks.items():
                if change is still or change is None:
                    continue
                dropped, grown, readmitted = change(int(mask.sum()), event, draw)
                leaving = draw.choice(np.flatnonzero(mask), dropped, replace=False)
                mask[draw.choice(np.flatnonzero(~mask), grown, replace=False)] = True
                mask[leaving] = False
                rows.append(
                    dict(zip(COLUMNS, (update, *key, int(mask.sum()), dropped, grown, readmitted, 0), strict=True))
                )
            looks[f"{WARMUP + update:012d}"] = self.bits(masks)
        self.tables[name] = rows
        with open(folder / "topology.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        ended: dict[str, dict[str, Any]] = {}
        for (who, layer), mask in masks.items():
            ended.setdefault(who, {})[layer] = {"active": int(mask.sum()), "size": mask.size, "target": 0}
        (folder / "result.json").write_text(json.dumps({"layers": ended}))
        (folder / "contents.json").write_text(json.dumps({"warmup": WARMUP}))
        if recorded:
            shapes = [[who, layer, layers[who][layer]] for who, layer in masks]
            save_file(looks, folder / "topologies.safetensors", {"layers": json.dumps(shapes)})
        written = {path.name: "" for path in folder.iterdir()}
        write_sealed(folder / "manifest.json", {"files": written, "bytes": dict.fromkeys(written, 0)})
        assert all(first[key] for key in first)
        steps = np.linspace(0, STEPS, 6).astype(np.int64)
        place = {"agent": "td3", "env": "HalfCheetah-v5", "status": "done", **more}
        return Outcome(label, density=density, seed=seed, steps=steps, returns=steps / 10.0, run=name, **place)

    @staticmethod
    def bits(masks: Mapping[Any, np.ndarray]) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.uint8), *(np.packbits(mask) for mask in masks.values())])

    def rows(self, run: Outcome, learner: str, layer: str | None = None) -> list[dict[str, Any]]:
        return [row for row in self.tables[run.run] if row["learner"] == learner and layer in (None, row["layer"])]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


figures = test_plot.figures


def words(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))


def titled(figure: Figure, title: str) -> Any:
    (ax,) = [ax for ax in figure.axes if title in ax.get_title().replace("\n", " ")]
    return ax


def at(line: Any, step: float) -> float:
    """What a line of stairs shows at a step."""
    x, y = line.get_xdata(), line.get_ydata()
    return float(y[np.flatnonzero(x <= step)[-1]])


# Layer densities.


def test_a_layer_begins_with_what_it_had_before_its_first_event(made: Made) -> None:
    run = made.run("GMP", change=cut)
    for one in histories(made.store, run.run):
        rows = made.rows(run, one.learner, one.layer)
        size = int(np.prod(LAYERS[one.learner][one.layer]))
        assert one.active.tolist() == [size // 2, *(row["active"] for row in rows)]
        assert one.steps.tolist() == [0, *(WARMUP + row["update"] for row in rows)]
        assert one.size == size


def test_layers_are_in_the_order_of_their_numbers() -> None:
    names = ["hidden.10.weight", "head.weight", "hidden.2.weight", "0.weight"]
    assert sorted(names, key=in_order) == ["0.weight", "head.weight", "hidden.2.weight", "hidden.10.weight"]


def test_the_lines_are_the_densities_of_the_rows_averaged_over_seeds(
    made: Made, tmp_path: Path, figures: list[Figure]
) -> None:
    seeds = [made.run("GraNet", seed, change=cut_and_swap, every=100 + 50 * seed) for seed in range(3)]
    layer_densities(made.store, seeds, tmp_path / "a")
    ax = titled(figures[0], "GraNet (n = 3), density 0.5")
    names = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert names == ["actor hidden.0", "actor hidden.1", "critic hidden.0"]
    assert len(ax.lines) == 3
    for name, line in zip(names, ax.lines, strict=True):
        learner, layer = name.split()
        size = int(np.prod(LAYERS[learner][f"{layer}.weight"]))
        for step in (0, 199, 200, 250, 251, 400, 777, STEPS):
            heights = []
            for run in seeds:
                past = [r["active"] for r in made.rows(run, learner, f"{layer}.weight") if r["update"] + WARMUP <= step]
                heights.append((past or [size // 2])[-1] / size)
            assert at(line, step) == pytest.approx(np.mean(heights))


def test_rows_that_keep_the_same_densities_share_a_panel(made: Made, tmp_path: Path, figures: list[Figure]) -> None:
    runs = [made.run(label, seed) for label in ("SET", "RigL") for seed in range(2)]
    runs += [
        made.run("static", change=still),
        made.run("GMP", change=cut),
        made.run("dense", change=None, density=None),
    ]
    layer_densities(made.store, runs, tmp_path / "a")
    titles = [ax.get_title().replace("\n", " ") for ax in figures[0].axes]
    assert titles == ["SET, RigL, static (n = 1 to 2), density 0.5", "GMP (n = 1), density 0.5"]
    assert "Every layer keeps its density in: SET at 0.5; RigL at 0.5; static at 0.5." in words(figures[0])
    assert "Without sparse layers: dense." in words(figures[0])


def test_a_study_in_which_no_density_changes_is_shown_by_layer(
    made: Made, tmp_path: Path, figures: list[Figure]
) -> None:
    thin = {"actor": {"hidden.0.weight": (8, 4)}}
    runs = [made.run("SET"), made.run("static", change=still), made.run("narrow", layers=thin)]
    layer_densities(made.store, runs, tmp_path / "a")
    (ax,) = figures[0].axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [
        "actor\nhidden.0",
        "actor\nhidden.1",
        "critic\nhidden.0",
    ]
    points = [line for line in ax.lines if line.get_marker() != "None"]
    assert len(points) == 3 + 3 + 1
    assert {float(line.get_ydata()[0]) for line in points} == {0.5}
    assert "No layer ever changes its density." in words(figures[0])


# Churn.


def test_churn_is_the_sum_of_what_was_replaced_at_the_events_of_a_network(
    made: Made, tmp_path: Path, figures: list[Figure]
) -> None:
    runs = [made.run("SET", seed, every=100) for seed in range(2)]
    runs += [made.run("GraNet", seed, change=cut_and_swap) for seed in range(2)]
    mask_churn(made.store, runs, tmp_path / "a")
    for learner, of in LAYERS.items():
        ax = titled(figures[0], f"{learner}, density 0.5")
        for line, label in zip(ax.lines, ("SET", "GraNet"), strict=True):
            for step in (0, 199, 200, 250, 650, STEPS):
                heights = []
                for run in (run for run in runs if run.label == label):
                    active, total = sum(int(np.prod(shape)) // 2 for shape in of.values()), 0.0
                    rows = [row for row in made.rows(run, learner) if row["update"] + WARMUP <= step]
                    for update in sorted({row["update"] for row in rows}):
                        now = [row for row in rows if row["update"] == update]
                        dropped, grown = (sum(row[what] for row in now) for what in ("dropped", "grown"))
                        total += 100 * min(dropped, grown) / active
                        active += grown - dropped
                    heights.append(total)
                assert at(line, step) == pytest.approx(np.mean(heights))


def test_a_swap_between_layers_counts_once(made: Made, tmp_path: Path, figures: list[Figure]) -> None:
    """Four of 48 connections leave one layer of the actor, and four come in the other."""
    run = made.run("DSR", change=still)
    folder = made.store.run_folder(run.run)
    rows = ["200,actor,hidden.0.weight,12,4,0,9,0", "200,actor,hidden.1.weight,36,0,4,9,0"]
    (folder / "topology.csv").write_text("\n".join([",".join(COLUMNS), *rows, ""]))
    mask_churn(made.store, [run], tmp_path / "a")
    (line,) = titled(figures[0], "actor").lines
    assert [at(line, step) for step in (299, 300)] == [0, pytest.approx(100 * 4 / 48)]


def test_methods_that_replace_nothing_are_named(made: Made, tmp_path: Path, figures: list[Figure]) -> None:
    idle = [made.run("static", change=still), made.run("GMP", change=cut), made.run("dense", change=None, density=None)]
    with pytest.raises(NothingToDraw, match="no method replaces connections"):
        mask_churn(made.store, idle, tmp_path / "a")
    mask_churn(made.store, [*idle, made.run("SET")], tmp_path / "a")
    assert "No connection is replaced in: static at 0.5; GMP at 0.5; dense." in words(figures[0])
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["SET (n = 1)"]


# Topologies.


def test_a_connection_is_original_grown_gone_or_absent() -> None:
    before, after = np.array([[True, True, False, False]]), np.array([[True, False, True, False]])
    assert tones(np.stack([before, after]))[1].tolist() == [[ORIGINAL, GONE, GROWN, ABSENT]]


def looked_at(made: Made, run: Outcome, layer: tuple[str, str]) -> np.ndarray:
    """A layer's masks, by hand from the bits."""
    from safetensors.numpy import load_file

    places = [(who, name) for who, of in LAYERS.items() for name in of]
    sizes = [int(np.prod(LAYERS[who][name])) for who, name in places]
    start = sum(size // 8 for size in sizes[: places.index(layer)])
    shape = LAYERS[layer[0]][layer[1]]
    looks = sorted(load_file(made.store.run_folder(run.run) / "topologies.safetensors").items())
    bits = [np.unpackbits(look)[8 * start :][: int(np.prod(shape))] for _, look in looks]
    return np.stack(bits).astype(bool).reshape(-1, *shape)


def test_the_picture_shows_the_masks_and_the_fan_outs(made: Made, tmp_path: Path, figures: list[Figure]) -> None:
    run = made.run("SET")
    topology(made.store, [run], tmp_path / "a", layer="critic/hidden.0")
    *pictures, heat, _ = figures[0].axes
    masks = looked_at(made, run, ("critic", "hidden.0.weight"))[:, 0]
    order = np.lexsort((-masks[0].sum(1), -masks[-1].sum(1)))
    assert [ax.get_title() for ax in pictures] == ["start", "step 400", "step 700", "step 1,000"]
    for ax, time in zip(pictures, (0, 2, 4, 6), strict=True):
        image = np.asarray(ax.images[0].get_array())
        for unit, row in enumerate(order):
            for entry in range(6):
                was, now = masks[0, row, entry], masks[time, row, entry]
                tone = TONES[(ORIGINAL if was else GROWN) if now else (GONE if was else ABSENT)]
                assert "#" + "".join(f"{round(255 * part):02x}" for part in image[entry, unit]) == tone
    shown = np.asarray(heat.collections[0].get_array())
    assert shown == pytest.approx(masks.mean(axis=1).T)
    assert "critic, hidden.0.weight of the first of its members" in words(figures[0])


def test_layers_with_all_their_connections_are_passed_over(made: Made, tmp_path: Path, figures: list[Figure]) -> None:
    sparse, full = made.run("SET"), made.run("full", change=still)
    file = made.store.run_folder(full.run) / "topologies.safetensors"
    shapes = [[who, name, shape] for who, of in LAYERS.items() for name, shape in of.items()]
    bits = np.full((32 + 64 + 96) // 8, 255, np.uint8)
    save_file({"000000000000": bits, f"{STEPS:012d}": bits[:0]}, file, {"layers": json.dumps(shapes)})
    topology(made.store, [full, sparse], tmp_path / "a")
    assert "Not shown, for this layer has all its connections: full at 0.5." in words(figures[0])
    assert len(figures[0].axes) == 6
    with pytest.raises(NothingToDraw, match=r"actor/hidden.0.weight has all its connections in every run"):
        topology(made.store, [full], tmp_path / "b")


def test_survival_is_what_is_left_of_the_first_mask(made: Made, tmp_path: Path, figures: list[Figure]) -> None:
    runs = [made.run("SET", seed) for seed in range(2)]
    survival(made.store, runs, tmp_path / "a")
    for learner, of in LAYERS.items():
        (line,) = titled(figures[0], learner).lines
        heights = []
        for run in runs:
            masks = np.concatenate([looked_at(made, run, (learner, name)).reshape(7, -1) for name in of], axis=1)
            heights.append([100 * np.sum(mask & masks[0]) / np.sum(masks[0]) for mask in masks])
        assert line.get_ydata() == pytest.approx(np.mean(heights, axis=0))
        assert line.get_xdata().tolist() == [0, 250, 400, 550, 700, 850, 1000]


def test_runs_without_a_record_are_missing_and_said_to_be(made: Made, tmp_path: Path, figures: list[Figure]) -> None:
    runs = [made.run("SET", seed, recorded=seed > 0) for seed in range(3)]
    survival(made.store, runs, tmp_path / "a")
    assert "SET (n = 2)" in words(figures[0])
    assert "n = 2 of 3, 1 unfinished" in words(figures[0])
    topology(made.store, runs, tmp_path / "b")
    assert "seed 1" in words(figures[1])
    for figure in (survival, topology):
        with pytest.raises(NothingToDraw, match="run the study with --diagnostics"):
            figure(made.store, runs[:1], tmp_path / "c")


def test_a_record_that_its_run_does_not_answer_for_is_none(made: Made, tmp_path: Path) -> None:
    """It is of an attempt that had diagnostics, ends where that ended, and nobody has its hash."""
    whole, left = made.run("SET"), made.run("SET", 1, recorded=False)
    folder = made.store.run_folder(left.run)
    (folder / "topologies.safetensors").write_bytes(b"torn")
    assert list(records(made.store, [whole, left])) == [whole.run]
    with pytest.raises(NothingToDraw, match="run the study with --diagnostics"):
        survival(made.store, [left], tmp_path / "a")


def test_an_unknown_layer_is_answered_with_those_that_there_are(made: Made, tmp_path: Path) -> None:
    with pytest.raises(NothingToDraw, match=r"no sparse layer 'actor/hiden.0'. Did you mean 'actor/hidden.0'\? Known"):
        topology(made.store, [made.run("SET")], tmp_path / "a", layer="actor/hiden.0")


# Every study.


def grid(made: Made, labels: Sequence[str], seeds: int, **more: Any) -> list[Outcome]:
    changes = (swap, cut_and_swap, still, cut)
    runs = [
        made.run(label, seed, change=changes[i % 4], **more) for i, label in enumerate(labels) for seed in range(seeds)
    ]
    return [*runs, *(made.run("dense", seed, change=None, density=None) for seed in range(seeds))]


SMALL = {"actor": {"hidden.0.weight": (4, 4)}}
HOSTILE = ("_hidden $x", "稀疏 π \x1b[31m", "$\\frac{", "", "x" * 200, "100 % {}")
ODD: dict[str, Callable[[Made], list[Outcome]]] = {
    "one seed": lambda made: grid(made, ("SET", "GraNet"), 1),
    "names": lambda made: grid(made, HOSTILE, 1, layers=SMALL),
    "names of layers": lambda made: grid(
        made, ("SET",), 1, layers={"_a $b$": {"$\\frac{.weight": (4, 4)}, "稀疏": {"x" * 80: (4, 4)}}
    ),
    "some all failed": lambda made: [
        *grid(made, ("SET", "GraNet"), 1),
        replace(made.run("DS"), status="failed"),
        replace(made.run("RigL"), status="running", steps=np.zeros(0), returns=np.zeros(0)),
    ],
    "ragged": lambda made: [
        replace(o, steps=o.steps[: 3 + i], returns=o.returns[: 3 + i])
        for i, o in enumerate([made.run("SET", seed, every=100 + 70 * seed) for seed in range(3)])
    ],
    "deep": lambda made: grid(
        made, ("SET", "GraNet"), 1, layers={"actor": {f"hidden.{i}.weight": (4, 4) for i in range(12)}}
    ),
    "many environments": lambda made: [made.run("GraNet", change=cut_and_swap, env=f"Env{i}-v0") for i in range(5)],
    "one event at the end": lambda made: [made.run("SET", every=STEPS - WARMUP)],
    "wide": lambda made: grid(made, ("SET",), 1, layers={"actor": {"hidden.0.weight": (300, 150)}}),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ODD)
def test_every_odd_study_is_drawn_without_a_warning(made: Made, name: str, tmp_path: Path) -> None:
    runs = ODD[name](made)
    for stem, figure in DRAWN.items():
        paths = figure(made.store, runs, tmp_path / stem, title="$5 _ \\ $")
        assert paths[0].name == f"{stem}.png"
        assert all(path.read_bytes().startswith((b"\x89PNG", b"%PDF")) for path in paths)


def test_two_renders_are_equal(made: Made, tmp_path: Path) -> None:
    runs = grid(made, ("SET", "GraNet"), 2)
    for stem, figure in DRAWN.items():
        once, again = (figure(made.store, runs, tmp_path / to / stem) for to in ("a", "b"))
        assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


@pytest.mark.parametrize(
    ("status", "reason"), [(None, "no runs"), ("failed", "1 failed"), ("running", "1 unfinished"), ("missing", "1 unf")]
)
@pytest.mark.parametrize("stem", ["layer-densities", "mask-churn"])
def test_nothing_to_draw_says_why_in_one_line(made: Made, tmp_path: Path, status: Any, reason: str, stem: str) -> None:
    runs = [] if status is None else [replace(made.run("SET"), status=status)]
    with pytest.raises(NothingToDraw, match=reason) as caught:
        DRAWN[stem](made.store, runs, tmp_path / stem)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.p??"))


def test_text_is_at_least_8_points_at_the_width_of_a_paper(made: Made, tmp_path: Path, figures: list[Figure]) -> None:
    runs = grid(made, ("SET", "GraNet", "static", "GMP"), 2)
    for stem, figure in DRAWN.items():
        figure(made.store, runs, tmp_path / stem, title="Layers")
    assert len(figures) == 4
    for drawn in figures:
        assert drawn.get_figwidth() == 6.5
        assert all(text.get_fontsize() >= 8 for text in drawn.findobj(Text))


def test_twenty_methods_go_on_to_further_pages(made: Made, tmp_path: Path, figures: list[Figure]) -> None:
    runs = [made.run(f"method {i}", change=cut_and_swap) for i in range(20)]
    assert [path.name for path in layer_densities(made.store, runs, tmp_path / "layers")] == ["layers", "layers-2"]
    assert [path.name for path in topology(made.store, runs, tmp_path / "t")] == ["t", "t-2", "t-3", "t-4"]


# From the command line.


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Lab]:
    """A small study with diagnostics, and one without."""
    shared = ("--densities", "0.4", "--set", 'all={schedule={part="periodic",every=10,fraction=0.3}}')
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.plot.plot_study", lambda *_, **__: [])
        for name in ("with", "without"):
            made.append(Lab(tmp_path_factory.mktemp(name)))
            done = made[-1].grid("dense,set,static", *shared, *(["--diagnostics"] if name == "with" else []))
            assert done.code == 0, done.err
    return made[0], made[1]


def test_a_study_with_diagnostics_is_drawn_with_its_topologies(labs: tuple[Lab, Lab]) -> None:
    stems = ["layer-densities", "mask-churn"]
    for lab, more in zip(labs, (["topology", "survival"], []), strict=True):
        drawn = lab("study", "plot", "tiny")
        assert drawn.code == 0, drawn.err
        names = [Path(line).name for line in drawn.out.split()]
        assert {"learning-curves.png", "return-against-flops.png"} <= set(names)
        ours = [name for name in names if name.startswith(("layer", "mask", "topology", "survival"))]
        assert ours == [f"{stem}.{kind}" for stem in [*stems, *more] for kind in ("png", "pdf")]
        assert not re.search(r"skipped (layer|mask|topology|survival)", drawn.err)


def test_the_topology_of_another_layer_is_drawn_on_request(labs: tuple[Lab, Lab]) -> None:
    recorded, plain = labs
    drawn = recorded("study", "plot", "tiny", "--layer", "critic/hidden.1")
    assert drawn.code == 0, drawn.err
    assert [Path(line).name for line in drawn.out.split()] == [f"topology-critic-hidden.1.{k}" for k in ("png", "pdf")]
    wrong = recorded("study", "plot", "tiny", "--layer", "critic/../hidden.1")
    assert wrong.code == 2
    assert "Known: critic/hidden.0, critic/hidden.1, actor/hidden.0, actor/hidden.1" in wrong.err
    both = recorded("study", "plot", "tiny", "--layer", "critic/hidden.1", "--measure", "churn")
    assert (both.code, "give one at a time" in both.err) == (2, True)
    without = plain("study", "plot", "tiny", "--layer", "critic/hidden.1")
    assert (without.code, "run the study with --diagnostics" in without.err) == (2, True)


def test_figures_that_a_study_does_not_allow_are_named_with_the_reason(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    paths = plot_study(made.store, "mine", [made.run("dense", change=None, density=None)], {})
    assert [path.name for path in paths] == ["learning-curves.png", "learning-curves.pdf"]
    for reason in ("layer-densities: no method has sparse layers", "mask-churn: no method replaces connections"):
        assert f"skipped {reason}" in caplog.text
