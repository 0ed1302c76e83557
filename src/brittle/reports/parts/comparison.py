"""Comparisons as a table and as JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from brittle.core.records import MAY_DIFFER, Comparison
from brittle.core.text import plain
from brittle.reports.parts.terminal import add, laid, printed
from brittle.reports.parts.wording import attack_text, checks, legend, mark


def table(comparisons: Sequence[Comparison]) -> str:
    """A line for each comparison, for a terminal."""
    sides = {comparison.names for comparison in comparisons}
    better = {
        comparison.a.task["headline"]: "higher" if comparison.a.task["higher_is_better"] else "lower"
        for comparison in comparisons
    }
    counts = " / ".join(str(count) for count in sorted({comparison.paired.images for comparison in comparisons}))
    caption = "A = {}, B = {}; ".format(*comparisons[0].names) if len(sides) == 1 else ""
    caption += (
        f"difference = A - B of {', '.join(f'{name} ({word} is better)' for name, word in better.items())}; "
        "95 % intervals; "
    )
    caption += f"{counts} images in both; McNemar x : y = only A right : only B right"
    seeds = sorted({comparison.paired.seeds for comparison in comparisons} - {1})
    caption += f"; ± is the standard deviation over {' / '.join(map(str, seeds))} seeds" if seeds else ""
    caption = "; ".join(
        [caption, *legend([result for comparison in comparisons for result in (comparison.a, comparison.b)])]
    )
    lines = [_line(comparison, named=len(sides) > 1) for comparison in comparisons]
    rich_table = laid(list(lines[0]), caption, fixed=("difference", "p", "p (Holm)"))
    for line in lines:
        add(rich_table, list(line.values()))
    return plain(printed(rich_table))


def _line(comparison: Comparison, named: bool) -> dict[str, str]:
    cell, test = comparison.a.cell, comparison.paired
    cell = cell if test.seeds == 1 else replace(cell, seed=0)
    counts = " {} : {}".format(*test.discordant) if test.discordant else ""
    names = [f"{name} " if named else "" for name in comparison.names]
    spread = "" if test.spread is None else f" ± {test.spread:.3f}"
    return {
        "task": cell.task,
        "data": cell.dataset,
        "attack": attack_text(cell),
        "A": f"{names[0]}{test.a:.3f}{mark(comparison.a)}",
        "B": f"{names[1]}{test.b:.3f}{mark(comparison.b)}",
        "difference": f"{test.difference:+.3f}{spread} [{test.low:+.3f}, {test.high:+.3f}]",
        "p": f"{test.p:.2g}",
        "p (Holm)": f"{comparison.p_holm:.2g}",
        "test": test.test + counts,
    }


def as_json(comparisons: Sequence[Comparison]) -> str:
    """The comparisons as a JSON list; an interval without an end is null."""
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        cell, test = asdict(comparison.a.cell), asdict(comparison.paired)
        row: dict[str, Any] = {name: value for name, value in cell.items() if name not in MAY_DIFFER}
        row |= {
            "metric": comparison.a.task["headline"],
            "higher_is_better": comparison.a.task["higher_is_better"],
            **test,
        }
        row |= {name: test[name] if math.isfinite(test[name]) else None for name in ("low", "high")}
        for side, name, result in zip("ab", comparison.names, (comparison.a, comparison.b)):
            row[side] = {
                "name": name,
                "encoder": result.cell.encoder,
                "id": result.id,
                "value": test[side],
                "checks": checks(result),
            }
        rows.append({**row, "difference": comparison.paired.difference, "p_holm": comparison.p_holm})
    return json.dumps(rows, indent=1, allow_nan=False)
