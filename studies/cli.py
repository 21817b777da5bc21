"""The `sparsity` command: what it takes. What it does is `studies.commands`, imported once the words are read."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import tyro
from tyro.conf import (
    FlagCreatePairsOff,
    OmitArgPrefixes,
    OmitSubcommandPrefixes,
    Positional,
    UseAppendAction,
    arg,
    subcommand,
)

from studies.options import Care

# Types of flags and words; those of several commands say here what they mean.

Format = Literal["text", "markdown", "latex", "html", "csv"]
Clock = Annotated[
    Literal["wall", "cpu"],
    arg(help="Seconds by the wall clock or of the CPU's time, which is the fairer where a machine was busy."),
]
Repeated = UseAppendAction[tuple[str, ...]]
Text = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
Folder = Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")]
Switch = Annotated[bool, arg(help_behavior_hint="")]
Import = Annotated[bool, arg(help="Let environment ids import a module: `module:Env-v0`.", help_behavior_hint="")]
Name = Positional[Annotated[str, arg(metavar="NAME", help="Of a study in the store: `sparsity study list`.")]]
Study = Positional[Annotated[str, arg(metavar="STUDY")]]
Run = Positional[Annotated[str, arg(metavar="RUN", help="Its id, the beginning of it, or its folder.")]]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command takes."""

    store: Folder = None
    """Folder of runs and studies; default $SPARSITY_STORE, else ./runs."""
    plugin: UseAppendAction[tuple[Path, ...]] = ()
    """A Python file with parts of your own; may be given again."""
    no_plugins: Switch = False
    """Leave installed plugins out."""
    debug: Switch = False
    """Show the traceback of an error."""


@dataclass(frozen=True, kw_only=True)
class Setup(Common, Care):
    """How runs are set up and carried out."""

    preset: Text = None
    """Settings of a publication: ds-td3, ds-sac, rlx2-td3, ... (`sparsity parts preset`)."""
    set: Repeated = ()
    """KEY=VALUE, repeatable: warmup=1000 of the run, td3.batch_size=100 of the agent, slurm.hours=4 of the executor."""
    hidden: Text = None
    """Hidden widths of all networks: 256,256."""
    execution: Literal["auto", "masked", "sparse"] = "auto"
    """How absence is carried out: dense matrices with zeros, or truly sparse on the CPU."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    eval_every: Text = None
    """Environment steps between evaluations; default a twentieth of the run."""
    name: Text = None
    """Name of the study in the store."""
    replace: Switch = False
    """Take the place of a stored study of that name; finished runs are kept."""
    logger: Repeated = ()
    """Where training signals go beside training.csv; may be given again."""
    diagnostics: Switch = False
    """Write what happens inside at every evaluation to diagnostics.csv: topologies, units, ranks, FLOPs, bytes; keep
    masks in topologies.safetensors."""
    dry_run: Switch = False
    """Say what would be run and what it would cost; write nothing."""
    yes: Switch = False
    """Accept grids of over 100,000 runs."""
    allow_env_import: Import = False


@dataclass(frozen=True, kw_only=True)
class Train(Setup):
    """Train one agent: a study of one run, kept in the same store."""

    env: Annotated[str, arg(metavar="TEXT", help_behavior_hint="")] = ""
    """A Gymnasium environment with its version: HalfCheetah-v5."""
    agent: Text = None
    """td3, ddpg or sac; default that of the preset, else td3."""
    method: str = "dense"
    """The sparse training method: dense, static, set, rigl, ds, ..."""
    density: Text = None
    """Share of eligible weights that stays: 0.1, or actor=0.1,critic=0.2."""
    steps: str = "100_000"
    """Environment steps."""
    seed: int = 0
    """Decides everything random: initial weights, topologies, the environment."""


@dataclass(frozen=True, kw_only=True)
class StudyRun(Setup):
    """Run a study, or go on with it: by its name, from a file, or as a grid of flags."""

    study: Positional[Annotated[str | None, arg(metavar="[STUDY]", help_behavior_hint="")]] = None
    """Name in the store or the catalogue, or a .toml file."""
    scale: Text = None
    """The study at a size that its file names, small for instance; full is the file as it stands."""
    methods: Text = None
    """dense,set,rigl, or all: what `sparsity parts method` lists"""
    envs: Text = None
    """Hopper-v5,HalfCheetah-v5"""
    agents: Annotated[str | None, arg(aliases=["--agent"], metavar="TEXT", help_behavior_hint="")] = None
    """td3, ddpg, sac; default that of the preset, else td3."""
    densities: Text = None
    """0.5,0.1"""
    seeds: Text = None
    """How many: 5; or which: 3,4,5"""
    steps: Text = None
    """Environment steps of every run."""
    workers: int = 0
    """Runs at a time; 0 is one a core."""
    executor: str = "local"
    """Where runs are carried out: local, ray, slurm."""


@dataclass(frozen=True, kw_only=True)
class StudyTune(Setup):
    """Choose settings for every row of a study, equally many trials each, on seeds that it does not report."""

    study: Study
    """Name in the store or the catalogue, or a .toml file; it has a table [tune]."""
    search: Literal["grid", "random"] | None = None
    """Instead of the file's: all combinations of its lists, or drawn ones."""
    trials: Text = None
    """Instead of the file's: configurations of every row; more later keeps those that there are."""
    tuning_seeds: Text = None
    """Instead of the file's: how many, 2; or which: 100,101"""
    steps: Text = None
    """Instead of the file's: environment steps of a trial."""
    workers: int = 0
    """Runs at a time; 0 is one a core."""
    executor: str = "local"
    """Where runs are carried out: local, ray, slurm."""


