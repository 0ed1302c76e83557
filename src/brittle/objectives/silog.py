"""The scale-invariant logarithmic loss of depth: the spread of the log ratio and a little of its mean."""

from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.tasks.parts.depth_losses import sigloss
from brittle.types import Batch, Model, Objective, resized


def silog(model: Model, batch: Batch, /) -> Objective:
    """sqrt(var(g) + 0.15 mean(g)^2) of g = log prediction - log target over valid pixels (Eigen et al. 2014, as DINOv2
    2023 has it)."""
    valid = model.task.valid(batch.target)

    def objective(images: Tensor, _progress: float) -> Tensor:
        return sigloss(resized(model(images), batch.target.shape[-2:]), batch.target, valid)

    return objective


TRAITS = ObjectiveTraits(needs=("metres", "per_pixel"))
