"""The presets: settings of papers, as they state them or, `...-released`, as their code has them.

What a paper leaves open is as in the code that it builds on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from registry import hookimpl
from studies.preset import V3, Preset

LAMBDAS: Final[Mapping[str, Any]] = {"allocation": "lambdas", "initial": "bernoulli"}


def _lambdas(first: float, rest: float) -> dict[str, Any]:
    return {"allocation": {"first": first, "rest": rest}}


def _sparse(actor: float, critic: float) -> dict[str, Any]:
    """Densities of both networks, from the sparsities in per cent that RLx2's Table 2 gives."""
    return {
        learner: {"allocation": {"part": "erk", "density": round(1 - sparsity / 100, 4)}}
        for learner, sparsity in (("actor", actor), ("critic", critic))
    }


MUJOCO: Final[Mapping[str, Any]] = {"warmup": 25_000, "eval_every": 5_000, "episodes": 10}
SAC_RUN: Final[Mapping[str, Any]] = {"warmup": 10_000, "eval_every": 5_000, "episodes": 10}

TD3_OFFICIAL = Preset(
    agent="td3",
    settings={"learning_rate": 3e-4, "weight_decay": 0.0, "batch_size": 256},
    run=MUJOCO,
)

SAC_OFFICIAL = Preset(
    agent="sac",
    settings={"learning_rate": 3e-4, "batch_size": 256, "tau": 0.005, "temperature": 1.0, "learned_temperature": True},
    run=SAC_RUN,
)

DS_TD3 = Preset(
    agent="td3",
    settings={"learning_rate": 1e-3, "weight_decay": 2e-4, "batch_size": 100},
    run=MUJOCO,
    methods={"ds": {}, "ds_released": {}, "static": LAMBDAS},
    envs={"Ant": _lambdas(40.0, 64.0), "Humanoid": _lambdas(61.0, 64.0)},
    successors=V3,
)

DS_SAC = Preset(
    agent="sac",
    settings={
        "learning_rate": 3e-4,
        "batch_size": 256,
        "tau": 1.0,
        "target_every": 1000,
        "temperature": 0.2,
        "learned_temperature": False,
        "initial": "xavier",
    },
    run=SAC_RUN,
    methods={
        "ds": {"schedule": {"fraction": 0.1, "every": 1000}, **_lambdas(12.0, 80.0)},
        "static": {**LAMBDAS, "allocation": {"part": "lambdas", "first": 12.0, "rest": 80.0}},
    },
    envs={"Hopper": _lambdas(7.0, 20.0), "Ant": _lambdas(30.0, 64.0), "Humanoid": _lambdas(61.0, 64.0)},
    successors=V3,
)

_RLX2_ROWS: Final = ("rlx2", "rlx2_released", "static", "set", "rigl", "dense_small")
_RLX2_SCHEDULE: Final = {"schedule": {"part": "cosine", "fraction": 0.5, "every": 10_000, "until": 1.0}}


