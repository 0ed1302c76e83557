"""PAdam: Adam on the image, brought back into the ball after each step, so that every value has a step of its own."""

import math
from functools import partial

import torch
from torch import Tensor

from brittle.attacks.parts.ascent import by_score, fewest, passes
from brittle.attacks.parts.climb import Climb, Keep
from brittle.core import components
from brittle.core.traits import AttackTraits
from brittle.types import AtLeastOne, Batch, Model, Step
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def padam(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    objective: str = "task_loss",
    steps: AtLeastOne = 200,
    step: Step = 0.25,
    restarts: AtLeastOne = 1,
    keep: Keep = "score",
) -> Tensor:
    """Projected Adam, with AMSGrad's denominator (Halmosi, Mohos and Jelasity, arXiv 2407.09150, 2024); its defaults at
    eps 8/255 are theirs, 200 steps at the rate 2/255 from a random start, of which they keep the last.

    Args:
        objective: spec of what is climbed: theirs are ``task_loss`` and ``cosine``.
        steps: how many.
        step: Adam's rate, about the most that a value moves in one step, as a fraction of eps; in l2 about the length
            of a step.
        restarts: how many times to climb.
        keep: which iterate, as in ``pgd``.
    """
    climb = Climb(partial(components.build, "objectives", objective), model, batch, threat, keep)
    rate = step * threat.eps / (1 if threat.norm == "linf" else math.sqrt(batch.images[0].numel()))
    for number in range(restarts):
        if not len(climb.rows):
            break
        climb.begin()
        clean, start = climb.clean, climb.batch.start
        images = threat.project(clean, threat.sample(clean, rng.rows(climb.rows)) if number or start is None else start)
        images = _walk(climb, images, steps, rate)
        if len(images):
            climb.last(images, 1 - 1 / steps)
    return climb.found


def _walk(climb: Climb, images: Tensor, steps: int, rate: float) -> Tensor:
    """Where Adam's steps lead from ``images``, of those that do not leave on the way."""
    adam = torch.optim.Adam([images], lr=rate, amsgrad=True, maximize=True)
    for taken in range(steps):
        if not len(images):
            break
        _, images.grad = climb.at(images, taken / steps)
        adam.step()
        images.copy_(climb.threat.project(climb.clean, images))
        if (on := climb.left(taken + 1)) is not None:
            moments = {name: value[on] if value.dim() else value for name, value in adam.state[images].items()}
            images = images[on]
            adam = torch.optim.Adam([images], lr=rate, amsgrad=True, maximize=True)
            adam.state[images] = moments
    return images


TRAITS = AttackTraits(version=2, by_score=by_score, passes=passes, fewest=fewest)
