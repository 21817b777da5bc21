"""What a new plugin's study asks: a row with the part beside one without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

_SET: Final = 'base = "set", schedule = { every = 500 }'


@dataclass(frozen=True)
class Ablation:
    """A study in templates: `PART` stands for the part's name."""

    question: str
    row: str = ""
    """What the row with the part changes in SET; empty if the part is chosen elsewhere."""
    keys: tuple[str, ...] = ()
    """Further keys of the study."""
    agents: tuple[str, ...] = ("td3",)
    base: str = "set"
    flags: str = ""
    """What the command says besides."""

    def filled(self, part: str) -> dict[str, object]:
        """The words of the file's template."""
        rows = {"SET": _SET}
        if self.base != "set":
            rows[part] = f'base = "{part}", schedule = {{ every = 500 }}'
        elif self.row:
            changed = self.row if self.row.startswith("schedule") else f"schedule = {{ every = 500 }}, {self.row}"
            rows[f"SET, {part}"] = f'base = "set", {changed}'.replace("PART", part)
        return {
            "question": self.question.replace("PART", part),
            "rows": rows,
            "keys": [key.replace("PART", part) for key in self.keys],
            "agents": ", ".join(f'"{agent}"' for agent in self.agents).replace("PART", part),
            "flags": self.flags.replace("PART", part),
        }


def own_ablation(kind: str) -> Ablation:
    """A study of a part that is not an example: the same, with its default settings."""
    example = ABLATIONS[kind]
    row = f'{"grow" if kind == "trace" else kind} = "PART"' if example.row else ""
    keys = tuple(f'{key} = "PART"' for key in ("replay", "preset") if kind == key)
    keys += ('wrappers = ["PART"]',) if kind == "wrapper" else ()
    return replace(example, question="Does PART help?", row=row, keys=keys)


ABLATIONS: Final[Mapping[str, Ablation]] = {
    "eligible": Ablation("Is it enough that the largest matrix is sparse?", 'eligible = "PART"'),
    "allocation": Ablation(
        "Do the inputs need more of the connections?", 'allocation = { part = "PART", first = 2.0 }'
    ),
    "initial": Ablation("Does it help that every unit begins with as many inputs?", 'initial = "PART"'),
    "weights": Ablation("Does it help to begin with weights scaled to the connections?", 'weights = "PART"'),
    "prune": Ablation("Does it help to spare some small weights?", 'prune = { part = "PART", heat = 0.05 }'),
    "grow": Ablation(
        "Does it help to draw connections in proportion to their gradient?",
        'grow = { part = "PART", temperature = 1.0 }',
    ),
    "born": Ablation(
        "Does it help that connections enter with a step downhill?", 'born = { part = "PART", size = 0.001 }'
    ),
    "spread": Ablation("Does it help that wide layers grow more?", 'spread = { part = "PART", power = 0.5 }'),
    "schedule": Ablation(
        "Is it enough to rewire early on?", 'schedule = { part = "PART", fraction = 0.05, first = 500 }'
    ),
    "budget": Ablation("Does it help to begin dense?", 'budget = { part = "PART", start = 1.0, end = 0.5 }'),
    "target": Ablation(
        "May a slow copy keep what the online network has dropped?", 'target = { part = "PART", share = 0.1 }'
    ),
    "moments": Ablation(
        "Does it help that new connections begin with moments?", 'moments = { part = "PART", share = 0.5 }'
    ),
    "trace": Ablation("Does it help to grow where the gradient keeps its sign?", 'grow = "PART"'),
    "method": Ablation("Is a method between SET and RigL better than SET?", base="method"),
    "agent": Ablation("Does it help to explore less with time?", agents=("td3", "PART")),
    "replay": Ablation(
        "How do sparse agents learn from recent transitions?",
        keys=('replay = { part = "PART", share = 0.5 }  # Left out, it is the study to compare this one with.',),
    ),
    "wrapper": Ablation(
        "How do sparse agents stand actions that stick?",
        keys=('wrappers = [{ part = "PART", chance = 0.25 }]  # Left out, it is the study to compare this one with.',),
    ),
    "preset": Ablation("How do the rows compare under these settings?", keys=('preset = "PART"',)),
    "executor": Ablation("How do the rows compare, while others use the machine?", flags=" --executor PART"),
    "logger": Ablation("What do the losses of the rows look like?", flags=" --logger PART"),
}
"""One a kind."""
