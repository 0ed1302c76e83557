"""The scale-invariant logarithmic loss of depth: the spread of the log ratio and a little of its mean."""

from torch import Tensor

from brittle.tasks.depth import Depth
from brittle.types import Batch, Model, Objective, resized

TASKS = ("depth",)


def silog(model: Model, batch: Batch, /) -> Objective:
    """sqrt(var(g) + 0.15 mean(g)^2) of g = log prediction - log target over valid pixels (Eigen et al. 2014, as DINOv2 2023 has it)."""
    task = model.task
    assert isinstance(task, Depth)

    def objective(images: Tensor, _progress: float) -> Tensor:
        return task.sigloss(resized(model(images), batch.target.shape[-2:]), batch.target)

    return objective
