"""Comparisons in words and numbers: who is better by how much, whether chance explains it, and the verdict on the
whole."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from brittle.core.records import Comparison
from brittle.core.text import plain
from brittle.reports.parts.terminal import add, aligned, asked_width, beside, folded, laid, printed
from brittle.reports.parts.wording import attack_text, legend, mark

LEVEL = 0.05
"""A corrected p below it is a difference; else there is no evidence of one."""
NAMED = 3  # rows of a task that its sentence names
COLUMNS = ("attack", "A", "B", "B is", "p (Holm)")


def verdict(comparison: Comparison) -> str:
    """Whether B is ``better`` or ``worse`` than A; empty where there is no evidence of a difference."""
    if not comparison.p_holm < LEVEL:
        return ""
    return "better" if (comparison.paired.difference < 0) == comparison.a.task["higher_is_better"] else "worse"


def amount(comparison: Comparison) -> str:
    """By how much B is better or worse, and the 95 % interval of that; or, without evidence of a difference, how much
    worse to how much better it may be."""
    test, word = comparison.paired, verdict(comparison)
    sign = -1 if comparison.a.task["higher_is_better"] else 1  # of A - B to how much better B is
    low, high = sorted((sign * test.low, sign * test.high))
    spread = "" if test.spread is None else f" ± {test.spread:.3f}"
    if word:
        low, high = (low, high) if word == "better" else (-high, -low)
        return f"{word} by {abs(test.difference):.3f}{spread} [{low:.3f}, {high:.3f}]"
    if high == float("inf"):
        return "not tested: all images differ alike"
    ends = [("worse" if end < 0 else "better", f"{abs(end):.3f}") for end in (low, high)]
    both = ends[0][0] == ends[1][0]
    ends = ends[::-1] if both and ends[0][0] == "worse" else ends
    return f"{ends[0][1]}{'' if both else f' {ends[0][0]}'} to {ends[1][1]} {ends[1][0]}{spread}"


def by_pair(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    """The comparisons of each two things that are compared, those of one task and data set together."""
    pairs = list(dict.fromkeys(each.names for each in comparisons))
    return [[each for each in comparisons if each.names == names] for names in pairs]


def by_task(pair: Sequence[Comparison]) -> list[list[Comparison]]:
    """Of one pair the comparisons of each task and data set."""
    return [list(group) for _, group in groupby(pair, key=lambda each: (each.a.cell.task, each.a.cell.dataset))]


def whole(pair: Sequence[Comparison]) -> str:
    """The verdict on a pair in a sentence."""
    a, b = pair[0].names
    attacked = [verdict(each) for each in pair if each.a.cell.attack]
    clean = [verdict(each) for each in pair if not each.a.cell.attack]
    said: list[str] = []
    if attacked:
        more, less = ("better" in attacked), ("worse" in attacked)
        how = "more robust than" if more and not less else "less robust than" if less and not more else ""
        how = how or (
            "more robust under some attacks and less under others than"
            if more
            else "not shown to differ in robustness from"
        )
        said.append(f"{b} is {how} {a}: {_counted(attacked, 'attacked')}")
    said += [_counted(clean, "clean")] if attacked and clean else []
    return "; ".join(said) if said else f"{b} against {a}: {_counted(clean, 'clean')}"


def _counted(verdicts: Sequence[str], what: str) -> str:
    counts = [(word, verdicts.count(word)) for word in ("better", "worse")]
    found = [f"{word} in {count}" for word, count in counts if count]
    which = f"{len(verdicts)} {what} number{'s' if len(verdicts) > 1 else ''}"
    return f"{' and '.join(found)} of {which}" if found else f"no evidence of a difference in {which}"


def sentence(group: Sequence[Comparison]) -> str:
    """What was found of one pair on one task and data set."""
    cell, (_, b) = group[0].a.cell, group[0].names
    said: list[str] = []
    for word, robust in (("better", "more robust"), ("worse", "less robust")):
        rows = [each for each in group if verdict(each) == word and each.a.cell.attack]
        named = [f"{shown(each)} by {amount(each).partition(' by ')[2]}, p = {each.p_holm:.2g}" for each in rows]
        left = [f"{len(rows) - NAMED} more"] if len(rows) > NAMED else []
        said += [f"{b} is {robust} under {', '.join([*named[:NAMED], *left])}"] if rows else []
    metric = group[0].a.task["headline"]
    said += [f"clean {metric}: {amount(each)}" for each in group if verdict(each) and not each.a.cell.attack]
    alike = [shown(each) if each.a.cell.attack else f"clean {metric}" for each in group if not verdict(each)]
    said += [f"no evidence of a difference in {', '.join(alike)}"] if alike else []
    return f"{cell.task} on {cell.dataset}: {'; '.join(said)}"


def shown(comparison: Comparison) -> str:
    """The attack of a comparison; without the norm where that is the usual one."""
    cell = comparison.a.cell if comparison.paired.seeds == 1 else replace(comparison.a.cell, seed=0)
    return attack_text(cell).replace(" linf", "")


def caption(comparisons: Sequence[Comparison]) -> str:
    """What the numbers are, and what is corrected."""
    counts = " / ".join(str(count) for count in sorted({each.paired.images for each in comparisons}))
    tests = ", ".join(dict.fromkeys(each.paired.test for each in comparisons))
    parts = [f"{counts} images in both", f"tests: {tests}"]
    parts.append(
        f"p is corrected for the {len(comparisons)} comparisons made together (Holm 1979), * below {LEVEL:g}; the 95 % "
        "intervals are not"
    )
    seeds = sorted({each.paired.seeds for each in comparisons} - {1})
    parts += [f"± is the standard deviation over {' / '.join(map(str, seeds))} seeds"] if seeds else []
    return "; ".join([*parts, *legend([result for each in comparisons for result in (each.a, each.b)])])


def row(comparison: Comparison) -> list[str]:
    """The cells of a table under ``COLUMNS``."""
    values = (comparison.paired.a, comparison.a), (comparison.paired.b, comparison.b)
    star = " *" if verdict(comparison) else ""
    return [
        shown(comparison),
        *(f"{value:.3f}{mark(result)}" for value, result in values),
        amount(comparison),
        f"{comparison.p_holm:.2g}{star}",
    ]


def heading(group: Sequence[Comparison]) -> str:
    """What the rows of one task and data set are: the metric, and which way is better."""
    cell, task = group[0].a.cell, group[0].a.task
    way = "higher" if task["higher_is_better"] else "lower"
    return f"{cell.task} on {cell.dataset}, {task['headline']} ({way} is better)"


def table(comparisons: Sequence[Comparison]) -> str:
    """For a terminal: of each pair the verdict, then a table for each task, side by side where two fit; nothing is cut
    off."""
    parts: list[str] = []
    groups = [by_task(pair) for pair in by_pair(comparisons)]
    tables = [[_laid(group) for group in pair] for pair in groups]
    aligned([made for pair in tables for made in pair])
    for pair, made in zip(groups, tables):
        every = [each for group in pair for each in group]
        parts.append(folded("A = {}, B = {}".format(*every[0].names)))
        parts.append("\n".join([folded(whole(every)), *(folded(f"- {sentence(group)}") for group in pair)]))
        titles = [heading(group) for group in pair]
        below = ("\n".join([folded(title), printed(each)]) for title, each in zip(titles, made))
        several = beside(made, ["\n".join(title.rsplit(", ", 1)) for title in titles], asked_width())
        parts += [several] if several else below
    return plain("\n\n".join([*parts, folded(caption(comparisons))]))


def _laid(group: Sequence[Comparison]) -> object:
    made = laid(COLUMNS, fixed=COLUMNS[1:])
    for each in group:
        add(made, row(each))
    return made
