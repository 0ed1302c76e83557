"""SegPGD: PGD on the schedule that moves from right pixels to wrong ones, the paper's attack on segmentation."""

from torch import Tensor

from brittle.ascent import Keep, ascend
from brittle.objectives import segpgd as objective
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import AtLeastOne, Batch, Count, Model, Positive

TASKS = objective.TASKS


def segpgd(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    steps: Count = 20,
    step: Positive = 0.25,
    random_start: bool = True,
    restarts: AtLeastOne = 1,
    keep: Keep = "best",
) -> Tensor:
    """SegPGD (Gu et al. 2022); settings as in ``pgd``."""
    climbed = objective.segpgd(model, batch)
    return ascend(climbed, model, batch, threat, rng, steps=steps, step=step, random_start=random_start, restarts=restarts, keep=keep)
