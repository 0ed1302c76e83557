"""One line per result, for a spreadsheet or a data frame."""

from collections.abc import Sequence

from brittle.core.records import Result
from brittle.reports.parts import wording
from brittle.reports.parts.spreadsheet import ATTACK, attack_columns, sheet

ORIGIN = ("weights_sha256", "data_sha256", "basis", "train_images")


def csv(results: Sequence[Result], /) -> str:
    """Long form: the cell (attack, settings and budget apart), each metric, its interval and its 8-bit value, images,
    seconds, why it failed, what checks found."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    head = ["id", "encoder", "dataset", "task", *ATTACK, "seed", "limit", "protocol"]
    head += ["images", "seconds", "failed", "checks", *ORIGIN]
    head += [part for name in names for part in (name, f"{name}_low", f"{name}_high", f"{name}_uint8")]
    rows: list[list[object]] = []
    for result in results:
        cell = result.cell
        row: list[object] = [result.id, cell.encoder, cell.dataset, cell.task, *attack_columns(cell)]
        row += [cell.seed, cell.limit, cell.protocol, result.images, result.cost.get("seconds")]
        row += [result.failed, wording.checks(result)]
        row += [result.made_by.get(name) for name in ORIGIN]
        for name in names:
            low, high = result.intervals.get(name, (None, None))
            row += [result.metrics.get(name), low, high, result.metrics_uint8.get(name)]
        rows.append(row)
    return sheet(head, rows)
