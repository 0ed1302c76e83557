"""The task's own loss, averaged over pixels where it has them: what PGD and DepthPGD climb."""

from torch import Tensor

from brittle.types import Batch, Model, Objective, per_image


def task_loss(model: Model, batch: Batch, /) -> Objective:
    """Loss of the model's prediction on ``batch.target`` (Madry et al. 2018)."""

    def objective(images: Tensor, _progress: float) -> Tensor:
        return per_image(model.task.loss(model(images), batch.target))

    return objective
