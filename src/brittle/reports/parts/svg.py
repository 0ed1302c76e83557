"""Charts as inline SVG without a style of their own: a page colours series by their classes, so that they follow its
theme."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from brittle.core.text import shortened
from brittle.reports.parts.figures import COLOURS, LONGEST, MARKERS
from brittle.reports.parts.kinds import Chart, Curves, Measured, Pulls, Rises, Scatter, domain, stairs, ticks

WIDTH, HEIGHT = 380, 250  # units of a chart; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 42, 18, 32, 42  # room around the axes
DESCRIBED = 24  # marks that are read out
NARROW = 34  # characters of a name beside its change
ROW = 46  # height of a line of pulls
LETTER, APART = 6.8, 8  # the width of a letter of a label, and between two labels, at least
SHAPES = {  # outlines around (0, 0), by the name of a marker
    "o": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "s": "M-4-4H4V4H-4z",
    "D": "M0-5.5L5.5 0L0 5.5L-5.5 0z",
    "^": "M0-5.2L5 4H-5z",
    "v": "M0 5.2L5-4H-5z",
    "P": "M-1.7-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7z",
}


class Scale(NamedTuple):
    """Values from ``low`` to ``high`` on the way from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


# --- charts -----------------------------------------------------------------------------------------------------------


def drawn(chart: Chart, looks: Mapping[str, int]) -> str:
    """A chart as text."""
    match chart:
        case Curves():
            return _curves(chart, looks)
        case Pulls():
            return _pulls(chart)
        case Scatter():
            return _scatter(chart)
        case Rises():
            return _rises(chart, looks)


def _curves(chart: Curves, looks: Mapping[str, int]) -> str:
    panel, x, y, marks = chart
    every = [value for line in panel.lines for value in line.x] + [value for value, _ in marks]
    low, high = min(every, default=0), max(every, default=1)
    across = Scale(low, high if high > low else low + 1, LEFT, WIDTH - RIGHT)
    labels = list(marks) or ticks(across.low, across.high, whole=across.high >= 5)
    up = Scale(*y, HEIGHT - BOTTOM, TOP)
    root = _chart(f"{panel.title}: {panel.y} over {x}", HEIGHT)
    _axes(root, across, up, labels, x, panel.y)
    for line in panel.lines:
        look = looks[line.name]
        points = [each for each in zip(line.x, line.y, line.low, line.high) if math.isfinite(each[1])]
        sides = [each for each in points if math.isfinite(each[2]) and math.isfinite(each[3])]
        edge = [*((at, top) for at, _, _, top in sides), *((at, bottom) for at, _, bottom, _ in reversed(sides))]
        SubElement(root, "path", {"class": f"band c{_colour(look)}", "d": _path(edge, across, up)})
        kind = "line attacked" if line.attacked else "line"
        way = _path([(at, value) for at, value, _, _ in points], across, up)
        SubElement(root, "path", {"class": f"{kind} c{_colour(look)}", "d": way})
    named = dict(labels)
    for line in panel.lines:
        for at, value, bottom, top, mark, name in zip(*line[2:]):
            if math.isfinite(value):
                kind = " (attacked)" if line.attacked else ""
                where = f"{shortened(line.name, LONGEST)}{kind}, {x} {named.get(at, f'{at:g}')}"
                interval = f" [{bottom:.3f}, {top:.3f}]" if math.isfinite(bottom) else ""
                number = Measured(value, bottom, top, f"{where}: {value:.3f}{interval} {mark}".rstrip(), name)
                _marker(root, looks[line.name], across.at(at), up.at(value), number, hollow=line.attacked)
    return _finished(root)


def _pulls(chart: Pulls) -> str:
    title, axis, rows, ends = chart
    height = ROW * len(rows) + 40
    across = Scale(*ends, 8, WIDTH - RIGHT)
    root = _chart(f"{title}: {axis}, clean and attacked", height)
    bottom = height - 34
    for value, label in ticks(*ends):
        SubElement(root, "line", _between(across.at(value), 4, across.at(value), bottom, "grid"))
        _label(root, across.at(value), bottom + 14, label, "middle")
    _label(root, WIDTH - RIGHT, height - 3, axis, "end", "axis")
    for place, row in enumerate(rows):
        y = ROW * place + 31
        _label(root, 8, y - 14, shortened(row.name, NARROW), "start", "name")
        if row.clean and row.attacked:
            SubElement(root, "line", _between(across.at(row.clean.value), y, across.at(row.attacked.value), y, "pull"))
        for number, kind in ((row.clean, "clean"), (row.attacked, "attacked")):
            if number:
                dy = -2.5 if kind == "clean" else 2.5  # so that intervals that overlap are told apart
                if math.isfinite(number.low):
                    whisker = _between(across.at(number.low), y + dy, across.at(number.high), y + dy, f"whisker {kind}")
                    SubElement(root, "line", whisker)
                mark = _number(root, number, f"dot {kind}")
                mark.set("transform", f"translate({across.at(number.value):.1f} {y})")
                mark.set("d", SHAPES["o"])
        ends_ = [f"{number.value:.2f}" if number else "–" for number in (row.clean, row.attacked)]
        _label(root, WIDTH - RIGHT, y - 14, " → ".join(ends_), "end", "change")
    return _finished(root)


