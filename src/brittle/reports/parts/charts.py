"""The figures of a page, drawn from results: what is there to be drawn, and nothing else."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from math import nan

from brittle.core.budget import eps_text
from brittle.core.errors import UsageError
from brittle.core.records import Result
from brittle.core.text import shortened
from brittle.reports.parts import distributions, histories, layout, wording
from brittle.reports.parts.answer import (
    LONGEST,
    Budget,
    Score,
    axis,
    budget_text,
    groups,
    main_budget,
    strongest,
    task_name,
    trusted,
    value,
)
from brittle.reports.parts.answer import scores as scored
from brittle.reports.parts.distributions import Spreads
from brittle.reports.parts.figures import Line, Panel
from brittle.reports.parts.kinds import Chart, Curves, Figure, Measured, Point, Pull, Pulls, Scatter, domain
from brittle.reports.parts.layout import Row
from brittle.reports.parts.seeds import over_seeds
from brittle.reports.parts.transfer import unlike

MOST = 14  # series with a look of their own in one figure, which a reader can tell apart


def of(results: Sequence[Result], spread: Spreads) -> list[Figure]:
    """All figures of results as they are stored, and of what is behind them."""
    main = main_budget(over_seeds(results))
    rows = layout.layout(results)[1]
    return figures(results, rows, scored(rows, main), main, spread)


def figures(
    results: Sequence[Result], rows: Sequence[Row], scores: Sequence[Score], main: Budget | None, spread: Spreads
) -> list[Figure]:
    """All for which there are data, in the order of a page; the first is the answer."""
    encoders = {name: place for place, name in enumerate(dict.fromkeys(row.encoder for row in rows))}
    looks = {name: place for name, place in encoders.items() if place < MOST}
    left_out = (
        f" Of {len(encoders)} {wording.called(encoders)} the first {MOST} are drawn." if len(encoders) > MOST else ""
    )
    made = [
        _answer(scores, looks, main, left_out),
        *_security(rows, looks, left_out),
        _trade_off(scores, encoders, looks, main),
        _slopes(scores, looks, main, left_out),
        distributions.images(scores, looks, main, spread),
        distributions.classes(scores, looks, main, spread),
        _steps(rows),
        _history(results),
    ]
    return [figure for figure in made if figure and figure.charts]


def _measured(result: Result | None, name: str) -> Measured | None:
    """A number as a chart takes it; None where it was not measured."""
    if result is None or result.failed is not None:
        return None
    interval = result.intervals.get(result.task["headline"], (nan, nan))
    tip = f"{shortened(name, LONGEST)}, {wording.attack_text(result.cell)[:200]}: {wording.text(result)}"
    return Measured(value(result), *interval, tip, result.id)


def _answer(scores: Sequence[Score], looks: Mapping[str, int], main: Budget | None, left_out: str) -> Figure:
    charts: list[tuple[str, str, Chart]] = []
    drawn = [score for score in scores if score.row.encoder in looks and (score.clean or score.attacked)]
    name = task_name([score.row for score in scores])
    for group in groups(drawn):
        rows = [
            Pull(each.row.encoder, _measured(each.clean, each.row.encoder), _measured(each.attacked, each.row.encoder))
            for each in group
        ]
        some = next(result for each in group for result in (each.clean, each.attacked) if result)
        numbers = [number for row in rows for number in (row.clean, row.attacked) if number]
        ends = domain((end for number in numbers for end in number[:3]), some.task["higher_is_better"])
        title = name(group[0].row)
        charts.append((title, "", Pulls(title, axis(some), rows, ends)))
    caption = f"Clean (filled) to the strongest attack within {budget_text(main)} (open)" if main else "Clean scores"
    return Figure("answer", "From clean to attacked", f"{caption}; whiskers are 95 % intervals.{left_out}", {}, charts)


def _security(rows: Sequence[Row], looks: Mapping[str, int], left_out: str) -> list[Figure]:
    """Of each norm with more than one eps: the strongest attack's score over eps, from the clean one on."""
    norms = dict.fromkeys(norm for row in rows for each in row.results.values() if (norm := each.cell.norm))
    return [_of_norm(norm, rows, looks, left_out) for norm in norms]


