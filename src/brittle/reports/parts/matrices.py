"""Transfer matrices: which images of a stored attack were scored on which encoder and task."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from brittle.core.budget import eps_text
from brittle.core.records import Result
from brittle.reports.parts.layout import origins_of

Target = tuple[str, str]  # encoder and task


class Matrix(NamedTuple):
    """Of one data set, attack and budget: the columns with their metrics, the clean numbers, and by what images were
    made for the numbers they give; places are empty where nothing was measured."""

    dataset: str
    attack: str
    budget: str
    metrics: Mapping[Target, str]
    clean: Mapping[Target, Result]
    rows: Mapping[Target, Mapping[Target, Result]]


def matrices(results: Sequence[Result]) -> list[Matrix]:
    """Those of the results whose attack was ``stored:PATH``; none where there are none."""
    origins = origins_of(results)
    done = [_named(result, origins[result.id]) for result in results if result.failed is None]
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in done:
        if "attack" in result.made_by:
            source = result.made_by["attack"]
            budget = f"{eps_text(source['eps'], source['norm'])} {source['norm']}"
            groups.setdefault((result.cell.dataset, str(source["attack"]), budget), []).append(result)
    return [Matrix(*key, *_numbers(key[0], group, done)) for key, group in groups.items()]


def _numbers(
    dataset: str, group: Sequence[Result], done: Sequence[Result]
) -> tuple[dict[Target, str], dict[Target, Result], dict[Target, dict[Target, Result]]]:
    """Metrics, clean numbers and rows."""
    metrics = {_target(result): str(result.task["headline"]) for result in group}
    clean = {_target(result): result for result in done if result.cell.dataset == dataset and not result.cell.attack}
    rows: dict[Target, dict[Target, Result]] = {}
    for result in group:
        source = result.made_by["attack"]
        rows.setdefault((str(source["encoder"]), str(source["task"])), {})[_target(result)] = result
    places = list(metrics)  # rows in the order of columns, so that what was made for itself lies on the diagonal
    ranked = sorted(rows, key=lambda source: places.index(source) if source in places else len(places))
    return metrics, clean, {source: rows[source] for source in ranked}


def _target(result: Result) -> Target:
    return result.cell.encoder, result.cell.task


def _named(result: Result, origin: str) -> Result:
    """The result with what distinguishes its weights, data or version in its encoder's name."""
    encoder = " ".join(filter(None, [result.cell.encoder, origin]))
    return replace(result, cell=replace(result.cell, encoder=encoder))
