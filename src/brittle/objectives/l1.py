"""Mean absolute error of depth in metres."""

from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.tasks.parts.depth_losses import mean_error
from brittle.types import Batch, Model, Objective


def l1(model: Model, batch: Batch, /) -> Objective:
    """|prediction - target| averaged over valid pixels."""
    task = model.task

    def objective(images: Tensor, _progress: float) -> Tensor:
        return mean_error(
            lambda prediction, target: (prediction - target).abs(), *task.metres(model(images), batch.target)
        )

    return objective


TRAITS = ObjectiveTraits(needs=("metres", "per_pixel"))