def _of_norm(norm: str, rows: Sequence[Row], looks: Mapping[str, int], left_out: str) -> Figure:
    panels: dict[tuple[str, str], Panel] = {}
    labels = {0.0: "0"}
    name = task_name(rows)
    for row in rows:
        points = _over_eps(row, norm)
        if row.encoder in looks and sum(eps > 0 for eps in points) > 1:
            empty = Panel(name(row), [], axis(next(iter(points.values()))), "", [])
            panel = panels.get((row.task, row.dataset), empty)
            panels[row.task, row.dataset] = panel._replace(lines=[*panel.lines, _line(row.encoder, points)])
            labels |= {eps: eps_text(eps, norm) for eps in points if eps}
    charts = [_curves(panel, f"eps ({norm})", sorted(labels.items())) for panel in panels.values()]
    drawn = {line.name for panel in panels.values() for line in panel.lines}
    legend = {encoder: look for encoder, look in looks.items() if encoder in drawn}
    caption = f"At each eps the strongest attack tried; bands are 95 % intervals, eps 0 is clean.{left_out}"
    return Figure(f"eps-{norm}", f"Scores over the budget, {norm}", caption, legend, charts)


def _over_eps(row: Row, norm: str) -> dict[float, Result]:
    """The strongest result at each eps, ascending; the clean one at 0 where it can be compared."""
    by_eps: dict[float, list[Result]] = {}
    for result in row.results.values():
        if result.failed is None and result.cell.attack and result.cell.norm == norm:
            by_eps.setdefault(result.cell.eps or 0.0, []).append(result)
    clean = row.results.get("clean")
    points = {0.0: clean} if clean and clean.failed is None and not unlike(clean) else {}
    points |= {eps: worst for eps, each in by_eps.items() if (worst := strongest(each))}
    return dict(sorted(points.items()))


def _line(name: str, points: Mapping[float, Result]) -> Line:
    intervals = [result.intervals.get(result.task["headline"], (nan, nan)) for result in points.values()]
    return Line(
        name,
        False,
        list(points),
        [value(result) for result in points.values()],
        [low for low, _ in intervals],
        [high for _, high in intervals],
        [wording.mark(result).strip() for result in points.values()],
        [result.id for result in points.values()],
    )


def _curves(
    panel: Panel, x: str, marks: Sequence[tuple[float, str]] = (), alike: Sequence[Panel] = ()
) -> tuple[str, str, Chart]:
    """A chart of curves; the y axis holds those ``alike`` too."""
    values = (end for each in (panel, *alike) for line in each.lines for side in line[3:6] for end in side)
    ends = domain(values, "higher" in panel.y)
    about = ", ".join(shortened(part, 2 * LONGEST) for part in panel.about)
    panel = panel._replace(title=shortened(panel.title, LONGEST))
    return panel.title, about, Curves(panel, x, ends, marks)


def _trade_off(
    scores: Sequence[Score], encoders: Mapping[str, int], looks: Mapping[str, int], main: Budget | None
) -> Figure:
    """Clean against attacked where there are two encoders or more, and which of them no other beats in both."""
    charts: list[tuple[str, str, Chart]] = []
    name = task_name([score.row for score in scores])
    seen: set[str] = set()
    for group in groups(score for score in scores if score.kept is not None):
        points = [
            Point(each.row.encoder, x, y, looks.get(each.row.encoder))
            for each in group
            if (x := _measured(each.clean, each.row.encoder)) and (y := _measured(each.attacked, each.row.encoder))
        ]
        if len(points) > 1:
            seen |= {point.name for point in points}
            some = next(each.clean for each in group if each.clean)
            higher = bool(some.task["higher_is_better"])
            sound = [point for each, point in zip(group, points) if each.attacked and trusted(each.attacked)]
            title = name(group[0].row)
            chart = Scatter(title, axis(some), points, front(sound, higher), higher)
            charts.append((title, "", chart))
    under = f" within {budget_text(main)}" if main else ""
    caption = (
        f"Each encoder's clean score against that under the strongest attack{under}. On the dotted line nothing is "
        "lost; the staircase joins the encoders that no other beats in both (Pareto)."
    )
    caption += f" Beyond {MOST}, encoders are grey." if len(encoders) > MOST else ""
    legend = {encoder: look for encoder, look in looks.items() if encoder in seen}
    return Figure("trade-off", "Clean against robust", caption, legend, charts)


