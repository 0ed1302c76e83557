"""The numbers of the paper's tables (arXiv 2407.12588), and ours of the same rows."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from typing import Any, NamedTuple

from brittle.core.records import Result
from brittle.reports.parts import layout

ENCODERS = {  # what a spec must contain to be one of the paper's encoders
    ("vit_small_patch14_dinov2.lvd142m", "standard"): (
        "vit_small_patch14_dinov2.lvd142m",
        "dinov2_vits14_pretrain",
        "dinov2-small",
    ),
    ("vit_base_patch14_dinov2.lvd142m", "standard"): (
        "vit_base_patch14_dinov2.lvd142m",
        "dinov2_vitb14_pretrain",
        "dinov2-base",
    ),
    ("vit_base_patch16_224.dino", "standard"): ("vit_base_patch16_224.dino", "dino_vitbase16_pretrain", "dino-vitb16"),
    ("vit_base_patch16_224.dino", "deacl"): ("dino_vitbase16_deacl",),
}
COLUMNS = ("clean", "embed", "downstream")
ROUNDING = 0.005  # the paper prints two digits


class Pair(NamedTuple):
    """A number of the paper and ours, None where it was not measured."""

    published: float
    ours: Result | None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's; None where there is none of ours, or it failed."""
        if self.ours is None or self.ours.failed is not None:
            return None
        return self.ours.metrics[self.ours.task["headline"]] - self.published

    @property
    def holds(self) -> bool:
        """Whether our interval, or our number where it has none, holds the paper's as rounded."""
        if self.ours is None or self.ours.failed is not None:
            return False
        name = self.ours.task["headline"]
        low, high = self.ours.intervals.get(name, (self.ours.metrics[name],) * 2)
        return low - ROUNDING <= self.published <= high + ROUNDING


class Published(NamedTuple):
    """A row of the paper, and its numbers in the order of ``COLUMNS``."""

    task: str
    dataset: str
    encoder: str
    metric: str
    pairs: Sequence[Pair]


def source() -> str:
    """The paper, as it is cited."""
    return str(_reference()["source"])


def rows(results: Sequence[Result]) -> list[Published]:
    """All 28 rows of the paper, each number beside ours."""
    _, lines = layout.layout(layout.as_downstream(results))
    made: list[Published] = []
    for row in _reference()["rows"]:
        training = "" if row["training"] == "standard" else f" ({row['training']})"
        mine = next((line.results for line in lines if _same(line, row)), {})
        pairs = [Pair(row[name], mine.get(name)) for name in COLUMNS]
        made.append(Published(row["task"], row["dataset"], row["encoder"] + training, row["metric"], pairs))
    return made


def _reference() -> dict[str, Any]:
    return json.loads((resources("brittle") / "assets" / "paper_results.json").read_text(encoding="utf8"))


def _same(line: layout.Row, row: Mapping[str, Any]) -> bool:
    names = ENCODERS[row["encoder"], row["training"]]
    return (
        line.task == row["task"]
        and line.dataset.startswith(row["dataset"])
        and any(name in line.encoder for name in names)
    )
