"""What tuning came to, in words: trials with their scores, what was chosen, the budget, the seeds that claims need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from studies.formats import Cells, Sheet, csv_text, in_markdown, markdown
from studies.outcome import Outcome
from studies.power import ALPHA, CONFIDENCE, MOST, POWER
from studies.problems import clean
from studies.statistics import score, standing, window
from studies.study import shown_value
from studies.tuning.chosen import Tried, Tuned
from studies.tuning.claims import SHARES, Claim, Needed
from studies.tuning.space import Trial
from studies.tuning.trials import Tuning
from studies.words import ABSENT, number

CHOSEN: Final = "* "
SIDES: Final[Cells] = ("method", "where", "difference", "deviation", *(f"{100 * s:g} %" for s in SHARES), "as seen")


def in_md(sheet: Sheet) -> str:
    """For a page; settings come from study files, which others may have written."""
    places = [place for place, name in enumerate(sheet.head) if place and name in ("settings", "where")]
    blocks = [
        (heading, [tuple(in_markdown(c) if i in places else c for i, c in enumerate(line)) for line in lines])
        for heading, lines in sheet.blocks
    ]
    return markdown(Sheet(sheet.title, sheet.head, blocks, sheet.notes))


def trials_sheet(tuning: Tuning, tuned: Sequence[Tuned]) -> Sheet:
    """A block an agent and density, in it every row's trials, the best first, the chosen one with a star."""
    envs = tuple(map(clean, tuning.study.envs))
    head = ("method", "settings", *envs, *(("score",) if len(envs) > 1 else ()), "n")
    blocks: dict[str, list[Cells]] = {}
    for each in tuned:
        blocks.setdefault(_where(each), []).extend(_line(each, tried) for tried in _best_first(each))
    return Sheet(f"{clean(tuning.study.name)}: trials", head, list(blocks.items()), _notes(tuning, tuned))


def claims_sheet(claims: Sequence[Claim], reference: str) -> Sheet:
    """How many seeds a side every row needs to be told apart from the reference row."""
    blocks: dict[str, list[Cells]] = {}
    for claim in claims:
        blocks.setdefault(clean(claim.env), []).append(_claim_line(claim))
    name = clean(reference)
    shares = ", ".join(f"{100 * share:g}" for share in SHARES)
    notes = [
        f"{shares} %, as seen: seeds a side with which a two-sided t-test at alpha = {ALPHA:g} and power {POWER:g} "
        f"finds a difference of that share of what {name} has over the random policy, or of the size that was seen.",
        f"In brackets: the same if the deviation over seeds is as large as the upper {100 * CONFIDENCE:g} % bound that "
        "so few of them leave open (chi-square). Plan with these.",
        "The difference seen is one of settings chosen on these very runs: on others it is likely to be smaller.",
        *([] if all(claim.shares for claim in claims) else [f"-: {name} is no better than the random policy."]),
    ]
    return Sheet(f"Seeds a side for a claim against {name}", SIDES, list(blocks.items()), notes)


def warnings_of(tuning: Tuning, tuned: Sequence[Tuned]) -> list[str]:
    """What should be known before the choices are believed."""
    said = []
    for each in tuned:
        name = f"{clean(each.label)!r}, {_where(each)}"
        whole = sum(done == planned for done, planned in (tried.counted for tried in each.tried))
        if whole < len(each.tried):
            said.append(f"{name}: {whole} of {len(each.tried)} trials finished in all of their runs")
        if each.chosen is None:
            said.append(f"{name}: nothing can be chosen, no trial ended well on every environment")
            continue
        equal = sum(tried.score == each.chosen.score for tried in each.tried)
        said += [f"{name}: {equal} trials share the best score, and the first of them is chosen"] if equal > 1 else []
        space = tuning.spaces[each.agent, each.label]
        edge = [key for key, value in each.chosen.settings.items() if space[key].at_edge(value)]
        said += [f"{name}: {settings_text({key: each.chosen.settings[key]})} lies at the edge of what was tried: let "
                 "more be tried beyond it" for key in edge]  # fmt: skip
    worlds = {world for each in tuned for run in _runs(each) if (world := run.axes.get("world"))}
    return said + ([f"runs of different worlds are compared: {clean('; '.join(sorted(worlds)))}"] if worlds else [])


def lacking(tuned: Sequence[Tuned]) -> str:
    """Why the study cannot be given its choices yet; nothing if it can. A row with fewer trials was tuned less."""
    unfinished = sum(standing(run) in ("running", "missing") for each in tuned for run in _runs(each))
    if unfinished:
        runs = "1 run of a trial is" if unfinished == 1 else f"{unfinished} runs of trials are"
        return f"{runs} not finished, and every row has the same budget: give the command again"
    return "" if all(each.chosen for each in tuned) else "a row has no choice"


