"""Plain data that everything else passes on: cells, findings, results and comparisons; no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple

from brittle.core.budget import eps_text
from brittle.core.errors import UsageError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Cell:
    """One number to be measured. Specs are canonical text without the settings left at their defaults; ``attack``,
    ``eps`` and ``norm`` are None for the clean row; ``limit`` is the number of test images, None for all."""

    encoder: str
    dataset: str
    task: str
    attack: str | None
    eps: float | None
    norm: str | None
    seed: int
    limit: int | None
    protocol: str

    def __str__(self) -> str:
        attack = f"{self.attack} {eps_text(self.eps, self.norm)} {self.norm}" if self.attack else "clean"
        return f"{self.encoder} / {self.dataset} / {self.task} / {attack}"


Verdict = Literal["ok", "warn", "fail", "unchecked"]


@dataclass(frozen=True)
class Finding:
    """What a check says of a number: ``unchecked`` where it could not look."""

    name: str
    verdict: Verdict
    value: float | None
    why: str


EVIDENCE = ("none", "fast", "full")
"""What checks may gather for a number, each more than the one before."""


@dataclass(frozen=True)
class Result:
    """A measured cell, or (``failed`` not None) the reason why it could not be.

    ``task`` holds what a report must know of it: name, headline, higher_is_better, attack, unlike; and read from a run
    whose plan named that attack by itself, ``downstream`` as False. ``intervals`` are 95 %. ``cost`` has seconds,
    forwards, backwards, peak_bytes; ``made_by`` versions, device, weights_sha256, data_sha256. ``curve``: the metrics
    after each step, where the attack was told to follow them. ``sees``: what of the model the attack followed,
    ``head``, ``encoder`` or ``nothing``; empty for the clean row, and in results of versions that did not say.
    """

    id: str
    cell: Cell
    task: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    metrics_uint8: Mapping[str, float] = field(default_factory=dict[str, float])
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    images: int = 0
    image_ids_sha256: str = ""
    findings: Sequence[Finding] = ()
    cost: Mapping[str, float] = field(default_factory=dict[str, float])
    made_by: Mapping[str, Any] = field(default_factory=dict[str, Any])
    curve: Sequence[Mapping[str, float]] = ()
    failed: str | None = None
    sees: str = ""
    schema_version: int = SCHEMA_VERSION

    def __repr__(self) -> str:
        headline = str(self.task.get("headline", ""))
        value = self.metrics.get(headline)
        said = f"failed: {self.failed}" if self.failed is not None else f"{headline} {value}"
        return f"<Result {self.id[:8]} {self.cell}: {said}>"

    @property
    def evidence(self) -> str:
        """How much evidence there is for the number, or could be: one of ``EVIDENCE``."""
        return str(self.made_by.get("checks", "fast" if self.findings or not self.cell.attack else "none"))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Result":
        """Raises UsageError where the data is of another schema."""
        if data.get("schema_version") != SCHEMA_VERSION:
            raise UsageError(f"result of schema {data.get('schema_version')!r}; this version reads {SCHEMA_VERSION}")
        known = {f.name for f in fields(cls)}
        row = {key: value for key, value in data.items() if key in known}
        row["cell"] = Cell(**row["cell"])
        row["findings"] = tuple(Finding(**item) for item in row["findings"])
        row["intervals"] = {key: (low, high) for key, (low, high) in row["intervals"].items()}
        row["curve"] = tuple(row.get("curve", ()))
        return cls(**row)


class OfClass(NamedTuple):
    """How well one class does, and the ends of its 95 % interval, nan for none. ``place`` is that among the classes of
    the data set, as two may have one name."""

    place: int
    name: str
    value: float
    low: float
    high: float


class Spread(NamedTuple):
    """What lies behind the number of a result: the headline of each image by itself, empty where that is right or
    wrong; and its classes, those that occurred, where its task has some."""

    images: Sequence[float] = ()
    classes: Sequence[OfClass] = ()


MAY_DIFFER = ("encoder", "limit")
"""In what the cells of a comparison may differ; images are matched by their ids."""


@dataclass(frozen=True)
class Paired:
    """A metric of A and of B over the same ``images`` images, the 95 % interval ``low`` to ``high`` of A - B, and
    ``p``, two-sided, by ``test``. ``discordant``: how many images only A has right, and only B, where that is what is
    tested. ``seeds``: how many seeds of each they are the mean over; ``spread``: the standard deviation of the
    difference over those."""

    images: int
    a: float
    b: float
    low: float
    high: float
    p: float
    test: str
    discordant: tuple[int, int] | None = None
    seeds: int = 1
    spread: float | None = None

    @property
    def difference(self) -> float:
        return self.a - self.b


@dataclass(frozen=True)
class Comparison:
    """Two results, what tells them apart, and how they compare; ``p_holm`` is corrected for all comparisons made
    together."""

    a: Result
    b: Result
    names: tuple[str, str]
    paired: Paired
    p_holm: float = math.nan
