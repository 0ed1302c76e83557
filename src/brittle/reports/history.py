"""The scores of a tuning's snapshots over its epochs, as CSV and as a figure."""

from collections.abc import Sequence

from brittle.core.progress import say
from brittle.core.records import Result
from brittle.core.traits import ReportTraits
from brittle.reports.parts import histories, wording
from brittle.reports.parts.spreadsheet import ATTACK, attack_columns, sheet

TRAITS = ReportTraits(ending=".csv", figures=lambda results: {"history": histories.figure(results)})
HEAD = (
    *("history", "method", "step", "epoch", "encoder", "dataset", "task", *ATTACK, "seeds"),
    *("limit", "protocol", "metric", "better", "value", "low", "high", "spread", "uint8", "images", "checks"),
    *("failed", "weights_sha256"),
)


def history(results: Sequence[Result], /) -> str:
    """CSV, a row for the headline of each task, attack and budget of each snapshot, in the order of steps; seeds as one
    number. Encoders that are no snapshots are left out, and that is said."""
    rows = [row for each in histories.histories(results) for row in _rows(each)]
    others = histories.left_out(results)
    if others:
        say(f"left out, as no step of a tuning is known of them: {', '.join(others)}")
    return sheet(HEAD, rows)


def _rows(each: histories.History) -> list[list[object]]:
    rows: list[list[object]] = []
    for place, result in each.snapshots:
        cell, name = result.cell, str(result.task["headline"])
        row: list[object] = [each.name, *place, cell.encoder, cell.dataset, cell.task, *attack_columns(cell)]
        row += [",".join(map(str, result.made_by.get("seeds", [cell.seed])))]
        row += [cell.limit, cell.protocol, name, "higher" if result.task["higher_is_better"] else "lower"]
        row += [result.metrics.get(name), *result.intervals.get(name, (None, None))]
        row += [result.made_by.get("spread", {}).get(name), result.metrics_uint8.get(name), result.images]
        row += [wording.checks(result), result.failed, result.made_by.get("weights_sha256")]
        rows.append(row)
    return rows
