"""Conformance of a part to its kind, for the authors of plugins: `sparsity check FILE-OR-MODULE`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from registry import Bound, Entry, Part, PartError, Registry, part
from registry.sample import sample_settings
from sparsity.cases import PART_KINDS, Case, Sweeps, cases
from sparsity.method import Method
from sparsity.purity import Finding, on_trial, quietly, raised
from sparsity.rehearsal import adam, forced, rehearsed, sgd

CHECKED = (*PART_KINDS, "method")
"""The kinds that are checked here."""
_SWEEPS: Sweeps = ((200, range(1, 201)), (5000, range(1, 5001)))
_TOTAL = 1_000_000
_VECTORISED = ("initial", "prune", "grow")
_POPULATIONS = "populations such as twin critics are scored at once"


def check_part(entry: Entry, registry: Registry) -> list[str]:
    """What keeps a part from conforming to its kind, one sentence each; empty if it conforms.

    Settings take their defaults, or a value of their type. Kinds that are not sparsity's own have nothing to conform to
    here.
    """
    if entry.kind.row:
        findings = _on_method(entry.value, registry) if isinstance(entry.value, Method) else iter(())
    else:
        chosen = Bound(entry, sample_settings(entry))
        findings = _on_part(chosen, lambda: cases(chosen, registry, _SWEEPS))
    return _told(_who(entry), findings)


def rehearse(method: Method, registry: Registry, *, total: int = _TOTAL) -> None:
    """Ask every part that a method would call, and force one event on a very small network, in milliseconds.

    `total` is the number of planned agent updates. ValueError names the part and its plugin, where one raises or gives
    nonsense.
    """
    method, total = method.resolved(registry), max(1, total)
    if not method.sparse:
        return
    problems = _rehearse_parts(_called(method, registry), registry, total)
    if not problems:
        shown = forced(method) if _moves(method) else method
        tried = rehearsed(shown, registry, adam, total=total, steps=(total,))
        problems = [f"the method {problem}" for problem in tried]
    if problems:
        raise ValueError("\n".join(problems))


def _who(entry: Entry) -> str:
    return f"{entry.kind.name} {entry.name!r} of {entry.origin}"


def _told(who: str, findings: Iterable[Finding]) -> list[str]:
    """One sentence a topic: the second example of a problem teaches nothing new."""
    first: dict[str, str] = {}
    for topic, sentence in findings:
        first.setdefault(topic, f"{who} {sentence}")
    return list(first.values())


def _on_part(chosen: Bound, asked: Callable[[], Iterator[Case]]) -> Iterator[Finding]:
    try:
        for case in asked():
            for topic, sentence in _on_case(chosen, case):
                yield topic, f"{sentence} (asked with: {case.what}{_settings_shown(chosen, topic)})"
    except (Exception, SystemExit) as error:  # A trace that it asks for.
        topic, sentence = raised(error)
        yield topic, f"cannot be asked: {sentence}"


def _settings_shown(chosen: Bound, topic: str) -> str:
    sampled = [s.name for s in chosen.entry.settings if s.required]
    values = ", ".join(f"{name} = {chosen.settings[name]!r}" for name in sampled)
    return f"; without a default: {values}" if values and topic == "raises" else ""


def _on_case(chosen: Bound, case: Case) -> Iterator[Finding]:
    asked = {name: case.given[name] for name in chosen.entry.inputs if name in case.given}
    answer, findings = on_trial(lambda: case.ask(chosen), asked)
    if findings:
        yield from findings
        return
    wrong = case.wrong(answer)
    if wrong:
        yield "answer", wrong
    elif case.among is not None and case.among.dim() == 3 and isinstance(answer, Tensor):
        yield from _on_members(chosen, case, asked, answer, case.among)


def _on_members(
    chosen: Bound, case: Case, asked: Mapping[str, object], answer: Tensor, among: Tensor
) -> Iterator[Finding]:
    """A population must get what its members get one by one, in a loop and vectorised."""
    tensors = {name: value for name, value in asked.items() if isinstance(value, Tensor)}

    def alone(member: Mapping[str, Tensor]) -> Tensor:
        given: Tensor = case.ask(chosen, {**asked, **member})
        return given

    try:
        each = [alone({name: value[i] for name, value in tensors.items()}) for i in range(among.shape[0])]
        if not _close(answer, quietly(lambda: torch.stack(each)), among):
            advice = "reduce and rank over the last two dimensions only, dim=(-2, -1)"
            yield "members", f"answers a population otherwise than its members one by one: {_POPULATIONS}, so {advice}"
        elif tensors and chosen.entry.kind.name in _VECTORISED:
            vectorised = quietly(lambda: torch.vmap(alone)(tensors))
            if not _close(answer, vectorised, among):
                yield "vmap", f"answers otherwise under torch.vmap: {_POPULATIONS}, so use no shape but the last two"
    except (Exception, SystemExit) as error:
        advice = "no .item(), no `if` on tensors, no indexing by a mask"
        problem = str(error).strip().split("\n")[0]
        yield "vmap", f"cannot be vectorised over a population ({problem}): {_POPULATIONS}, so {advice}"


def _close(one: Tensor, other: Tensor, among: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    # Sums over other memory layouts round differently, so the last bits may differ.
    return torch.allclose(one[among].double(), other[among].double(), rtol=1e-5, atol=1e-6)


# Methods.


def _on_method(method: Method, registry: Registry) -> Iterator[Finding]:
    try:
        method = method.resolved(registry)
    except PartError as error:
        yield "resolves", f"does not resolve: {error}"
        return
    if not method.sparse:
        return
    chosen = [*_chosen(method).items(), *_traces(method, registry)]
    for number, problem in enumerate(_rehearse_parts(chosen, registry, _TOTAL)):
        yield f"part {number}", f"chose a part that fails: {problem}"
    for optimizer in (adam, sgd):
        for problem in rehearsed(forced(method), registry, optimizer, total=_TOTAL, steps=(1, 2, _TOTAL)):
            yield optimizer.__name__, f"with {optimizer.__name__}: {problem}"


def _rehearse_parts(chosen: Iterable[tuple[str, Part]], registry: Registry, total: int) -> list[str]:
    """Each part asked once, in its kind's first case."""
    problems = []
    for kind, choice in chosen:
        bound = registry.bind(kind, choice)
        asked = cases(bound, registry, ((total, _sample_steps(total)),))
        findings = _on_part(bound, lambda asked=asked: _first(asked))  # type: ignore[misc]
        problems += _told(_who(bound.entry), findings)
    return problems


