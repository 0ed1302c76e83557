"""The worst of several attacks, image by image, judged in float32 by the task's own score."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from brittle.core import components
from brittle.types import Batch, Model, per_image
from brittle.types.attack_log import SILENCE
from brittle.types.rng import Rng
from brittle.types.threat import Threat

Member = Callable[[Model, Batch, Threat, Rng], Tensor]


def member(text: str) -> Member:
    """The attack of a spec, as a member of an ensemble."""
    full = components.complete("attacks", text)
    return lambda model, batch, threat, rng: components.build("attacks", full, model, batch, threat, rng)


def worst_of(
    members: Iterable[Member],
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    *,
    then: Iterable[Member] = (),
    held: Tensor | None = None,
) -> Tensor:
    """For each image the result of the member that did most damage; the clean image where none did any.

    Images of which nothing is right any more are not given to a second member (AutoAttack, Croce and Hein 2020), and
    where the model ``settles`` not to the first. Each member draws what it would draw alone, so the ensemble is never
    weaker than a member. The log is the first member's.

    Args:
        then: further members, each of which starts at the worst image so far.
        held: images [B,3,H,W] that are there already, of which each is one more to choose from.
    """
    best = batch.images.detach().clone()
    damage, loss, beaten = _judged(model, best, batch)
    log = model.log
    if held is not None:
        log.candidate(held)
        worse = _judged(model, held, batch)
        better = (worse[0] > damage) | ((worse[0] == damage) & (worse[1] > loss))
        best = torch.where(better.view(-1, 1, 1, 1), held, best)
        damage, loss, beaten = (torch.where(better, new, old) for new, old in zip(worse, (damage, loss, beaten)))
    alone = list(members)
    for number, attack in enumerate([*alone, *then]):
        rows = (~beaten if number or model.settles else torch.ones_like(beaten)).nonzero().flatten()
        if not len(rows):
            if not log.collect:
                break
            log.candidate(best.clone())  # every member has its place in the log, whether it was needed or not
            continue
        part = batch.rows(rows.tolist())
        part = part if number < len(alone) else part._replace(start=best[rows])
        make = partial(attack, model, part, threat, rng.rows(rows).again())
        since = log.length
        with model.using(log=SILENCE if number else log):
            images = log.part(f"{number}@{threat.eps!r}", part.ids, make).detach().to(best)
        log.candidate(best.index_copy(0, rows, images))
        if not number:
            log.spread(rows, len(batch.images), since)
        new_damage, new_loss, new_beaten = _judged(model, images, part)
        better = (new_damage > damage[rows]) | ((new_damage == damage[rows]) & (new_loss > loss[rows]))
        kept = rows[better]
        best[kept], damage[kept], loss[kept] = images[better], new_damage[better], new_loss[better]
        beaten[kept] = new_beaten[better]
    log.aims(None)  # members need not agree on one
    return best


@torch.no_grad()
def _judged(model: Model, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Damage and task loss of each image, and whether nothing of it is right."""
    with model.using(bf16=False):
        prediction = model(images)
    task = model.task
    right = task.right(prediction, batch.target)
    damage = task.damage(task.score(prediction, batch.target)).nan_to_num(-torch.inf)
    loss = per_image(task.loss(prediction, batch.target))
    if right is None:
        return damage, loss, torch.zeros_like(damage, dtype=torch.bool)
    return damage, loss, ~(right.flatten(1).any(1) if right.dim() > 1 else right)
