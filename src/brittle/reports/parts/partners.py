"""Which clean number each attacked one is to be held against."""

from collections.abc import Sequence
from dataclasses import replace

from brittle.core.records import Cell, Result


def clean_of(results: Sequence[Result]) -> dict[str, Result]:
    """By the id of each result that did not fail, the clean one of the same encoder, data, task, seed, limit and
    protocol, measured with the same weights and data; where there is none it is left out."""
    done = [result for result in results if result.failed is None]
    clean = {_origin(result): result for result in done if not result.cell.attack}
    return {result.id: clean[place] for result in done if (place := _origin(result)) in clean}


def _origin(result: Result) -> tuple[Cell, str, str]:
    weights, data = (str(result.made_by.get(name)) for name in ("weights_sha256", "data_sha256"))
    return replace(result.cell, attack=None, eps=None, norm=None), weights, data
