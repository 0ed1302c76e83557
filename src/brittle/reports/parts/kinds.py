"""What a chart shows, as plain data: ``svg`` draws it for a page, ``plots`` for a paper."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from brittle.reports.parts.figures import Panel


class Measured(NamedTuple):
    """A number to draw: its value, the ends of its interval (nan for none), what a pointer on it shows, and the id of
    its result."""

    value: float
    low: float
    high: float
    tip: str
    id: str


class Pull(NamedTuple):
    """A clean number and what an attack made of it; None where it was not measured."""

    name: str
    clean: Measured | None
    attacked: Measured | None


class Point(NamedTuple):
    """A place in a scatter; ``look`` None for one that has no look of its own."""

    name: str
    x: Measured
    y: Measured
    look: int | None


class Curves(NamedTuple):
    """Lines with their intervals as bands. ``x`` names the axis, ``y`` are the ends of the other, ``marks`` the labels
    of the first, which has round numbers without them."""

    panel: Panel
    x: str
    y: tuple[float, float]
    marks: Sequence[tuple[float, str]] = ()


class Pulls(NamedTuple):
    """A line for each name: its clean number, and where an attack pulled it to; ``ends`` of the axis."""

    title: str
    axis: str
    rows: Sequence[Pull]
    ends: tuple[float, float]


class Scatter(NamedTuple):
    """Clean against attacked, with intervals, the line on which nothing is lost, and the staircase of the ``front``."""

    title: str
    axis: str
    points: Sequence[Point]
    front: Sequence[Point]
    higher: bool


class Rise(NamedTuple):
    """An empirical distribution: steps (value, share of all that is at most that), ascending, and its quartiles by
    their shares."""

    name: str
    attacked: bool
    points: Sequence[tuple[float, float]]
    quarters: Sequence[tuple[float, Measured]]


class Rises(NamedTuple):
    """Distributions over one axis; ``of`` says what is counted, ``ends`` are of the axis."""

    title: str
    axis: str
    of: str
    lines: Sequence[Rise]
    ends: tuple[float, float]


Chart = Curves | Pulls | Scatter | Rises


class Figure(NamedTuple):
    """A figure: what it is called, its title, a caption, which look each name has, and its charts, each with a title
    and what it is about."""

    key: str
    title: str
    caption: str
    looks: Mapping[str, int]
    charts: Sequence[tuple[str, str, Chart]]


# --- axes -------------------------------------------------------------------------------------------------------------


def domain(values: Iterable[float], higher: bool) -> tuple[float, float]:
    """The ends of an axis: 0 to 1 for scores of which higher is better and that lie there, else from 0 (or the lowest)
    to a round number."""
    known = [value for value in values if math.isfinite(value)] or [1.0]
    low, high = min(0.0, *known), max(0.0, *known)
    if higher and low == 0 and high <= 1:
        return 0.0, 1.0
    step = _step(low, high if high > low else low + 1)
    return math.floor(low / step) * step, math.ceil(high / step + 1e-9) * step or step


def ticks(low: float, high: float, whole: bool = False) -> list[tuple[float, str]]:
    """Round values between two ends, at most seven, with their labels."""
    step = max(_step(low, high), 1.0) if whole else _step(low, high)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(place * step, f"{place * step:.6g}") for place in range(first, last + 1)]


def _step(low: float, high: float) -> float:
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * (1 - 1e-9))


def stairs(front: Sequence[Point], higher: bool, ends: tuple[float, float]) -> list[tuple[float, float]]:
    """The corners of the staircase that joins the points of a front and ends at the axes."""
    made: list[tuple[float, float]] = []
    for point in sorted(front, key=lambda point: point.x.value):
        x, y = point.x.value, point.y.value
        made += [((made[-1][0] if higher else x), (y if higher else made[-1][1]))] if made else []
        made.append((x, y))
    if higher:
        return [(ends[0], made[0][1]), *made, (made[-1][0], ends[0])]
    return [(made[0][0], ends[1]), *made, (ends[1], made[-1][1])]
