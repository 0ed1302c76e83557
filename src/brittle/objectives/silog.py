"""The scale-invariant logarithmic loss of depth: the spread of the log ratio and a little of its mean."""

from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.tasks.parts.depth_losses import sigloss
from brittle.types import Batch, Model, Objective


def silog(model: Model, batch: Batch, /) -> Objective:
    """sqrt(var(g) + 0.15 mean(g)^2) of g = log prediction - log target over valid pixels (Eigen et al. 2014, as DINOv2
    2023 has it)."""
    task = model.task

    def objective(images: Tensor, _progress: float) -> Tensor:
        return sigloss(*task.metres(model(images), batch.target))

    return objective


TRAITS = ObjectiveTraits(needs=("metres", "per_pixel"))
