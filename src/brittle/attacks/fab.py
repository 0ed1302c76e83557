"""FAB: the closest misclassified image, by projections onto the linearised boundary to one class after another
(targeted FAB)."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from brittle.attacks.parts import box_projection
from brittle.attacks.parts.slope import Numbers, pauses
from brittle.core.errors import CellError
from brittle.core.traits import AttackTraits, Passes
from brittle.types import AtLeastOne, Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import TINY, Threat, length

Share = Annotated[float, Field(ge=0, le=1)]
"""A setting between 0 and 1."""


def fab(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    steps: AtLeastOne = 100,
    restarts: AtLeastOne = 1,
    targets: AtLeastOne = 9,
    alpha_max: Share = 0.1,
    eta: Annotated[float, Field(ge=1, le=2)] = 1.05,
    beta: Share = 0.9,
) -> Tensor:
    """Targeted FAB (Croce & Hein 2020), with the settings of AutoAttack's standard version.

    It looks for the smallest change, and returns the closest misclassified image it met where that lies within ``eps``,
    else the clean one. Images that are wrong already are returned as they are; those beaten on the way to one class are
    spared the next, and where the model ``settles`` the rest of the way too.

    Args:
        steps: steps to each class, of two forwards and one backward.
        restarts: how many times to go to each class, first from the clean image, then from random points at half of
            eps.
        targets: how many classes, the most likely first; all of them if there are fewer.
        alpha_max: how much at most of the step starts at the clean image.
        eta: how far a step goes, 1 being just onto the hyperplane.
        beta: how much of the distance is kept when stepping back from a misclassified image.
    """
    clean = batch.images.detach()
    adversarial = clean.clone()
    scores = _predict(model, clean)
    if scores.isnan().any():
        raise CellError("the prediction is nan; check the model", check="nonfinite")
    left = _right(model, scores, batch.target).nonzero().flatten()
    first = scores.scatter(1, batch.target.view(-1, 1), math.inf)  # also where it ties with another class
    ranked = first.topk(min(1 + targets, scores.shape[1])).indices
    for other in ranked[:, 1:].T:
        for restart in range(restarts):
            if not len(left):
                return adversarial
            part, target = clean[left], batch.target[left]
            start = _around(part, threat, rng.rows(left)) if restart else part
            images = _closest(
                model,
                part,
                target,
                other[left],
                start,
                threat,
                steps=steps,
                alpha_max=alpha_max,
                eta=eta,
                beta=beta,
            )
            beaten = _beaten(part, images, threat)
            adversarial[left[beaten]] = images[beaten]
            left = left[~beaten]
    return adversarial


def _closest(
    model: Model,
    clean: Tensor,
    target: Tensor,
    other: Tensor,
    start: Tensor,
    threat: Threat,
    *,
    steps: int,
    alpha_max: float,
    eta: float,
    beta: float,
) -> Tensor:
    """The closest misclassified image met on the way from ``start`` to the classes ``other`` [B]; the clean one where
    none was met."""
    images, best, norm, numbers = start, clean, threat.norm, Numbers()
    least = clean.new_full((len(clean), 1, 1, 1), math.inf)
    whole, rows = best, torch.arange(len(clean), device=clean.device)
    for number in range(steps):
        lead, normal = _linear(model, images, target, other, number, numbers)
        lead_at_clean = lead + ((clean - images) * normal).flatten(1).sum(1)
        here = box_projection.project(images, normal, -lead, norm)
        there = box_projection.project(clean, normal, -lead_at_clean, norm)
        near, far = length(here, norm).clamp(min=1e-8), length(there, norm).clamp(min=1e-8)
        alpha = (near / (near + far)).clamp(max=alpha_max)
        images = ((1 - alpha) * (images + eta * here) + alpha * (clean + eta * there)).clamp(0, 1)
        wrong = ~_right(model, _checked(_predict(model, images), numbers, number), target).view(-1, 1, 1, 1)
        distance = length(images - clean, norm)
        closer = wrong & (distance < least)
        best, least = torch.where(closer, images, best), torch.where(closer, distance, least)
        images = torch.where(wrong, clean + beta * (images - clean), images)
        if pauses(number + 1):
            numbers.look()
            on = (~_beaten(clean, best, threat)).nonzero().flatten() if model.settles else rows
            if len(on) < len(rows):
                whole, rows = whole.index_copy(0, rows, best), rows[on]
                images, best, least, clean = images[on], best[on], least[on], clean[on]
                target, other = target[on], other[on]
            if not len(rows):
                break
    numbers.look()
    return whole.index_copy(0, rows, best)


def _beaten(clean: Tensor, images: Tensor, threat: Threat) -> Tensor:
    """[B], where an image was found, and within the threat."""
    return (images != clean).flatten(1).any(1) & (threat.violation(clean, images) == 0)


def _linear(
    model: Model, images: Tensor, target: Tensor, other: Tensor, number: int, numbers: Numbers
) -> tuple[Tensor, Tensor]:
    """The other class's score over the right one's, [B], and its gradient at the images."""
    images = images.detach().requires_grad_()
    with torch.enable_grad():  # also where the caller has switched it off
        scores = model(images)
        lead = (scores.gather(1, other.view(-1, 1)) - scores.gather(1, target.view(-1, 1))).squeeze(1)
        normal = numbers.slope(numbers.loss(lead, f"at step {number}"), images, f"at step {number}")
    return lead.detach(), normal


def _predict(model: Model, images: Tensor) -> Tensor:
    """Scores in float32, whatever the gradients are taken in: this close to the boundary a decision in bfloat16 is
    worthless."""
    with model.using(bf16=False), torch.no_grad():
        return model(images)


def _checked(scores: Tensor, numbers: Numbers, number: int) -> Tensor:
    """Scores, none of which may be nan, though some may be infinite."""
    numbers.loss(torch.where(scores.isnan(), scores, 0), f"at step {number}", scores)
    return scores


def _right(model: Model, scores: Tensor, target: Tensor) -> Tensor:
    """[B], true where the prediction is right."""
    right = model.task.right(scores, target)
    assert right is not None
    return right


def _around(clean: Tensor, threat: Threat, rng: Rng) -> Tensor:
    """A random point at half of eps: an image still here has no adversarial one within eps, so the paper's minimum of
    both is eps."""
    direction = 2 * rng.uniform(clean) - 1 if threat.norm == "linf" else rng.normal(clean)
    return (clean + 0.5 * threat.eps * direction / length(direction, threat.norm).clamp(min=TINY)).clamp(0, 1)


def _passes(*, steps: int, restarts: int, targets: int, **_settings: object) -> Passes:
    return Passes(1 + 2 * steps * restarts * targets, steps * restarts * targets)


TRAITS = AttackTraits(needs=("classes", "per_image"), passes=_passes)
