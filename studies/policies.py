"""The policy of a finished run, found by its id or its folder: what is exported, played and given away."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from registry import Registry, nearest
from rl.agent import Agent
from rl.checkpoint import WeightsRefused, load_weights
from studies.build import attach, build_agent
from studies.contents import Run, foreign_sources
from studies.problems import BadInput
from studies.store import CONTENTS, WEIGHTS, Damaged, Store


def find_run(given: str, store: Store) -> tuple[Run, Store]:
    """The finished run of an id, of the beginning of one, or in a folder; with the store that it is in.

    A folder is that of a run, or a store with a single run in it, as `sparsity upload` writes them.

    BadInput, with what is there, if none or several are meant, or if it has no policy; Damaged if any byte of it is not
    as it was written.
    """
    if "/" in given or Path(given, CONTENTS).is_file() or (given and Path(given, "runs").is_dir()):
        folder = _folder(given)
        store, run_id = Store(folder.parent.parent), folder.name
    else:
        run_id = _completed(given, store)
    run = _with_policy(run_id, store)
    damaged = store.verify(run_id)
    if damaged:
        raise Damaged(f"run {run_id} is not as it was written: {', '.join(damaged)}")
    return run, store


def policy_of(run: Run, store: Store, sizes: tuple[int, int], registry: Registry) -> Agent:
    """The run's agent with the weights that it ended with, as dense modules on the CPU: nothing hangs on it.

    `sizes` are the numbers of observations and actions. Damaged if the file is not of such an agent.
    """
    agent, _ = build_agent(replace(run, execution="masked", device="cpu"), sizes, registry)
    _load(agent, run, store)
    return agent


def policy_of_its_own(run: Run, store: Store, sizes: tuple[int, int], registry: Registry) -> Agent:
    """The run's agent as it was at its end, in the run's own execution: it acts as it did, to the last bit.

    Dense modules with the same weights add up in another order, and a simulator makes much of a last bit. One of a GPU
    that is not here acts on the CPU. Damaged if the file is not of such an agent.
    """
    here = replace(run, device=device_here(run))
    agent, _ = build_agent(here, sizes, registry)
    attach(agent, here, registry)
    _load(agent, run, store)
    return agent


def _load(agent: Agent, run: Run, store: Store) -> None:
    try:
        load_weights(store.run_folder(run.id) / WEIGHTS, agent)
    except WeightsRefused as error:  # Its seal is whole: another's file, or an environment that has changed its sizes.
        raise Damaged(f"run {run.id} has weights of another agent: {error}") from error


def device_here(run: Run) -> str:
    """The device that the run was trained on, or the CPU where there is no such."""
    import torch

    number = run.device.partition(":")[2] or "0"
    there = run.device == "cpu" or (run.device.startswith("cuda") and int(number) < torch.cuda.device_count())
    return run.device if there else "cpu"


def demand_sources(run: Run, registry: Registry) -> None:
    """BadInput unless the parts that are not ours are those that the run was trained with. PartError if one lacks."""
    if (now := foreign_sources(run, registry)) != dict(run.foreign):
        changed = sorted(key for key in now.keys() | run.foreign.keys() if now.get(key) != run.foreign.get(key))
        raise BadInput(
            f"the source of {', '.join(changed)} is not that which run {run.id} was trained with: give the plugin as "
            "it was (--plugin FILE)"
        )


def _folder(given: str) -> Path:
    """The folder of the run that a path means: itself, or the only run of the store that it is."""
    folder = Path(given).resolve()
    if (folder / CONTENTS).is_file() and folder.parent.name == "runs":
        return folder
    inside = sorted(path.parent for path in folder.glob(f"runs/*/{CONTENTS}"))
    if len(inside) == 1:
        return inside[0]
    if inside:
        listed = ", ".join(path.name for path in inside[:6])
        raise BadInput(f"{given} is a store of {len(inside)} runs: give one of them and --store {given}: {listed}")
    raise BadInput(f"{given} is no run's folder: they are STORE/runs/<id>")


def _completed(given: str, store: Store) -> str:
    """The id that begins so."""
    runs = sorted(path.parent.name for path in store.root.glob(f"runs/*/{CONTENTS}"))
    if given in store.studies():
        cells = store.cells(given)
        listed = "; ".join(f"{cell['run']} ({cell['label']}, seed {cell['seed']})" for cell in cells[:6])
        more = f"; all {len(cells)}: sparsity study table {given} --runs" if len(cells) > 6 else ""
        raise BadInput(f"{given} is a study, not a run: give one of its runs: {listed}{more}")
    found = [run for run in runs if re.fullmatch("[0-9a-f]+", given) and run.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"{len(found)} runs of {store.root} begin with {given}: {', '.join(found[:6])}: give more of it")
    held = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    few = f" ({', '.join(runs)})" if 0 < len(runs) <= 6 else ""
    if not store.root.is_dir():
        few = f", for there is no folder {store.root}: --store says where it is"
    raise BadInput(
        f"the store {store.root} has no run {given!r}. {nearest(given, runs)}It holds {held}{few}; give an id, "
        "the beginning of one, or the folder of a run (`sparsity study table NAME --runs` lists those of a study)"
    )


def _with_policy(run_id: str, store: Store) -> Run:
    status, cause = store.status(run_id)
    why = f": {cause.splitlines()[-1]}" if cause else ""
    if cause.startswith("damaged"):
        raise Damaged(f"run {run_id} is {cause}")
    if status != "done":
        raise BadInput(f"run {run_id} is {status}{why}. Only a run that is done has a policy")
    try:
        run = store.load_run(run_id)
    except Damaged:
        raise
    except ValueError as error:
        raise BadInput(f"run {run_id} is of another version: {error}") from error
    if not run.methods:
        raise BadInput(f"run {run_id} is of the {run.agent.name} policy, which has no network")
    if WEIGHTS not in store.files(run_id) or not (store.run_folder(run_id) / WEIGHTS).is_file():
        raise BadInput(
            f"run {run_id} was copied here without its weights (`sparsity study copy --weights` takes them "
            "along): use the store that it comes from, or train it again in another"
        )
    return run
