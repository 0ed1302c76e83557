"""What (features, target) batches of the val split say of heads, many at once."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brittle.attacks.parts.halving import halved, join
from brittle.evaluation.sampler import Rows, ready
from brittle.types import Features, Task, predict

BATCH = 16  # images that are scored at once


class Seen(NamedTuple):
    """What the val split says of a head.

    Args:
        score: the headline metric, higher being better.
        loss: the sum over images where the headline counts images, which has many ties; 0 elsewhere.
        error: the standard error of the score where it counts images; 0 elsewhere.
    """

    score: float
    loss: float
    error: float

    def covers(self, other: "Seen") -> bool:
        """Whether the other is better in nothing. Of heads without an error, as those that have all images right, none
        is better for its loss: that only falls as they grow surer, until it is 0 and an attack finds no slope."""
        return self.score >= other.score and (self.loss <= other.loss or not self.error)


NOTHING = Seen(-torch.inf, torch.inf, 0.0)


def evaluate(task: Task, head: nn.Module, patch: int, rows: Rows, device: str = "cpu") -> float:
    """The task's headline metric of a head on (features, target) batches."""

    def predicted(features: Features, target: Tensor) -> Iterator[Tensor]:
        yield predict(head, features, patch, size(features, patch, target))[None]

    return task.summarise(_totals(task, predicted, rows, torch.device(device))[0])[task.headline]


def seen(
    task: Task, predicted: Callable[[Features, Tensor], Iterator[Tensor]], rows: Rows, device: torch.device
) -> Iterator[Seen]:
    """What the rows say of each of several heads, whose predictions [R, B, ...] come in any number of parts."""
    sign = 1 if task.higher_is_better else -1
    for total in _totals(task, predicted, rows, device):
        headline, error = task.summarise(total)[task.headline], 0.0
        if task.headline in task.proportions:
            right, of = (total[key].item() for key in task.proportions[task.headline])
            error = math.sqrt(right * (of - right) / of**3)
        yield Seen(sign * headline, total.get("loss", torch.zeros(())).item(), error)


@torch.no_grad()
def _totals(
    task: Task, predicted: Callable[[Features, Tensor], Iterator[Tensor]], rows: Rows, device: torch.device
) -> list[dict[str, Tensor]]:
    """The sums of the statistics of each of several heads, whose predictions [R, B, ...] come in any number of parts;
    with the loss where a target is one number."""
    totals: dict[str, Tensor] = {}
    pieces = (
        parts
        for features, target in rows
        for parts in zip(features.pooled.split(BATCH), features.grid.split(BATCH), target.split(BATCH))
    )
    for piece in pieces:

        def score(rows: range, piece: Sequence[Tensor] = piece) -> Mapping[str, Tensor]:
            pooled, grid, target = (part[rows.start : rows.stop] for part in piece)
            features, target = ready(pooled, grid, target, device)
            return join([_scored(task, part, target) for part in predicted(features, target)])

        for key, value in halved(score, _added, range(len(piece[-1]))).items():
            totals[key] = totals[key] + value if key in totals else value
    count = len(next(iter(totals.values())))
    return [{key: value[i] for key, value in totals.items()} for i in range(count)]


def _scored(task: Task, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The sums of the statistics of each of several heads, from predictions [R, B, ...]."""
    repeated = target.expand(len(predicted), *target.shape).flatten(0, 1)
    predicted = predicted.flatten(0, 1)
    rows = dict(task.score(predicted, repeated))
    if task.headline in task.proportions:
        rows["loss"] = task.loss(predicted, repeated)
    return {key: value.unflatten(0, (-1, len(target))).sum(1) for key, value in rows.items()}


def _added(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([part[key] for part in parts]).sum(0) for key in parts[0]}


def size(features: Features, patch: int, target: Tensor) -> tuple[int, int]:
    """Where to predict: at the target's own size, but never finer than the encoder saw (the task enlarges the rest of
    the way)."""
    rows, columns = features.grid.shape[-2:]
    if target.dim() < 3:
        return rows * patch, columns * patch
    return min(rows * patch, target.shape[-2]), min(columns * patch, target.shape[-1])
