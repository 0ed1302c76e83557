"""PGD: projected gradient ascent on an objective, by default the task's own loss."""

from functools import partial

from torch import Tensor

from brittle.attacks.parts.ascent import ascend, by_score, fewest, passes
from brittle.attacks.parts.climb import Keep
from brittle.core import components
from brittle.core.traits import AttackTraits
from brittle.types import AtLeastOne, Batch, Count, Model, Step
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def pgd(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    objective: str = "task_loss",
    steps: Count = 20,
    step: Step = 0.25,
    random_start: bool = True,
    restarts: AtLeastOne = 1,
    keep: Keep = "best",
) -> Tensor:
    """PGD (Madry et al. 2018); its defaults at eps 8/255 are the paper's 20 steps of 2/255 from a random start.

    Args:
        objective: spec of what is climbed.
        steps: how many.
        step: length of a step as a fraction of eps.
        random_start: begin at a random point of the ball, else at the clean image.
        restarts: how many times to climb.
        keep: ``best`` iterate per image, the one of worst ``score``, the ``last``, or the last that ``fooled``.
    """
    return ascend(
        partial(components.build, "objectives", objective),
        model,
        batch,
        threat,
        rng,
        steps=steps,
        step=step,
        random_start=random_start,
        restarts=restarts,
        keep=keep,
    )


TRAITS = AttackTraits(version=2, by_score=by_score, passes=passes, fewest=fewest)
