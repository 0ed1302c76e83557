"""The words of a report: numbers with intervals and marks, captions, failures and findings."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress

from brittle.core import components
from brittle.core.budget import eps_text
from brittle.core.errors import BrittleError
from brittle.core.records import Cell, Result
from brittle.planning.warm_start import smaller, titled, unwrapped
from brittle.planning.words import DOWNSTREAM
from brittle.reports.parts.layout import GAP, attack_of, columns_of
from brittle.reports.parts.seeds import over_seeds
from brittle.reports.parts.transfer import unlike

# --- text -------------------------------------------------------------------------------------------------------------


TINTS = {r"(?<=[\d\]]) !|^- fail(ed)?\b|(?<=  )failed(?= *$|  )": "red", r"(?<=[\d\]]) \?|^- warn\b": "yellow"}
"""Which marks and verdicts of a report have which colour on a terminal."""


def called(encoders: Iterable[str]) -> str:
    """What several rows of a table are: encoders, or models where whole networks are among them."""
    kinds: set[str] = set()
    for text in encoders:
        with suppress(BrittleError):  # of a component that is no longer here
            kinds.add(components.meant("encoders", components.complete("encoders", text))[0])
    return "models" if "models" in kinds else "encoders"


def mark(result: Result) -> str:
    """`` !`` where a check failed, `` ?`` where an attacked number has none, else nothing."""
    if any(finding.verdict == "fail" for finding in result.findings):
        return " !"
    unchecked = result.cell.attack is not None and all(finding.verdict == "unchecked" for finding in result.findings)
    return " ?" if unchecked and result.failed is None else ""


def legend(results: Sequence[Result]) -> list[str]:
    """What the marks of these results mean."""
    marks = {mark(result) for result in results}
    return [words for words in ("! a check failed", "? unchecked") if f" {words[0]}" in marks]


def checks(result: Result) -> str:
    """The checks in a spreadsheet: ``fail: budget; warn: rounding``, ``ok`` or ``unchecked``; empty where no check
    applies."""
    names_of = {
        verdict: [finding.name for finding in result.findings if finding.verdict == verdict]
        for verdict in ("fail", "warn")
    }
    said = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in names_of.items() if names)
    return said or (
        "" if result.failed is not None or not result.cell.attack else "unchecked" if mark(result) else "ok"
    )


def text(result: Result | None) -> str:
    """``0.931 [0.914, 0.945]``; over several seeds ``0.931 ± 0.004 [0.914, 0.945]``; a dash where nothing was measured;
    marked where a check failed or none was run."""
    number, interval = parts(result)
    return f"{number}{interval and ' '}{interval}{mark(result) if result and result.failed is None else ''}"


def parts(result: Result | None) -> tuple[str, str]:
    """A number without its mark, and its interval, empty where it has none."""
    if result is None or result.failed is not None:
        return GAP if result is None else "failed", ""
    name = result.task["headline"]
    spread = f" ± {result.made_by['spread'][name]:.3f}" if "spread" in result.made_by else ""
    interval = ends(*result.intervals[name]) if name in result.intervals else ""  # a single image has none
    return f"{result.metrics[name]:.3f}{spread}", interval


def ends(low: float, high: float) -> str:
    """``[0.914, 0.945]``; what is not quite 1 does not begin at 1.000, nor does what is more than 0 end at 0.000."""
    low = min(low, 0.999) if low < 1 else low
    high = max(high, 0.001) if high > 0 else high
    return f"[{low:.3f}, {high:.3f}]"


def attack_text(cell: Cell) -> str:
    """The attack of a cell as a comparison names it."""
    attack = f"{unwrapped(cell.attack)} {eps_text(cell.eps, cell.norm)} {cell.norm}" if cell.attack else "clean"
    return attack + (f" seed={cell.seed}" if cell.seed else "") + (" (warm)" if smaller(cell) else "")


def failures(results: Sequence[Result]) -> list[str]:
    """A Markdown item for each cell that could not be measured, with its reason."""
    return [
        " ".join(f"- failed: {titled(result.cell)}: {result.failed}".split())
        for result in results
        if result.failed is not None
    ]


def troubles(results: Sequence[Result], most: int = 8) -> list[str]:
    """The findings in short: failed checks, then warnings, at most ``most``, and how many more there are."""
    pairs = [
        (result.cell, finding)
        for result in results
        for finding in result.findings
        if finding.verdict in ("fail", "warn")
    ]
    lines: list[str] = []
    for cell, finding in sorted(pairs, key=lambda pair: pair[1].verdict):
        lines.append(" ".join(f"- {finding.verdict}: {finding.name}: {titled(cell)}: {finding.why}".split()))
    more = [f"… and {len(lines) - most} more: brittle report RUN --format md"] if len(lines) > most else []
    return lines[:most] + more


def remarks(results: Sequence[Result]) -> list[str]:
    """A Markdown item for each finding that is not ``ok``: what was found, and what its check advises; and for each
    attack that aims at a class, how much arrived there."""
    lines: list[str] = []
    for result in results:
        if "reached" in result.metrics:
            within = f"{result.metrics['reached']:.3f} {ends(*result.intervals.get('reached', (math.nan, math.nan)))}"
            aims = dict(result.made_by.get("aims", {}))
            classes = " or ".join(f"class {number} ({name})" for number, name in aims.items())
            aimed = classes or "the class it aimed for"
            lines.append(f"- reached: {titled(result.cell)}: {within} of what it aimed at is predicted as {aimed}")
        for finding in result.findings:
            known = finding.verdict in ("warn", "fail") and finding.name in components.names("checks")
            advice = components.summary("checks", finding.name).partition(". ")[2] if known else ""
            said = f"{finding.why}{'. ' if advice else ''}{advice}"
            line = f"- {finding.verdict}: {finding.name}: {titled(result.cell)}: {said}"
            lines += [line] if finding.verdict != "ok" else []
    return [" ".join(line.split()) for line in lines]


def caption(results: Sequence[Result]) -> str:
    """What the numbers are, in one line."""
    return "; ".join(facts(results))


def facts(results: Sequence[Result]) -> list[str]:
    """What the numbers are: images, budget, interval, marks."""
    done = [result for result in results if result.failed is None]
    images = sorted({result.images for result in done})
    attacked = [result for result in done if result.cell.attack]
    budgets = sorted({(result.cell.norm or "", result.cell.eps or 0.0) for result in attacked})
    own = sorted({str(result.task["attack"]) for result in attacked if attack_of(result) == DOWNSTREAM})
    parts = [f"{' / '.join(str(count) for count in images) or 'no'} test images", "95 % intervals"]
    parts += [", ".join(f"{norm} {eps_text(eps, norm)}" for norm, eps in budgets)] if budgets else []
    parts += _warm_starts(results)
    parts += (
        ["attacked in bf16, scored in float32"] if any(r.made_by.get("precision") == "bf16" for r in attacked) else []
    )
    parts += [f"{DOWNSTREAM} = {', '.join(own)}"] if own else []
    parts += _climbed(attacked)
    parts += _seeds(results)
    parts += list(dict.fromkeys(why for result in done if (why := unlike(result))))
    parts += _of_tasks(
        (r.cell.task, f"{r.cell.dataset.partition('(')[0]} ({r.cell.protocol}): {r.made_by['protocol']}")
        for r in done
        if "protocol" in r.made_by
    )
    fits = ((r.cell.task, r.made_by.get("train_images"), r.cell.dataset.partition("(")[0]) for r in done)
    parts += _of_tasks(
        ((task, f"{count:,} images of {name}") for task, count, name in fits if count), "heads fitted on"
    )
    left_out = {result.cell.dataset.partition("(")[0]: result.made_by.get("left_out", 0) for result in done}
    parts += [f"{count} images of {name} that cannot be read left out" for name, count in left_out.items() if count]
    return [*parts, *legend(done)]


def _of_tasks(facts: Iterable[tuple[str, str]], how: str = "on") -> list[str]:
    """What holds of a task and some data, said once for all tasks that it holds of."""
    tasks: dict[str, dict[str, None]] = {}
    for task, what in facts:
        tasks.setdefault(what, {})[task] = None
    lists = {what: [", ".join([*names][:-1]), [*names][-1]] for what, names in tasks.items()}
    return [f"{' and '.join(filter(None, names))} {how} {what}" for what, names in lists.items()]


def _climbed(attacked: Sequence[Result]) -> list[str]:
    """Of the attacks that move what a head reads, what that is in each task."""
    tasks: dict[str, dict[str, None]] = {}
    for result in attacked:
        if "climbs" in result.made_by:
            tasks.setdefault(f"{result.made_by['climbs']} in {result.task['name']}", {})[attack_of(result)] = None
    names = dict.fromkeys(name for attacks in tasks.values() for name in attacks)
    return [f"{', '.join(names)} moves what the head reads: {', '.join(tasks)}"] if tasks else []


def _seeds(results: Sequence[Result]) -> list[str]:
    seeds = sorted({seed for result in over_seeds(results) for seed in result.made_by.get("seeds", ())})
    if not seeds:
        return []
    names = ", ".join(map(str, seeds))
    return [f"± is the standard deviation over seeds {names} (heads and random starts), intervals are over images"]


def _warm_starts(results: Sequence[Result]) -> list[str]:
    """Whether budgets continue from smaller ones, and of which attacks or columns if not of all."""
    done = [
        (result, column)
        for result, column in zip(results, columns_of(results))
        if result.cell.attack and result.failed is None
    ]
    smallest: dict[str | None, float] = {}
    for result, _ in done:
        smallest[result.cell.norm] = min(result.cell.eps or 0, smallest.get(result.cell.norm, math.inf))
    warm: dict[str, dict[str, bool]] = {}
    for result, column in done:
        if smaller(result.cell) or (result.cell.eps or 0) > smallest[result.cell.norm]:
            warm.setdefault(attack_of(result), {})[column] = bool(smaller(result.cell))
    whole = [name for name, columns in warm.items() if all(columns.values())]
    if not any(is_warm for columns in warm.values() for is_warm in columns.values()):
        return []
    listed = [
        name
        for name, columns in warm.items()
        for name in ([name] if name in whole else [key for key, is_warm in columns.items() if is_warm])
    ]
    return [f"{'' if len(whole) == len(warm) else ', '.join(listed) + ': '}each budget continues from the smaller ones"]
