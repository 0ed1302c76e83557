"""CosPGD: the loss of each pixel weighed by how well it still agrees with its target, so that effort goes where
something is left."""

from torch import Tensor

from brittle.types import Batch, Model, Objective, per_image


def cospgd(model: Model, batch: Batch, /) -> Objective:
    """Loss times agreement, averaged over pixels (Agnihotri et al. 2023); the weight is held fixed for the gradient.
    Agreement is the task's: the cosine of softmax and one-hot where there are classes."""

    def objective(images: Tensor, _progress: float) -> Tensor:
        loss, agreement = model.task.agreement(model(images), batch.target)
        return per_image(loss * agreement.detach())

    return objective
