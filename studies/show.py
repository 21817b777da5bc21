"""What the commands print: studies at their end, their state, and the registered parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from registry import KINDS, Entry, Kind, Registry
from registry.meanings import KINDS as MEANINGS
from registry.meanings import inputs_of
from studies import formats
from studies.outcome import Status
from studies.outcomes import collect
from studies.pages import cited, method_page
from studies.problems import clean
from studies.read import CATALOGUE
from studies.runner import Plan
from studies.store import Store, run_ids
from studies.tuning.trials import Tuning


def study_end(name: str, store: Store) -> str:
    """The table, kept and shown, and where the figures are."""
    from rl.files import write_atomically
    from studies.figures.page import NothingToDraw
    from studies.plot import plot_study
    from studies.reported import reported
    from studies.table import table

    outcomes, baseline = collect(store, name)
    folder, theirs = store.study_folder(name), reported(store, name)
    for format_, suffix in (("markdown", "md"), ("csv", "csv")):
        text = table(outcomes, baseline, format=format_, title=name, reported=theirs)  # type: ignore[arg-type]
        write_atomically(folder / f"table.{suffix}", text.encode())
    try:
        figures = "".join(f"\n{path}" for path in plot_study(store, name, outcomes, baseline))
    except NothingToDraw as reason:
        figures = f"\nno figure: {reason}"
    return table(outcomes, baseline, format="text", title=name, reported=theirs) + figures


def tuning_end(tuning: Tuning, name: str, store: Store) -> str:
    """Trials, choices and the seeds that claims need, kept and shown; and the study with its choices, ready to run."""
    from rl.files import write_atomically
    from studies.flags import toml
    from studies.tuning import claims, words
    from studies.tuning.chosen import choose, tuned_tables

    outcomes, baseline = collect(store, name)
    chosen = choose(tuning, outcomes, baseline)
    sheets = [words.trials_sheet(tuning, chosen)]
    if found := claims.claims(chosen, tuning.reference, baseline):
        sheets.append(words.claims_sheet(found, tuning.reference))
    warned = [f"warning: {said}" for said in words.warnings_of(tuning, chosen)]
    folder = store.study_folder(name)
    pages = [*map(words.in_md, sheets), *(f"{formats.in_markdown(said)}  \n" for said in warned)]
    write_atomically(folder / "table.md", "\n".join(pages).encode())
    write_atomically(folder / "table.csv", words.comma_separated(tuning, chosen).encode())
    file, lacking = folder / "tuned.toml", words.lacking(chosen)
    if lacking:
        file.unlink(missing_ok=True)
    else:
        write_atomically(file, toml(tuned_tables(tuning, chosen)).encode())
    last = f"no tuned.toml: {lacking}" if lacking else f"with the chosen settings: sparsity study run {file}"
    return "\n".join([*map(formats.text, sheets), *warned, last])


def densities(plan: Plan, store: Store) -> str:
    """What a single run came to: its last return, and how dense every layer ended."""
    run = next(iter(plan.runs.values()))
    lines = [f"run {store.run_folder(run.id)}"]
    status, note = store.status(run.id)
    if status != "done":
        return "\n".join([*lines, f"{status} {note}".strip()])
    record = store.read(run.id)
    result = record.result
    lines.append(f"return {record.returns[-1]:,.0f} at step {record.steps[-1]:,} (untrained: {record.returns[0]:,.0f})")
    for learner, layers in result["layers"].items():
        for name, layer in layers.items():
            target = f", target {layer['target'] / layer['size']:.4f}" if layer["target"] else ""
            lines.append(
                f"{learner:8}{name:18} density {layer['active'] / layer['size']:.4f} "
                f"({layer['active']:,} of {layer['size']:,}{target})"
            )
    lines.append(
        f"all weights: {100 * result['realised_density']:.1f} % kept, {result['parameters']:,} parameters, "
        f"{result['flops_ratio']:.3f} of the dense training FLOPs, {result['events']} topology changes, "
        f"{record.world['seconds']:.0f} s in {run.execution} execution"
    )
    return "\n".join(lines)


def study_list(store: Store) -> str:
    """Studies of the store with how far they are, then those of the catalogue with their questions and scales."""
    import tomllib

    lines = [f"in the store {store.root}:"]
    for name in store.studies():
        counts = _counts(name, store)
        lines.append(f"  {name:24} {_standing(counts)}")
    if len(lines) == 1:
        lines.append("  none yet")
    lines.append("in the catalogue:")
    for path in sorted(CATALOGUE.glob("*.toml")):
        tables = tomllib.loads(path.read_text())
        scales = f" [--scale {' | '.join(tables['scales'])}]" if "scales" in tables else ""
        lines.append(f"  {path.stem:24} {tables['question']}{scales}")
    return "\n".join(lines)


def status(name: str, store: Store) -> str:
    """Runs by state, every failure with its cause, and from where unfinished ones can go on."""
    cells = store.cells(name)
    standing = {run_id: store.standing(run_id) for run_id in run_ids(cells)}
    lines = [f"{name}: {_standing(Counter(run.status for run in standing.values()))}"]
    if again := sum(run.attempts > 1 for run in standing.values()):
        lines.append(f"  {again} took more than one attempt")
    for run_id, place in _places(cells):
        run = standing[run_id]
        last = (run.cause.strip().splitlines() or ["no message"])[-1]
        told = [clean(last)] if run.status in ("failed", "diverged") else []
        told += [f"can go on from step {run.saved:,}"] if run.saved else []
        if told:
            lines.append(f"  {run.status}: {place} ({run_id}): {'; '.join(told)}")
    return "\n".join(lines)


def _places(cells: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The run of every cell with its row and seed, then donors that are no rows themselves."""
    rows = [(cell["run"], f"{clean(cell['label'])} seed {cell['seed']}") for cell in cells]
    among = {run_id for run_id, _ in rows}
    donors = {cell["donor"]: f"{row}, a donor" for cell, (_, row) in zip(cells, rows, strict=True) if "donor" in cell}
    return rows + [(run_id, place) for run_id, place in donors.items() if run_id not in among]


