"""What each command does, and how every error becomes one line and an exit code.

0 done, 1 some runs failed, 2 bad input (nothing written) or a file system that refuses, 3 held by another runner,
4 corrupt data, 130/143 signals.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from registry import KINDS, PartError, Registry, use_registry
from studies import cli, flags
from studies.options import Care, Options
from studies.outcome import by_clock
from studies.outcomes import collect
from studies.premises import unsafe
from studies.problems import BadInput, clean, visible
from studies.read import CATALOGUE, find, read_file, study_from
from studies.reported import reported, still_reported
from studies.rounds import HELD_BY_ANOTHER
from studies.runner import Plan, estimate, plan
from studies.runner import carry_out as run_plan
from studies.scales import FULL, scaled
from studies.store import Damaged, Store
from studies.study import Study
from studies.words import shorten

LONGEST_LINE = 2000
"""Characters of a problem: it may quote a value of a million."""

Words = TypeVar("Words", bound=cli.Setup)

FAIR = {
    "eligible": "hidden",
    "allocation": "erk",
    "initial": "random",
    "schedule": {"part": "periodic", "every": 1000, "fraction": 0.05},
}
"""What the rows of a grid of flags share, so that they differ in their criteria and in nothing else. With a preset they
share nothing: it says what each method is."""


def carry_out(command: Any) -> int:
    """Carry a command out; its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    warnings.showwarning = _warn
    try:
        code = _COMMANDS[type(command)](command)
        sys.stdout.flush()  # Here, where a full disk is told in a line, and not at the end of Python.
        return code
    except (BadInput, PartError) as error:
        return _refuse(error, command.debug)
    except Damaged as error:
        print(f"error: {clean(str(error))}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        print("interrupted; give the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise  # A reader has seen enough: `main` ends quietly, as it does for the help.
    except OSError as error:
        if command.debug:
            raise
        print(f"error: {clean(str(error.filename or ''))}: {error.strerror}", file=sys.stderr)
        return 2


def _terminated(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {clean(str(message))}", file=sys.stderr)


def _refuse(error: ValueError, debug: bool) -> int:
    if debug:
        raise error
    for problem in error.problems if isinstance(error, BadInput) else [str(error)]:
        print(f"error: {shorten(clean(problem), LONGEST_LINE)}", file=sys.stderr)
    return 2


def _registry(command: cli.Common) -> Registry:
    """The registry with the command's plugins. Broken installed plugins are told in a line, not as a Python warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        registry = Registry(installed=not command.no_plugins)
        use_registry(registry)
        for path in command.plugin:
            registry.load_file(path)
    for problem in registry.problems:
        print(f"warning: plugin set aside: {clean(problem)}", file=sys.stderr)
    return registry


# Runs.


def _train(command: cli.Train) -> int:
    if not command.env:
        raise BadInput("--env is missing: a Gymnasium environment with its version, such as HalfCheetah-v5")
    if command.method == "dense" and command.density is not None:
        raise BadInput("--method dense has no density: choose another method, or leave --density out")
    registry = _registry(command)
    command, told = _split(command, registry, "local")
    agents = [command.agent] if command.agent is not None else _own_agents(command, registry)
    row: dict[str, Any] = {"base": command.method}
    tables: dict[str, Any] = {
        "agents": agents,
        "envs": [command.env],
        "seeds": [command.seed],
        "steps": flags.number(command.steps, "--steps"),
        "methods": {command.method: row},
        "random_episodes": 0,
    }
    if command.density is not None:
        tables["densities"] = [flags.density(command.density)]
    tables |= flags.setup(command, agents)
    study, store, options = _adhoc(tables, command, registry), Store(command.store), _options(command, told=told)
    from studies.show import densities

    made = plan(study, store, registry, options)
    return _run(made, tables, command, registry, options, lambda: densities(made, store))


def _own_agents(command: cli.Setup, registry: Registry) -> list[str]:
    """Whom a command means that names no agent: its preset's, else TD3."""
    return ["td3"] if command.preset is None else [registry.entry("preset", command.preset).value.agent]


def _study_run(command: cli.StudyRun) -> int:
    registry, store = _registry(command), Store(command.store)
    command, told = _split(command, registry, command.executor)
    words = flags.grid(command, registry.names("method"))
    if command.study is None:
        if command.scale is not None:
            raise BadInput(f"--scale {command.scale} is of a study's file: give its name or its file")
        if "methods" not in words or "envs" not in words:
            raise BadInput(
                "give a study's name or file, or a grid: --methods dense,set --envs Hopper-v5 --steps 100000"
            )
        shared = {} if command.preset is not None else {"all": FAIR}
        agents = {"agents": _own_agents(command, registry)}
        tables: dict[str, Any] = {**agents, "seeds": 1, "steps": 100_000} | shared | words
        tables |= flags.setup(command, tables["agents"])
        study = _adhoc(tables, command, registry)
    else:
        path, known_as = find(command.study, store.root, scale=command.scale)
        file = read_file(path)
        _note_scales(command, path)
        tables = scaled(file, command.scale) | words
        tables |= flags.setup(command, tables.get("agents", []), tables.get("settings"))
        tables = still_reported(tables, file, registry)
        study = study_from(tables, registry, name=known_as, where=str(path), text=path.read_text("utf-8-sig"))
    options = _options(command, workers=command.workers, executor=command.executor, told=told)
    from studies.show import study_end

    made = plan(study, store, registry, options)
    return _run(made, tables, command, registry, options, lambda: study_end(study.name, store))


def _study_tune(command: cli.StudyTune) -> int:
    registry, store = _registry(command), Store(command.store)
    command, told = _split(command, registry, command.executor)
    path, known_as = find(command.study, store.root)
    tables = read_file(path)
    tables |= flags.setup(command, tables.get("agents", []), tables.get("settings"))
    if isinstance(tables.get("tune"), Mapping):
        tables["tune"] |= flags.tuning(command)
    from studies.show import tuning_end
    from studies.tuning.trials import tuning_of

    tuning = tuning_of(tables, registry, name=known_as, where=str(path), text=path.read_text("utf-8-sig"))
    trials = tuning.study_tables()
    options = _options(command, workers=command.workers, executor=command.executor, told=told)
    study = study_from(trials, registry, name=trials["name"], where=f"the trials of {path}")
    made = plan(study, store, registry, options)
    return _run(made, trials, command, registry, options, lambda: tuning_end(tuning, study.name, store))


def _note_scales(command: cli.StudyRun, path: Path) -> None:
    """Whoever goes on with a stored study may mean the catalogue's, at one of its scales."""
    shipped = CATALOGUE / f"{command.study}.toml"
    scales = [FULL, *read_file(shipped).get("scales", ())] if shipped.is_file() and path != shipped else [FULL]
    if command.scale is None and len(scales) > 1:
        print(
            f"note: going on with the store's {command.study}, whatever its scale; of the catalogue's, name one: "
            f"--scale {' | '.join(scales)}",
            file=sys.stderr,
        )


def _split(command: Words, registry: Registry, executor: str) -> tuple[Words, dict[str, Any]]:
    """The command without what it sets of the executor, and that."""
    told, others = flags.of_executors(command, set(registry.names("executor")) - set(registry.names("agent")))
    for name in told.keys() - {executor}:
        raise BadInput(f"--set {name}.{next(iter(told[name]))}: the executor is {executor}, not {name}")
    return replace(command, set=others), told.get(executor, {})


def _run(
    made: Plan,
    tables: Mapping[str, Any],
    command: cli.Setup,
    registry: Registry,
    options: Options,
    end: Callable[[], str],
) -> int:
    """Carry a plan out, and show what `end` makes of it."""
    kept = {key: value for key, value in tables.items() if key != "scales"}  # The chosen one is in the others.
    store, text = Store(command.store), flags.toml({**kept, "name": made.study.name})
    for note in made.notes:
        print(f"note: {clean(note)}", file=sys.stderr)
    if command.dry_run:
        for key, value in estimate(made, store, options).items():
            print(f"{key:8}{clean(value)}")
        return 0
    print(
        f"study {made.study.name}: {len(made.runs)} run{'s' if len(made.runs) != 1 else ''}, {len(made.pending)} to do",
        file=sys.stderr,
    )
    try:
        failures = run_plan(made, store, text, registry, options)
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept: give the same command again to go on", file=sys.stderr)
        return 130
    _show(end())
    for run_id, cause in failures.items():
        print(clean(f"failed: {store.run_folder(run_id)}: {cause.splitlines()[-1]}"), file=sys.stderr)
    held = [cause for cause in failures.values() if cause == HELD_BY_ANOTHER]
    return 0 if not failures else 3 if len(held) == len(failures) else 1


def _options(
    command: cli.Setup, workers: int = 1, executor: str = "local", told: Mapping[str, Any] | None = None
) -> Options:
    if workers < 0:
        raise BadInput(f"--workers must be at least 1, or 0 for one a core, not {workers}")
    for flag in ("retries", "stall_after", "checkpoint_every"):
        if not 0 <= getattr(command, flag) < math.inf:
            given = getattr(command, flag)
            raise BadInput(f"--{flag.replace('_', '-')} must be a number of at least 0, not {given}")
    return Options(
        workers=workers,
        executor=executor,
        executor_settings=told or {},
        loggers=command.logger,
        diagnostics=command.diagnostics,
        replace=command.replace,
        plugins=command.plugin,
        no_plugins=command.no_plugins,
        allow_env_import=command.allow_env_import,
        yes=command.yes,
        **{each.name: getattr(command, each.name) for each in fields(Care)},
    )


def _adhoc(tables: Mapping[str, Any], command: cli.Setup, registry: Registry) -> Study:
    """A study without a file, named by the hash of its contents unless it was given a name."""
    study = study_from(tables, registry, name="adhoc", where="flags")
    if "name" in tables:
        return study
    # As `canonical`, but for NaN and dates, which the plan refuses.
    words = json.dumps(tables, sort_keys=True, separators=(",", ":"), default=str)
    return replace(study, name=f"adhoc-{hashlib.sha256(words.encode()).hexdigest()[:8]}")


# Looking.


def _show(text: str) -> None:
    """Print what may hold words of others: names of studies, labels, documentation of plugins."""
    print(visible(text))


def _study_list(command: cli.StudyList) -> int:
    from studies.show import study_list

    _show(study_list(Store(command.store)))
    return 0


def _study_status(command: cli.StudyStatus) -> int:
    from studies.show import status

    _show(status(command.name, Store(command.store)))
    return 0


def _study_table(command: cli.StudyTable) -> int:
    from studies.table import table

    store = Store(command.store)
    outcomes, baseline = collect(store, command.name)
    if command.against is not None and (command.runs or command.clock != "wall"):
        other = "--runs" if command.runs else f"--clock {command.clock}"
        raise BadInput(f"--against {command.against} and {other} do not go together: give one at a time")
    if command.runs:
        from studies.every_run import every_run

        text = every_run(by_clock(outcomes, command.clock), format=command.format)
    elif command.against is not None:
        from studies.versus import versus

        text = versus(outcomes, command.against, command.test, format=command.format)
    elif command.test != "welch":
        raise BadInput(f"--test {command.test} says how rows are compared: add --against, with the name of a row")
    else:
        runs = by_clock(outcomes, command.clock)
        text = table(runs, baseline, format=command.format, title=command.name, reported=reported(store, command.name))
    _show(text.removesuffix("\n"))
    return 0


def _writable(command: cli.StudyPlot | cli.StudyReport) -> Store:
    """The store of a study into whose folder is about to be written. BadInput if there is none, or it is not safe."""
    store = Store(command.store)
    store.cells(command.name)  # There must be such a study before its folder is looked at.
    problems = unsafe(store.root, [store.study_folder(command.name)])
    if problems:
        raise BadInput(*problems)
    return store


def _study_plot(command: cli.StudyPlot) -> int:
    from studies.figures.page import NothingToDraw
    from studies.plot import plot_study

    store = _writable(command)
    if command.measure is not None and command.layer is not None:
        raise BadInput(f"--measure {command.measure} and --layer {command.layer} are two figures: give one at a time")
    if command.clock != "wall" and (command.measure or command.layer) is not None:
        raise BadInput(f"--clock {command.clock} is of figures with seconds, which --measure and --layer have not")
    try:
        if command.measure is not None:
            from studies.measures import plot_measure

            paths = plot_measure(store, command.name, command.measure)
        elif command.layer is not None:
            from studies.figures.topology import plot_layer

            paths = plot_layer(store, command.name, command.layer)
        else:
            outcomes, baseline = collect(store, command.name)
            paths = plot_study(store, command.name, by_clock(outcomes, command.clock), baseline)
        for path in paths:
            _show(str(path))
    except NothingToDraw as reason:
        raise BadInput(f"nothing to draw for {command.name}: {reason}") from None
    return 0


def _study_report(command: cli.StudyReport) -> int:
    from studies.report.page import write_report

    store = _writable(command)
    _show(str(write_report(store, command.name, clock=command.clock)))
    return 0


def _study_copy(command: cli.StudyCopy) -> int:
    from studies.share import share

    if command.to is None:
        raise BadInput("--to is missing: the folder of the store to copy into")
    count = share(Store(command.store), command.name, Store(command.to), weights=command.weights)
    _show(f"{count} finished runs of {command.name} are in {command.to}")
    return 0


def _study_verify(command: cli.StudyVerify) -> int:
    checked, files = Store(command.store).verify_study(command.name)
    for file in files:
        print(f"not as written: {clean(file)}")
    print(f"{checked} finished runs checked, {len(files)} damaged files")
    if files:
        print(f"to mend: `sparsity study run {command.name}` does the runs of these files again", file=sys.stderr)
    return 4 if files else 0


def _parts(command: cli.Parts) -> int:
    from studies.show import part_list, part_page

    registry = _registry(command)
    if command.kind is not None and command.kind not in KINDS:
        registry.entry(command.kind, "")  # It says which kinds there are.
    if command.kind is not None and command.name is not None:
        _show(part_page(registry.entry(command.kind, command.name), registry))
    else:
        _show(part_list(registry, command.kind))
    return 0


def _check(command: cli.Check) -> int:
    from studies.kit.check import check

    found = check(command.target, _registry(command))
    _show(found.text)
    return 2 if found.problems else 0


def _plugin_new(command: cli.PluginNew) -> int:
    from studies.kit.package import new_plugin

    _show(new_plugin(command.name, command.kind, command.to, _registry(command), command.file))
    return 0


def _plugin_list(command: cli.PluginList) -> int:
    from studies.kit.installed import plugin_list

    _show(plugin_list(_registry(command)))
    return 0


def _export(command: cli.Export) -> int:
    from studies.export import export_run, shown

    exported, unbounded = export_run(
        command.run,
        Store(command.store),
        command.to,
        _registry(command),
        out=command.out,
        compacted=not command.no_compact,
        allow_import=command.allow_env_import,
    )
    if unbounded:
        print(f"note: the files do not know the bounds of actions: {clean(unbounded)}", file=sys.stderr)
    _show(shown(exported).removesuffix("\n"))
    return 0


def _bench(command: cli.Bench) -> int:
    from studies.bench import words

    if command.calibrate:
        from studies.bench.calibrate import calibrate

        calibrate(words.calibration(command, words.available_cores()), lambda line: print(line, file=sys.stderr))
        return 0
    from studies.bench.command import bench

    bench(words.plan(command, words.available_cores()), command.out)
    return 0


def _play(command: cli.Play) -> int:
    from studies.play import play, words
    from studies.video import asked

    played = play(
        command.run,
        Store(command.store),
        _registry(command),
        episodes=command.episodes,
        seed=command.seed,
        explore=command.explore,
        video=asked(command),
        allow_import=command.allow_env_import,
    )
    _show(words(played, command.format).removesuffix("\n"))
    return 0


def _upload(command: cli.Upload) -> int:
    from studies.upload import rehearse, upload

    how: dict[str, Any] = {"repo": command.repo, "licence": command.license, "to": command.to}
    if command.dry_run:
        _show(rehearse(command.run, Store(command.store), **how))
    else:
        _show(upload(command.run, Store(command.store), **how, private=command.private))
    return 0


_COMMANDS: dict[type, Callable[[Any], int]] = {
    cli.Train: _train,
    cli.StudyRun: _study_run,
    cli.StudyTune: _study_tune,
    cli.StudyList: _study_list,
    cli.StudyStatus: _study_status,
    cli.StudyTable: _study_table,
    cli.StudyPlot: _study_plot,
    cli.StudyReport: _study_report,
    cli.StudyCopy: _study_copy,
    cli.StudyVerify: _study_verify,
    cli.Parts: _parts,
    cli.Check: _check,
    cli.PluginNew: _plugin_new,
    cli.PluginList: _plugin_list,
    cli.Export: _export,
    cli.Bench: _bench,
    cli.Play: _play,
    cli.Upload: _upload,
}
