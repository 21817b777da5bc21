"""Carry a study out: check everything first, skip what is finished, and let an executor do the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from registry import Bound, Registry, part
from sparsity.eventless import is_eventless
from studies.build import KEEPS_MORE, keeps_all
from studies.contents import Run, canonical
from studies.executors.local import cores
from studies.loggers import hindrances
from studies.options import Options
from studies.premises import unsafe
from studies.problems import BadInput, clean
from studies.progress import Progress
from studies.room import RESULTS, Room, checkpoint_bytes, free_disk, room
from studies.rounds import Rounds
from studies.store import DIAGNOSTICS, Store
from studies.study import RANDOM_POLICY, Cell, Study, resolved

MOST_CELLS = 100_000
"""Larger grids are asked for by --yes."""
SECONDS_AN_UPDATE: Final = 0.005
"""What a run costs, roughly."""
MOST_ASKED = 10_000_000
"""Updates at which a schedule is asked whether anything will happen."""
FAST = 0.1
"""Learning rates from here on are said to be large: Adam's usual one is 3e-4."""


@dataclass
class Plan:
    """A study checked and expanded: its runs, and what is left of them to do."""

    study: Study
    cells: list[Cell]
    runs: dict[str, Run]
    """By id: those of the cells, and their donors."""
    pending: list[Run]
    room: Room
    notes: list[str] = field(default_factory=list)


def plan(study: Study, store: Store, registry: Registry, options: Options) -> Plan:
    """Check a study from end to end without writing anything. BadInput with every problem that was found."""
    if study.rows() > MOST_CELLS and not options.yes:
        hours = study.rows() * (study.steps * SECONDS_AN_UPDATE + 5) / 3600 / (options.workers or cores())
        raise BadInput(
            f"the grid has {study.rows():,} runs, over {MOST_CELLS:,}: about {hours:,.0f} hours and "
            f"{study.rows() * RESULTS / 1e9:,.0f} GB; add --yes if that is meant"
        )
    _executor(registry, options)
    lacking = [said for name in options.loggers for said in hindrances(registry.bind("logger", part(name)))]
    sizes, problems = _environments(study, registry, options)
    problems += lacking + _device(study.device)
    try:
        cells = study.cells(registry)
    except BadInput as bad:
        problems += bad.problems
    if problems:
        raise BadInput(*problems)
    rows = {cell.run.id: cell.run for cell in cells}
    runs = rows | {run.donor.id: run.donor for run in rows.values() if run.donor}
    workers = options.workers or cores()
    problems = room(runs.values(), sizes, registry, workers).short_of_memory() or _rehearsed(cells, sizes, registry)
    if problems:
        raise BadInput(*problems)
    problems = unsafe(store.root, [store.study_folder(study.name), *map(store.run_folder, runs)])
    if problems:
        raise BadInput(*problems)
    if not options.replace:
        store.check_study(study.name, cells)
    finished = [run_id for run_id in runs if store.is_finished(run_id)]
    plain = [run_id for run_id in finished if not (store.run_folder(run_id) / DIAGNOSTICS).is_file()]
    damaged = {run_id: files for run_id in finished if (files := store.verify(run_id))}
    done = set(finished) - damaged.keys()
    pending = _in_order([run for run in rows.values() if run.id not in done], done, study.seeds)
    damaged = {run.id: damaged[run.id] for run in pending if run.id in damaged}
    there = checkpoint_bytes(store, pending)
    needed = room(pending, sizes, registry, workers, kept=options.keep_buffers, there=there)
    if problems := needed.short_of_disk(store.root):
        raise BadInput(*problems)
    notes = _notes(study, cells, rows, options, registry) + _inexact(pending, registry, options)
    if options.diagnostics and plain:
        notes.append(f"{len(plain)} finished runs were made without diagnostics, and stay as they are")
    notes += [f"not as written, so this run is done again: {files[0]}" for files in damaged.values()]
    return Plan(study, cells, runs, pending, needed, notes)


def _in_order(runs: Sequence[Run], done: Collection[str], seeds: Sequence[int]) -> list[Run]:
    """Runs to carry out, with those of their donors that are not done.

    Seed by seed, so that what is there at any time compares all rows: of a seed donors first, for others wait for them.
    The random policy, which takes a moment, comes last.
    """
    donors = {run.donor.id: run.donor for run in runs if run.donor and run.donor.id not in done}
    place = {seed: i for i, seed in enumerate(seeds)}

    def key(run: Run) -> tuple[int, int]:
        return (place[run.seed] if run.steps else len(place), 0 if run.id in donors else 2 if run.donor else 1)

    return sorted(({run.id: run for run in runs} | donors).values(), key=key)