@dataclass(frozen=True, kw_only=True)
class StudyList(Common):
    """The studies of the store and of the catalogue."""


@dataclass(frozen=True, kw_only=True)
class StudyStatus(Common):
    """How many runs of a study are done, running, failed, and why."""

    name: Name


@dataclass(frozen=True, kw_only=True)
class StudyTable(Common):
    """Sparsity against return, with intervals, n and failures."""

    name: Name
    format: Format = "text"
    """How it is written, on standard output."""
    clock: Clock = "wall"
    against: Text = None
    """Instead: every row compared with the row of this name, dense for instance."""
    test: Literal["welch", "permutation"] = "welch"
    """Where p comes from with --against; a permutation test assumes no distribution, and takes a second a row."""
    runs: Switch = False
    """Instead: every run with its state, its score and its id, which `sparsity play` and `sparsity export` take."""


@dataclass(frozen=True, kw_only=True)
class StudyPlot(Common):
    """Learning curves, return against density, layers, churn and topologies as PNG and PDF; or one of diagnostics."""

    name: Name
    clock: Clock = "wall"
    measure: Text = None
    """Instead: a measure of runs with --diagnostics, a figure a network: churn, explored, dormant_units, ..."""
    layer: Text = None
    """Instead: the topology of another layer of runs with --diagnostics: critic/hidden.1, ..."""


@dataclass(frozen=True, kw_only=True)
class StudyReport(Common):
    """One page in HTML, whole in itself: what was asked, what it shows, tables, figures, settings, every run."""

    name: Name
    clock: Clock = "wall"


@dataclass(frozen=True, kw_only=True)
class StudyCopy(Common):
    """Copy a study's finished runs into another store, without their weights: small enough to publish."""

    name: Name
    to: Folder = None
    """Folder of the other store."""
    weights: Switch = False
    """Copy weights too."""


@dataclass(frozen=True, kw_only=True)
class StudyVerify(Common):
    """Compare every file of a study's finished runs with its hash."""

    name: Name


