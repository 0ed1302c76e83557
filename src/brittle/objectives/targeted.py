"""Towards a class of the attacker's choice, for any task that has classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from brittle.core.errors import UsageError
from brittle.core.traits import ObjectiveTraits, Settings
from brittle.types import AtLeastOne, Batch, Model, per_image, resized


class Toward:
    """Minus the cross entropy with ``aim`` ([B], or [B,H,W] where each pixel has a class), averaged; where ``aim`` is
    -1 nothing counts."""

    def __init__(self, model: Model, aim: Tensor) -> None:
        self.model, self.aim = model, aim

    def __call__(self, images: Tensor, _progress: float) -> Tensor:
        counted = self.aim >= 0
        return per_image(-self.model.task.loss(self.model(images), torch.where(counted, self.aim, 0)) * counted)


def targeted(model: Model, batch: Batch, /, *, label: int = -1, rank: AtLeastOne = 1) -> Toward:
    """Minus the cross entropy with a target class, averaged over the pixels where a task has them; what is void or
    belongs to that class in truth is left out. The iterate kept is the one where most has arrived there, and results
    give that share as ``reached``.

    Args:
        label: the target class; -1 for the ``rank``-th most likely wrong one of each clean image or pixel.
        rank: which of the wrong classes, 1 the most likely.

    Raises:
        UsageError: there is no such class.
    """
    truth = batch.target
    with torch.no_grad():
        clean = model(batch.images)
        clean = resized(clean, truth.shape[1:]) if truth.dim() > 1 else clean
    classes = clean.shape[1]
    if not -1 <= label < classes or rank >= classes:
        raise UsageError(
            f"targeted({f'label={label}' if label != -1 else f'rank={rank}'}): there are only {classes} classes"
        )
    valid = (truth >= 0) & (truth < classes)
    if label == -1:
        others = clean.scatter(1, torch.where(valid, truth, 0)[:, None], -torch.inf)
        aim = others.argsort(1, descending=True)[:, rank - 1]
    else:
        aim = torch.full_like(truth, label)
    return Toward(model, torch.where(valid & (truth != aim), aim, -1))


def _aims(settings: Settings) -> Sequence[int]:
    label = int(str(settings["label"]))
    return [] if label == -1 else [label]


TRAITS = ObjectiveTraits(version=2, needs=("classes",), aimed=True, aims=_aims)