def _scatter(chart: Scatter) -> str:
    title, axis, points, front, higher = chart
    ends = domain((value for point in points for number in point[1:3] for value in number[:3]), higher)
    across, up = Scale(*ends, LEFT, WIDTH - RIGHT), Scale(*ends, HEIGHT - BOTTOM, TOP)
    root = _chart(f"{title}: {axis}, clean against attacked", HEIGHT)
    _axes(root, across, up, ticks(*ends), "clean", f"attacked {axis}")
    SubElement(root, "path", {"class": "even", "d": _path([(ends[0], ends[0]), (ends[1], ends[1])], across, up)})
    if front:
        SubElement(root, "path", {"class": "front", "d": _path(stairs(front, higher, ends), across, up)})
    for point in points:
        x, y, colour = across.at(point.x.value), up.at(point.y.value), f"c{_colour(point.look)}"
        if math.isfinite(point.x.low):
            SubElement(root, "line", _between(across.at(point.x.low), y, across.at(point.x.high), y, f"bar {colour}"))
        if math.isfinite(point.y.low):
            SubElement(root, "line", _between(x, up.at(point.y.low), x, up.at(point.y.high), f"bar {colour}"))
    for point in points:
        _marker(root, point.look, across.at(point.x.value), up.at(point.y.value), point.y)
    return _finished(root)


def _rises(chart: Rises, looks: Mapping[str, int]) -> str:
    title, axis, of, lines, ends = chart
    across, up = Scale(*ends, LEFT, WIDTH - RIGHT), Scale(0, 1, HEIGHT - BOTTOM, TOP)
    root = _chart(f"{title}: share of {of} over {axis}", HEIGHT)
    _axes(root, across, up, ticks(*ends), axis, f"share of {of}")
    for line in lines:
        steps = "".join(f"H{across.at(value):.1f}V{up.at(share):.1f}" for value, share in line.points)
        way = f"M{across.at(line.points[0][0]):.1f} {up.at(0):.1f}{steps}"
        kind = "line attacked" if line.attacked else "line"
        SubElement(root, "path", {"class": f"{kind} c{_colour(looks[line.name])}", "d": way})
    for line in lines:
        for share, number in line.quarters:
            _marker(root, looks[line.name], across.at(number.value), up.at(share), number, hollow=line.attacked)
    return _finished(root)


def swatch(look: int) -> str:
    """The marker of a look, for a legend."""
    root = Element("svg", {"viewBox": "-7 -7 14 14", "class": "swatch", "aria-hidden": "true"})
    SubElement(root, "path", {"class": f"mark c{_colour(look)}", "d": _shape(look)})
    return _text(root)


# --- parts ------------------------------------------------------------------------------------------------------------


def _chart(label: str, height: float) -> Element:
    root = Element("svg", {"viewBox": f"0 0 {WIDTH} {height:g}", "role": "img", "aria-label": label})
    SubElement(root, "desc")
    return root


def _finished(root: Element) -> str:
    """A chart as text, described by what a pointer on its marks shows."""
    tips = [title.text or "" for title in root.iter("title")]
    root[0].text = "; ".join(tips[:DESCRIBED]) + (f"; and {len(tips) - DESCRIBED} more" if tips[DESCRIBED:] else "")
    return _text(root)


def _axes(root: Element, across: Scale, up: Scale, labels: Sequence[tuple[float, str]], x: str, y: str) -> None:
    for value, label in ticks(up.low, up.high):
        SubElement(root, "line", _between(across.start, up.at(value), across.end, up.at(value), "grid"))
        _label(root, across.start - 7, up.at(value) + 4, label, "end")
    SubElement(root, "line", _between(across.start, up.at(up.low), across.end, up.at(up.low), "base"))
    taken = -math.inf
    for value, label in labels:
        half = LETTER * len(label) / 2
        middle = min(max(across.at(value), half), WIDTH - half)
        if middle - half > taken:
            taken = middle + half + APART
            SubElement(root, "line", _between(across.at(value), up.start, across.at(value), up.start + 4, "base"))
            _label(root, middle, up.start + 17, label, "middle")
    _label(root, across.end, HEIGHT - 5, x, "end", "axis")
    _label(root, 2, 13, y, "start", "axis")


def _marker(root: Element, look: int | None, x: float, y: float, number: Measured, hollow: bool = False) -> None:
    mark = _number(root, number, f"mark c{_colour(look)}{' hollow' if hollow else ''}")
    mark.set("transform", f"translate({x:.1f} {y:.1f})")
    mark.set("d", _shape(look))


def _number(root: Element, number: Measured, kind: str) -> Element:
    mark = SubElement(root, "path", {"class": kind, "data-number": number.id})
    SubElement(mark, "title").text = number.tip
    return mark


def _label(root: Element, x: float, y: float, text: str, anchor: str, kind: str = "tick") -> None:
    SubElement(root, "text", {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}).text = text


def _between(x1: float, y1: float, x2: float, y2: float, kind: str) -> dict[str, str]:
    return {"class": kind, "x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}


def _path(points: Sequence[tuple[float, float]], across: Scale, up: Scale) -> str:
    return "M" + "L".join(f"{across.at(x):.1f} {up.at(y):.1f}" for x, y in points) if points else ""


def _colour(look: int | None) -> str:
    return "x" if look is None else str(look % len(COLOURS))


def _shape(look: int | None) -> str:
    return SHAPES["o" if look is None else MARKERS[look % len(MARKERS)]]


def _text(root: Element) -> str:
    return tostring(root, encoding="unicode")