Action = (
    Annotated[StudyRun, subcommand("run")]
    | Annotated[StudyTune, subcommand("tune")]
    | Annotated[StudyList, subcommand("list")]
    | Annotated[StudyStatus, subcommand("status")]
    | Annotated[StudyTable, subcommand("table")]
    | Annotated[StudyPlot, subcommand("plot")]
    | Annotated[StudyReport, subcommand("report")]
    | Annotated[StudyCopy, subcommand("copy")]
    | Annotated[StudyVerify, subcommand("verify")]
)


@dataclass(frozen=True, kw_only=True)
class StudyGroup:
    """Grids of runs that answer a question."""

    action: OmitArgPrefixes[OmitSubcommandPrefixes[Action]]


@dataclass(frozen=True, kw_only=True)
class Parts(Common):
    """Every registered part: what it does, inputs, settings, where it comes from."""

    kind: Positional[Annotated[str | None, arg(metavar="[KIND]", help_behavior_hint="")]] = None
    """Those of one kind, and what such a part may ask for: prune, grow, method, preset, ..."""
    name: Positional[Annotated[str | None, arg(metavar="[NAME]", help_behavior_hint="")]] = None
    """One part: its formula, inputs, settings and source."""


@dataclass(frozen=True, kw_only=True)
class Check(Common):
    """Conformance of a plugin: a file, an importable module or an installed plugin; without a name, all installed."""

    target: Positional[Annotated[str, arg(metavar="[TARGET]", help_behavior_hint="")]] = ""
    """A .py file, a folder with a package, a module's name; left out, every installed plugin."""


@dataclass(frozen=True, kw_only=True)
class PluginNew(Common):
    """A package of your own to begin with: a working part, its tests, a study of it, how to install it."""

    name: Positional[Annotated[str, arg(metavar="NAME", help_behavior_hint="")]] = ""
    """What it is called: the distribution, its module and its part."""
    kind: str = "prune"
    """Of part: prune, grow, schedule, budget, ... (`sparsity parts` lists all kinds)."""
    file: Annotated[Path | None, arg(name="from", metavar="FILE", help_behavior_hint="")] = None
    """Instead of an example: a Python file with parts of your own, which becomes the package's module."""
    to: Folder = None
    """Folder to write; default one of its name, here."""


@dataclass(frozen=True, kw_only=True)
class PluginList(Common):
    """The installed plugins with their parts, and why any of them cannot be used."""


@dataclass(frozen=True, kw_only=True)
class PluginGroup:
    """Plugins: parts of your own, in a package."""

    action: OmitArgPrefixes[
        OmitSubcommandPrefixes[Annotated[PluginNew, subcommand("new")] | Annotated[PluginList, subcommand("list")]]
    ]


@dataclass(frozen=True, kw_only=True)
class Play(Common):
    """Let a finished run's policy act: returns beside those of its last evaluation, and a video if asked for."""

    run: Run
    episodes: int = 10
    """How many."""
    seed: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Begin with other episodes than the run's last evaluation, equal ones for every run."""
    explore: Switch = False
    """Act with the agent's exploration."""
    video: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Draw the first episode into an .mp4 or a .gif."""
    size: Text = None
    """Width and height of the video: 480x360; default the environment's own."""
    video_episodes: int = 1
    """How many episodes the video shows."""
    video_steps: int = 0
    """Environment steps that it shows of each; 0 is all."""
    video_every: int = 1
    """Draw every n-th step only: smaller files, at the same pace."""
    replace: Switch = False
    """Take the place of a video of that name."""
    format: Literal["text", "csv"] = "text"
    """How it is written, on standard output."""
    allow_env_import: Import = False


@dataclass(frozen=True, kw_only=True)
class Upload(Common):
    """Give a finished run away on the Hugging Face Hub: weights, evaluations, and a page that says what it is."""

    run: Run
    repo: str
    """user/name on the hub; it is made if it is not there, and holds this one run."""
    private: Switch = False
    """Make the repository for yourself alone."""
    license: str = "unknown"
    """Of the weights, as the hub calls it: mit, apache-2.0, cc-by-4.0, ..."""
    to: Folder = None
    """Write what is sent into this new folder, too."""
    dry_run: Switch = False
    """Send nothing: show the page, and write the folder if --to names one."""