def comma_separated(tuning: Tuning, tuned: Sequence[Tuned]) -> str:
    """A line a run, with the score of its trial, whether that was chosen, and a column a setting."""
    keys = list(dict.fromkeys(key for space in tuning.spaces.values() for key in space))
    head = ["agent", "method", "density", "trial", "chosen", "score", "env", "seed", "status", "return", *keys]
    lines: list[tuple[object, ...]] = []
    for each in tuned:
        for tried in each.tried:
            place = (each.agent, each.label, _density(each), tried.number, int(tried is each.chosen), tried.score)
            values = [tried.settings.get(key) for key in keys]
            told = [None if value is None else shown(value) for value in values]
            for run in (run for runs in tried.runs.values() for run in runs):
                ended = standing(run)
                result = (run.env, run.seed, ended, score(run) if ended == "done" else None)
                lines.append((*place, *result, *told))
    return csv_text(head, lines)


def settings_text(settings: Trial) -> str:
    """ "td3.learning_rate 0.0003, schedule.fraction 0.1"."""
    return clean(", ".join(f"{key} {shown(value)}" for key, value in settings.items())) or "as given"


def shown(value: Any) -> str:
    """A value of a setting, all digits of it."""
    if isinstance(value, float):
        return repr(value)
    return shown_value(value)


def _best_first(each: Tuned) -> list[Tried]:
    """What cannot be chosen comes last."""
    return sorted(each.tried, key=lambda tried: -tried.score if tried.electable else math.inf)


def _line(each: Tuned, tried: Tried) -> Cells:
    done, planned = tried.counted
    mark = CHOSEN if tried is each.chosen else ""
    means = tuple(_figure(mean) for mean in tried.means.values())
    scores = (number(tried.score, 3),) if len(means) > 1 else ()
    n = str(done) if done == planned else f"{done} of {planned}"
    return (f"{mark}{clean(each.label)} #{tried.number}", settings_text(tried.settings), *means, *scores, n)


def _notes(tuning: Tuning, tuned: Sequence[Tuned]) -> list[str]:
    tune, study = tuning.tune, tuning.study
    counts = {len(run.returns) for each in tuned for run in _runs(each) if standing(run) == "done"}
    of = "last evaluations"
    if len(counts) == 1:
        of = f"last {window(*counts)} of {next(iter(counts))} evaluations"
    seeds, envs = len(tune.seeds), len(study.envs)
    budget = f"{tuning.trials} trials x {seeds} seeds x {tune.steps or study.steps:,} steps"
    untuned = ", ".join(repr(clean(label)) for label in tuning.untuned)
    first, last = tune.seeds[0], tune.seeds[-1]
    return [
        f"Return: mean of a run's {of}, mean over seeds; a failed run counts as the random policy, or lower.",
        *(["score: mean over environments of (return - random) / (best trial - random)."] if envs > 1 else []),
        f"Tuned by {tune.search} search, equally for every row, agent and density: {budget}"
        f"{f' on each of {envs} environments' if envs > 1 else ''}.",
        *([f"Not tuned, as [tune.methods] says: {untuned}."] if untuned else []),
        f"Seeds of trials: {first}{f' ... {last}' if seeds > 1 else ''}; the study reports others.",
        f"{CHOSEN.strip()}: chosen. n: finished runs.",
    ]


def _claim_line(claim: Claim) -> Cells:
    shares = [_seeds(claim.shares[share]) if claim.shares else ABSENT for share in SHARES]
    numbers = (_figure(claim.difference, sign="+"), _figure(claim.deviation))
    return (clean(claim.row.label), _where(claim.row), *numbers, *shares, _seeds(claim.seen))


def _seeds(needed: Needed) -> str:
    here, bound = (f"over {MOST:,}" if n is None else f"{n:,}" for n in needed)
    return f"{here} ({bound})"


def _figure(value: float, sign: str = "") -> str:
    return ABSENT if value != value else f"{value:{sign},.4g}"


def _where(each: Tuned) -> str:
    density = _density(each)
    return clean(each.agent) + (f", density {density}" if density else "")


def _density(each: Tuned) -> str:
    return "" if each.density is None else shown_value(each.density)


def _runs(each: Tuned) -> list[Outcome]:
    return [run for tried in each.tried for runs in tried.runs.values() for run in runs]