def _rlx2_rows(default: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All rows of their Table 2 share layers, densities and schedule; SET and RigL rewire on the same clock."""
    rows: dict[str, dict[str, Any]] = {name: {"eligible": "all", **default} for name in _RLX2_ROWS}
    for name in ("set", "rigl"):
        rows[name] |= {**_RLX2_SCHEDULE, "clock": "optimizer", "event": "instead_of_step", "moments": "keep"}
    return rows


RLX2_TD3 = Preset(
    agent="td3",
    settings={"learning_rate": 3e-4, "batch_size": 256, "multi_step": 3, "multi_step_after": 300_000},
    run={**MUJOCO, "replay": {"part": "dynamic", "least": 100_000}},
    methods=_rlx2_rows(_sparse(90, 85)),
    envs={"Hopper": _sparse(98, 95), "Walker2d": _sparse(97, 95), "Ant": _sparse(96, 88)},
    successors=V3,
)

RLX2_TD3_RELEASED = replace(
    RLX2_TD3,
    run={**MUJOCO, "replay": {"part": "dynamic", "least": 100_000, "distance": "half_squared", "repeat": False}},
)

RLX2_SAC = Preset(
    agent="sac",
    settings={
        "learning_rate": 3e-4,
        "batch_size": 256,
        "initial": "orthogonal",
        "log_std": "tanh",
        "log_std_low": -5.0,
        "log_std_high": 2.0,
        "multi_step": 3,
        "multi_step_after": 300_000,
    },
    run={**SAC_RUN, "replay": {"part": "dynamic", "capacity": 3_000_000, "least": 200_000}},
    methods=_rlx2_rows(_sparse(90, 80)),
    envs={"Hopper": _sparse(98, 95), "Walker2d": _sparse(90, 90), "Ant": _sparse(90, 75)},
    successors=V3,
)

RLX2_SAC_RELEASED = replace(
    RLX2_SAC,
    settings={**RLX2_SAC.settings, "explores": "mean"},
    run={
        **SAC_RUN,
        "replay": {
            "part": "dynamic",
            "capacity": 3_000_000,
            "least": 200_000,
            "distance": "half_squared",
            "repeat": False,
        },
    },
)

RLX2_TD3_BASELINES = replace(
    RLX2_TD3, settings={"learning_rate": 3e-4, "batch_size": 256}, run={**MUJOCO, "replay": "uniform"}
)

RLX2_SAC_BASELINES = replace(
    RLX2_SAC,
    settings={name: value for name, value in RLX2_SAC.settings.items() if not name.startswith("multi_step")},
    run={**SAC_RUN, "replay": {"part": "uniform", "capacity": 3_000_000}},
)
"""Of their Table 2, Tiny, SS, SET and RigL have one-step targets and a memory of fixed size."""

_GRAESSER: Final[Mapping[str, Any]] = {
    "eligible": "all",
    "allocation": {"part": "erk", "density": 0.1},
    "weights": "unit_scaled",
}
_GRAESSER_SWAP: Final[Mapping[str, Any]] = {
    "schedule": {"part": "cosine", "fraction": 0.5, "every": 1000, "until": 0.8},
    "moments": "reset_grown",
    "event": "after_step",
}

GRAESSER_SAC = Preset(
    agent="sac",
    settings={"learning_rate": 3e-4, "batch_size": 256, "tau": 0.005, "weight_decay": 1e-6, "reward_scale": 0.1},
    run=SAC_RUN,
    methods={
        "static": _GRAESSER,
        "set": {**_GRAESSER, **_GRAESSER_SWAP},
        "rigl": {**_GRAESSER, **_GRAESSER_SWAP},
        "gmp": {
            "eligible": "all",
            "allocation": {"part": "erk", "density": 0.1},
            "budget": {"begin": 0.2, "end": 0.8, "every": 1000},
        },
        "snip": {"eligible": "all", "allocation": {"part": "erk", "density": 0.1}},
    },
    successors=V3,
)

GRAESSER_SAC_DENSE = replace(GRAESSER_SAC, settings={**GRAESSER_SAC.settings, "weight_decay": 1e-4}, methods={})

_NOISE: Final = {"wrappers": [{"part": "noise_features", "share": 0.9}]}

ANF_TD3 = Preset(
    agent="td3",
    settings={"learning_rate": 1e-3, "weight_decay": 2e-4, "batch_size": 100},
    run={**MUJOCO, **_NOISE},
    methods={"anf": {}},
    successors=V3,
)

ANF_SAC = Preset(
    agent="sac",
    settings={
        "learning_rate": 1e-3,
        "weight_decay": 2e-4,
        "batch_size": 100,
        "temperature": 0.2,
        "learned_temperature": False,
    },
    run={**MUJOCO, **_NOISE},
    methods={"anf": {}},
    successors=V3,
)

NE_TD3 = Preset(
    agent="td3",
    settings={"learning_rate": 3e-4, "batch_size": 256},
    run={**MUJOCO, "replay": {"part": "reviewed"}},
    methods={"ne": {}, "ne_released": {}},
    successors=V3,
)


@hookimpl
def register_preset(register: Callable[..., object]) -> None:
    register(TD3_OFFICIAL, name="td3-official", about="TD3 as in its authors' released code (Fujimoto et al. 2018).")
    register(SAC_OFFICIAL, name="sac-official", about="SAC with a learned temperature (Haarnoja et al. 2018).")
    register(DS_TD3, name="ds-td3", about="TD3, DS-TD3 and Static-TD3 with one set of settings (Sokar et al. 2022).")
    register(DS_SAC, name="ds-sac", about="SAC with hard targets, DS-SAC and Static-SAC (Sokar et al. 2022, appendix).")
    register(
        RLX2_TD3,
        name="rlx2-td3",
        about="TD3 at RLx2's sparsities, every row with three-step targets and a dynamic memory (Tan et al. 2023).",
    )
    register(RLX2_TD3_RELEASED, name="rlx2-td3-released", about="The same as RLx2's code reviews its memory.")
    register(RLX2_SAC, name="rlx2-sac", about="SAC at RLx2's sparsities, every row as RLx2 (Tan et al. 2023).")
    register(
        RLX2_TD3_BASELINES, name="rlx2-td3-baselines", about="The other rows of its Table 2: plain targets and memory."
    )
    register(RLX2_SAC_BASELINES, name="rlx2-sac-baselines", about="The same for SAC.")
    register(
        RLX2_SAC_RELEASED, name="rlx2-sac-released", about="The same as RLx2's code: it explores with the mean action."
    )
    register(
        GRAESSER_SAC,
        name="graesser-sac",
        about="SAC's sparse rows at ERK 0.1, weight decay 1e-6 (Graesser et al. 2022).",
    )
    register(GRAESSER_SAC_DENSE, name="graesser-sac-dense", about="Its dense rows, which have weight decay 1e-4.")
    register(ANF_TD3, name="anf-td3", about="TD3 with nine tenths of the observation noise (Grooten et al. 2023).")
    register(ANF_SAC, name="anf-sac", about="SAC with nine tenths of the observation noise (Grooten et al. 2023).")
    register(NE_TD3, name="ne-td3", about="TD3 with experience review, for Neuroplastic Expansion (Liu et al. 2025).")
