"""Square Attack: random search that asks for scores only, never for a gradient, so that nothing that hides gradients
stops it."""

from bisect import bisect_left
from functools import lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from brittle.attacks.parts.slope import Numbers, pauses
from brittle.core.traits import AttackTraits, Passes
from brittle.types import AtLeastOne, Batch, Model, per_image
from brittle.types.rng import Rng
from brittle.types.threat import ORDERS, TINY, Norm, Threat, length

Share = Annotated[float, Field(gt=0, le=1)]
"""A setting that is a share of something: above 0, at most 1."""
Variant = Literal["paper", "autoattack"]

# of 10,000 queries: the share of changed pixels is halved after each
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
PAUSE = 20  # queries after which at the latest those that are beaten leave
BLOCK = 100  # queries whose random numbers are drawn at once: a call of a generator costs as much as a small network


def square(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    queries: AtLeastOne = 5000,
    p_init: Share = 0.8,
    restarts: AtLeastOne = 1,
    variant: Variant = "autoattack",
) -> Tensor:
    """Square Attack (Andriushchenko et al. 2020): stripes (l2 and l1: tiles) first, then squares at random places, kept
    where they help.

    Logits [B, C] are judged by their margin, any other prediction by the mean of its task's loss. An image is left
    alone once nothing in it is right; one where that is so from the start, or that is all void, stays clean.

    Args:
        queries: how often the model is asked about an image in each restart, besides once about the clean one.
        p_init: share of the pixels in the first squares; halved nine times on the way, at the paper's shares of the
            queries.
        restarts: how many times to search, from the clean image each time; the best result per image is returned.
        variant: ``autoattack`` follows that code in two things, so that numbers agree: squares never reach the last
            row and column, and the shares are those of 10,000 queries however many there are. ``paper`` does neither
            and is stronger, most of all on small images.

    Raises:
        CellError: a score is not finite.
    """
    with torch.no_grad():
        clean = batch.images.detach()
        numbers = Numbers()
        start, over = _judge(model, clean, batch.target, numbers)
        numbers.look()
        best, worth = clean.clone(), start.clone()
        for _ in range(restarts):
            left = (~over).nonzero().flatten()
            part = Batch(clean[left], batch.target[left], ())
            images, reached, beaten = _search(
                model, part, threat, rng.rows(left), start[left], queries=queries, p_init=p_init, variant=variant
            )
            better = beaten | (reached > worth[left])
            best[left[better]], worth[left[better]], over[left] = images[better], reached[better], beaten
    return best


