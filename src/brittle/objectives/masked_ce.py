"""Masked cross entropy: only pixels still right count, so that no effort goes to those already lost."""

import torch
from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.objectives.parts.balance import balance
from brittle.types import Batch, Model, Objective, per_image


def masked_ce(model: Model, batch: Batch, /, *, balanced: bool = False) -> Objective:
    """Cross entropy over right pixels, averaged over all (SEA: Croce, Singh and Hein 2024).

    Args:
        balanced: each class of an image weighs the same, however many of its pixels there are, as it does in mIoU.
    """
    weight = balance(batch.target) if balanced else torch.ones_like(batch.target, dtype=torch.float32)

    def objective(images: Tensor, _progress: float) -> Tensor:
        prediction = model(images)
        right = model.task.right(prediction, batch.target)
        assert right is not None, "masked_ce needs a task whose pixels are right or wrong"
        return per_image(model.task.loss(prediction, batch.target) * right * weight)

    return objective


TRAITS = ObjectiveTraits(needs=("classes", "per_pixel"))
