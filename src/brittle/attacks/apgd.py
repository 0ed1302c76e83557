"""APGD: projected gradient ascent with momentum whose step halves by itself when an image stops improving."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.attacks.parts.ascent import by_score, fewest, looks, walk
from brittle.attacks.parts.climb import Climb, Keep, Make
from brittle.core import components, spec
from brittle.core.errors import UsageError
from brittle.core.traits import AttackTraits, Passes
from brittle.types import AtLeastOne, Batch, Count, Model
from brittle.types.rng import Rng
from brittle.types.threat import ROUNDING, Threat

MOMENTUM = 0.75
ENOUGH = 0.75  # share of steps that must have improved for the step size to stay
# lengths of the spans between two checks of the progress, as shares of all steps
FIRST, SHORTER, SHORTEST = 0.22, 0.03, 0.06
SCOUTS, STRIDE = 0.2, 0.25  # the most of all steps that scouting may take; length of its steps as a share of eps
# eps as a multiple of the threat's, and its share of the steps (SEA 2024; l1: Croce and Hein 2021)
PHASES = ((2.0, 0.3), (1.5, 0.3), (1.0, 0.4))
PHASES_L1 = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
# l1: share of the values that move at first; how many of those moved go on; how many fewer must be moved for the step
# to be whole again; by what it is divided else, at most to a share of eps; length of the spans
MANY, ON, FEWER, DIVISOR, LEAST, SPAN = 0.2, 1 / 1.5, 0.95, 1.5, 0.1, 0.04


def apgd(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    objective: str = "task_loss",
    steps: AtLeastOne = 100,
    restarts: AtLeastOne = 1,
    targets: Count = 0,
    scout: Count = 20,
    shrink: bool = False,
    keep: Keep = "best",
) -> Tensor:
    """Auto-PGD (Croce and Hein 2020): nothing to tune but the number of steps.

    Args:
        objective: spec of what is climbed, such as ``task_loss`` or ``dlr``.
        steps, restarts: how many steps a climb takes, and how many climbs.
        targets: climb towards each of this many most likely wrong classes in turn, the ``rank`` of the objective, on
            the images not yet beaten; fewer where there are fewer classes. 0: away from the right one.
        scout: this many of the steps, a fifth of them at most, go to a plain climb as in ``pgd``, from its own start.
            APGD's first step of twice eps leads nearly every start to the same corner of the ball, where a short step
            may find a higher one. 0: APGD as published. None where balls shrink, or after a first restart.
        shrink: begin in balls of twice and 1.5 times eps, 30 % of the steps in each, and continue from there in the
            threat's own (SEA, Croce, Singh and Hein 2024); in l1 of three times and twice eps.
        keep: which iterate, as in ``pgd``.

    In l1 it is l1-APGD (Croce and Hein 2021): sparse steps without momentum, of fewer values as fewer are moved, each
    projected onto the intersection of ball and box. Unlike there, values that have met the box do not count, so that
    the budget goes to the steepest of the others.

    Raises:
        UsageError: targets with an objective that has no rank.
    """

    def climb(text: str) -> ensemble.Member:
        def attack(model: Model, batch: Batch, threat: Threat, rng: Rng) -> Tensor:
            phases = (PHASES_L1 if threat.norm == "l1" else PHASES) if shrink else ((1.0, 1.0),)
            return _auto_pgd(
                partial(components.build, "objectives", text),
                model,
                batch,
                threat,
                rng,
                steps=steps,
                restarts=restarts,
                keep=keep,
                phases=phases,
                scout=scout,
            )

        return attack

    if not targets:
        return climb(objective)(model, batch, threat, rng)
    members = map(climb, _towards(objective, targets, model, batch))
    return ensemble.worst_of(members, model, batch, threat, rng)


def _towards(objective: str, targets: int, model: Model, batch: Batch) -> Iterator[str]:
    """The objective's spec, once for each wrong class by its rank."""
    full = components.complete("objectives", objective)
    if "rank" not in full.settings:
        raise UsageError(
            f"apgd(objective={objective}, targets={targets}): it has no target class; take dlr or targeted"
        )
    with torch.no_grad():
        classes = model(batch.images[:1]).shape[1]
    for rank in range(1, min(targets, classes - 1) + 1):
        yield str(spec.Spec(full.name, full.argument, {**full.settings, "rank": rank}))


def _auto_pgd(
    make: Make,
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    *,
    steps: int,
    restarts: int,
    keep: Keep,
    phases: tuple[tuple[float, float], ...],
    scout: int,
) -> Tensor:
    kept = Climb(make, model, batch, threat, keep)
    for number in range(restarts):
        spent = scouts = 0 if number or len(phases) > 1 else min(scout, int(SCOUTS * steps))
        if scouts:
            _scout(kept, rng, scouts)
        if not len(kept.rows):
            break
        kept.begin()
        clean, images = kept.clean, None if number else kept.batch.start
        for factor, share in phases:
            ball = Threat(threat.norm, factor * threat.eps)
            own = factor == 1.0
            length = steps - spent if own else round(share * steps)
            if not length:
                continue
            start = _start(ball, clean, rng.rows(kept.rows)) if images is None else ball.project(clean, images)
            # an iterate from a larger ball than the threat's must never be kept
            climb = kept if own else kept.beside()
            phase = _sparse_phase if threat.norm == "l1" else _phase
            images = phase(climb, ball, start, length)
            climb.look()
            spent += length
    return kept.found


