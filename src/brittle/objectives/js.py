"""Jensen-Shannon divergence between prediction and truth: bounded, so a pixel already lost stops counting by itself."""

from math import log

from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.types import Batch, Model, Objective, per_image


def js(model: Model, batch: Batch, /) -> Objective:
    """Divergence of softmax and one-hot, averaged over pixels, void ones 0 (SEA: Croce, Singh and Hein 2024). With
    one-hot truth it depends on the right class's probability p alone: (1 - p) log 2 + p log(2p / (1 + p)) + log(2 / (1
    + p)), halved."""

    def objective(images: Tensor, _progress: float) -> Tensor:
        # -log p, and 0 where void, for which the divergence is 0 too
        surprise = model.task.loss(model(images), batch.target)
        p = (-surprise).exp()
        return per_image((log(2) * 2 - p * surprise - (1 + p) * p.log1p()) / 2)

    return objective


TRAITS = ObjectiveTraits(needs=("classes", "per_pixel"))
