"""The figures of a page for a paper or slides (matplotlib), in the style of all figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from brittle.core.records import Result
from brittle.core.text import shortened
from brittle.planning.warm_start import unwrapped
from brittle.reports.parts.answer import value
from brittle.reports.parts.figures import (
    FAINT,
    HEIGHT,
    INK,
    LONGEST,
    WIDTH,
    captioned,
    dashed,
    draw,
    look,
    style,
    titled,
)
from brittle.reports.parts.kinds import Chart, Curves, Figure, Point, Pulls, Rises, Scatter, domain, stairs
from brittle.reports.parts.matrices import Matrix

ACROSS = 3  # charts in a row
ACCENT = "#B0400F"  # what an attack did
GREY = "#8A9099"  # an encoder without a look of its own
ROW = 0.42  # inches of a line of pulls
NARROW = 28  # characters of a name beside its change
CELL = 0.85, 0.42  # inches of a cell of a matrix


def figure(made: Figure) -> Any:
    """A figure of matplotlib: its charts in rows, a legend above, its caption below.

    Raises:
        UsageError: matplotlib is not installed.
    """
    with style():
        from matplotlib.figure import Figure as Canvas
        from matplotlib.lines import Line2D

        across = min(ACROSS, len(made.charts))
        down = math.ceil(len(made.charts) / across)
        handles = [
            Line2D([], [], label=f" {shortened(name, LONGEST)}", **look(name, made.looks), linestyle="none")
            for name in made.looks
        ]
        width = WIDTH * across if across > 1 else 1.5 * WIDTH
        fit = max(1, int(14 * width / (8 + max((len(name[:LONGEST]) for name in made.looks), default=0))))
        tall = max(_height(chart) for _, _, chart in made.charts)
        height = tall * down + 0.2 * math.ceil(len(handles) / fit) + 0.5
        canvas: Any = Canvas(figsize=(width, height), layout="constrained")
        if handles:
            canvas.legend(handles=handles, loc="outside upper left", ncols=min(fit, len(handles)))
        for place, (title, about, chart) in enumerate(made.charts):
            axes = canvas.add_subplot(down, across, place + 1)
            titled(axes, title, [about] if about else [])
            _draw(axes, chart, made.looks)
        captioned(canvas, made.caption)
        return canvas


def _height(chart: Chart) -> float:
    return ROW * len(chart.rows) + 0.9 if isinstance(chart, Pulls) else HEIGHT


def _draw(axes: Any, chart: Chart, looks: Mapping[str, int]) -> None:
    match chart:
        case Curves():
            _curves(axes, chart, looks)
        case Pulls():
            _pulls(axes, chart)
        case Scatter():
            _scatter(axes, chart, looks)
        case Rises():
            _rises(axes, chart, looks)


def _curves(axes: Any, chart: Curves, looks: Mapping[str, int]) -> None:
    draw(axes, chart.panel, looks)
    axes.set_xlabel(chart.x)
    axes.set_ylim(*chart.y)
    if chart.marks:
        axes.set_xticks(*zip(*_apart(chart.marks)))


def _apart(marks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The labels of an axis that do not run into the one before."""
    width = max(value for value, _ in marks) - min(value for value, _ in marks)
    kept = [marks[0]]
    for place, label in marks[1:]:
        if place - kept[-1][0] >= width * 0.013 * (len(label) + len(kept[-1][1])):
            kept.append((place, label))
    return kept


