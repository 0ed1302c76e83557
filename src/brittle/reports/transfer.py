"""Transfer matrices: images made for one encoder or task (rows) scored on every one (columns)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from brittle.core.budget import eps_text
from brittle.core.records import Result
from brittle.core.text import plain
from brittle.reports.parts import wording
from brittle.reports.parts.layout import origins_of


def transfer(results: Sequence[Result], /) -> str:
    """Markdown: for each data set, attack and budget a matrix, with the clean numbers above; only of results whose
    attack was ``stored:PATH``. On the diagonal images are scored on what they were made for."""
    origins = origins_of(results)
    done = [_named(result, origins[result.id]) for result in results if result.failed is None]
    moved = [result for result in done if "attack" in result.made_by]
    lost = "\n".join(wording.failures(results))
    if not moved:
        return f"no stored attacks here; brittle run ... --keep-adversarial, then brittle run ... -a stored:RUN\n{lost}"
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in moved:
        source = result.made_by["attack"]
        title = f"{source['attack']} {eps_text(source['eps'], source['norm'])} {source['norm']}"
        groups.setdefault((result.cell.dataset, title), []).append(result)
    matrices = [
        f"**{dataset}, {title}**\n\n{_matrix(group, [result for result in done if result.cell.dataset == dataset])}"
        for (dataset, title), group in groups.items()
    ]
    return plain("\n".join([*matrices, lost]))


def _matrix(group: Sequence[Result], done: Sequence[Result]) -> str:
    columns = list(dict.fromkeys((result.cell.encoder, result.cell.task) for result in group))
    clean = {(result.cell.encoder, result.cell.task): result for result in done if result.cell.attack is None}
    by_source: dict[tuple[str, str], dict[tuple[str, str], Result]] = {}
    for result in group:
        by_source.setdefault(_made_for(result.made_by["attack"]), {})[result.cell.encoder, result.cell.task] = result
    metrics = {(result.cell.encoder, result.cell.task): str(result.task["headline"]) for result in group}
    lines = [
        "| made for | "
        + " | ".join(f"{encoder} {task} ({metrics[encoder, task]})" for encoder, task in columns)
        + " |",
        "| --- |" + " ---: |" * len(columns),
        "| clean | " + " | ".join(wording.text(clean.get(column)) for column in columns) + " |",
    ]
    for source, by_target in by_source.items():
        lines.append(
            f"| {' '.join(source)} | " + " | ".join(wording.text(by_target.get(column)) for column in columns) + " |"
        )
    return "\n".join(lines) + "\n"


def _named(result: Result, origin: str) -> Result:
    """The result with what distinguishes its weights, data or version in its encoder's name."""
    encoder = " ".join(filter(None, [result.cell.encoder, origin]))
    return replace(result, cell=replace(result.cell, encoder=encoder))


def _made_for(source: Mapping[str, Any]) -> tuple[str, str]:
    return str(source["encoder"]), str(source["task"])
