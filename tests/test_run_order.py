"""In which order a study's runs are carried out."""

from __future__ import annotations

from pathlib import Path

from registry import Registry
from studies.options import Options
from studies.runner import plan
from studies.store import Store
from studies.study import Study

REGISTRY = Registry(installed=False)


def test_runs_come_seed_by_seed_in_the_order_given_and_the_random_policy_last(tmp_path: Path) -> None:
    study = Study(
        name="order",
        agents=("td3",),
        envs=("InvertedPendulum-v5",),
        seeds=(3, 1),
        steps=20,
        warmup=10,
        methods={"Dense": {"base": "dense"}, "SET": {"base": "set", "schedule": {"every": 5}}},
    )
    made = plan(study, Store(tmp_path), REGISTRY, Options())
    labels = {cell.run.id: cell.label for cell in made.cells}
    order = [(labels[run.id], run.seed) for run in made.pending]
    assert order == [("Dense", 3), ("SET", 3), ("Dense", 1), ("SET", 1), ("Random policy", 0)]
