"""One line per result, for a spreadsheet or a data frame; or one per image, or per class, of each."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

from brittle.core.progress import say
from brittle.core.records import Result
from brittle.core.traits import ReportTraits
from brittle.reports.parts import wording
from brittle.reports.parts.distributions import Spreads
from brittle.reports.parts.partners import clean_of
from brittle.reports.parts.spreadsheet import ATTACK, attack_columns, sheet

CELL = ("id", "encoder", "dataset", "task", *ATTACK, "seed", "limit", "protocol")
ORIGIN = ("weights_sha256", "data_sha256", "basis", "train_images")
Scores = Mapping[str, float | None]  # by the id of the image


def csv(results: Sequence[Result], /) -> str:
    """Long form: the cell (attack, settings and budget apart), each metric, its interval and its 8-bit value, images,
    seconds, why it failed, what checks found."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    head = [*CELL, "images", "seconds", "failed", "checks", *ORIGIN]
    head += [part for name in names for part in (name, f"{name}_low", f"{name}_high", f"{name}_uint8")]
    rows: list[list[object]] = []
    for result in results:
        row = [*_cell(result), result.images, result.cost.get("seconds"), result.failed, wording.checks(result)]
        row += [result.made_by.get(name) for name in ORIGIN]
        for name in names:
            low, high = result.intervals.get(name, (None, None))
            row += [result.metrics.get(name), low, high, result.metrics_uint8.get(name)]
        rows.append(row)
    return sheet(head, rows)


def _cell(result: Result) -> list[object]:
    cell = result.cell
    return [
        *(result.id, cell.encoder, cell.dataset, cell.task, *attack_columns(cell)),
        *(cell.seed, cell.limit, cell.protocol),
    ]


def per_image(results: Sequence[Result], scores: Callable[[Result], Scores], /) -> str:
    """A row for each image of each cell that did not fail: the headline of that image alone, and the same of its clean
    image, where that was measured with the same weights and data."""
    clean, known = clean_of(results), dict[str, Scores]()
    rows: list[list[object]] = []
    done = [result for result in results if result.failed is None]
    for result in sorted(done, key=lambda each: each.cell.attack is not None):
        mine = known[result.id] = scores(result)
        before = known[clean[result.id].id] if result.id in clean else {}
        rows += [
            [*_cell(result), image, result.task["headline"], score, before.get(image)] for image, score in mine.items()
        ]
    return sheet([*CELL, "image", "metric", "score", "clean_score"], rows)


def per_class(results: Sequence[Result], spread: Spreads, /) -> str:
    """A row for each class of each cell that did not fail, with the ends of its 95 % interval where an image is only
    right or wrong, and the same of the clean images, where those were measured with the same weights and data. Cells
    without classes are left out, which is said."""
    clean = clean_of(results)
    rows: list[list[object]] = []
    done = [result for result in results if result.failed is None]
    for result in sorted(done, key=lambda each: each.cell.attack is not None):
        before = {each.place: each.value for each in spread(clean[result.id]).classes} if result.id in clean else {}
        for each in spread(result).classes:
            ends = [end if isfinite(end) else None for end in (each.low, each.high)]
            named = [*_cell(result), each.place, each.name, result.task["headline"]]
            rows.append([*named, each.value, *ends, before.get(each.place)])
    if without := sum(not spread(result).classes for result in done):
        why = "their task has none, or an older version measured them and kept none"
        say(f"left out: {without} of {len(done)} cells, which have no classes: {why}")
    return sheet([*CELL, "class", "class_name", "metric", "score", "low", "high", "clean_score"], rows)


TRAITS = ReportTraits(per_image=per_image, per_class=per_class)