def _pulls(axes: Any, chart: Pulls) -> None:
    """A line for each name: its clean number, filled, and where an attack pulled it to, open."""
    for place, row in enumerate(chart.rows):
        both = [number for number in (row.clean, row.attacked) if number]
        axes.plot([number.value for number in both], [place] * len(both), color=ACCENT, alpha=0.45)
        for number, colour, inside, shift in ((row.clean, INK, INK, -0.06), (row.attacked, ACCENT, "white", 0.06)):
            if number:
                axes.plot([number.low, number.high], [place + shift] * 2, color=colour, linewidth=0.9, alpha=0.7)
                axes.plot(number.value, place, "o", color=colour, markerfacecolor=inside, clip_on=False, zorder=3)
        ends = " → ".join(f"{number.value:.2f}" if number else "–" for number in (row.clean, row.attacked))
        axes.annotate(shortened(row.name, NARROW), (0, place - 0.3), xycoords=("axes fraction", "data"), fontsize=7.5)
        right = {"ha": "right", "fontsize": 7.5, "fontweight": "bold"}
        axes.annotate(ends, (1, place - 0.3), xycoords=("axes fraction", "data"), **right)
    axes.set_xlim(*chart.ends)
    axes.set_ylim(len(chart.rows) - 0.6, -0.8)
    axes.set_yticks([])
    axes.grid(visible=True, axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(chart.axis)


def _scatter(axes: Any, chart: Scatter, looks: Mapping[str, int]) -> None:
    ends = domain((end for point in chart.points for number in point[1:3] for end in number[:3]), chart.higher)
    axes.plot(ends, ends, ":", color=FAINT, linewidth=1)
    if chart.front:
        axes.plot(*zip(*stairs(chart.front, chart.higher, ends)), color=FAINT, linewidth=1, alpha=0.8)
    for point in chart.points:
        mark = _look(point, looks)
        x, y = point.x, point.y
        axes.plot([x.low, x.high], [y.value] * 2, color=mark["color"], linewidth=1, alpha=0.5)
        axes.plot([x.value] * 2, [y.low, y.high], color=mark["color"], linewidth=1, alpha=0.5)
        axes.plot(x.value, y.value, **mark, markeredgecolor="white", markersize=7, clip_on=False, zorder=3)
    axes.set(xlim=ends, ylim=ends, xlabel="clean", ylabel=f"attacked {chart.axis}")


def _rises(axes: Any, chart: Rises, looks: Mapping[str, int]) -> None:
    for line in chart.lines:
        own = {**look(line.name, looks), **dashed(line.attacked)}
        values, shares = zip((line.points[0][0], 0.0), *line.points)
        axes.plot(values, shares, **{**own, "marker": ""}, drawstyle="steps-post")
        for share, number in line.quarters:
            axes.plot(number.value, share, **{**own, "linestyle": "none"}, clip_on=False, zorder=3)
    axes.set(xlim=chart.ends, ylim=(0, 1), xlabel=chart.axis, ylabel=f"share of {chart.of}")


def _look(point: Point, looks: Mapping[str, int]) -> dict[str, Any]:
    return {"color": GREY, "marker": "o"} if point.look is None else look(point.name, looks)


# --- transfer matrices ------------------------------------------------------------------------------------------------


def matrix(made: Matrix) -> Any:
    """A transfer matrix as a figure: images made for a row scored on a column, the clean scores above; the darker, the
    more of the clean score is lost."""
    with style():
        from matplotlib.figure import Figure as Canvas

        names = ["clean", *(" ".join(shortened(part, 30) for part in source) for source in made.rows)]
        rows = [made.clean, *made.rows.values()]
        heads = [f"{shortened(encoder, 24)}\n{task} ({metric})" for (encoder, task), metric in made.metrics.items()]
        width = CELL[0] * len(heads) + 0.075 * max(map(len, names)) + 0.5
        canvas: Any = Canvas(figsize=(max(width, 4.5), CELL[1] * len(rows) + 2.3), layout="constrained")
        axes = canvas.add_subplot()
        lost = [[_lost(row.get(target), made.clean.get(target)) for target in made.metrics] for row in rows]
        axes.imshow(lost, cmap="Oranges", vmin=0, vmax=1.4, aspect="auto")
        for y, row in enumerate(rows):
            for x, target in enumerate(made.metrics):
                result = row.get(target)
                axes.annotate("–" if result is None else f"{value(result):.2f}", (x, y), ha="center", va="center")
        axes.set_xticks(range(len(heads)), heads, rotation=30, ha="left", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        canvas.suptitle(f"{unwrapped(made.attack)} {made.budget}", x=0.01, ha="left", fontsize=10, fontweight="bold")
        captioned(
            canvas, f"Images made for the encoder and task of a row, scored on those of a column; {made.dataset}."
        )
        return canvas


def _lost(result: Result | None, clean: Result | None) -> float:
    """The share of a clean score that is lost, from 0 to 1; 0 where that is unknown."""
    if result is None or clean is None:
        return 0.0
    ends = value(result), value(clean)
    part, whole = ends if result.task["higher_is_better"] else ends[::-1]
    return min(max(1 - part / whole, 0.0), 1.0) if whole > 0 else 0.0
