"""Projected gradient ascent on an objective inside a threat."""

from functools import partial

from torch import Tensor

from brittle.attacks.parts.climb import Climb, Keep, Make
from brittle.core import components
from brittle.core.settings import AtLeastOne, Count, Step
from brittle.core.spec import Spec
from brittle.core.traits import Passes
from brittle.core.tree import tree
from brittle.types.attack import Attack
from brittle.types.data import Batch
from brittle.types.model import Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def ascend(
    make: Make,
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    *,
    steps: int,
    step: float,
    random_start: bool,
    restarts: int,
    keep: Keep,
) -> Tensor:
    """Projected gradient ascent (Madry et al. 2018), one forward and one backward per step.

    Args:
        make: what builds the objective that is climbed.
        step: length of a step as a fraction of eps.
        random_start: begin at a random point of the ball instead of the clean image.
        restarts: how many times to climb; with ``keep=last`` the best of the last iterates is returned.
        keep: which iterate is returned, see Climb; all but ``last`` cost one more forward.

    Returns:
        Images [B,3,H,W] inside the threat.

    Raises:
        CellError: a loss or a gradient is not finite.
    """
    record = Climb(make, model, batch, threat, keep)
    ends = Climb(make, model, batch, threat, "best") if keep == "last" and restarts > 1 else record
    for number in range(restarts):
        if not len(record.rows):
            break
        record.begin()
        clean = record.clean
        images = threat.sample(clean, rng.rows(record.rows)) if random_start else clean
        if record.batch.start is not None and not number:
            images = threat.project(clean, record.batch.start)
        images = walk(record, images, steps=steps, step=step)
        if keep == "last" and restarts == 1:
            record.look()
            return images
        if len(images):
            ends.last(images, 1 - 1 / max(steps, 1))
    record.look()
    return ends.found


def walk(climb: Climb, images: Tensor, *, steps: int, step: float) -> Tensor:
    """Where ``steps`` steps along the gradient, each ``step`` of eps long, lead from ``images``, of those that do not
    leave on the way; the objective is not evaluated at that end."""
    threat = climb.threat
    for number in range(steps):
        if not len(images):
            break
        _, gradient = climb.at(images, number / steps)
        images = threat.project(climb.clean, threat.ascend(images, gradient, step * threat.eps))
        if (on := climb.left(number + 1)) is not None:
            images = images[on]
    return images


def passes(
    *, steps: int, restarts: int, keep: Keep, objective: Spec | str = "task_loss", **_settings: object
) -> Passes:
    """Passes of an attack with the settings of ``pgd``, and one forward for an objective that uses the clean image."""
    return Passes(restarts * (steps + 1) * looks(keep, objective) + 1, restarts * steps)


def fewest(*, keep: Keep, **_settings: object) -> Passes | None:
    """Passes where every image is over with the first step, and looked at once more."""
    return None if keep == "last" else Passes(2, 1)


def looks(keep: Keep, objective: Spec | str) -> int:
    """How many forwards an iterate takes: one more where the head must judge it and is not run by the objective."""
    return 2 if by_score(keep=keep) and tree("objectives", objective).sees != "head" else 1


def by_score(*, keep: Keep, **_settings: object) -> bool:
    """Whether the head judges iterates."""
    return keep == "score"


def pgd_on(objective: str) -> Attack:
    """PGD on one objective: a component with the settings of ``pgd`` but for the objective, and its defaults but that
    it keeps the iterate of the worst score, which is what a dense task is judged by and no loss says.

    Args:
        objective: its spec.
        steps: how many.
        step: length of a step as a fraction of eps.
        random_start: begin at a random point of the ball, else at the clean image.
        restarts: how many times to climb.
        keep: ``best`` iterate per image, the one of worst ``score``, the ``last``, or the last that ``fooled``.
    """

    def attack(
        model: Model,
        batch: Batch,
        threat: Threat,
        rng: Rng,
        /,
        *,
        steps: Count = 20,
        step: Step = 0.25,
        random_start: bool = True,
        restarts: AtLeastOne = 1,
        keep: Keep = "score",
    ) -> Tensor:
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

    return attack