def part_list(registry: Registry, kind: str | None) -> str:
    """One line a part, under its kind with what a part of it may ask for."""
    lines: list[str] = []
    for name in [kind] if kind is not None else KINDS:
        entries = registry.entries(name)
        wide = max((len(entry.name) for entry in entries), default=0)
        lines += ["", _heading(KINDS[name])] if lines else [_heading(KINDS[name])]
        for entry in entries:
            lines.append(f"  {entry.name:{wide}}  {entry.summary}{_maker(entry)}")
            lines += [f"  {'':{wide}}  {cited(entry)}"] if cited(entry) else []
        lines += [] if entries else ["  none"]
    return "\n".join([*lines, *(_asked(KINDS[kind]) if kind is not None else [])])


def _asked(kind: Kind) -> list[str]:
    """What a part of a kind is for, gets and gives."""
    meaning, inputs = MEANINGS[kind.name], inputs_of(kind)
    wide = max(map(len, inputs), default=0)
    told = [f"  {name:{wide}}  {text}" for name, text in inputs.items()]
    asked = ["a part of this kind may ask for:", *told] if inputs else []
    return ["", f"{meaning.purpose} {meaning.called}", *asked, f"and gives {meaning.gives}"]


def part_page(entry: Entry, registry: Registry) -> str:
    """All that is known of one part."""
    import inspect

    if entry.kind.name == "method":
        page = method_page(entry, registry).partition("\n")[2]
        return f"method {entry.name}\n{page}\nfrom: {entry.origin}"
    text = entry.facts.get("about") or inspect.getdoc(entry.value) or "no documentation"
    lines = [f"{entry.kind.name} {entry.name}", "", text, ""]
    if entry.kind.row:
        lines += [f"  {field} = {value}" for field, value in vars(entry.value).items()]
    else:
        lines.append(f"inputs:   {', '.join(entry.inputs) or 'none'}")
        lines.append(f"settings: {', '.join(map(str, entry.settings)) or 'none'}")
    lines.append(f"from:     {entry.origin}")
    return "\n".join(lines)


def _heading(kind: Kind) -> str:
    asked = [*kind.inputs, *(["any trace"] if kind.traces else [])]
    return f"{kind.name}({', '.join(asked)}): {kind.gives}" if asked else f"{kind.name}: {kind.gives}"


def _maker(entry: Entry) -> str:
    return "" if entry.origin.in_tree else f"  [{entry.origin}]"


def _counts(name: str, store: Store) -> Counter[str]:
    return Counter(store.status(run_id)[0] for run_id in run_ids(store.cells(name)))


def _standing(counts: Counter[str]) -> str:
    shown = ", ".join(f"{counts[state]} {state}" for state in get_args(Status) if counts[state])
    return f"{sum(counts.values())} runs: {shown}"
