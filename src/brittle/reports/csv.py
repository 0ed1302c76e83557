"""One line per result, for a spreadsheet or a data frame."""

import csv as writer
import io
from collections.abc import Sequence

from brittle.core.records import Result
from brittle.core.text import plain
from brittle.reports.parts import wording

ORIGIN = ("weights_sha256", "data_sha256", "basis", "train_images")


def csv(results: Sequence[Result], /) -> str:
    """Long form: the cell, each metric, its interval and its 8-bit value, images, seconds, why it failed, what checks
    found."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    head = [
        "id",
        "encoder",
        "dataset",
        "task",
        "attack",
        "eps",
        "norm",
        "seed",
        "limit",
        "protocol",
        "images",
        "seconds",
    ]
    head += ["failed", "checks", *ORIGIN]
    parts = [part for name in names for part in (name, f"{name}_low", f"{name}_high", f"{name}_uint8")]
    stream = io.StringIO()
    out = writer.writer(stream)  # lines end in \r\n (RFC 4180), so that text with either of them is quoted
    out.writerow(head + parts)
    for result in results:
        cell = result.cell
        row: list[object] = [
            result.id,
            cell.encoder,
            cell.dataset,
            cell.task,
            cell.attack,
            cell.eps,
            cell.norm,
            cell.seed,
            cell.limit,
        ]
        row += [cell.protocol, result.images, result.cost.get("seconds"), result.failed, wording.checks(result)]
        row += [result.made_by.get(name) for name in ORIGIN]
        for name in names:
            low, high = result.intervals.get(name, (None, None))
            row += [result.metrics.get(name), low, high, result.metrics_uint8.get(name)]
        out.writerow([_harmless(value) for value in row])
    return stream.getvalue()


def _harmless(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets a quote in front, and what a terminal would act on is
    written out."""
    value = plain(value) if isinstance(value, str) else value
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
