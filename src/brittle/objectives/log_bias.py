"""The signed error of log depth: pushes a whole image too far away, or too near."""

from typing import Literal

from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.tasks.parts.depth_losses import logarithm, mean_error
from brittle.types import Batch, Model, Objective


def log_bias(model: Model, batch: Batch, /, *, direction: Literal["up", "down"] = "up") -> Objective:
    """Mean of log prediction - log target over valid pixels, climbed (``up``: too far) or descended (``down``: too
    near).

    An error of one sign everywhere is what mean-free losses such as the scale-invariant one reward least, and RMSE
    most.

    Args:
        direction: ``up`` makes everything look farther, ``down`` nearer.
    """
    task, sign = model.task, 1 if direction == "up" else -1

    def gap(prediction: Tensor, target: Tensor) -> Tensor:
        return sign * (logarithm(prediction) - logarithm(target))

    def objective(images: Tensor, _progress: float) -> Tensor:
        return mean_error(gap, *task.metres(model(images), batch.target))

    return objective


TRAITS = ObjectiveTraits(needs=("metres", "per_pixel"))
