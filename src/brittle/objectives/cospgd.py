"""CosPGD: the loss of each pixel weighed by how well it still agrees with its target, so that effort goes where
something is left."""

from torch import Tensor

from brittle.core.errors import UsageError
from brittle.objectives.parts.balance import balance
from brittle.types import Batch, Model, Objective, per_image


def cospgd(model: Model, batch: Batch, /, *, balanced: bool = False) -> Objective:
    """Loss times agreement, averaged over pixels (Agnihotri et al. 2023); the weight is held fixed for the gradient.
    Agreement is the task's: the cosine of softmax and one-hot where there are classes.

    Args:
        balanced: each class of an image weighs the same, as in ``masked_ce``.

    Raises:
        UsageError: balanced where pixels have no class.
    """
    if balanced and not {"classes", "per_pixel"} <= model.task.abilities:
        raise UsageError(f"cospgd(balanced=true) needs classes per pixel, which {model.task.name} has not; take cospgd")
    weight = balance(batch.target) if balanced else 1.0

    def objective(images: Tensor, _progress: float) -> Tensor:
        loss, agreement = model.task.agreement(model(images), batch.target)
        return per_image(loss * agreement.detach() * weight)

    return objective
