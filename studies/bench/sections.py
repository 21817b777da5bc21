"""The answer in words: sections of Markdown, each a function of the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from studies.bench.bars import BARS, verdict
from studies.bench.plan import KINDS
from studies.bench.results import GroupResult, Measured, Ratio, Results, Spread, ratio, speedup, spread
from studies.words import ABSENT

Section = Callable[[Results], str]


def speed(results: Results) -> str:
    """Milliseconds per update and per whole step, a table a group."""
    return "\n\n".join(["## Speed", *(speed_of(group) for group in results.groups)])


def speed_of(group: GroupResult) -> str:
    """One group's table, and a line for each contestant that is missing in it."""
    reference = group.reference
    to = KINDS[reference.contestant.kind] if reference else ABSENT
    head = ["agent", "density", "update, ms", "step, ms", "steps/s", f"update, x {to}", f"step, x {to}"]
    rows = [_speed_row(one, reference) for one in group.measured]
    return "\n".join([f"### {group.setting.title}", "", *table(head, rows), *missing(group), *_events(group)])


def _speed_row(one: Measured, reference: Measured | None) -> list[str]:
    update, step = one.spread("update"), one.spread("step")
    return [
        KINDS[one.contestant.kind],
        _density(one),
        _ms(update),
        _ms(step),
        f"{1 / step.median:,.0f}" if step else ABSENT,
        _times(speedup(reference, one, "update")),
        _times(speedup(reference, one, "step")),
    ]


def reading(_: Results) -> str:
    """How the tables of speed came about."""
    return _READING


_READING: Final = """\
Medians of the blocks, and their range. A block is about a quarter of a second of updates, or of steps; contestants took
turns, one at a time, each in a process of its own on the same core(s). "x SBX" is how many times as fast as SBX: the
ratio of the medians, then the median and range of the ratios of single repeats. Updates learn from a prepared batch;
those of SBX and SB3 are timed over one call for a whole block, their best case, while in steps they make a call an
update. A step acts, moves the environment, stores, samples and updates. Events of rewiring are rare, so that medians
do not hold them: they are told below each table."""


def cost(results: Results) -> str:
    """What theory saves beside what the clock says, and bytes held, at the largest batch size of each width."""
    batch = max((group.setting.batch for group in results.groups), default=0)
    chosen = [g for g in results.groups if g.setting.batch == batch or g.setting.published]
    tables = [text for group in chosen if (text := cost_of(group))]
    return "\n\n".join(["## Arithmetic and memory", *tables, _COST_READING]) if tables else ""


def cost_of(group: GroupResult) -> str:
    """FLOPs and time as shares of our dense agent's, and bytes; nothing if none of ours was measured."""
    dense = group.find("dense")
    ours = [one for one in group.measured if one.facts and not one.problem]
    head = ["agent", "density", "of all weights", "FLOPs", "time of an update"]
    head += [f"{what}, kB" for what in _KEPT]
    rows = [
        [KINDS[one.contestant.kind], _density(one), f"{one.facts['density']:.3f}", f"{one.facts['flops']:.3f}"]
        + [_share(one, dense)]
        + [f"{one.facts['bytes'][what] / 1000:,.0f}" for what in _KEPT]
        for one in ours
    ]
    return "\n".join([f"### {group.setting.title}", "", *table(head, rows)]) if rows else ""


_KEPT: Final = ("parameters", "moments", "targets", "index", "scratch")
_COST_READING: Final = """\
FLOPs of training by `sparsity.cost` and the time of an update (median of repeats), both as shares of our dense agent's.
`index` is what says where connections are: masks, or positions of the active ones; online and target. `scratch` is
where sparse execution fills up layers that are nearly full. Gradients, as large as the parameters, come and go."""


def kernels(results: Results) -> str:
    """What one layer's sparse passes reach of the dense product's arithmetic rate; nothing if none was measured."""
    tables = [kernels_of(group) for group in results.layers]
    return "\n\n".join(["## Kernels", *tables, _KERNELS_READING]) if tables else ""


def kernels_of(group: GroupResult) -> str:
    """One layer at one batch size: a row a pass and density."""
    width, batch = group.setting.width, group.setting.batch
    head = ["pass", "density", "us", "dense, us", "times as fast", "GFLOP/s", "dense, GFLOP/s", "share of dense rate"]
    rows = [
        _kernel_row(one, work, density, 2e-9 * batch * width**2)
        for one in group.measured
        for work, density in (work.split() for work in one.seconds)
        if density != "dense" and not one.problem
    ]
    title = f"### layer {width} x {width}, batch {batch}, 1 thread"
    return "\n".join([title, "", *table(head, rows), *missing(group)])


