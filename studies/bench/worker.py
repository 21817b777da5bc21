"""One contestant in a process of its own: bound to its cores, then asleep until it is told to run a block.

`python -m studies.bench.worker TASK` builds the agent that TASK (JSON) describes and says so in one JSON line; every
line that it then reads is a block to run, and is answered by one line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from studies.bench.plan import CHOICE, LAYER, PEERS, Setting


class Runner(Protocol):
    """An agent whose blocks of work can be timed."""

    def warm(self) -> dict[str, Any]:
        """Compile and fill caches: `seconds` by kind of update, and `facts` of the agent."""

    def block(self, work: str, n: int) -> float:
        """Seconds of n updates, or of n whole steps. The first block of a kind and size may be slow."""


def main(arguments: list[str]) -> int:
    """Build one contestant and run its blocks until nobody asks any more."""
    task = json.loads(arguments[0])
    answers = _answers()
    cores = _bound(task["cores"])
    try:
        runner = built(task)
        _say(answers, {"cores": cores})
        for line in sys.stdin:
            _say(answers, done(runner, json.loads(line)))
    except Exception as error:
        _say(answers, {"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


def built(task: Mapping[str, Any]) -> Runner:
    """What a task describes."""
    setting = Setting(**task["setting"])
    if task["kind"] in PEERS:
        from studies.bench.peers import Peer

        return Peer(task["kind"], setting)
    if task["kind"] in (LAYER, CHOICE):
        from studies.bench.layer import RUNNERS

        return RUNNERS[task["kind"]](setting)
    from studies.bench.ours import Ours

    return Ours(task["kind"], task["density"], setting)


def done(runner: Runner, order: Mapping[str, Any]) -> dict[str, Any]:
    """An order carried out."""
    return runner.warm() if order["work"] == "warm" else {"seconds": runner.block(order["work"], order["n"])}


def _bound(cores: list[int]) -> list[int]:
    """Before torch or JAX are imported: both make as many threads as they see cores. Gives the cores, if bound."""
    if not cores or sys.platform != "linux":
        return []
    os.sched_setaffinity(0, cores)
    return sorted(os.sched_getaffinity(0))


def _answers() -> TextIO:
    """The real standard output, for answers alone; what a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