@dataclass(frozen=True, kw_only=True)
class Export(Common):
    """The policy of a finished run as files that need neither this project nor torch."""

    run: Run
    to: Literal["safetensors", "scipy", "onnx"]
    """scipy: CSR arrays, and a runner that needs NumPy alone; onnx: a graph; safetensors: tensors by name."""
    out: Folder = None
    """Folder of the files; default exports/ID/FORMAT."""
    no_compact: Switch = False
    """Keep units that nothing enters or leaves."""
    allow_env_import: Import = False


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Speed on this machine: ours, dense, masked and sparse, beside Stable-Baselines3 and SBX where installed."""

    quick: Switch = False
    """Width 256, batch 256, one thread, few repeats: about two minutes."""
    repeats: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Blocks of each contestant; default 7, with --quick 3."""
    widths: Text = None
    """Units of both hidden layers: 256,1024"""
    batches: Text = None
    """Batch sizes: 100,256"""
    densities: Text = None
    """0.5,0.2,0.1,0.05,0.02"""
    threads: Text = None
    """Threads, and cores, of a contestant: 1,2"""
    agent: Literal["td3", "sac"] = "td3"
    """Ours and theirs."""
    method: Literal["static", "set", "ds", "rigl"] = "static"
    """What the sparse agents do; ERK over the hidden layers, events every 1,000 updates."""
    core: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """The core to run on; default the last that this process may use."""
    contestants: Text = None
    """dense,masked,sparse,autograd,sbx,sb3; autograd is sparse with the losses in plain torch"""
    out: Path = Path("bench")
    """Folder of the raw times, the tables and the figure."""
    calibrate: Switch = False
    """Instead: measure from which density on dense arithmetic is faster, and write that into the installed package."""
    debug: Switch = False
    """Show the traceback of an error."""


Command = (
    Annotated[Train, subcommand("train")]
    | Annotated[StudyGroup, subcommand("study")]
    | Annotated[Parts, subcommand("parts")]
    | Annotated[Check, subcommand("check")]
    | Annotated[PluginGroup, subcommand("plugin")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Play, subcommand("play")]
    | Annotated[Upload, subcommand("upload")]
)


def shadowed_packages() -> str:
    """Which of our packages something else of that name stands in front of; else nothing."""
    home = Path(__file__).resolve().parent.parent
    for name in ("registry", "rl", "sparsity"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != home / name:
            return f"the package {name!r} is found at {found}, not at {home / name}: rename what is in front of it"
    return ""


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and carry it out; the exit code says how it went."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A locale that lacks a letter is no reason to stop.
    shadowed = shadowed_packages()
    if shadowed:
        print(f"error: {shadowed}", file=sys.stderr)
        sys.exit(2)
    try:
        try:
            code = _carried_out(arguments)
        finally:
            sys.stdout.flush()  # Here, where a reader that has gone is caught, and not at the interpreter's end.
        sys.exit(code)
    except KeyboardInterrupt:  # While libraries are imported: later ones are answered where the work is.
        print("interrupted; give the same command again", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # A reader, `head` say, has seen enough: of the help, or of what a command shows.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


UNFINISHED: Final[tuple[list[str], ...]] = ([], ["study"], ["plugin"])
"""Words that no command ends with: what may follow them is the best answer."""


def _carried_out(arguments: list[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    if words in UNFINISHED:
        with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit):
            _read([*words, "--help"])
        return 2
    command = _read(words)
    from studies.commands import carry_out

    return carry_out(command.action if isinstance(command, StudyGroup | PluginGroup) else command)


def _read(words: list[str]) -> Any:
    return tyro.cli(
        Command,
        args=words,
        config=(FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes),
        prog="sparsity",
        description="Sparse training for deep reinforcement learning: parts, runs, studies.",
    )