def carry_out(plan: Plan, store: Store, text: str, registry: Registry, options: Options) -> dict[str, str]:
    """Run what is pending. Causes by run id of those that failed; those that diverged are results, not failures."""
    store.save_study(plan.study, plan.cells, text)
    for run_id in plan.runs.keys() - {run.id for run in plan.pending}:
        store.sweep(run_id)
    if not plan.pending:
        return {}
    for run in plan.pending:
        store.prepare(run)
    labels = {cell.run.donor.id: _donor_label(cell, cell.run.donor) for cell in plan.cells if cell.run.donor}
    labels |= {cell.run.id: _label(cell) for cell in plan.cells}
    with Progress(labels, [run.id for run in plan.pending]) as progress:
        return Rounds(store, plan.pending, progress, options).carry_out(_executor(registry, options))


def _executor(registry: Registry, options: Options) -> Bound:
    """The executor, told the number of workers if it has such a setting. BadInput if it is not ready."""
    settings = {setting.name for setting in registry.entry("executor", options.executor).settings}
    given = {"workers": options.workers} if "workers" in settings else {}
    bound = registry.bind("executor", part(options.executor, **{**given, **options.executor_settings}))
    ready = bound.entry.facts.get("ready")
    if ready and (problems := ready(bound.settings)):
        raise BadInput(*problems)
    return bound


def estimate(
    plan: Plan, store: Store, options: Options, seconds_per_update: float = SECONDS_AN_UPDATE
) -> dict[str, str]:
    """What a plan would cost, roughly."""
    workers = options.workers or cores()
    buffers, free = plan.room.buffers / 1e9, free_disk(store.root) / 1e9
    results, checkpoints = plan.room.results / 1e6 + 0.1, plan.room.checkpoints / 1e6
    donors = len(plan.runs.keys() - {cell.run.id for cell in plan.cells})
    beside = f", {donors} of them donors of others alone" if donors else ""
    taken = hours(plan.pending, workers, seconds_per_update)
    minutes = f" ({60 * float(taken):.0f} min)" if plan.pending and taken.startswith("0.") else ""
    return {
        "runs": f"{len(plan.runs)} ({len(plan.pending)} to do){beside}",
        "hours": f"about {taken}{minutes} with {workers} worker{'s' if workers > 1 else ''}",
        "memory": f"about {0.7 * workers + buffers:.1f} GB, {buffers:.1f} GB of it replay buffers",
        "disk": f"about {results:.1f} MB in {store.root}, and up to {checkpoints:,.1f} MB for checkpoints "
        f"{'that are kept' if options.keep_buffers else 'until runs end'}; {free:,.1f} GB are free",
    }


def hours(runs: Iterable[Run], workers: int = 1, seconds_per_update: float = SECONDS_AN_UPDATE) -> str:
    """How long runs take, roughly, in two digits: 5 ms an update, 0.2 ms a step of simulation."""
    seconds = sum(run.updates * seconds_per_update + _simulated(run) * 2e-4 + 5 for run in runs)
    taken = seconds / 3600 / workers
    return f"{taken:.2g}" if taken < 10 else f"{taken:,.0f}"


