"""How far a prediction moves from that of the clean image, without a label: the inner attack of TRADES."""

import torch
from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.objectives.parts.divergence import divergence
from brittle.types import Batch, Model, Objective, per_image


def kl(model: Model, batch: Batch, /) -> Objective:
    """Kullback-Leibler divergence of the attacked prediction from the clean one (TRADES, Zhang et al. 2019); the mean
    over pixels where each has one.

    Its gradient is exactly zero at the clean image, so the attack must start elsewhere.
    """
    with torch.no_grad():
        clean = model(batch.images)

    def objective(images: Tensor, _progress: float) -> Tensor:
        return per_image(divergence(model(images), clean))

    return objective


TRAITS = ObjectiveTraits(needs=("classes",))
