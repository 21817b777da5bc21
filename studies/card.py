"""The page of a run that is given away: what it is, what it came to, how to play it; in Markdown, as hubs show it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sparsity import Method
from studies.contents import Run, part_words
from studies.formats import in_markdown
from studies.play import spread
from studies.problems import clean
from studies.store import Record, Store
from studies.world import LIBRARIES

PROJECT: Final = "sparsity-rl"
SHOWN: Final = ("eligible", "allocation", "prune", "grow", "schedule", "budget", "target", "moments")
"""Of a method: what it does, in the order of an event."""


def card(run: Run, record: Record, store: Store, repo: str, licence: str) -> str:
    """The page, with the fields that the hub reads at its head."""
    name = repo.rpartition("/")[2]
    parts = [_head(run, record, name, licence), f"# {name}", _opening(run, store), _table(_facts(run, record))]
    parts += [_caution(run, record), "## Play it", _commands(run, repo), "## How it was trained", _settings(run)]
    parts += ["## Versions", _table([(each, record.world[each]) for each in ("python", *LIBRARIES)])]
    return "\n\n".join(parts) + "\n"


def _head(run: Run, record: Record, name: str, licence: str) -> str:
    """YAML, of which JSON is a part."""
    result = {
        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
        "dataset": {"name": run.env, "type": run.env},
        "metrics": [{"type": "mean_reward", "name": "mean_reward, ± standard error", "value": _last(record)}],
    }
    fields = {
        "license": licence,
        "library_name": PROJECT,
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "deep-reinforcement-learning", "sparse-training", run.agent.name, run.env],
        "model-index": [{"name": name, "results": [result]}],
    }
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    return "\n".join(["---", *lines, "---"])


def _last(record: Record) -> str:
    return spread(tuple(record.episodes[-1]))


def _opening(run: Run, store: Store) -> str:
    cells = [cell for name in store.studies() for cell in store.cells(name)]
    labels = sorted({clean(cell["label"]) for cell in cells if cell["run"] == run.id})
    called = f" ({', '.join(map(in_markdown, labels))})" if labels else ""
    return f"A {_kind(run)} for `{run.env}`{called}, trained by {PROJECT}."


def _kind(run: Run) -> str:
    """Which networks are sparse: the policy is the actor, and a sparse critic makes no sparse policy."""
    sparse = [name for name, method in run.methods.items() if method.sparse]
    if "actor" in sparse or len(sparse) == len(run.methods):
        return "sparse policy"
    return f"dense policy, beside a sparse {' and '.join(sparse)}," if sparse else "dense policy"


def _facts(run: Run, record: Record) -> list[tuple[str, object]]:
    result = record.result
    return [
        ("environment", run.env),
        ("agent", run.agent.name),
        ("return", f"{_last(record)} of the last evaluation (mean ± standard error)"),
        ("untrained", spread(tuple(record.episodes[0]))),
        (f"weights kept, of {' and '.join(run.methods)}", _kept(result)),
        ("training FLOPs", _flops(result)),
        ("environment steps", f"{run.steps:,}"),
        ("seed", run.seed),
        ("execution", run.execution),
        ("run", run.id),
    ]


def _kept(result: Mapping[str, Any]) -> str:
    return f"{100 * result['realised_density']:.1f} %: {result['parameters']:,} parameters"


def _flops(result: Mapping[str, Any]) -> str:
    """A share of the dense agent's; with the dense gradients as well where the method asks for any."""
    sparse, whole = result["flops_ratio"], result["training_flops_ratio"]
    told = f"{sparse:.3f} of the dense agent's"
    if whole is None or f"{whole:.3f}" == f"{sparse:.3f}":
        return told
    return f"{told}, {whole:.3f} with the dense gradients that the method asks for"


def _caution(run: Run, record: Record) -> str:
    worlds = record.world.get("drift", "")
    went = f" It went on from a checkpoint of another world: {clean(worlds)}." if worlds else ""
    return (
        "Returns are of episodes without exploration, by the weights that training ended with: the best ones on the "
        "way were not picked out. This is one run of one seed; runs of a method spread, and it says nothing of the "
        f"method.{went}"
    )


def _commands(run: Run, repo: str) -> str:
    plugins = "".join(f" --plugin FILE_OF_{key.rpartition('/')[2]}.py" for key in sorted(run.foreign))
    folder = repo.rpartition("/")[2]
    lines = (f"pip install {PROJECT}", f"hf download {repo} --local-dir {folder}", f"sparsity play ./{folder}{plugins}")
    return "\n".join(("```bash", *lines, "```"))


def _settings(run: Run) -> str:
    plain = [(name, getattr(run, name)) for name in ("warmup", "eval_every", "episodes")]
    rows: list[tuple[str, object]] = [*plain]
    rows += [("agent", _said(part_words(run.agent))), ("replay", _said(part_words(run.replay)))]
    for learner, method in run.methods.items():
        chosen = method.parts()
        rows += [(f"{learner}, {field}", _said(part_words(chosen[field]))) for field in SHOWN if method.sparse]
        rows += [] if method.sparse else [(learner, _dense(method))]
    rows += [
        (key, f"not of sparsity-rl; SHA-256 of its source {digest[:16]}...") for key, digest in run.foreign.items()
    ]
    return _table(rows) + "\n\n`contents.json` has every setting; equal contents are the same run."


def _dense(method: Method) -> str:
    if method.network != "shrunk":
        return "dense"
    return f"dense, its layers narrowed to the parameters that {_said(part_words(method.allocation))} would leave"


def _said(words: dict[str, object]) -> str:
    settings = ", ".join(f"{key} = {value}" for key, value in words.items() if key != "part")
    return f"{words['part']} ({settings})" if settings else str(words["part"])


def _table(rows: list[tuple[str, object]]) -> str:
    return "\n".join(_lines(rows))


def _lines(rows: list[tuple[str, object]]) -> Iterator[str]:
    yield from ("| | |", "|:---|:---|")
    for name, value in rows:
        yield f"| {in_markdown(name)} | {in_markdown(clean(str(value)))} |"
