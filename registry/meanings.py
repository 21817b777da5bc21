"""What each kind of part is for, when it is called, and what its inputs mean: for `sparsity parts KIND` and its page.

Shapes: `*` is a population (the twin critics are two), `out` the units of a layer and `fan_in` what enters each; the
kernels of a convolution are flattened into `fan_in`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from registry.hookspecs import Kind


class Meaning(NamedTuple):
    """A kind in three sentences."""

    purpose: str
    called: str
    gives: str


KINDS: Final[Mapping[str, Meaning]] = {
    "eligible": Meaning(
        "Which weight matrices of a network may be sparse; the others stay dense.",
        "Once, when a sparsifier is hung on a learner; and when a study is planned.",
        "a list or tuple of names among those of `shapes`, in the order of the layers; empty is a dense network",
    ),
    "allocation": Meaning(
        "How the density is shared out over the eligible layers.",
        "Once, when a sparsifier is hung on a learner; and when a study is planned.",
        "a table with a density in (0, 1] for every name of `shapes`; one with a setting `density` meets it in all, "
        "counted over connections",
    ),
    "initial": Meaning(
        "Which connections there are at first.",
        "Once a layer, before training; one that asks for `network` once for all layers.",
        "float scores `(*, out, fan_in)`, of which the highest enter, as many as the allocation says; or a bool mask "
        "of that shape, whose own count becomes the budget; for `network` a table of masks by name",
    ),
    "weights": Meaning(
        "The values that sparse layers begin with, once their topology is known. Slow copies take them too.",
        "Once a layer, after the first topology.",
        "a float tensor like `weight`; what is absent is zeroed by the engine",
    ),
    "prune": Meaning(
        "Which connections leave.",
        "At every event, once a layer.",
        "float scores `(*, out, fan_in)`, finite where active: the lowest active ones leave, exactly as many as the "
        "event says, ties by noise",
    ),
    "grow": Meaning(
        "Which connections enter.",
        "At every event, once a layer.",
        "float scores `(*, out, fan_in)`, finite where absent (everywhere under `readmit`): the highest absent "
        "ones enter",
    ),
    "born": Meaning(
        "The value with which an absent connection enters.",
        "At every event, once a layer, for all of its connections; the values of those that enter are taken.",
        "a finite number, or a float tensor `(*, out, fan_in)`",
    ),
    "spread": Meaning(
        "How an event's growth is shared out over the layers.",
        "At every event, once a network.",
        "shares, finite and not negative, one a layer and member, shaped like `removed`: the engine scales them to the "
        "growth, rounds them, and lets no layer have more than its room",
    ),
    "schedule": Meaning(
        "When connections are swapped, and how many.",
        'At every agent update, from 1; with the method\'s `clock = "optimizer"` at every step of the optimiser.',
        "a float in [0, 1]: the fraction of active connections to swap now; 0.0 is not now",
    ),
    "budget": Meaning(
        "How many connections there are, when.",
        "At every agent update, and for 0, the start.",
        "a float in (0, 1]: the density of the network from this step on, as a staircase, for every change is an event",
    ),
    "target": Meaning(
        "What of a slow copy (a target network) may stay after each of its updates.",
        "After every update of the slow copy, once a layer. At first it has the online topology, whatever the rule.",
        "a bool tensor `(*, out, fan_in)`; what is False becomes 0",
    ),
    "moments": Meaning(
        "What becomes of the optimiser's moments of absent and of new connections.",
        "At the start and at every event, for each tensor of the optimiser's state that is shaped like the weight; "
        "where the optimiser sees dense gradients, rules that ask for `mask` also after every step.",
        "a float tensor like `moment`; of a second moment, not negative",
    ),
    "trace": Meaning(
        "What the engine remembers for criteria: one number a weight, kept only if a chosen part asks for it by name.",
        "At every optimiser step, before it; with `window=n` in the last n before an event, from zeros.",
        "the new value, a float tensor `(*, out, fan_in)`, finite where active",
    ),
    "method": Meaning(
        "A row of chosen parts: a method of sparse training by name.",
        "Never: a `sparsity.Method` is data. A study reads it as the `base` of a row.",
        'nothing: the row is registered itself, `register(Method(...), name="mine", about="...")`',
    ),
    "agent": Meaning(
        "An agent that learns. It knows nothing of sparsity: it lists what it trains.",
        "Once a run, to build it; a study asks for a small one when it is planned.",
        "an object with all that `rl.Agent` names: act, update, learners, batch_size, state_dict, load_state_dict",
    ),
    "replay": Meaning(
        "A memory of transitions.",
        "Once a run, to build it.",
        "an object with all that `rl.Replay` names: add, sample, __len__; with state_dict and load_state_dict its runs "
        "can go on where they were stopped",
    ),
    "wrapper": Meaning(
        "Changes an environment: makes it harder, say.",
        "Once a run for the environment of training, and once for that of evaluations.",
        "a `gymnasium.Env`, with a flat Box of observations and actions in [-1, 1]; if it keeps anything from one "
        "episode to the next, with state_dict and load_state_dict",
    ),
    "preset": Meaning(
        "Settings of a publication: its agent, what it changes in methods, and how its runs go.",
        "Never: a `studies.preset.Preset` is data. It lies under a study's file and flags, `--preset NAME`.",
        'nothing: the row is registered itself, `register(Preset(...), name="mine", about="...")`',
    ),
    "executor": Meaning(
        "Where the runs of a study are carried out: each is a command, run as a process.",
        "Once a round of a study; again, if runs are left that waited for the end of others.",
        "nothing; it returns when all jobs that it took have ended",
    ),
    "logger": Meaning(
        "Where training signals go, beside the run's own files.",
        "Once a run; and once more whenever the run goes on from a checkpoint, its files being as they were there.",
        'an object with `write(record)`, called with `{"step": 3000, "critic_loss": 0.7, ...}`, and `close()`; '
        "with `evaluated(record)` it hears of evaluations too",
    ),
}

_CONNECTIONS: Final = "`(*, out, fan_in)`"

INPUTS: Final[Mapping[str, str]] = {
    "shapes": "table of names to `(out, in, *kernel)`: every weight matrix of the network, in the order of its layers",
    "weight": f"float {_CONNECTIONS}: the weights, 0 where absent",
    "grad": f"float {_CONNECTIONS}: the dense gradient of this step's loss, absent connections included",
    "mask": f"bool {_CONNECTIONS}: True where active",
    "noise": f"float {_CONNECTIONS}: uniform in [0, 1), fresh in every call",
    "activity": "float `(*, out, 1)`: mean |output| of the unit that a connection enters, over that of its layer",
    "network": "table of names to float `(members, out, fan_in)`: the initial values of every weight matrix",
    "eligible": "tuple of names: the weights to give masks for",
    "connections": "int: how many there are to be in all of them, a member",
    "stepped": f"float {_CONNECTIONS}: the weights as the optimiser's dense step left them, absent ones too; it needs "
    '`optimizer_sees = "dense"`',
    "removed": "int64 `(layers x members,)`: connections that each layer loses in this event",
    "nnz": "int64, shaped like `removed`: connections that each had before it",
    "room": "int64, shaped like `removed`: connections that can enter each",
    "masks": "list of bool `(members, out, fan_in)`, one a layer: the topology before the event",
    "step": "int: agent updates so far, counted from 1",
    "total": "int: how many are planned; None where nobody knows",
    "final": "float: the density that the allocation gives, which is the network's in the end",
    "target": f"float {_CONNECTIONS}: the slow copy's weights, just updated",
    "online": f"float {_CONNECTIONS}: the online weights, 0 where absent",
    "moment": f"float {_CONNECTIONS}: one of the optimiser's moments",
    "grown": f"bool {_CONNECTIONS}: True where a connection has entered in this event",
    "second": "bool: whether it is a squared moment, such as Adam's v",
    "trace": f"float {_CONNECTIONS}: the trace's last value; 0 at first",
    "observation_size": "int: numbers in an observation",
    "action_size": "int: numbers in an action, each in [-1, 1]",
    "seed": "int: that of the run; draw all randomness from it, `rl.streams.stream(seed, purpose)`",
    "device": "torch.device: where networks live",
    "dtype": "torch.dtype: what networks are made of",
    "env": "gymnasium.Env: the environment, its actions in [-1, 1]",
    "jobs": "iterator of jobs: `id`, `command` (a tuple of words) and `stall_after` (seconds) of each",
    "report": '`report(id, record)`: `{"step": ...}` as a job goes, `{"note": text}`, and once `{"ended": code, '
    '"cause": text}`',
    "folder": "pathlib.Path: the run's folder; files in it are part of the run, folders begin anew when it goes on",
    "run": "studies.contents.Run: what is carried out, with its `id`",
}
"""Inputs by name."""

ELSEWHERE: Final[Mapping[tuple[str, str], str]] = {
    ("prune", "grad"): f"float {_CONNECTIONS}: the gradient of this step's loss, valid where active",
    ("allocation", "shapes"): "table of names to `(out, in, *kernel)`: the eligible weights alone",
    ("initial", "weight"): f"float {_CONNECTIONS}: the initial values, as drawn for a dense layer",
    ("initial", "mask"): f"bool {_CONNECTIONS}: all False, for nothing is active yet",
    ("initial", "density"): "float: that of the layer at the start; of the network, for a part that asks for `network`",
    ("weights", "weight"): f"float {_CONNECTIONS}: the initial values, as drawn for a dense layer",
    ("weights", "mask"): f"bool {_CONNECTIONS}: True where active, the first topology",
    ("schedule", "density"): "float: the density of the network before this step",
    ("budget", "density"): "float: the density that the allocation gives, which is the network's in the end",
    ("budget", "step"): "int: agent updates so far; 0 is the start",
    ("target", "mask"): f"bool {_CONNECTIONS}: the online topology",
    ("moments", "mask"): f"bool {_CONNECTIONS}: True where active, after the event",
    ("wrapper", "seed"): "numpy.random.SeedSequence: its own; `numpy.random.default_rng(seed)`",
}
"""Where an input of a kind means something of its own."""

TRACES: Final = f"float {_CONNECTIONS}: any registered trace, by its name (`sparsity parts trace`)"
TRACES_OF_LAYERS: Final = "list of float `(members, out, fan_in)`, one a layer: any registered trace, by its name"

FACTS: Final[Mapping[str, str]] = {
    "window": "int, at least 1: run over the last so many optimiser steps before an event only, each time from zeros",
    "forgets_absent": "True if what it says of absent moments never matters, as they are zeroed or never read: sparse "
    "execution, which holds none, serves it then",
    "source": "text: author, title, venue",
    "year": "int: of publication",
    "departures": "list of sentences: what it does otherwise than its authors",
    "own": "tuple of fields in which the row is what it is: a study's `[all]` does not touch them",
    "ready": "function of the settings: a list of what stands in their way, empty if nothing; asked before anything is "
    "written",
}
"""What `register` takes beside the part; `name` and `about` (the first line of its documentation) it takes for all."""


def inputs_of(kind: Kind) -> dict[str, str]:
    """What each input of a kind means; under `any trace` what it gets for a trace's name."""
    told = {name: ELSEWHERE.get((kind.name, name), INPUTS.get(name, "")) for name in kind.inputs}
    traces = TRACES_OF_LAYERS if kind.name == "spread" else TRACES
    return told | ({"any trace": traces} if kind.traces else {})
