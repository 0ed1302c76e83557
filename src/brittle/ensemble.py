"""The worst of several attacks, image by image, judged in float32 by the score the task is known for."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from brittle import spec
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import Batch, Model, per_image

Member = Callable[[Model, Batch, Threat, Rng], Tensor]


def member(text: str) -> Member:
    """The attack of a spec, as a member of an ensemble."""
    full = spec.complete("attacks", text)
    return lambda model, batch, threat, rng: spec.build("attacks", full, model, batch, threat, rng)


def worst_of(members: Iterable[Member], model: Model, batch: Batch, threat: Threat, rng: Rng) -> Tensor:
    """For each image what the member that hurt most made of it; the clean image where none did anything.

    Images of which nothing is right any more go to no second member (AutoAttack, Croce and Hein 2020). Each member draws what it would
    draw alone, so the ensemble is never weaker than a member. The trace is the first member's.
    """
    best = batch.images.detach().clone()
    damage, loss, beaten = _judged(model, best, batch)
    trace = model.trace
    try:
        for number, attack in enumerate(members):
            rows = (~beaten if number else torch.ones_like(beaten)).nonzero().flatten()
            if not len(rows):
                if trace is None or trace.candidates is None:
                    break
                trace.candidates.append(best.clone())  # every member has its place there, whether it was needed or not
                continue
            part = batch.rows(rows.tolist())
            make = partial(attack, model, part, threat, rng.rows(rows).again())
            found = (trace.part(f"{number}@{threat.eps!r}", part.ids, make) if trace is not None else make()).detach().to(best)
            if trace is not None and trace.candidates is not None:
                trace.candidates.append(best.index_copy(0, rows, found))
            if model.trace is not None:
                model.trace.spread(rows, len(batch.images))
            model.trace = None
            new_damage, new_loss, new_beaten = _judged(model, found, part)
            better = (new_damage > damage[rows]) | ((new_damage == damage[rows]) & (new_loss > loss[rows]))
            kept = rows[better]
            best[kept], damage[kept], loss[kept], beaten[kept] = found[better], new_damage[better], new_loss[better], new_beaten[better]
    finally:
        model.trace = trace
        if trace is not None:
            trace.aim = None  # members need not agree on one
    return best


@torch.no_grad()
def _judged(model: Model, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Damage and task loss of each image, and whether nothing of it is right."""
    bf16, model.bf16 = model.bf16, False
    try:
        prediction = model(images)
    finally:
        model.bf16 = bf16
    task = model.task
    right = task.right(prediction, batch.target)
    damage = task.damage(task.score(prediction, batch.target)).nan_to_num(-torch.inf)
    loss = per_image(task.loss(prediction, batch.target))
    if right is None:
        return damage, loss, torch.zeros_like(damage, dtype=torch.bool)
    return damage, loss, ~(right.flatten(1).any(1) if right.dim() > 1 else right)