def _judge(model: Model, images: Tensor, target: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
    """How good images are for the attacker, [B], higher is better, and where there is nothing left to do."""
    prediction = model(images)
    right = model.task.right(prediction, target)
    if right is not None and right.dim() == 1 and prediction.dim() == 2:
        true = target[:, None]
        other = prediction.scatter(1, true, torch.finfo(prediction.dtype).min).amax(1)
        worth = other - prediction.gather(1, true)[:, 0]  # the margin keeps its slope where cross entropy is flat
    else:
        worth = per_image(model.task.loss(prediction, target))
    numbers.loss(worth, "of a query", prediction)
    return worth, worth == 0 if right is None else ~right.reshape(len(right), -1).any(1)


def _search(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    start: Tensor,
    *,
    queries: int,
    p_init: float,
    variant: Variant,
) -> tuple[Tensor, Tensor, Tensor]:
    """One random search from the clean images, whose worth is ``start`` [B]: the best images, their worth, and which
    are beaten."""
    clean, size = batch.images, torch.tensor([*batch.images.shape[2:]] * 2, device=start.device)
    images, worth, beaten = clean.clone(), start.clone(), torch.zeros_like(start, dtype=torch.bool)
    begin, change = (_stripes, _repaint) if threat.norm == "linf" else (_tiles, _transfer)
    span, edge = (queries, 1) if variant == "paper" else (10_000, 0)
    left, direction, draws = torch.arange(len(clean), device=clean.device), begin(clean, rng, threat.norm), clean
    numbers = Numbers()
    for number in range(queries):
        if not len(left):
            break
        if number % BLOCK == 0:
            draws = rng.rows(left).uniform(clean.new_empty(len(left), BLOCK, 5 + clean.shape[1]))
        if number > 0:
            side = _side(threat, clean, p_init, number / span)
            room = (size - side + edge).clamp(min=1)
            draw = draws[:, number % BLOCK]
            corners = (draw[:, :4] * room).long().minimum(room - 1)  # a product may round up to the room
            direction = change(images[left] - clean[left], side, corners, draw[:, 4:], threat)
        trial = _made(clean[left], direction, threat)
        value, done = _judge(model, trial, batch.target[left], numbers)
        before, had, over = images[left], worth[left], beaten[left]
        better = (done | (value > had)) & ~over
        images[left] = torch.where(better.view(-1, 1, 1, 1), trial, before)
        worth[left], beaten[left] = torch.where(better, value, had), over | done
        if pauses(number + 1) or (number + 1) % PAUSE == 0:
            numbers.look()
            on = (~beaten[left]).nonzero().flatten()
            left, draws = left[on], draws[on]
    numbers.look()
    return images, worth, beaten


def _side(threat: Threat, images: Tensor, p_init: float, progress: float) -> int:
    """Edge of the squares in pixels after a share of the queries; l2 and l1: odd and at least 3, so that a bump has
    a middle."""
    share = p_init / 2 ** bisect_left(HALVINGS, 10_000 * progress)
    side = max(round((share * images.shape[2] * images.shape[3]) ** 0.5), 1)
    return min(side if threat.norm == "linf" else max(side, 3) | 1, *images.shape[2:])


# Directions, from which images are made: each of these functions returns one shaped as the clean images or their delta.


def _made(clean: Tensor, direction: Tensor, threat: Threat) -> Tensor:
    """The images in a direction, as far as the ball reaches; in l1 by a projection (Croce and Hein 2021), as a peak
    may be more than the box has room for."""
    if threat.norm == "l1":
        far = (threat.eps / length(direction, "l1").clamp(min=TINY)).clamp(min=1)
        return threat.project(clean, clean + far * direction)
    return threat.ascend(clean, direction, threat.eps).clamp(0, 1)


def _sign(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0).to(uniform)


def _stripes(clean: Tensor, rng: Rng, _norm: Norm) -> Tensor:
    """Vertical stripes, a pixel wide, of a random sign per channel: convolutions are sensitive to them."""
    return _sign(rng.uniform(clean[:, :, :1])).expand_as(clean)


def _tiles(clean: Tensor, rng: Rng, norm: Norm) -> Tensor:
    """A grid of bumps, five along the shorter edge, each of a random sign per channel and turned at random."""
    batch, channels, height, width = clean.shape
    side = max(min(height, width) // 5, 1)
    rows, columns = height // side, width // side
    draws = (
        rng.uniform(clean.new_empty(batch, channels + 1, rows, columns))
        .repeat_interleave(side, 2)
        .repeat_interleave(side, 3)
    )
    bumps = _bumps(side, clean, norm).repeat(1, rows, columns)
    tiles = torch.where(draws[:, :1] < 0.5, bumps[0], bumps[1]) * _sign(draws[:, 1:])
    top, edge = (height - rows * side) // 2, (width - columns * side) // 2
    return torch.nn.functional.pad(tiles, (edge, width - columns * side - edge, top, height - rows * side - top))


def _repaint(delta: Tensor, side: int, corners: Tensor, draws: Tensor, _threat: Threat) -> Tensor:
    """linf: one square gets a new sign per channel. ``corners`` [B,4] of two squares, ``draws`` [B,1+C] uniform: a
    turn, and signs."""
    *_, inside = _window(delta, side, corners[:, :2])
    return torch.where(inside, _sign(draws[:, 1:, None, None]), delta)


def _transfer(delta: Tensor, side: int, corners: Tensor, draws: Tensor, threat: Threat) -> Tensor:
    """l2, l1: the mass of a second square, and what the image has not used of its budget, goes into a bump that is
    added in the first; in l1 all of it into each channel, so that the cut down to the ball falls on the rest."""
    down, across, first = _window(delta, side, corners[:, :2])
    *_, second = _window(delta, side, corners[:, 2:])
    turn = (draws[:, 0] < 0.5).long()[:, None, None]
    bumps = _bumps(side, delta, threat.norm)
    bump = bumps[turn, down.clamp(0, side - 1), across.clamp(0, side - 1)][:, None]

    order = ORDERS[threat.norm]

    def size(part: Tensor) -> Tensor:  # of each channel
        return part.abs().pow(order).sum((2, 3), keepdim=True).pow(1 / order).clamp(min=TINY)

    mixed = (bump * _sign(draws[:, 1:, None, None]) + delta / size(delta * first)) * first
    spent = delta.abs().pow(order).sum((1, 2, 3), keepdim=True)
    unused = (threat.eps**order - spent).clamp(min=0) / delta.shape[1]
    mass = (unused + size(delta * (first | second)).pow(order)).pow(1 / order)
    mass = mass * (delta.shape[1] if threat.norm == "l1" else 1)
    return torch.where(first, mixed / size(mixed) * mass, torch.where(second, 0, delta))


def _window(delta: Tensor, side: int, corner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows below a square's top [B,H,1], columns right of its left edge [B,1,W], and its inside [B,1,H,W]; ``corner``
    [B,2]."""
    height, width = (torch.arange(size, device=delta.device) for size in delta.shape[2:])
    down, across = (height - corner[:, :1])[:, :, None], (width - corner[:, 1:])[:, None]
    inside = (down >= 0) & (down < side) & (across >= 0) & (across < side)
    return down, across, inside[:, None]


def _bumps(side: int, like: Tensor, norm: Norm) -> Tensor:
    """``_shapes`` as ``like``."""
    return _shapes(side, norm, like.dtype, like.device)


@lru_cache(maxsize=64)
def _shapes(side: int, norm: Norm, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[2,side,side], of size 1 in the norm: a hill in the upper half and a pit in the lower, and the same turned (the
    paper's eta; l1: with a steeper flank, so that most of it is the peak)."""
    halves: list[Tensor] = []
    fall = -2 if norm == "l2" else -4
    for rows in (side // 2, side - side // 2):
        place = torch.meshgrid(torch.arange(rows), torch.arange(side), indexing="ij")
        far = torch.maximum((place[0] - rows // 2).abs(), (place[1] - side // 2).abs())
        steps = torch.arange(1, max(rows, side) // 2 + 2).double() ** fall
        hill = steps.flip(0).cumsum(0).flip(0)[far]  # the sum of 1/k^2 (l1: 1/k^4) from the distance to the middle on
        halves.append(hill / hill.norm(ORDERS[norm]).clamp(min=TINY))
    bump = torch.cat([halves[0], -halves[1]])
    bump = bump / bump.norm(ORDERS[norm])
    return torch.stack([bump, bump.T]).to(device, dtype)


def _passes(*, queries: int, restarts: int, **_settings: object) -> Passes:
    return Passes(1 + queries * restarts, 0)


TRAITS = AttackTraits(passes=_passes)
