"""Figures in one style: panels of curves with their intervals as bands, and their bytes as SVG, PNG or PDF
(matplotlib)."""

import importlib
import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from brittle.core.errors import UsageError
from brittle.core.text import shortened

ENDINGS = (".svg", ".png", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by colour-blind readers too (Okabe and Ito, Color Universal Design, 2008)."""
MARKERS = "osD^vP"  # one less than colours, so that both are alike for one curve in 42 only
INK, FAINT = "#222222", "#6b6b6b"
STYLE: dict[str, Any] = {
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # $ in a name is no formula
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 1.2,
    "figure.constrained_layout.h_pad": 0.08,  # inches around each panel
    "figure.constrained_layout.w_pad": 0.09,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.8,
    "legend.handletextpad": 0.4,
    "savefig.dpi": 200,
    "svg.fonttype": "none",  # text stays text: searched, read aloud, small
    "svg.hashsalt": "brittle",
    "pdf.fonttype": 42,
}
WIDTH, HEIGHT = 3.15, 2.6  # inches of a panel: three side by side are read at the width of a README
LONGEST, TITLE = 44, 24  # characters of a name in a figure, and of a panel's title


class Line(NamedTuple):
    """A curve: the ``name`` that decides its colour, whether it is dashed as attacked scores are, and of each point x,
    y (nan breaks the line), the ends of its interval (nan for none), a mark such as ``!`` and the id of its result."""

    name: str
    attacked: bool
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    marks: Sequence[str]
    ids: Sequence[str]


class Panel(NamedTuple):
    """Curves in one pair of axes; panels whose ``alike`` is the same have the same y axis."""

    title: str
    about: Sequence[str]
    y: str
    alike: str
    lines: Sequence[Line]


def curves(rows: Sequence[Sequence[Panel | None]], *, x: str, caption: str) -> Any:
    """A figure of matplotlib: panels in rows (None leaves a place empty), a legend above, a caption below.

    Raises:
        UsageError: matplotlib is not installed.
    """
    with style():
        return _drawn(rows, x, caption)


def rendered(figure: Any, ending: str) -> bytes:
    """The bytes of a file of a figure that ends in one of ``ENDINGS``, the same for the same figure."""
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    stream = io.BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter of a name that the font lacks is a box
        figure.savefig(stream, format=ending[1:], metadata=undated.get(ending))
    return stream.getvalue()


def style() -> AbstractContextManager[None]:
    """The one style of every figure, as a context.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        style: Any = importlib.import_module("matplotlib.style")
    except ModuleNotFoundError:
        from brittle.core.installed import needs  # slow to import

        raise UsageError(f"a figure {needs('matplotlib')}") from None
    return style.context(STYLE, after_reset=True)


def _drawn(rows: Sequence[Sequence[Panel | None]], x: str, caption: str) -> Any:
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    lines = [line for row in rows for panel in row if panel for line in panel.lines]
    looks = {name: place for place, name in enumerate(dict.fromkeys(line.name for line in lines))}
    entries = _entries(lines, looks)
    width = WIDTH * columns if columns > 1 else 1.5 * WIDTH
    across = max(1, int(14 * width / (8 + max(len(entry.get_label()) for entry in entries))))
    height = HEIGHT * len(rows) + 0.2 * math.ceil(len(entries) / across) + 0.5
    figure: Any = Figure(figsize=(width, height), layout="constrained")
    figure.legend(handles=entries, loc="outside upper left", ncols=min(across, len(entries)))
    first: dict[str, Any] = {}
    for i, row in enumerate(rows):
        below = rows[i + 1] if i + 1 < len(rows) else []
        folds = max(_about(panel.about).count("\n") for panel in row if panel)
        for j, panel in enumerate(row):
            if panel is None:
                continue
            axes = figure.add_subplot(len(rows), columns, i * columns + j + 1, sharey=first.get(panel.alike))
            first.setdefault(panel.alike, axes)
            titled(axes, panel.title, panel.about, folds)
            draw(axes, panel, looks)
            axes.set_xlabel(x if j >= len(below) or below[j] is None else "")
    for alike, axes in first.items():  # last, as a limit that is set no longer follows what is drawn
        drawn = [panel for row in rows for panel in row if panel and panel.alike == alike]
        if not any(value < 0 for panel in drawn for line in panel.lines for value in line.y):
            axes.set_ylim(bottom=0)
    captioned(figure, caption)
    return figure


def captioned(figure: Any, caption: str) -> None:
    """A caption in small below a figure."""
    words = textwrap.fill(shortened(caption, 2000), round(figure.get_figwidth() * 19))
    figure.supxlabel(words, x=0.01, ha="left", fontsize=7.5, color=FAINT)


def _about(parts: Sequence[str]) -> str:
    return textwrap.fill(", ".join(shortened(part, 2 * LONGEST - 20) for part in parts), LONGEST)


def titled(axes: Any, title: str, parts: Sequence[str], folds: int = 0) -> None:
    """A title above the axes, and in small below it the parts of what it is about; with room for so many ``folds`` of
    that, as of the panels beside it."""
    about = _about(parts)
    about += "\n" * (folds - about.count("\n"))
    axes.set_title(shortened(title, TITLE), pad=(17.5 if about else 8) + 9.5 * about.count("\n"))
    axes.annotate(about, (0, 1), (0, 4), "axes fraction", "offset points", va="bottom", fontsize=7.5, color=FAINT)


def draw(axes: Any, panel: Panel, looks: Mapping[str, int]) -> None:
    """The curves of a panel with their bands, and the name of its y axis."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_ylabel(panel.y)
    for line in panel.lines:
        colour = look(line.name, looks)["color"]
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.14, linewidth=0)
        axes.plot(line.x, line.y, **look(line.name, looks), **dashed(line.attacked), clip_on=False, zorder=3)
        for at, value, mark in zip(line.x, line.y, line.marks):
            if mark:
                axes.annotate(mark, (at, value), (0, 4), textcoords="offset points", ha="center", color=colour)
    axes.margins(x=0.03)
    longest = max(value for line in panel.lines for value in line.x)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=longest >= 5))
    axes.xaxis.set_major_formatter(EngFormatter(sep="") if longest >= 10_000 else "{x:g}")


def look(name: str, looks: Mapping[str, int]) -> dict[str, Any]:
    """The colour and the marker of a curve or a point, as matplotlib takes them."""
    place = looks[name]
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def dashed(attacked: bool) -> dict[str, Any]:
    """Solid for clean, dashed and hollow for attacked, as matplotlib takes it."""
    return {"linestyle": (0, (3.2, 1.6)), "markerfacecolor": "white"} if attacked else {"linestyle": "-"}


def _entries(lines: Sequence[Line], looks: Mapping[str, int]) -> list[Any]:
    """Of a legend: a colour for each name, then what is solid and what is dashed."""
    from matplotlib.lines import Line2D

    names = [
        Line2D(
            [], [], label=f" {shortened(name, LONGEST)}", **look(name, looks)
        )  # one that began with _ would be hidden
        for name in looks
    ]
    kinds = {line.attacked: " attacked" if line.attacked else " clean" for line in lines}
    return [*names, *(Line2D([], [], color=FAINT, marker="o", label=kinds[k], **dashed(k)) for k in sorted(kinds))]
