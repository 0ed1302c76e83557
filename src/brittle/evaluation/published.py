"""The published clean numbers of networks, beside which ours are held: where they differ, so do the protocols."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files as resources
from typing import Any

from brittle.core.records import Cell, Finding
from brittle.core.spec import parse

NEAR = 0.01  # difference between two numbers that is no other protocol


@cache
def every() -> Mapping[str, Any]:
    """What is known: ``clean`` numbers, and those of ``sea``."""
    text = (resources("brittle") / "assets" / "published_models.json").read_text(encoding="utf8")
    return json.loads(text)


def beside(cell: Cell, metrics: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> list[Finding]:
    """Whether the interval of a clean number holds the published one; nothing of other rows, or where none is known."""
    if cell.attack:
        return []
    name = parse(cell.dataset).name
    known = [each for each in every()["clean"] if (each["network"], each["dataset"]) == (cell.encoder, name)]
    found: list[Finding] = []
    for each in known:
        metric, value = each["metric"], float(each["value"])
        low, high = intervals.get(metric, (metrics[metric],) * 2)
        near = low - NEAR <= value <= high + NEAR
        why = f"clean {metric} {metrics[metric]:.3f}, published {value:g} ({each['source']})"
        why += "" if near else "; where the two differ, data, classes or resolution do"
        found.append(Finding("published", "ok" if near else "warn", metrics[metric] - value, why))
    return found
