"""The difference-of-logits ratio: the margin by which a wrong class leads, free of the scale of the logits."""

import torch
from torch import Tensor

from brittle.core.errors import UsageError
from brittle.core.traits import ObjectiveTraits, Settings
from brittle.types import Batch, Count, Model, Objective

TINY = 1e-12


def dlr(model: Model, batch: Batch, /, *, rank: Count = 0, normalised: bool = True) -> Objective:
    """-(z_y - max z_other) / (z_1st - z_3rd), or towards a target class t: -(z_y - z_t) / (z_1st - (z_3rd + z_4th) / 2)
    (Croce and Hein 2020).

    Args:
        rank: 0: away from the label; k: towards the k-th most likely wrong class of the clean image.
        normalised: divide; without, it is the plain margin (Carlini and Wagner 2017), which any number of classes has.

    Raises:
        UsageError: normalised with fewer than 3 classes, or 4 with a rank; or a rank beyond the last class.
    """
    with torch.no_grad():
        clean = model(batch.images)
    classes = clean.shape[1]
    if normalised and classes < (4 if rank else 3):
        raise UsageError(
            f"dlr(rank={rank}) needs {4 if rank else 3} classes, there are {classes}; take dlr(normalised=false)"
        )
    if rank >= classes:
        raise UsageError(
            f"dlr(rank={rank}): there are {classes} classes, so {classes - 1} wrong ones; take a lower rank"
        )
    label = batch.target[:, None]
    aim = _without(clean, label).argsort(1, descending=True)[:, rank - 1 : rank] if rank else None

    def objective(images: Tensor, _progress: float) -> Tensor:
        logits = model(images)
        rival = _without(logits, label).amax(1) if aim is None else logits.gather(1, aim)[:, 0]
        lead = rival - logits.gather(1, label)[:, 0]
        if not normalised:
            return lead
        top = logits.sort(1, descending=True).values
        return lead / (top[:, 0] - (top[:, 2] if aim is None else (top[:, 2] + top[:, 3]) / 2) + TINY)

    return objective


def _without(logits: Tensor, label: Tensor) -> Tensor:
    return logits.scatter(1, label, -torch.inf)


def _fewest(settings: Settings, aims: bool) -> int:
    rank = int(str(settings["rank"]))
    return max(rank + 1, (4 if aims or rank else 3) if settings["normalised"] else 2)  # for the denominator


TRAITS = ObjectiveTraits(needs=("classes", "per_image"), fewest_classes=_fewest)
