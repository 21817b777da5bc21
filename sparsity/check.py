"""Conformance of a part to its kind, for the authors of plugins: `sparsity check`, and in tests `assert_conforms`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

from registry import Bound, Entry, Part, PartError, Registry, part
from registry.place import nearby, place, source_file
from registry.report import Problem, Report, demand_conforming, once
from registry.sample import sample_settings
from sparsity.advice import advice, picture, seen
from sparsity.cases import PART_KINDS, Case, Sweeps, cases
from sparsity.eventless import rewires
from sparsity.method import Method
from sparsity.purity import on_trial, quietly, raised
from sparsity.rehearsal import adam, forced, rehearsed, sgd

CHECKED = (*PART_KINDS, "method")
"""The kinds that are checked here."""
_SWEEPS: Sweeps = ((200, range(1, 201)), (5000, range(1, 5001)))
_TOTAL = 1_000_000
_VECTORISED = ("initial", "prune", "grow")
_POPULATIONS = "populations such as twin critics are scored at once"


def assert_conforms(plugin: ModuleType, registry: Registry | None = None) -> None:
    """For the tests of a plugin: AssertionError, which explains, unless all of its parts of sparsity's kinds conform.

    `plugin` is its module; it is loaded beside the parts of this project, or into `registry`. PartError if it cannot be
    loaded, ValueError if it has no part of these kinds.
    """
    demand_conforming(plugin, CHECKED, examine, registry)


def examine(entry: Entry, registry: Registry) -> Report:
    """What keeps a part from conforming to its kind, each problem once, with its case.

    Settings take their defaults, or a value of their type. Kinds that are not sparsity's own have nothing to conform to
    here.
    """
    if entry.kind.row:
        found = list(_on_method(entry.value, registry)) if isinstance(entry.value, Method) else []
        return Report(entry.kind, entry.name, _at(entry), "rehearsed with Adam and with SGD", once(found))
    chosen, count = Bound(entry, sample_settings(entry)), [0]
    found = list(_on_part(chosen, lambda: _counted(cases(chosen, registry, _SWEEPS), count)))
    return Report(entry.kind, entry.name, _at(entry), f"{count[0]} cases", once(found))


def check_part(entry: Entry, registry: Registry) -> list[str]:
    """The problems that `examine` finds, one sentence each; empty if the part conforms."""
    return [f"{_who(entry)} {problem.sentence}" for problem in examine(entry, registry).problems]


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
        shown = forced(method) if rewires(method) else method
        tried = rehearsed(shown, registry, adam, total=total, steps=(total,))
        problems = [f"the method {problem}" for problem in tried]
    if problems:
        raise ValueError("\n".join(problems))


def _who(entry: Entry) -> str:
    return f"{entry.kind.name} {entry.name!r} of {entry.origin}"


def _at(entry: Entry) -> str:
    return place(entry.value) or nearby(entry.origin.file)


def _counted(asked: Iterator[Case], count: list[int]) -> Iterator[Case]:
    for case in asked:
        count[0] += 1
        yield case


def _on_part(chosen: Bound, asked: Callable[[], Iterator[Case]]) -> Iterator[Problem]:
    try:
        for case in asked():
            for problem in _on_case(chosen, case):
                yield replace(problem, case=f"{case.what}{_settings_shown(chosen, problem.topic)}")
    except (Exception, SystemExit) as error:  # A trace that it asks for.
        problem = raised(error)
        yield replace(problem, said=f"cannot be asked: {problem.said}")


def _settings_shown(chosen: Bound, topic: str) -> str:
    sampled = [s.name for s in chosen.entry.settings if s.required]
    values = ", ".join(f"{name} = {chosen.settings[name]!r}" for name in sampled)
    return f"; without a default: {values}" if values and topic == "raises" else ""


def _on_case(chosen: Bound, case: Case) -> Iterator[Problem]:
    asked = {name: case.given[name] for name in chosen.entry.inputs if name in case.given}
    before = {name: picture(value) for name, value in asked.items()}
    answer, problems = on_trial(lambda: case.ask(chosen), asked, source_file(chosen.entry.value))
    if problems:
        yield from (replace(problem, shown=before) for problem in problems)
        return
    said, _, expected = case.wrong(answer).partition("; ")
    if said:
        shown = {**seen(answer, asked, case), **before}
        yield Problem("answer", said, expected, advice(chosen.entry.kind.name, answer, case), shown=shown)
    elif case.among is not None and case.among.dim() == 3 and isinstance(answer, Tensor):
        for problem in _on_members(chosen, case, asked, answer, case.among):
            yield replace(problem, shown=before)


def _on_members(
    chosen: Bound, case: Case, asked: Mapping[str, object], answer: Tensor, among: Tensor
) -> Iterator[Problem]:
    """A population must get what its members get one by one, in a loop and vectorised."""
    tensors = {name: value for name, value in asked.items() if isinstance(value, Tensor)}

    def alone(member: Mapping[str, Tensor]) -> Tensor:
        given: Tensor = case.ask(chosen, {**asked, **member})
        return given

    try:
        each = [alone({name: value[i] for name, value in tensors.items()}) for i in range(among.shape[0])]
        if not _close(answer, quietly(lambda: torch.stack(each)), among):
            said = "answers a population otherwise than its members one by one"
            mend = "reduce and rank over the last two dimensions only, dim=(-2, -1)"
            yield Problem("members", said, advice=f"{_POPULATIONS}, so {mend}")
        elif tensors and chosen.entry.kind.name in _VECTORISED:
            vectorised = quietly(lambda: torch.vmap(alone)(tensors))
            if not _close(answer, vectorised, among):
                mend = "use no shape but the last two"
                yield Problem("vmap", "answers otherwise under torch.vmap", advice=f"{_POPULATIONS}, so {mend}")
    except (Exception, SystemExit) as error:
        mend = "no .item(), no `if` on tensors, no indexing by a mask"
        reason = str(error).strip().split("\n")[0].partition(" We don't support")[0]  # Nor is torch to be told of it.
        where = raised(error, source_file(chosen.entry.value)).where
        said = f"cannot be vectorised over a population ({reason})"
        yield Problem("vmap", said, advice=f"{_POPULATIONS}, so {mend}", where=where)


def _close(one: Tensor, other: Tensor, among: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    # Sums over other memory layouts round differently, so the last bits may differ.
    return torch.allclose(one[among].double(), other[among].double(), rtol=1e-5, atol=1e-6)


# Methods.


def _on_method(method: Method, registry: Registry) -> Iterator[Problem]:
    try:
        method = method.resolved(registry)
    except PartError as error:
        yield Problem("resolves", f"does not resolve: {error}")
        return
    if not method.sparse:
        return
    chosen = [*_chosen(method).items(), *_traces(method, registry)]
    for number, problem in enumerate(_rehearse_parts(chosen, registry, _TOTAL)):
        yield Problem(f"part {number}", f"chose a part that fails: {problem}")
    for optimizer in (adam, sgd):
        for problem in rehearsed(forced(method), registry, optimizer, total=_TOTAL, steps=(1, 2, _TOTAL)):
            yield Problem(optimizer.__name__, f"with {optimizer.__name__}: {problem}")


def _rehearse_parts(chosen: Iterable[tuple[str, Part]], registry: Registry, total: int) -> list[str]:
    """Each part asked once, in its kind's first case."""
    problems = []
    for kind, choice in chosen:
        bound = registry.bind(kind, choice)
        asked = cases(bound, registry, ((total, _sample_steps(total)),))
        found = _on_part(bound, lambda asked=asked: _first(asked))  # type: ignore[misc]
        problems += [f"{_who(bound.entry)} {problem.sentence}" for problem in once(found)]
    return problems


