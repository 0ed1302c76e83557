"""SegPGD: cross entropy whose weight moves from pixels still right to pixels already wrong as the attack goes on."""

import torch
from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.types import Batch, Model, Objective, per_image


def segpgd(model: Model, batch: Batch, /) -> Objective:
    """(1-l)/HW sum over right pixels of CE + l/HW sum over wrong pixels of CE, l = progress / 2 (Gu et al. 2022); void
    pixels are in neither sum."""

    def objective(images: Tensor, progress: float) -> Tensor:
        prediction = model(images)
        loss = model.task.loss(prediction, batch.target)  # [B,H,W], 0 where void
        right = model.task.right(prediction, batch.target)
        assert right is not None, "segpgd needs a task whose pixels are right or wrong"
        weight = torch.where(right, 1 - progress / 2, progress / 2)
        return per_image(weight * loss)

    return objective


TRAITS = ObjectiveTraits(needs=("classes", "per_pixel"))
