"""Trials in which something breaks on purpose, and the ledger of all of them.

    OMP_NUM_THREADS=1 python -m benchmarks.reliability saves --count 200
    python -m benchmarks.reliability

The first runs a slice of one harness, adds a row to `benchmarks/reliability/ledger.csv` and tells how to replay each
failure. The second prints what the ledger says: trials, failures, and the upper 95 % limit of their rate.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from benchmarks.reliability import ledger


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("harness", nargs="?", help="which harness; without one, the totals of all")
    words.add_argument("--count", type=int, default=200, help="trials")
    words.add_argument("--seed", type=int, help="what draws them; drawn itself and told if left out")
    words.add_argument("--page", action="store_true", help="write the totals into docs/reliability.md too")
    words.add_argument("--no-ledger", action="store_true", help="add no row, as for a replay")
    said = words.parse_args()
    if said.harness is None:
        print(ledger.totals(ledger.rows()))
        if said.page:
            ledger.publish()
        return 0
    from benchmarks.reliability.harnesses import HARNESSES

    if said.harness not in HARNESSES:
        words.error(f"no harness named {said.harness!r}. Known: {', '.join(sorted(HARNESSES))}")
    if said.count < 1:
        words.error(f"--count is {said.count}: at least one trial")
    seed = random.SystemRandom().randrange(10**6) * 10**3 if said.seed is None else said.seed
    started, commit = time.perf_counter(), ledger.commit()
    failures, notes = HARNESSES[said.harness](said.count, seed)
    made = ledger.row(commit, said.harness, said.count, failures, seed, time.perf_counter() - started)
    if not said.no_ledger:
        ledger.append(made)
    print("\n".join([*notes, ", ".join(f"{key} {value}" for key, value in made.items())]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
