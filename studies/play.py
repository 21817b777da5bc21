"""A finished run's policy at work: returns of its episodes, beside those that it was measured by, and a video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from registry import Registry
from rl.environment import environment_state, sizes
from rl.streams import env_seed, stream
from rl.train import evaluate
from studies.build import build_environment
from studies.contents import Run
from studies.drawing import choose_backend, follow, lacking
from studies.formats import csv_text
from studies.policies import demand_sources, device_here, find_run, policy_of_its_own
from studies.problems import BadInput
from studies.store import Record, Store
from studies.video import Video, recording
from studies.world import drift, world


@dataclass(frozen=True)
class Played:
    """Episodes of a run's policy."""

    run: Run
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    stored: tuple[float, ...]
    """Returns of the run's last evaluation."""
    repeats: bool
    """Whether these episodes begin as those of the last evaluation did."""
    explored: bool
    changed: str
    """What of the world is not as it was when the run ended; nothing if nothing that counts."""
    keeps: bool
    """Whether a wrapper keeps something from one evaluation to the next, which begins anew here."""
    drawn: str = ""
    """What the video shows."""

    @property
    def equal(self) -> int:
        """How many returns are those of the last evaluation, to the last bit."""
        return sum(mine == theirs for mine, theirs in zip(self.returns, self.stored, strict=False))


def play(
    given: str,
    store: Store,
    registry: Registry,
    *,
    episodes: int = 10,
    seed: int | None = None,
    explore: bool = False,
    video: Video | None = None,
    allow_import: bool = False,
) -> Played:
    """Let the policy of a finished run act for some episodes; `given` is its id, the beginning of it, or its folder.

    Without a seed the episodes begin as the run's last evaluation did, and go on from there: the returns of as many as
    that had are the stored ones, to the last bit on the same machine class and versions. With one they are others,
    equal for every run on that environment. `explore` adds the agent's exploration. A video changes no return.
    """
    if episodes < 1:
        raise BadInput(f"--episodes must be at least 1, not {episodes}")
    run, store = find_run(given, store)
    demand_sources(run, registry)
    if video is not None:
        video.demand_writable()
        choose_backend()
    record = store.read(run.id)
    first = _first_seed(run, record, seed)
    with _as_a_run(), closing(_environment(run, registry, video, allow_import)) as env:
        agent = policy_of_its_own(run, store, sizes(env), registry)
        how: dict[str, Any] = {"episodes": episodes, "seed": first, "explore": explore}
        drawn = ""
        if video is None:
            returns, lengths = evaluate(agent, env, **how)
        else:
            if problem := lacking(env):
                raise BadInput(problem)
            follow(env)
            with recording(env, video) as (recorded, film):
                returns, lengths = evaluate(agent, recorded, **how)
            drawn = f"{video.path}: {film.frames:,} frames of {film.size[0]} x {film.size[1]}"
        keeps = any(layer is not None for layer in environment_state(env)["layers"])
        changed = drift(record.world, world(registry, device_here(run)))
    return Played(
        run, returns, lengths, tuple(record.episodes[-1]), seed is None and not explore, explore, changed, keeps, drawn
    )


def _first_seed(run: Run, record: Record, seed: int | None) -> int:
    """What resets the first episode: as the last evaluation's was, or a stream that no training draws from."""
    if seed is None:
        return env_seed(stream(run.seed, "evaluation", len(record.steps) - 1))
    try:
        return env_seed(stream(seed, "play"))
    except ValueError as error:
        raise BadInput(f"--seed: {error}") from None


def _environment(run: Run, registry: Registry, video: Video | None, allow_import: bool) -> Any:
    drawing = {} if video is None else video.drawing()
    try:
        return build_environment(run, 1, registry, allow_import=allow_import, **drawing)
    except ValueError as error:
        raise BadInput(str(error)) from error


@contextmanager
def _as_a_run() -> Iterator[None]:
    """Arithmetic as in a run's own process: one thread, and no denormals."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def words(played: Played, format_: Literal["text", "csv"]) -> str:
    """The episodes as text with mean and standard error, beside the last evaluation; or as CSV, a row an episode."""
    rows = [(i, r, n) for i, (r, n) in enumerate(zip(played.returns, played.lengths, strict=True), start=1)]
    if format_ == "csv":
        return csv_text(("episode", "return", "length"), rows)
    run, noise = played.run, "with exploration" if played.explored else "no exploration"
    lines = [f"run {run.id}: {run.agent.name} on {run.env}, seed {run.seed}, {run.steps:,} steps, {run.execution}"]
    lines += [f"  episode {i:<4} return {return_:>12,.1f}   length {length:,}" for i, return_, length in rows]
    lines.append(f"return  {spread(played.returns)} ({noise})")
    lines.append(f"stored  {spread(played.stored)} (its last evaluation)")
    lines += [_compared(played)] if played.repeats else []
    lines += [f"video   {played.drawn}"] if played.drawn else []
    return "\n".join(lines)


def spread(returns: tuple[float, ...]) -> str:
    """Mean and standard error over episodes, and how many they are."""
    count, mean = len(returns), float(np.mean(returns))
    if count == 1:
        return f"{mean:,.1f}, 1 episode"
    return f"{mean:,.1f} ± {float(np.std(returns, ddof=1)) / count**0.5:,.1f}, {count} episodes"


def _compared(played: Played) -> str:
    count = min(len(played.returns), len(played.stored))
    told = f"as in the run's last evaluation: {played.equal} of {count} returns are equal"
    if played.equal == count:
        return told
    if played.keeps:
        return f"{told}: a wrapper of the environment keeps more than its seed says, and begins anew here"
    return f"{told}{f': {played.changed}' if played.changed else ''}"
