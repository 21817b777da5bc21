"""The policy of a finished run, found by its id or its folder: what is exported, played and given away."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from registry import Registry, nearest
from rl.agent import Agent
from rl.checkpoint import load_weights
from studies.build import build_agent
from studies.contents import Run
from studies.problems import BadInput
from studies.store import CONTENTS, WEIGHTS, Damaged, Store


def find_run(given: str, store: Store) -> tuple[Run, Store]:
    """The finished run of an id, of the beginning of one, or in a folder; with the store that it is in.

    BadInput, with what is there, if none or several are meant, or if it has no policy; Damaged if any byte of it is not
    as it was written.
    """
    if "/" in given or Path(given, CONTENTS).is_file():
        folder = Path(given).resolve()
        if not (folder / CONTENTS).is_file() or folder.parent.name != "runs":
            raise BadInput(f"{given} is no run's folder: they are STORE/runs/<id>")
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

    `sizes` are the numbers of observations and actions. WeightsRefused if the file is not of such an agent.
    """
    agent, _ = build_agent(replace(run, execution="masked", device="cpu"), sizes, registry)
    load_weights(store.run_folder(run.id) / WEIGHTS, agent)
    return agent


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
    raise BadInput(
        f"the store {store.root} has no run {given!r}. {nearest(given, runs)}It holds {len(runs)} runs; give an id, "
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