def front(points: Sequence[Point], higher: bool) -> list[Point]:
    """The points that no other beats in one of x and y without being worse in the other."""
    sign = 1 if higher else -1

    def beaten(point: Point, other: Point) -> bool:
        ahead = [sign * (b.value - a.value) for a, b in zip(point[1:3], other[1:3])]
        return min(ahead) >= 0 < max(ahead)

    return [point for point in points if not any(beaten(point, other) for other in points)]


def _slopes(scores: Sequence[Score], looks: Mapping[str, int], main: Budget | None, left_out: str) -> Figure | None:
    """Where there are several tasks: the share of the clean score that each encoder keeps in each of them."""
    name = task_name([score.row for score in scores])
    known = [score for score in scores if score.kept is not None and score.row.encoder in looks]
    tasks = list(dict.fromkeys(name(score.row) for score in known))
    if len(tasks) < 2:
        return None
    lines: dict[str, dict[float, Score]] = {}
    for score in known:
        lines.setdefault(score.row.encoder, {})[float(tasks.index(name(score.row)))] = score
    drawn = [
        Line(
            encoder,
            False,
            list(points),
            [score.kept or 0.0 for score in points.values()],
            [nan] * len(points),
            [nan] * len(points),
            [wording.mark(score.attacked).strip() if score.attacked else "" for score in points.values()],
            [score.attacked.id if score.attacked else "" for score in points.values()],
        )
        for encoder, each in lines.items()
        for points in [dict(sorted(each.items()))]
    ]
    panel = Panel("share kept, by task", [], "share kept (higher is better)", "", drawn)
    chart = _curves(
        panel,
        "task",
        [(float(place), shortened(task, max(8, 44 // len(tasks)))) for place, task in enumerate(tasks)],
    )
    within = f" within {budget_text(main)}" if main else ""
    caption = (
        f"What the strongest attack{within} leaves of the clean score: attacked / clean, or clean / attacked where "
        f"lower is better.{left_out}"
    )
    return Figure(
        "tasks", "Across tasks", caption, {line.name: looks[line.name] for line in drawn}, [("", "", chart[2])]
    )


def _steps(rows: Sequence[Row]) -> Figure:
    """The score over the steps of those attacks that were told to follow it."""
    panels: dict[tuple[str, str], Panel] = {}
    name = task_name(rows)
    for row in rows:
        for column, result in row.results.items():
            points = [point for point in result.curve if row.metric in point]
            if points:
                x, y = [point["step"] for point in points], [point[row.metric] for point in points]
                none = [nan] * len(points)
                line = Line(f"{row.encoder}, {column}", False, x, y, none, none, [""] * len(x), [result.id] * len(x))
                panel = panels.get((row.task, row.dataset), Panel(name(row), [], axis(result), "", []))
                panels[row.task, row.dataset] = panel._replace(lines=[*panel.lines, line][:MOST])
    names = dict.fromkeys(line.name for panel in panels.values() for line in panel.lines)
    looks = {text: place for place, text in enumerate(names)}
    charts = [_curves(panel, "step") for panel in panels.values()]
    caption = f"The score after each step of an attack, from its start on; at most {MOST} attacks of a task are drawn."
    return Figure("steps", "Over the steps of an attack", caption, looks, charts)


def _history(results: Sequence[Result]) -> Figure | None:
    """The scores of a tuning's snapshots over its epochs or steps."""
    try:
        drawn = histories.panels(results)
    except UsageError:  # not two snapshots of one tuning
        return None
    panels = [panel for column in zip_longest(*drawn.rows) for panel in column if panel]
    names = dict.fromkeys(line.name for panel in panels for line in panel.lines)
    looks = {name: place for place, name in enumerate(names)}
    charts = [
        _curves(panel, drawn.x, alike=[other for other in panels if other.alike == panel.alike]) for panel in panels
    ]
    caption = f"Solid is clean, dashed attacked. {shortened(drawn.caption, 2000)}."
    return Figure("history", "Over the tuning", caption, looks, charts)
