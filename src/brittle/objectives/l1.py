"""Mean absolute error of depth in metres."""

from torch import Tensor

from brittle.tasks.depth import Depth
from brittle.types import Batch, Model, Objective

TASKS = ("depth",)


def l1(model: Model, batch: Batch, /) -> Objective:
    """|prediction - target| averaged over valid pixels."""
    task = model.task
    assert isinstance(task, Depth)

    def objective(images: Tensor, _progress: float) -> Tensor:
        return task.mean_over_valid(lambda prediction, target: (prediction - target).abs(), model(images), batch.target)

    return objective