def _first(asked: Iterator[Case]) -> Iterator[Case]:
    for case in asked:
        yield Case(**{**vars(case), "among": None})  # No vectorising: it costs more than all the rest.
        return


def _sample_steps(total: int) -> list[int]:
    """Steps at which schedules tend to act: the first ones, multiples of 1,000, powers of ten, and the last."""
    steps = {*range(1, 101), *range(1000, 10_001, 1000), *(10**power for power in range(7)), total}
    return sorted(step for step in steps if step <= total)


def _moves(method: Method) -> bool:
    """Whether the topology ever changes."""
    return (method.schedule.name, method.budget.name) != ("never", "constant")


def _chosen(method: Method) -> dict[str, Part]:
    """The method's parts; without an allocation that names layers, as the small network has others."""
    chosen = method.parts()
    if any(isinstance(value, Mapping) and value for value in chosen["allocation"].settings.values()):
        chosen["allocation"] = part("uniform")
    return chosen


def _called(method: Method, registry: Registry) -> list[tuple[str, Part]]:
    idle = () if _moves(method) else ("prune", "grow", "born", "spread")
    chosen = [(kind, choice) for kind, choice in _chosen(method).items() if kind not in idle]
    return [*chosen, *_traces(method, registry)]


def _traces(method: Method, registry: Registry) -> list[tuple[str, Part]]:
    """The traces that the method's criteria ask for, with its settings."""
    settings = {choice.name: choice for choice in method.traces}
    criteria = [(kind, getattr(method, kind).name) for kind in ("prune", "grow", "born", "spread")]
    asked = {name for kind, chosen in criteria for name in registry.entry(kind, chosen).inputs}
    return [("trace", settings.get(name, part(name))) for name in sorted(asked & set(registry.names("trace")))]