def _kernel_row(one: Measured, work: str, density: str, gigaflop: float) -> list[str]:
    mine, dense = one.seconds[f"{work} {density}"], one.seconds[f"{work} dense"]
    faster, share = ratio(dense, mine), one.facts["active"][density]
    filled = " (filled up)" if density in one.facts["expanded"] else ""
    return [
        PASSES[work],
        density + filled,
        *(f"{1e6 * spread(seconds).median:,.1f}" for seconds in (mine, dense)),
        _repeats(faster),
        f"{gigaflop * share / spread(mine).median:.1f}",
        f"{gigaflop / spread(dense).median:.1f}",
        f"{share * faster.repeats.median:.3f}",
    ]


PASSES: Final = {"forward": "forward", "weights": "weight gradient", "inputs": "input gradient"}
_KERNELS_READING: Final = """\
A hidden layer as sparse execution computes it, bias, ReLU and its gate included, against `torch.mm` of the full matrix
(a bare product), in turns in one process. GFLOP/s count the multiplications and additions of the connections that there
are: a share of 0.5 at density 0.1 is five times as fast. A layer that is filled up is computed as a dense one."""


def bars(results: Results) -> str:
    """What we promise, and what was measured here; nothing if no promise was put to the test."""
    measured = [bar.measured(results) for bar in BARS]
    if not any(measured):
        return ""
    rows = []
    for bar, found in zip(BARS, measured, strict=True):
        value = found.repeats.median if found else None
        judged = [ABSENT, ABSENT] if value is None else [verdict(value, bar.must), verdict(value, bar.aim)]
        rows.append([bar.what, f"{bar.must:.2f}", f"{bar.aim:.2f}", _repeats(found), *judged])
    head = ["bar", "must", "aim", "measured", "must: verdict", "aim: verdict"]
    return "\n".join(
        ["## Bars", "", *table(head, rows), "", "Measured: median and range of the ratios of single repeats."]
    )


def world(results: Results) -> str:
    """On what all this was measured."""
    said = {**results.world, **results.plan}
    lines = [f"- {key}: {_plain(value)}" for key, value in said.items() if value not in (None, "", [], {}, ())]
    return "\n".join(["## Machine", "", *lines])


SECTIONS: Final[tuple[Section, ...]] = (speed, reading, cost, kernels, bars, world)
"""In the order of the page. A section that has nothing to say gives an empty text."""


def page(results: Results) -> str:
    """All sections as one Markdown text."""
    return "\n\n".join(["# sparsity bench", *(text for section in SECTIONS if (text := section(results)))]) + "\n"


# Pieces of tables.


def missing(group: GroupResult) -> list[str]:
    """A line for each reason why contestants are missing, after an empty one."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in group.measured:
        if one.problem:
            reasons.setdefault((KINDS[one.contestant.kind], one.problem), []).append(_density(one))
    lines = []
    for (who, reason), densities in reasons.items():
        where = "" if densities == [ABSENT] else f" ({', '.join(densities)})"
        lines.append(f"Not measured: {who}{where}: {reason}  ")
    return ["", *lines] if lines else []


def _events(group: GroupResult) -> list[str]:
    """What rewiring adds, which a median over blocks may not see."""
    lines = []
    for one in group.measured:
        event, update = one.facts.get("event"), one.spread("update")
        if event and update:
            share = event["seconds"] / event["every"] / update.median
            said = (
                f"{1000 * event['seconds']:.1f} ms every {event['every']:,} updates, {100 * share:+.1f} % of an update"
            )
            lines.append(f"Events of {one.contestant.name}: {said}  ")
    return ["", *lines] if lines else []


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns are aligned in a terminal too; the first is text, the others numbers."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [_line(each, widths) for each in (lines[0], rule, *lines[1:])]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"


def _density(one: Measured) -> str:
    return ABSENT if one.contestant.density is None else f"{one.contestant.density:g}"


def _ms(one: Spread | None) -> str:
    return f"{1e3 * one.median:.2f} [{1e3 * one.low:.2f}, {1e3 * one.high:.2f}]" if one else ABSENT


def _times(one: Ratio | None) -> str:
    return f"{one.of_medians:.2f}; {_repeats(one)}" if one else ABSENT


def _repeats(one: Ratio | None) -> str:
    return f"{one.repeats.median:.2f} [{one.repeats.low:.2f}, {one.repeats.high:.2f}]" if one else ABSENT


def _share(one: Measured, dense: Measured | None) -> str:
    """The time of an update as a share of our dense agent's."""
    found = speedup(one, dense, "update") if dense else None
    return f"{found.repeats.median:.3f}" if found else ABSENT


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
