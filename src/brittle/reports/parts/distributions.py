"""The figures of what lies behind a number: how its images spread one by one, and which of its classes are lost."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from brittle.core.records import OfClass, Result, Spread
from brittle.core.text import shortened
from brittle.reports.parts.answer import (
    LONGEST,
    Budget,
    Score,
    attack_name,
    axis,
    budget_text,
    groups,
    ranked,
    task_name,
)
from brittle.reports.parts.figures import COLOURS
from brittle.reports.parts.kinds import Chart, Figure, Measured, Pull, Pulls, Rise, Rises, domain
from brittle.reports.parts.transfer import unlike

Spreads = Callable[[Result], Spread]
"""The images and classes behind a result."""
Charts = list[tuple[str, str, Chart]]
ENCODERS = len(COLOURS)  # in a chart of lines that cross
ATTACKS = 4  # of a task
CLASSES, LISTED = 8, 3  # of an encoder, and of how many encoders of a task
STEPS = 100  # of a line; of more images every so many-th is a step
OF = {"images": " of one image", "classes": " by class"}
QUARTERS = {0.25: "a quarter", 0.5: "half", 0.75: "three quarters"}


def nothing(_result: Result) -> Spread:
    """Of results whose samples are not at hand."""
    return Spread()


def images(scores: Sequence[Score], looks: Mapping[str, int], main: Budget | None, spread: Spreads) -> Figure:
    """For each task, data set and attack within the largest budget, the share of images over their own scores, clean
    and attacked."""
    charts: Charts = []
    name = task_name([score.row for score in scores])
    for group in groups(_drawn(scores, looks)):
        by_attack: dict[str, list[tuple[Score, Result]]] = {}
        for score in group:
            for result in ranked(score.row, main):
                by_attack.setdefault(attack_name(result), []).append((score, result))
        made: list[tuple[str, list[Rise]]] = []
        for attack, each in list(by_attack.items())[:ATTACKS]:
            ends = {(score.row.encoder, r.id): r for score, attacked in each for r in (score.clean, attacked) if r}
            lines = [rise(encoder, r, "images", spread(r).images) for (encoder, _), r in ends.items()]
            made.append((f"under {attack}", [line for line in lines if line]))
        charts += _risen(name(group[0].row), "images", _first(group), made)
    within = f" within {budget_text(main)}" if main else ""
    caption = (
        "How the scores of single images are spread: the share of images that score at most what the axis below says. "
        f"Solid is clean, dashed attacked{within}, each chart by one attack, at most {ATTACKS} for a task; marks are "
        f"quartiles. Tasks in which an image is only right or wrong are shown class by class.{_left_out(looks)}"
    )
    return Figure("images", "Image by image", caption, _legend(charts, looks), charts)


def classes(scores: Sequence[Score], looks: Mapping[str, int], main: Budget | None, spread: Spreads) -> Figure:
    """For each task, data set and encoder, the classes that lost most to the strongest attack; where there are more
    classes or encoders than can be listed, also the share of all classes over their scores."""
    charts: Charts = []
    name = task_name([score.row for score in scores])
    for group in groups(_drawn(scores, looks)):
        title, lines, own, several = name(group[0].row), list[Rise](), Charts(), False
        for score in group:
            encoder, ends = score.row.encoder, [result for result in (score.clean, score.attacked) if result]
            pairs = _lost(*(spread(result).classes for result in ends)) if len(ends) == 2 else []
            if pairs:
                own.append((title, _about(encoder, pairs), _pulls(title, encoder, pairs, ends)))
            for result, column in zip(ends, zip(*pairs)):
                line = rise(encoder, result, "classes", [each.value for each in column])
                lines += [line] if line else []
            several = several or len(pairs) > CLASSES or len(own) > LISTED
        charts += _risen(title, "classes", _first(group), [("all classes", lines)]) if several else []
        charts += own[:LISTED]
    within = f" within {budget_text(main)}" if main else ""
    caption = (
        f"Each class clean (filled) and under the strongest attack{within} (open): those that lost most, at most "
        f"{CLASSES} of {LISTED} encoders; brittle report RUN --format csv --per-class has all. Where an image is only "
        f"right or wrong, whiskers are 95 % intervals.{_left_out(looks)}"
    )
    return Figure("classes", "Class by class", caption, _legend(charts, looks), charts)


def _drawn(scores: Sequence[Score], looks: Mapping[str, int]) -> Iterator[Score]:
    """The scores of the first encoders, where clean and attacked can be compared."""
    shown = list(looks)[:ENCODERS]
    return (each for each in scores if each.row.encoder in shown and each.clean and not unlike(each.clean))


def _first(group: Sequence[Score]) -> Result:
    """A result of a task, for the name of its metric."""
    return next(iter(group[0].row.results.values()))


def _left_out(looks: Mapping[str, int]) -> str:
    return f" Only the first {ENCODERS} encoders are drawn." if len(looks) > ENCODERS else ""


def _legend(charts: Charts, looks: Mapping[str, int]) -> dict[str, int]:
    names = {line.name for _, _, chart in charts if isinstance(chart, Rises) for line in chart.lines}
    return {encoder: look for encoder, look in looks.items() if encoder in names}


# --- shares -----------------------------------------------------------------------------------------------------------


def rise(name: str, result: Result, of: str, values: Sequence[float]) -> Rise | None:
    """The empirical distribution of values as a line, with its quartiles, which lie on it; None where there are no
    values."""
    ordered = sorted(values)
    count = len(ordered)
    if not count:
        return None
    ranks = sorted({math.ceil(count * step / STEPS) for step in range(1, STEPS + 1)})
    points = {ordered[rank - 1]: rank / count for rank in ranks}  # of equal values the last, where the line goes on
    attacked = result.cell.attack is not None
    who = f"{shortened(name, LONGEST)}{f', {attack_name(result)}' if attacked else ', clean'}"
    quarters: list[tuple[float, Measured]] = []
    for share, words in QUARTERS.items():
        value = ordered[math.ceil(count * share) - 1]
        tip = f"{who}: {words} of the {count} {of} at most {value:.3f}"
        quarters.append((share, Measured(value, math.nan, math.nan, tip, result.id)))
    return Rise(name, attacked, list(points.items()), quarters)


def _risen(title: str, of: str, first: Result, made: Sequence[tuple[str, Sequence[Rise]]]) -> Charts:
    """Charts of lines over one axis, each with what it is about, where there are lines; ``of`` says what is counted."""
    values = [value for _, lines in made for line in lines for value, _ in line.points]
    ends = domain(values, bool(first.task["higher_is_better"]))
    name = axis(first, OF[of])
    return [
        (title, shortened(about, 2 * LONGEST), Rises(title, name, of, lines, ends)) for about, lines in made if lines
    ]


# --- classes ----------------------------------------------------------------------------------------------------------


def _lost(clean: Sequence[OfClass], attacked: Sequence[OfClass]) -> list[tuple[OfClass, OfClass]]:
    """The classes that occur in both, those first that lost most."""
    after = {each.place: each for each in attacked}
    pairs = [(each, after[each.place]) for each in clean if each.place in after]
    return sorted(pairs, key=lambda pair: pair[1].value - pair[0].value)


def _about(encoder: str, pairs: Sequence[tuple[OfClass, OfClass]]) -> str:
    """The encoder, and a summary of all classes where not all are shown."""
    if len(pairs) <= CLASSES:
        return shortened(encoder, LONGEST)
    before, after = (median(pair[place].value for pair in pairs) for place in (0, 1))
    return f"{shortened(encoder, 30)}; median of {len(pairs)} classes {before:.2f} → {after:.2f}"


def _pulls(title: str, encoder: str, pairs: Sequence[tuple[OfClass, OfClass]], ends: Sequence[Result]) -> Pulls:
    """The classes of an encoder that lost most, whose results are clean and attacked."""
    rows = [
        Pull(pair[0].name, *(_measured(each, encoder, result) for each, result in zip(pair, ends)))
        for pair in pairs[:CLASSES]
    ]
    return Pulls(title, axis(ends[0], OF["classes"]), rows, (0.0, 1.0))


def _measured(each: OfClass, encoder: str, result: Result) -> Measured:
    under = attack_name(result) if result.cell.attack else "clean"
    interval = f" [{each.low:.3f}, {each.high:.3f}]" if math.isfinite(each.low) else ""
    tip = f"{shortened(each.name, LONGEST)}, {shortened(encoder, LONGEST)}, {under}: {each.value:.3f}{interval}"
    return Measured(each.value, each.low, each.high, tip, result.id)
