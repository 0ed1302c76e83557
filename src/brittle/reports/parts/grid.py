"""The paper's table for a page: its columns with what they mean, its rows with each number's place, and its gaps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from brittle.core import components
from brittle.core.budget import eps_text
from brittle.core.errors import BrittleError
from brittle.core.records import Result
from brittle.core.spec import parse
from brittle.core.text import shortened
from brittle.planning.warm_start import unwrapped
from brittle.reports.parts import layout, transfer, wording
from brittle.reports.parts.answer import LONGEST, Score, value
from brittle.reports.parts.matrices import Matrix, Target
from brittle.reports.parts.numbers import Numbers

SHADES = 8  # steps from nothing lost to all lost
NAMES = (
    ("task", "What is asked of the encoder; a small head is fitted on its frozen features."),
    ("data", "The data set whose test images are scored."),
    ("encoder", "What is measured, with what tells it apart from others of its name."),
    ("metric", "What the numbers are; the arrow shows which way is better."),
)


class Shown(NamedTuple):
    """A number as a page shows it: its ``place`` among the ``Numbers``, text, interval and mark, the values behind them
    for sorting and copying, and a shade from 0 to ``SHADES`` for how much of the clean score is lost."""

    place: int
    text: str
    interval: str
    mark: str
    value: float | None
    low: float | None
    high: float | None
    shade: int


class Column(NamedTuple):
    """A column of numbers: its name and budget (empty for the clean one), and what it means."""

    name: str
    budget: str
    about: str


class Line(NamedTuple):
    """A row: its names, whether higher is better, its numbers by column (None for a gap), and its transfer ratio."""

    task: str
    dataset: str
    encoder: str
    metric: str
    higher: bool
    numbers: Sequence[Shown | None]
    ratio: str


class Grid(NamedTuple):
    """The whole table; ``ratio`` says whether any row has a transfer ratio."""

    columns: Sequence[Column]
    lines: Sequence[Line]
    ratio: bool


def grid(columns: Sequence[str], rows: Sequence[layout.Row], numbers: Numbers) -> Grid:
    """The table of a layout, without what transfer matrices show; each number is added to ``numbers``."""
    columns = [name for name in columns if not all("attack" in each.made_by for each in _in_column(name, rows))]
    ratios = transfer.transfer_ratios(rows)
    lines = [
        Line(
            row.task,
            row.dataset,
            row.encoder,
            row.metric,
            next(iter(row.results.values())).task["higher_is_better"],
            [shown(row.results.get(name), row.results.get("clean"), numbers) for name in columns],
            ratio,
        )
        for row, ratio in zip(rows, ratios or [layout.GAP] * len(rows))
    ]
    return Grid([_column(name, rows) for name in columns], lines, bool(ratios))


def shown(result: Result | None, clean: Result | None, numbers: Numbers) -> Shown | None:
    """A number beside its clean one; None where it was not measured."""
    if result is None:
        return None
    place = numbers.add(result)
    if result.failed is not None:
        return Shown(place, "failed", "", "", None, None, None, 0)
    name = result.task["headline"]
    low, high = result.intervals.get(name, (None, None))
    text, interval = wording.parts(result)
    return Shown(place, text, interval, wording.mark(result).strip(), value(result), low, high, _shade(result, clean))


def _shade(result: Result, clean: Result | None) -> int:
    if clean is None or clean.failed is not None or result.cell.attack is None:
        return 0
    kept = Score(layout.Row("", "", "", "", {}), clean, result).kept
    return 0 if kept is None else round(SHADES * min(max(1 - kept, 0), 1))


def _in_column(name: str, rows: Sequence[layout.Row]) -> list[Result]:
    return [row.results[name] for row in rows if name in row.results]


def _column(name: str, rows: Sequence[layout.Row]) -> Column:
    results = _in_column(name, rows)
    cell = results[0].cell
    if cell.attack is None:
        return Column(name, "", "The images as they are.")
    attacks = dict.fromkeys(unwrapped(result.cell.attack or "") for result in results)
    own = len(attacks) > 1
    named = ", ".join(
        dict.fromkeys(f"{result.task['name']}: {unwrapped(result.cell.attack or '')}" for result in results)
    )
    about = f"Each task's own attack ({shortened(named, 120)})." if own else attack_about(next(iter(attacks)))
    budget = f"{cell.norm} {eps_text(cell.eps, cell.norm)}"
    return Column(name, budget, f"{about} Within {budget}.")


def attack_about(spec: str) -> str:
    """What an attack is, in a sentence; its spec where it is not one of the package."""
    try:
        name = parse(spec).name
    except BrittleError:
        name = ""
    known = name in components.names("attacks")
    return components.summary("attacks", name).partition(". ")[0].rstrip(".") + "." if known else f"{spec}."


def gaps(rows: Sequence[layout.Row]) -> list[tuple[str, str]]:
    """Of each row that lacks a number which another row of its task and data has: its name, and the columns."""
    asked: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        asked.setdefault((row.task, row.dataset), {"clean": None}).update(dict.fromkeys(row.results))
    missing = [(row, [name for name in asked[row.task, row.dataset] if name not in row.results]) for row in rows]
    return [
        (
            " / ".join(shortened(part, LONGEST) for part in row[:3]),
            ", ".join(shortened(each, LONGEST) for each in names),
        )
        for row, names in missing
        if names
    ]


class Square(NamedTuple):
    """A transfer matrix: the data, the attack within its budget, the metric of each column, and named rows of numbers,
    the clean ones first."""

    dataset: str
    attack: str
    metrics: Mapping[Target, str]
    lines: Sequence[tuple[str, Sequence[Shown | None]]]


def square(matrix: Matrix, numbers: Numbers) -> Square:
    """A transfer matrix; each number is added to ``numbers``."""
    rows = {"clean": matrix.clean, **{" ".join(source): row for source, row in matrix.rows.items()}}
    lines = [
        (name, [shown(row.get(target), matrix.clean.get(target), numbers) for target in matrix.metrics])
        for name, row in rows.items()
    ]
    bare = unwrapped(matrix.attack)
    attack = f"{bare} {matrix.budget}{' (warm)' if bare != matrix.attack else ''}"
    return Square(matrix.dataset, attack, matrix.metrics, lines)
