"""Where each number of a page comes from: everything that a result holds, as plain data in which no text stands
twice."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from brittle.core import components
from brittle.core.budget import eps_text
from brittle.core.records import Finding, Result
from brittle.core.text import plain
from brittle.planning.warm_start import smaller, unwrapped
from brittle.reports.parts import wording

FOLLOWS = {"head": "head and encoder", "encoder": "the encoder alone", "nothing": "neither head nor encoder"}
PLACED = ("settings", "weights", "weights_sha256", "data_sha256", "data_licence", "protocol", "versions", "device")
"""What of ``made_by`` has a place of its own; the rest is shown as it is."""
Facts = Sequence[tuple[str, object]]


class Numbers:
    """The numbers that a page shows. ``add`` gives the place of a result; ``data`` is ready for JSON: ``words``, and
    for each number its ``id``, ``title``, ``value``, ``groups`` of labelled facts and ``findings``, in which whole
    numbers stand for words."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._numbers: list[dict[str, Any]] = []

    def add(self, result: Result) -> int:
        """The place of a result in ``data``; the same for the same id."""
        if result.id not in self._places:
            self._places[result.id] = len(self._numbers)
            self._numbers.append(self._number(result))
        return self._places[result.id]

    def data(self) -> dict[str, Any]:
        """Everything that was added."""
        return {"words": list(self._words), "numbers": self._numbers}

    def _word(self, text: object) -> int:
        return self._words.setdefault(plain(str(text)), len(self._words))

    def _number(self, result: Result) -> dict[str, Any]:
        cell = result.cell
        groups = {name: _known(facts) for name, facts in _groups(result).items()}
        return {
            "id": plain(result.id),
            "title": [self._word(each) for each in (cell.task, cell.dataset, cell.encoder, wording.attack_text(cell))],
            "value": self._word(wording.text(result)),
            "groups": [
                [self._word(name), [[self._word(label), self._word(each)] for label, each in facts]]
                for name, facts in groups.items()
                if facts
            ],
            "findings": [
                [self._word(part) for part in (each.verdict, each.name, each.why, advice(each))]
                for each in sorted(result.findings, key=lambda each: each.verdict == "ok")
            ],
        }


@cache
def meaning(check: str) -> tuple[str, str]:
    """What a check means, and what to do where it fires; empty for one that is not there any more."""
    text = components.summary("checks", check) if check in components.names("checks") else ""
    means, _, do = text.partition(". ")
    return means.removesuffix("."), do


def advice(finding: Finding) -> str:
    """What its check advises, where it fired."""
    return meaning(finding.name)[1] if finding.verdict in ("warn", "fail") else ""


def _known(facts: Facts) -> list[tuple[str, str]]:
    return [(label, str(each)) for label, each in facts if each not in (None, "", [], {})]


def _groups(result: Result) -> dict[str, Facts]:
    cell, made, cost = result.cell, result.made_by, result.cost
    settings: Mapping[str, Any] = made.get("settings", {})
    weights: Mapping[str, Any] = made.get("weights", {})
    versions: Mapping[str, Any] = made.get("versions", {})
    bytes_ = cost.get("peak_bytes")
    return {
        "failed": [("why", result.failed)],
        "score": _scores(result),
        "attack": [
            ("spec", unwrapped(cell.attack) if cell.attack else None),
            ("settings", settings.get("attacks")),
            ("budget", f"{cell.norm} {eps_text(cell.eps, cell.norm)}" if cell.attack else None),
            ("continues from", smaller(cell)),
            ("follows", FOLLOWS.get(result.sees, result.sees)),
        ],
        "encoder": [
            ("spec", settings.get("encoders", cell.encoder)),
            ("weights sha256", made.get("weights_sha256")),
            *((str(name), _text(each)) for name, each in weights.items() if name != "sha256"),
        ],
        "data": [
            ("spec", settings.get("datasets", cell.dataset)),
            ("data sha256", made.get("data_sha256")),
            ("licence", made.get("data_licence")),
            ("test images", result.images or None),
            ("their ids' sha256", result.image_ids_sha256),
        ],
        "protocol": [
            ("protocol", cell.protocol),
            ("task", settings.get("tasks", cell.task)),
            ("images are seen", made.get("protocol")),
            ("seed", ", ".join(map(str, made.get("seeds", [cell.seed])))),
        ],
        "cost": [
            *((name.replace("_", " "), f"{each:,.4g}") for name, each in cost.items() if name.endswith("seconds")),
            *((name, f"{each:,.0f}") for name, each in cost.items() if not name.endswith(("seconds", "bytes"))),
            ("peak memory", f"{bytes_ / 2**30:.2f} GiB" if bytes_ else None),
        ],
        "made by": [
            ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
            ("device", made.get("device")),
            *((str(name).replace("_", " "), _text(each)) for name, each in made.items() if name not in PLACED),
            ("result id", result.id),
        ],
    }


def _scores(result: Result) -> Facts:
    if result.failed is not None:
        return ()
    headline = str(result.task["headline"])
    names = [headline, *(name for name in result.metrics if name != headline)]
    rounded = result.metrics_uint8.get(headline)
    return [
        ("better", "higher" if result.task["higher_is_better"] else "lower"),
        *((name, _measured(result, name)) for name in names),
        ("after rounding to 8 bit", None if rounded is None else f"{rounded:.6g}"),
    ]


def _measured(result: Result, name: str) -> str:
    interval = result.intervals.get(name)
    return f"{result.metrics[name]:.6g}" + (" [{:.4g}, {:.4g}]".format(*interval) if interval else "")


def _text(each: object) -> str:
    return each if isinstance(each, str) else json.dumps(each, ensure_ascii=False, default=str)
