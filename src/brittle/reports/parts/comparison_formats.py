"""Comparisons as text of one kind or another: for a terminal, Markdown, LaTeX, CSV, JSON, and a page."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from brittle.core.records import MAY_DIFFER, Comparison
from brittle.core.text import plain
from brittle.reports.parts import tex
from brittle.reports.parts.comparison import (
    COLUMNS,
    by_pair,
    by_task,
    caption,
    heading,
    row,
    sentence,
    table,
    verdict,
    whole,
)
from brittle.reports.parts.spreadsheet import ATTACK, attack_columns, sheet
from brittle.reports.parts.template import rendered
from brittle.reports.parts.wording import checks


def markdown(comparisons: Sequence[Comparison]) -> str:
    """Of each pair the verdict, then a table for each task; differences are bold."""
    parts: list[str] = []
    for pair in by_pair(comparisons):
        parts.append("A = {}, B = {}".format(*pair[0].names))
        parts.append("\n".join([f"**{whole(pair)}**", "", *(f"- {sentence(group)}" for group in by_task(pair))]))
        for group in by_task(pair):
            head = ["| " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * (len(COLUMNS) - 1)]
            rows = ["| " + " | ".join(_escaped(cell) for cell in _bold(each, "**{}**")) + " |" for each in group]
            parts.append("\n".join([heading(group), "", *head, *rows]))
    return plain("\n\n".join([*parts, caption(comparisons)]))


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def _bold(comparison: Comparison, bold: str) -> list[str]:
    """A row of a table, with what B is in bold where there is a difference."""
    cells = row(comparison)
    return [bold.format(cell) if place == 3 and verdict(comparison) else cell for place, cell in enumerate(cells)]


def latex(comparisons: Sequence[Comparison]) -> str:
    """A table of booktabs for each task of each pair, ready to be pasted; differences are bold."""
    parts = [tex.NEEDS]
    for pair in by_pair(comparisons):
        for group in by_task(pair):
            lines: list[str] = []
            for each in group:
                cells = [tex.escaped(cell) for cell in row(each)]
                lines.append(
                    tex.row([tex.bold(cell, place == 3 and bool(verdict(each))) for place, cell in enumerate(cells)])
                )
            names = "A = {}, B = {}".format(*pair[0].names)
            parts.append(tex.table(COLUMNS, [lines], f"{heading(group)}. {names}. {caption(comparisons)}."))
    return "\n\n".join(parts)


def record(comparison: Comparison) -> dict[str, Any]:
    """One comparison as plain data; an interval without an end has None there."""
    cell, test = asdict(comparison.a.cell), asdict(comparison.paired)
    facts: dict[str, Any] = {name: value for name, value in cell.items() if name not in MAY_DIFFER}
    facts |= {"metric": comparison.a.task["headline"], "higher_is_better": comparison.a.task["higher_is_better"]}
    facts |= {**test, **{name: test[name] if math.isfinite(test[name]) else None for name in ("low", "high")}}
    for side, name, result in zip("ab", comparison.names, (comparison.a, comparison.b)):
        about = {"name": name, "encoder": result.cell.encoder, "id": result.id}
        facts[side] = {**about, "value": test[side], "checks": checks(result)}
    said = {"verdict": f"b is {verdict(comparison)}" if verdict(comparison) else "no evidence of a difference"}
    return {**facts, "difference": comparison.paired.difference, "p_holm": comparison.p_holm, **said}


def as_json(comparisons: Sequence[Comparison]) -> str:
    """A JSON list of records."""
    return json.dumps([record(each) for each in comparisons], indent=1, allow_nan=False)


def as_csv(comparisons: Sequence[Comparison]) -> str:
    """A row for each record."""
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        facts = record(comparison)
        only = dict(zip(("only_a", "only_b"), facts.pop("discordant") or (None, None)))
        sides = {f"{side}_{name}": value for side in "ab" for name, value in facts.pop(side).items()}
        rows.append({**facts, **dict(zip(ATTACK, attack_columns(comparison.a.cell))), **only, **sides})
    return sheet(list(rows[0]), [list(each.values()) for each in rows])


def as_html(comparisons: Sequence[Comparison]) -> str:
    """A page in one file that loads nothing: of each pair the verdict, then a table for each task."""
    pairs = [
        {
            "names": pair[0].names,
            "whole": whole(pair),
            "sentences": [sentence(group) for group in by_task(pair)],
            "tables": [(heading(group), [(verdict(each), row(each)) for each in group]) for group in by_task(pair)],
        }
        for pair in by_pair(comparisons)
    ]
    title = "Which is more robust?" if any(each.a.cell.attack for each in comparisons) else "Which is better?"
    values = {"title": title, "pairs": pairs, "columns": COLUMNS, "caption": caption(comparisons)}
    return rendered("compare.html", **values, numbers={"words": [], "numbers": []})


FORMATS: Mapping[str, Callable[[Sequence[Comparison]], str]] = {
    "table": table,
    "md": markdown,
    "csv": as_csv,
    "latex": latex,
    "json": as_json,
    "html": as_html,
}
"""How comparisons are shown, by name."""
