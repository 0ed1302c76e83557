"""CosPGD: PGD on losses weighed by how well each pixel still agrees with its target."""

from torch import Tensor

from brittle.ascent import Keep, ascend
from brittle.objectives import cospgd as objective
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import AtLeastOne, Batch, Count, Model, Positive

TASKS = ("segmentation", "depth")


def cospgd(
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
    """CosPGD (Agnihotri et al. 2023); settings as in ``pgd``."""
    climbed = objective.cospgd(model, batch)
    return ascend(climbed, model, batch, threat, rng, steps=steps, step=step, random_start=random_start, restarts=restarts, keep=keep)