def _first(asked: Iterator[Case]) -> Iterator[Case]:
    for case in asked:
        yield Case(**{**vars(case), "among": None})  # No vectorising: it costs more than all the rest.
        return


def _sample_steps(total: int) -> list[int]:
    """Steps at which schedules tend to act: the first ones, multiples of 1,000, powers of ten, and the last."""
    steps = {*range(1, 101), *range(1000, 10_001, 1000), *(10**power for power in range(7)), total}
    return sorted(step for step in steps if step <= total)


def _chosen(method: Method) -> dict[str, Part]:
    """The method's parts; without an allocation that names layers, as the small network has others."""
    chosen = method.parts()
    if any(isinstance(value, Mapping) and value for value in chosen["allocation"].settings.values()):
        chosen["allocation"] = part("uniform")
    return chosen


def _called(method: Method, registry: Registry) -> list[tuple[str, Part]]:
    idle = () if rewires(method) else ("prune", "grow", "born", "spread")
    chosen = [(kind, choice) for kind, choice in _chosen(method).items() if kind not in idle]
    return [*chosen, *_traces(method, registry)]


def _traces(method: Method, registry: Registry) -> list[tuple[str, Part]]:
    """The traces that the method's criteria ask for, with its settings."""
    settings = {choice.name: choice for choice in method.traces}
    criteria = [(kind, getattr(method, kind).name) for kind in ("prune", "grow", "born", "spread")]
    asked = {name for kind, chosen in criteria for name in registry.entry(kind, chosen).inputs}
    return [("trace", settings.get(name, part(name))) for name in sorted(asked & set(registry.names("trace")))]
