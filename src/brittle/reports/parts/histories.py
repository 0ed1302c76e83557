"""Histories: the scores of the snapshots that a tuning kept, in the order in which it kept them, and their figure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

from brittle.core.errors import UsageError
from brittle.core.records import Cell, Result
from brittle.core.spec import Spec, parse
from brittle.reports.parts import wording
from brittle.reports.parts.figures import Line, Panel, curves
from brittle.reports.parts.seeds import over_seeds
from brittle.reports.parts.transfer import unlike

HOW = (
    "brittle finetune METHOD ... --save-every N keeps snapshots, and "
    'brittle run -e "file:FOLDER/*.safetensors" ... measures them all'
)
WIDEST = 4  # tasks and data sets with a column each; more, or a single one, have
ACROSS = 3  # panels in a row, one after the other


class Place(NamedTuple):
    """Where a snapshot was kept: the method that tuned it, and after how many steps and epochs (None where there are no
    epochs)."""

    method: str
    step: int
    epoch: float | None


class History(NamedTuple):
    """One score over the snapshots of one tuning, by step: what the tuning is called, what was measured (a cell without
    its encoder and seed), and the results with their places."""

    name: str
    cell: Cell
    snapshots: Sequence[tuple[Place, Result]]


class Panels(NamedTuple):
    """What a figure shows: panels in rows, the name of their x axis, and a caption."""

    rows: Sequence[Sequence[Panel | None]]
    x: str
    caption: str


class _Tuning(NamedTuple):
    """What snapshots of one tuning share: its method, how their files are read, and the folder they lie in."""

    method: str
    reading: str
    folder: str


def histories(results: Sequence[Result]) -> list[History]:
    """Of every tuning each score, clean ones before attacked ones of the same task and data; seeds as one number. A
    cell that failed has the place of the other cells of its snapshot.

    Raises:
        UsageError: no result is of a snapshot, or no tuning has two of them.
    """
    found = [(place, result) for result, place in _placed(results) if place]
    if not found:
        raise UsageError(f"no result here is of a snapshot of a tuning; {HOW}")
    names = _names(dict.fromkeys(_tuning(*each) for each in found))
    places = {
        name: {place.step for place, result in found if names[_tuning(place, result)] == name}
        for name in names.values()
    }
    if all(len(steps) == 1 for steps in places.values()):
        alone = ", ".join(f"{name} at step {steps.pop()}" for name, steps in places.items())
        raise UsageError(f"a history needs two snapshots of one tuning or more, and here is one only: {alone}; {HOW}")
    together: dict[tuple[str, Cell], list[tuple[Place, Result]]] = {}
    for place, result in found:
        key = (names[_tuning(place, result)], replace(result.cell, encoder="", seed=0))
        together.setdefault(key, []).append((place, result))
    made = [
        History(name, cell, sorted(each, key=lambda one: (one[0].step, one[1].cell.encoder)))
        for (name, cell), each in together.items()
    ]
    order = list(places)
    return sorted(made, key=lambda history: order.index(history.name))


def left_out(results: Sequence[Result]) -> list[str]:
    """The encoders of which no place in a history is known."""
    return list(dict.fromkeys(result.cell.encoder for result, place in _placed(results) if not place))


def _placed(results: Sequence[Result]) -> list[tuple[Result, Place | None]]:
    merged = over_seeds(results)
    known = {result.cell.encoder: place for result in merged if (place := _place(result))}
    return [(result, _place(result) or known.get(result.cell.encoder)) for result in merged]


def _place(result: Result) -> Place | None:
    match result.made_by:
        case {"weights": {"history": {"method": str(method), "step": int(step), **rest}}} if 0 <= step < 2**53:
            epoch = rest.get("epoch")
            return Place(method, step, float(epoch) if isinstance(epoch, (int, float)) else None)
        case _:
            return None


def _tuning(place: Place, result: Result) -> _Tuning:
    spec = parse(result.cell.encoder)
    return _Tuning(place.method, str(Spec(spec.name, "", spec.settings)), str(Path(spec.argument).parent))


def _names(tunings: Iterable[_Tuning]) -> dict[_Tuning, str]:
    """What to call each: its method, with the settings in which it differs from others of that name; how files are read
    and their folder only where two would be called the same."""
    methods = {tuning: _spec(tuning.method) for tuning in tunings}
    names: dict[_Tuning, str] = {}
    for tuning, method in methods.items():
        others = [other.settings for other in methods.values() if other.name == method.name]
        own = {k: v for k, v in method.settings.items() if any(other.get(k) != v for other in others)}
        names[tuning] = str(Spec(method.name, method.argument, own))
    full: dict[_Tuning, str] = {}
    for tuning, name in names.items():
        others = [other for other in names if names[other] == name]
        own = [part for place, part in enumerate(tuning) if place and any(other[place] != part for other in others)]
        full[tuning] = f"{name} ({', '.join(own)})" if own else name
    return full


def _spec(method: str) -> Spec:
    try:
        return parse(method)
    except UsageError:  # a name that somebody else wrote into a card
        return Spec(method)


# --- the figure -------------------------------------------------------------------------------------------------------


def figure(results: Sequence[Result]) -> Any:
    """The ``panels`` as a figure of matplotlib.

    Raises:
        UsageError: as ``histories``; or matplotlib is not installed.
    """
    drawn = panels(results)
    return curves(drawn.rows, x=drawn.x, caption=drawn.caption)


def panels(results: Sequence[Result]) -> Panels:
    """A panel for each task, data set, attack and budget: the clean and the attacked score of every tuning over its
    epochs; over steps where there are no epochs, or not one whole one.

    Raises:
        UsageError: as ``histories``.
    """
    every = histories(results)
    epochs = [place.epoch for history in every for place, _ in history.snapshots]
    by_epoch = None not in epochs and max(epoch or 0 for epoch in epochs) >= 1
    checked = _checked(every)
    pairs: dict[Cell, dict[Cell, list[History]]] = {}
    for history in every:
        pair = replace(history.cell, attack=None, eps=None, norm=None)
        pairs.setdefault(pair, {}).setdefault(history.cell, []).append(history)
    several = {name: len({getattr(pair, name) for pair in pairs}) > 1 for name in ("limit", "protocol")}
    columns: list[list[Panel]] = []
    for pair, scores in pairs.items():
        clean = scores.pop(pair, [])
        attacked = sorted(scores, key=lambda cell: (cell.norm or "", cell.eps or 0))
        about = [pair.dataset, *(f"{name}={getattr(pair, name)}" for name, many in several.items() if many)]
        columns.append(
            [_panel(cell, about, [*clean, *scores.get(cell, [])], by_epoch, checked) for cell in attacked or [pair]]
        )
    rows: list[list[Panel | None]] = [list(row) for row in zip_longest(*columns)]
    if not 1 < len(columns) <= WIDEST:
        flat = [panel for row in rows for panel in row if panel]
        rows = [[*flat[start : start + ACROSS]] for start in range(0, len(flat), ACROSS)]
    return Panels(rows, "epoch" if by_epoch else "step", _caption(every))


def _panel(cell: Cell, about: Sequence[str], scores: Sequence[History], by_epoch: bool, checked: bool) -> Panel:
    task = scores[0].snapshots[0][1].task
    better = "higher" if task["higher_is_better"] else "lower"
    return Panel(
        title=cell.task,
        about=[*about, *([wording.attack_text(cell)] if cell.attack else [])],
        y=f"{task['headline']} ({better} is better)",
        alike=f"{cell.task} {about}",
        lines=[_line(history, by_epoch, checked) for history in scores],
    )


def _line(history: History, by_epoch: bool, checked: bool) -> Line:
    points = [
        (
            (place.epoch or 0.0) if by_epoch else place.step,
            result.metrics.get(result.task["headline"], nan),
            *result.intervals.get(result.task["headline"], (nan, nan)),
            wording.mark(result).strip() if checked else "",
            result.id,
        )
        for place, result in history.snapshots
    ]
    return Line(history.name, bool(history.cell.attack), *zip(*points))


def _checked(every: Sequence[History]) -> bool:
    """Whether any attacked number was; where none was, that is said once and not at each."""
    marks = {wording.mark(result) for history in every if history.cell.attack for _, result in history.snapshots}
    return marks != {" ?"}


def _caption(every: Sequence[History]) -> str:
    results = [result for history in every for _, result in history.snapshots]
    done = [result for result in results if result.failed is None]
    images = " / ".join(str(count) for count in sorted({result.images for result in done})) or "no"
    seeds = sorted({seed for result in done for seed in result.made_by.get("seeds", ())})
    parts = [f"{images} test images", "bands are 95 % intervals over images"]
    parts += [f"means over seeds {', '.join(map(str, seeds))}"] if seeds else []
    parts += [f"{len(results) - len(done)} cells failed and are not drawn"] if len(done) < len(results) else []
    parts += list(dict.fromkeys(why for result in done if (why := unlike(result))))
    return "; ".join([*parts, *(wording.legend(results) if _checked(every) else ["no attacked number was checked"])])
