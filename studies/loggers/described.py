"""A run as the fields by which a dashboard groups and filters."""

from __future__ import annotations

from studies.contents import Run

Value = str | float | int | bool


def described(run: Run) -> dict[str, Value]:
    """`env`, `agent`, `seed`, ..., and every part and setting by its place: `actor.prune`, `td3.batch_size`."""
    plain = ("env", "seed", "steps", "warmup", "execution", "device")
    fields: dict[str, Value] = {name: getattr(run, name) for name in plain}
    fields["agent"] = run.agent.name
    fields |= {f"{run.agent.name}.{name}": _plain(value) for name, value in run.agent.settings.items()}
    for learner, method in run.methods.items():
        fields[f"{learner}.network"] = method.network
        for field, choice in method.parts().items():
            fields[f"{learner}.{field}"] = choice.name
            fields |= {f"{learner}.{field}.{name}": _plain(value) for name, value in choice.settings.items()}
    return fields


def _plain(value: object) -> Value:
    return value if isinstance(value, bool | int | float | str) else str(value)


def named(run: Run) -> str:
    """`td3 HalfCheetah-v5 seed 0`, with the beginning of the id: many rows share the words."""
    return f"{run.agent.name} {run.env} seed {run.seed} {run.id[:7]}"
