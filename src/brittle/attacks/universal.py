"""One perturbation for all images: climbed on training images, scored on others."""

from collections.abc import Sequence

import torch
from torch import Tensor

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.traits import AttackTraits
from brittle.types import AtLeastOne, Batch, Model, Positive
from brittle.types.rng import Rng
from brittle.types.threat import Threat

CAP = 9.0  # above it an image's loss no longer counts, so that no lost image takes all the effort (Shafahi et al. 2020)


def universal(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    objective: str = "task_loss",
    steps: AtLeastOne = 100,
    step: Positive = 0.1,
    pictures: AtLeastOne = 256,
) -> Tensor:
    """A universal perturbation (Moosavi-Dezfooli et al. 2017) climbed with signed gradients (Shafahi et al. 2020) on
    the images of ``batch`` themselves. In a run it is climbed once on ``pictures`` images of the train split and added
    to the test images.

    Args:
        steps, step: how many, and how long as a fraction of eps; each step takes one batch.
    """
    delta = learn(model, [batch], threat, 0, objective=objective, steps=steps, step=step, pictures=pictures)
    return threat.project(batch.images, batch.images + delta)


def learn(
    model: Model,
    batches: Sequence[Batch],
    threat: Threat,
    seed: int,
    *,
    objective: str,
    steps: int,
    step: float,
    pictures: int,
) -> Tensor:
    """The perturbation [3,H,W] of ``steps`` steps over ``batches`` in turn, the one of highest mean objective on all of
    them.

    Raises:
        UsageError: the images are of several sizes.
    """
    sizes = {tuple(batch.images.shape[1:]) for batch in batches}
    if len(sizes) > 1:
        raise UsageError(
            f"universal: the images have {len(sizes)} sizes; one perturbation needs one size, so take a task that crops"
        )
    climbed = [components.build("objectives", objective, model, batch) for batch in batches]
    zero = torch.zeros_like(batches[0].images[:1])
    middle = torch.full_like(zero, 0.5)  # far from the box, so that only the ball limits it
    delta = threat.sample(middle, Rng(seed, ["universal"])) - middle
    best, peak = zero, -torch.inf
    for number in range(steps):
        batch, objective_of = batches[number % len(batches)], climbed[number % len(batches)]
        delta = delta.detach().requires_grad_()
        with torch.enable_grad():
            images = (batch.images + delta).clamp(0, 1)
            loss = objective_of(images, number / steps).clamp(max=CAP)
            (gradient,) = torch.autograd.grad(loss.sum(), delta)
        moved = threat.ascend(middle + delta.detach(), gradient, step * threat.eps)
        delta = threat.project(middle, moved) - middle
        if (number + 1) % max(len(batches), 10) == 0 or number + 1 == steps:
            with torch.no_grad():
                total = sum(
                    of((b.images + delta).clamp(0, 1), 0.0).clamp(max=CAP).sum().item()
                    for of, b in zip(climbed, batches)
                )
            if total > peak:
                best, peak = delta, total
    return best[0]


TRAITS = AttackTraits(version=2, learns=learn)