def _environments(study: Study, registry: Registry, options: Options) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Observation and action sizes of every environment, wrappers included."""
    from rl.environment import make, sizes
    from rl.streams import stream
    from sparsity.ask import ask

    found: dict[str, tuple[int, int]] = {}
    problems, seed = [], stream(0, "environment", 1)
    for name in dict.fromkeys(study.envs):
        try:
            env: Any = make(name, allow_import=options.allow_env_import)
            for words in study.wrappers:
                env = ask(registry.bind("wrapper", resolved("wrapper", words, registry)), env=env, seed=seed)
            found[name] = sizes(env)
            env.close()
        except ValueError as error:
            problems.append(f"envs: {error}")
    return found, problems


def _device(device: str) -> list[str]:
    import torch

    if not device.startswith("cuda"):
        return []
    index = int(device.partition(":")[2] or 0)
    if index < torch.cuda.device_count():
        return []
    return [
        f"device: {device!r} is not there: this torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu"
    ]


def _rehearsed(cells: Sequence[Cell], sizes: Mapping[str, tuple[int, int]], registry: Registry) -> list[str]:
    """Build the agent and sparsifiers of every row once, and call each of its parts on a small network."""
    from sparsity.check import rehearse as rehearse_method
    from studies.build import rehearse

    problems: list[str] = []
    seen: set[str] = set()
    called: set[str] = set()
    for cell in cells:
        contents = replace(cell.run, seed=0, donor=None).contents()
        if canonical(contents) in seen:
            continue
        seen.add(canonical(contents))
        try:
            for learner, method in cell.run.methods.items():
                words = canonical([contents["methods"][learner], cell.run.updates])
                if words not in called:
                    called.add(words)
                    rehearse_method(method, registry, total=cell.run.updates)
            rehearse(cell.run, sizes[cell.run.env], registry)
        except Exception as error:
            what = str(error) if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: {error}"
            problem = f"[methods] {cell.label!r} on {cell.run.env}: {what}"
            problems += [] if problem in problems else [problem]
    return problems


def _notes(
    study: Study, cells: Sequence[Cell], runs: Mapping[str, Run], options: Options, registry: Registry
) -> list[str]:
    notes = []
    if len(cells) > len(runs):
        notes.append(f"{len(cells) - len(runs)} cells of the grid are the same run as another: each is run once")
    if options.workers > cores():
        notes.append(f"{options.workers} workers share {cores()} cores: each run will be slower")
    notes += _eventless(cells, registry)
    return notes + _dense_once(study, cells) + _fast(cells)


def _dense_once(study: Study, cells: Sequence[Cell]) -> list[str]:
    """Rows that the study's densities do not multiply, though no density is their own."""
    once = {c.label for c in cells if all(method.eligible.name == "none" for method in c.run.methods.values())}
    rows = [repr(label) for label in study.methods if study.densities and label in once and label != RANDOM_POLICY]
    takes = "takes" if len(rows) == 1 else "take"
    return [f"densities: {', '.join(rows)} {takes} part once, being dense"] if rows else []


def _fast(cells: Sequence[Cell]) -> list[str]:
    """Learning rates with which networks diverge, as a rule."""
    rates = {cell.run.agent.settings.get("learning_rate") for cell in cells}
    fast = sorted(rate for rate in rates if isinstance(rate, float) and rate >= FAST)
    return [f"learning_rate = {rate:g} is large, the usual one is 0.0003: runs may diverge" for rate in fast]


def _eventless(cells: Sequence[Cell], registry: Registry) -> list[str]:
    """Rows whose schedule says that they change their topology, in a run too short for it."""
    notes: dict[str, None] = {}
    done: dict[str, bool] = {}
    for cell in cells:
        for method in cell.run.methods.values():
            key = canonical([repr(method), cell.run.updates])
            if key not in done:
                done[key] = is_eventless(method, registry, cell.run.updates, most=MOST_ASKED)
            if done[key]:
                notes[f"{cell.label!r}: no change of topology falls into its {cell.run.updates} updates"] = None
    return list(notes)


def _inexact(pending: Sequence[Run], registry: Registry, options: Options) -> list[str]:
    """Environments from whose kept state no run can go on as if nobody had disturbed it."""
    notes = []
    for run in {run.env: run for run in pending}.values():
        with suppress(Exception):  # What cannot be played fails its run, not the study.
            if not keeps_all(run, registry, options.allow_env_import):
                notes.append(
                    f"{run.env}: {KEEPS_MORE}: runs that are interrupted go on, but not bit for bit, and say so"
                )
    return notes


def _simulated(run: Run) -> int:
    return run.steps + 1000 * run.episodes * (1 + run.steps // run.eval_every)


def _label(cell: Cell) -> str:
    if cell.label == RANDOM_POLICY:
        return clean(f"{cell.label} {cell.run.env}")
    density = "" if cell.density is None else f" {cell.density:g}"
    axes = "".join(f" {key}={value}" for key, value in cell.axes.items())
    return clean(f"{cell.label}{density}{axes} {cell.run.env} seed {cell.run.seed}")


def _donor_label(cell: Cell, donor: Run) -> str:
    axes = {key: value for key, value in cell.axes.items() if key not in ("donor", "steps")}
    return f"{_label(replace(cell, axes=axes))}, donor of {donor.steps:,} steps"