def _scout(climb: Climb, rng: Rng, steps: int) -> None:
    """A plain climb from a start of its own."""
    climb.begin()
    start = climb.threat.sample(climb.clean, rng.rows(climb.rows))
    images = walk(climb, start, steps=steps, step=STRIDE)
    if len(images):
        climb.last(images, 1 - 1 / steps)


def _start(ball: Threat, clean: Tensor, rng: Rng) -> Tensor:
    """A random point of the ball; in l1 a sparse one, the point next to noise."""
    return ball.project(clean, clean + rng.normal(clean)) if ball.norm == "l1" else ball.sample(clean, rng)


def _phase(climb: Climb, ball: Threat, images: Tensor, steps: int) -> Tensor:
    """``steps`` steps from ``images``; the iterate of highest objective, of those that do not leave on the way."""
    clean = climb.clean
    size = clean.new_full((len(clean), 1, 1, 1), 2 * ball.eps)
    loss, gradient = climb.at(images, 0.0)
    before, peak, top, top_gradient = images, loss, images, gradient
    improved = torch.zeros_like(loss)
    last_peak, halved = peak, torch.ones_like(loss, dtype=torch.bool)
    span, since = max(int(FIRST * steps), 1), 0
    for number in range(1, steps + 1):
        ahead = ball.project(clean, ball.ascend(images, gradient, size))
        share = MOMENTUM if number > 1 else 1.0
        after = ball.project(clean, images + share * (ahead - images) + (1 - share) * (images - before))
        before, images = images, after
        if number == steps:
            new = climb.last(images, number / (steps + 1))
            return torch.where((new > peak).view(-1, 1, 1, 1), images, top)
        new, gradient = climb.at(images, number / (steps + 1))
        improved += new > loss
        better = (new > peak).view(-1, 1, 1, 1)
        top, top_gradient, peak = (
            torch.where(better, images, top),
            torch.where(better, gradient, top_gradient),
            torch.maximum(new, peak),
        )
        loss, since = new, since + 1
        if (on := climb.left(number)) is not None:
            if not len(on):
                return images[on]
            clean, before, images, gradient, top, top_gradient = (
                part[on] for part in (clean, before, images, gradient, top, top_gradient)
            )
            loss, peak, improved, last_peak, halved, size = (
                part[on] for part in (loss, peak, improved, last_peak, halved, size)
            )
        if since < span:
            continue
        halve = (improved <= ENOUGH * span) | (~halved & (last_peak >= peak))
        last_peak, halved, improved = peak, halve, torch.zeros_like(loss)
        mask = halve.view(-1, 1, 1, 1)
        size, images, gradient = (
            torch.where(mask, size / 2, size),
            torch.where(mask, top, images),
            torch.where(mask, top_gradient, gradient),
        )
        span, since = max(span - max(int(SHORTER * steps), 1), int(SHORTEST * steps), 1), 0
    return top


def _sparse_phase(climb: Climb, ball: Threat, images: Tensor, steps: int) -> Tensor:
    """The same in l1."""
    clean = climb.clean
    values, span, whole = clean[0].numel(), max(int(SPAN * steps), 1), clean.new_full((len(clean), 1, 1, 1), ball.eps)
    size, share, before = whole, MANY * torch.ones_like(whole), values * torch.ones_like(whole)
    loss, gradient = climb.at(images, 0.0)
    peak, top, top_gradient = loss, images, gradient
    for number in range(1, steps + 1):
        images = ball.project(clean, ball.ascend(images, gradient, size, share))
        if number == steps:
            new = climb.last(images, number / (steps + 1))
            return torch.where((new > peak).view(-1, 1, 1, 1), images, top)
        new, gradient = climb.at(images, number / (steps + 1))
        better = (new > peak).view(-1, 1, 1, 1)
        top, top_gradient = torch.where(better, images, top), torch.where(better, gradient, top_gradient)
        peak = torch.maximum(new, peak)
        if (on := climb.left(number)) is not None:
            if not len(on):
                return images[on]
            clean, images, gradient, top, top_gradient, peak, size, share, before, whole = (
                part[on] for part in (clean, images, gradient, top, top_gradient, peak, size, share, before, whole)
            )
        if number % span:
            continue
        moved = _moved(clean, top)
        fewer = moved < FEWER * before
        size = torch.where(fewer, whole, (size / DIVISOR).clamp(min=LEAST * ball.eps))
        images, gradient = torch.where(fewer, top, images), torch.where(fewer, top_gradient, gradient)
        share, before = moved * ON / values, moved
    return top


def _moved(clean: Tensor, images: Tensor) -> Tensor:
    """How many values of each image have been moved, [B,1,1,1], without those that have met the box."""
    inside = (images > ROUNDING) & (images < 1 - ROUNDING)
    return (((images - clean).abs() > ROUNDING) & inside).sum((1, 2, 3), keepdim=True).to(clean)


def _passes(
    *, steps: int, restarts: int, targets: int, keep: Keep, objective: spec.Spec | str, **_settings: object
) -> Passes:
    climbs = restarts * max(targets, 1)
    forwards = climbs * (steps + 3) * looks(keep, objective)
    return Passes(forwards + (targets + 2 if targets else 1), climbs * (steps + 2))


TRAITS = AttackTraits(version=3, by_score=by_score, passes=_passes, fewest=fewest)
