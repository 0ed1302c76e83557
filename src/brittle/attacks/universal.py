"""One perturbation for all images: climbed on training images, scored on others."""

from collections.abc import Sequence

import torch
from torch import Tensor

from brittle.attacks.parts.climb import each
from brittle.attacks.parts.halving import split_on_oom
from brittle.attacks.parts.slope import Numbers
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.traits import AttackTraits
from brittle.types import AtLeastOne, Batch, Model, Objective, Step
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
    step: Step = 0.1,
    pictures: AtLeastOne = 256,
) -> Tensor:
    """A universal perturbation (Moosavi-Dezfooli et al. 2017) climbed with signed gradients (Shafahi et al. 2020) on
    the images of ``batch`` themselves. In a run it is climbed once on ``pictures`` images of the train split and added
    to the test images.

    Args:
        objective: spec of what is climbed.
        steps, step: how many, and how long as a fraction of eps; each step takes one batch.
        pictures: how many images of the train split it is climbed on.
    """
    delta = learn(
        model, [batch], threat, Rng(0, ["universal"]), objective=objective, steps=steps, step=step, pictures=pictures
    )
    return threat.project(batch.images, batch.images + delta)


def learn(
    model: Model,
    batches: Sequence[Batch],
    threat: Threat,
    rng: Rng,
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
    climbed = _Climbed(model, objective)
    for batch in batches:
        split_on_oom(climbed.of, list, batch)  # before the first step, since building one may draw or refuse
    zero = torch.zeros_like(batches[0].images[:1])
    middle = torch.full_like(zero, 0.5)  # far from the box, so that only the ball limits it
    delta = threat.sample(middle, rng) - middle
    best, peak = zero, -torch.inf
    for number in range(steps):
        gradient = climbed.slope(batches[number % len(batches)], delta, number / steps)
        moved = threat.ascend(middle + delta, gradient, step * threat.eps)
        delta = threat.project(middle, moved) - middle
        if (number + 1) % max(len(batches), 10) == 0 or number + 1 == steps:
            climbed.numbers.look()
            total = sum(climbed.total(batch, delta) for batch in batches)
            if total > peak:
                best, peak = delta, total
    return best[0]


class _Climbed:
    """An objective on batches with one perturbation ``delta`` [1,3,H,W] added, in halves where memory asks for it."""

    def __init__(self, model: Model, objective: str) -> None:
        self.model, self.objective, self.numbers = model, objective, Numbers()
        self._made: dict[tuple[str, ...], Objective] = {}

    def of(self, batch: Batch) -> Objective:
        """The objective of a batch, or of a part of one; built once."""
        key = tuple(batch.ids)
        if key not in self._made:
            self._made[key] = components.build("objectives", self.objective, self.model, batch)
        return self._made[key]

    def slope(self, batch: Batch, delta: Tensor, progress: float) -> Tensor:
        """The gradient of the sum over the batch, [1,3,H,W]."""
        when = f"after {progress:.0%} of the steps"

        def work(part: Batch) -> Tensor:
            at = delta.detach().requires_grad_()
            with torch.enable_grad():
                return self.numbers.slope(self.numbers.loss(self._value(part, at, progress), when), at, when)

        return split_on_oom(work, lambda parts: torch.stack(parts).sum(0), batch)

    @torch.no_grad()
    def total(self, batch: Batch, delta: Tensor) -> float:
        """The sum over the batch."""
        return split_on_oom(lambda part: self._value(part, delta, 0.0).sum().item(), sum, batch)

    def _value(self, batch: Batch, delta: Tensor, progress: float) -> Tensor:
        value = self.of(batch)((batch.images + delta).clamp(0, 1), progress)
        return each(value, len(batch.images)).clamp(max=CAP)


TRAITS = AttackTraits(version=2, learns=learn)
