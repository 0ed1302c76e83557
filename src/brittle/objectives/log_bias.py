"""The signed error of log depth: pushes a whole picture too far away, or too near."""

from typing import Literal

from torch import Tensor

from brittle.tasks.depth import SHIFT, Depth
from brittle.types import Batch, Model, Objective

TASKS = ("depth",)


def log_bias(model: Model, batch: Batch, /, *, direction: Literal["up", "down"] = "up") -> Objective:
    """Mean of log prediction - log target over valid pixels, climbed (``up``: too far) or descended (``down``: too near).

    An error of one sign everywhere is what mean-free losses such as the scale-invariant one reward least, and RMSE most.
    """
    task, sign = model.task, 1 if direction == "up" else -1
    assert isinstance(task, Depth)

    def gap(prediction: Tensor, target: Tensor) -> Tensor:
        return sign * ((prediction + SHIFT).log() - (target + SHIFT).log())

    def objective(images: Tensor, _progress: float) -> Tensor:
        return task.mean_over_valid(gap, model(images), batch.target)

    return objective
