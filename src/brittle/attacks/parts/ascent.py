"""Climbing an objective inside a threat: the record of iterates that every attack keeps, and projected gradient
ascent."""

from typing import Literal

import torch
from torch import Tensor

from brittle.attacks.parts.slope import finite, slope
from brittle.core import components
from brittle.core.components import AtLeastOne, Count, Step
from brittle.core.errors import UsageError
from brittle.core.spec import Spec
from brittle.core.traits import Passes
from brittle.core.tree import tree
from brittle.types.attack import Aimed, Attack, Objective, arrived
from brittle.types.attack_log import SILENCE
from brittle.types.data import Batch
from brittle.types.model import Model
from brittle.types.rng import Rng
from brittle.types.task import per_image
from brittle.types.threat import Threat

Keep = Literal["best", "score", "last", "fooled"]


class Climb:
    """One objective climbed for one batch: its value and gradient at any images, and the iterate of each image to
    keep.

    Args:
        objective: what is climbed, [B] of images.
        keep: which iterate is ``best``: by ``best`` one that fully succeeds, then the one of highest task loss (a
            scheduled objective's own values are not comparable between steps; they are used where the head is not
            run), or of most damage where a loss is no number; by ``score`` the one of the worst score (lowest pixel
            accuracy, highest RMSE), then of highest task loss; by ``last`` the last one; by ``fooled`` the last one
            that fully succeeds, the clean image where none does. Where the objective has an ``aim`` (class of each
            image or pixel, -1 where none), what has arrived there is the success and the objective takes the task
            loss's place.
    """

    def __init__(self, objective: Objective, model: Model, batch: Batch, keep: Keep) -> None:
        self.objective, self.model, self.batch, self.keep = objective, model, batch, keep
        self.best = batch.images.detach().clone()
        self._rank = self.best.new_full((3, len(self.best)), -torch.inf, dtype=torch.float64)
        self._prediction: Tensor | None = None
        self._aim = objective.aim if isinstance(objective, Aimed) else None
        model.log.aims(self._aim)

    def begin(self) -> None:
        """Tell the log that a climb begins."""
        self.model.log.begin()

    def at(self, images: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """The objective [B] and its gradient [B,3,H,W] at ``images``, which are considered for keeping.

        Raises:
            CellError: one of them is not finite, or the model passes none on.
            UsageError: the objective is not one number for each image.
        """
        images = images.detach().requires_grad_()
        with torch.enable_grad():  # also where the caller has switched it off
            loss = self._ask(images, progress)
            gradient = slope(loss, images, f"after {progress:.0%} of the steps")
        self._note(images.detach(), loss.detach(), gradient)
        return loss.detach(), gradient

    @torch.no_grad()
    def last(self, images: Tensor, progress: float) -> Tensor:
        """The objective [B] at a last iterate, which is considered for keeping; no gradient."""
        loss = self._ask(images, progress)
        self._note(images, loss, None)
        return loss

    def _ask(self, images: Tensor, progress: float) -> Tensor:
        def keep_output(_module: object, _inputs: object, output: Tensor) -> None:
            self._prediction = output.detach()

        self._prediction = None
        handle = self.model.register_forward_hook(keep_output)  # a step is judged without a second forward
        try:
            loss = self.objective(images, progress)
            if self.keep == "score" and self._prediction is None:
                with torch.no_grad():
                    self.model(images)
        finally:
            handle.remove()
        return finite(each(loss, len(images)), f"after {progress:.0%} of the steps", self._prediction)

    def _note(self, images: Tensor, loss: Tensor, gradient: Tensor | None) -> None:
        worth = loss
        if (
            self._prediction is not None
            and self._aim is None
            and (self.keep != "last" or self.model.log is not SILENCE)
        ):
            worth = per_image(self.model.task.loss(self._prediction, self.batch.target))
        self.model.log.note(images, worth, gradient)
        if self.keep == "last":
            self.best = images
            return
        success, damage = self._success()
        if self.keep == "fooled":
            self.best = torch.where(success.view(-1, 1, 1, 1) > 0, images, self.best)
            return
        ranks = torch.stack([success, worth.double(), damage])
        if self._prediction is not None:  # nothing to attack, such as a mask all void: the clean image is kept
            ranks = torch.where(ranks[1] == 0, -torch.inf, ranks)
        higher = ranks > self._rank
        numbers = ranks[1].isfinite() & (self._rank[1] < torch.inf)  # else one of the two losses is none to go by
        further = torch.where(numbers, higher[1], higher[2])
        better = higher[0] | ((ranks[0] == self._rank[0]) & further)
        self.best = torch.where(better.view(-1, 1, 1, 1), images, self.best)
        self._rank = torch.where(better, ranks, self._rank)

    def _success(self) -> tuple[Tensor, Tensor]:
        """How far each image has succeeded [B], and, where predictions are not right or wrong, its damage, which
        stands in for a loss that is no number."""
        task, target, zero = self.model.task, self.batch.target, torch.zeros_like(self._rank[0])
        none = zero - torch.inf
        if self._prediction is None:
            return zero, none
        if self._aim is not None:
            return arrived(self._prediction, self._aim).double(), none
        if self.keep == "score":
            return task.damage(task.score(self._prediction, target)).double(), none
        right = task.right(self._prediction, target)
        if right is None and self.keep == "fooled":
            raise UsageError(f"keep=fooled: a prediction of {task.name} is never right or wrong; take keep=score")
        if right is None:
            return zero, task.damage(task.score(self._prediction, target)).double()
        return (~(right.flatten(1).any(1) if right.dim() > 1 else right)).double(), none


def each(value: Tensor, count: int) -> Tensor:
    """What an objective gave for ``count`` images; UsageError where that is not one number for each."""
    shape = getattr(value, "shape", type(value).__name__)
    if shape != (count,):
        what = list(shape) if isinstance(shape, tuple) else f"a {shape}"
        raise UsageError(f"the objective gives {what} for {count} images; it must give one number for each, [{count}]")
    return value


def ascend(
    objective: Objective,
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
        objective: what is climbed, [B] of images.
        step: length of a step as a fraction of eps.
        random_start: begin at a random point of the ball instead of the clean image.
        restarts: how many times to climb; with ``keep=last`` the best of the last iterates is returned.
        keep: which iterate is returned, see Climb; all but ``last`` cost one more forward.

    Returns:
        Images [B,3,H,W] inside the threat.

    Raises:
        CellError: a loss or a gradient is not finite.
    """
    clean = batch.images.detach()
    record = Climb(objective, model, batch, keep)
    ends = Climb(objective, model, batch, "best") if keep == "last" and restarts > 1 else record
    for number in range(restarts):
        record.begin()
        images = threat.sample(clean, rng) if random_start else clean
        if batch.start is not None and not number:
            images = threat.project(clean, batch.start)
        images = walk(record, clean, threat, images, steps=steps, step=step)
        if keep == "last" and restarts == 1:
            return images
        ends.last(images, 1 - 1 / max(steps, 1))
    return ends.best


def walk(climb: Climb, clean: Tensor, threat: Threat, images: Tensor, *, steps: int, step: float) -> Tensor:
    """Where ``steps`` steps along the gradient, each ``step`` of eps long, lead from ``images``; the objective is
    not evaluated at that end."""
    for number in range(steps):
        _, gradient = climb.at(images, number / steps)
        images = threat.project(clean, threat.ascend(images, gradient, step * threat.eps))
    return images


def passes(
    *, steps: int, restarts: int, keep: Keep, objective: Spec | str = "task_loss", **_settings: object
) -> Passes:
    """Passes of an attack with the settings of ``pgd``, and one forward for an objective that uses the clean image."""
    return Passes(restarts * (steps + 1) * looks(keep, objective) + 1, restarts * steps)


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
            components.build("objectives", objective, model, batch),
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
