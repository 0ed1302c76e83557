"""Mean squared error of depth in square metres: what RMSE, depth's headline, is the root of."""

from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.tasks.parts.depth_losses import mean_error
from brittle.types import Batch, Model, Objective


def mse(model: Model, batch: Batch, /) -> Objective:
    """(prediction - target)^2 averaged over valid pixels: highest where an image's RMSE is."""
    task = model.task

    def objective(images: Tensor, _progress: float) -> Tensor:
        return mean_error(
            lambda prediction, target: (prediction - target).square(), *task.metres(model(images), batch.target)
        )

    return objective


TRAITS = ObjectiveTraits(needs=("metres", "per_pixel"))
