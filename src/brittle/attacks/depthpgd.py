"""DepthPGD: PGD on the depth loss (SigLoss + 0.5 gradient loss), the paper's attack on depth."""

from torch import Tensor

from brittle.ascent import Keep, ascend
from brittle.objectives import task_loss as objective
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import AtLeastOne, Batch, Count, Model, Positive

TASKS = ("depth",)


def depthpgd(
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
    """DepthPGD (arXiv 2407.12588, 2024) with the loss as its formula means it; settings as in ``pgd``."""
    climbed = objective.task_loss(model, batch)
    return ascend(climbed, model, batch, threat, rng, steps=steps, step=step, random_start=random_start, restarts=restarts, keep=keep)
