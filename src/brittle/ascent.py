"""The one loop that climbs: projected gradient ascent on any objective inside any threat."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from brittle.errors import CellError
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import Batch, Model, Objective, per_image

Keep = Literal["best", "last"]


class _Seen:
    """The last prediction a model made, so that a step is judged without a second forward."""

    prediction: Tensor | None = None


@contextmanager
def _watch(model: Model) -> Generator[_Seen]:
    seen = _Seen()

    def note(_module: object, _inputs: object, output: Tensor) -> None:
        seen.prediction = output.detach()

    handle = model.register_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def _judge(model: Model, batch: Batch, seen: _Seen, loss: Tensor) -> Tensor:
    """How good an iterate is for the attacker, [B]: the task's loss where the head was asked (a scheduled objective's own values are not
    comparable between steps), else the objective; infinite once the attack has fully succeeded."""
    if seen.prediction is None:
        return loss.detach()
    worth = per_image(model.task.loss(seen.prediction, batch.target))
    worth = torch.where(worth == 0, -torch.inf, worth)  # nothing there to attack, such as a mask all void: the clean image is kept
    right = model.task.right(seen.prediction, batch.target)
    if right is None:
        return worth
    beaten = ~(right.flatten(1).any(1) if right.dim() > 1 else right)
    return torch.where(beaten & (worth > -torch.inf), torch.inf, worth)


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
    """Projected gradient ascent (Madry et al. 2018), one forward and one backward a step.

    Args:
        objective: what is climbed, [B] of images.
        step: length of a step as a fraction of eps.
        random_start: begin at a random point of the ball instead of the clean image.
        restarts: how many times to climb; the best final choice per image is returned.
        keep: ``best`` returns, per image, the first iterate that fully succeeds or else the one of highest loss (one more forward);
            ``last`` the last iterate.

    Returns:
        Images [B,3,H,W] inside the threat.

    Raises:
        CellError: a loss or a gradient is not finite.
    """
    clean = batch.images.detach()
    best, worth = clean.clone(), clean.new_full((len(clean),), -torch.inf)
    with _watch(model) as seen, torch.enable_grad():  # also where the caller has switched it off

        def consider(images: Tensor, loss: Tensor) -> None:
            nonlocal best, worth
            value = _judge(model, batch, seen, loss)
            better = value > worth
            best = torch.where(better.view(-1, 1, 1, 1), images, best)
            worth = torch.where(better, value, worth)

        for _ in range(restarts):
            images = threat.sample(clean, rng) if random_start else clean.clone()
            for number in range(steps):
                images.requires_grad_()
                loss = objective(images, number / steps)
                if not loss.isfinite().all():
                    raise CellError(f"nonfinite: the loss is {loss[~loss.isfinite()][0].item()} at step {number}; check the model")
                (gradient,) = torch.autograd.grad(loss.sum(), images)
                if not gradient.isfinite().all():
                    raise CellError(f"nonfinite: the gradient at step {number} is nan or inf; check the model")
                images = images.detach()
                if keep == "best":
                    consider(images, loss)
                images = threat.project(clean, threat.ascend(images, gradient, step * threat.eps))
            if keep == "last" and restarts == 1:
                return images
            with torch.no_grad():
                consider(images, objective(images, 1 - 1 / max(steps, 1)))
    return best
