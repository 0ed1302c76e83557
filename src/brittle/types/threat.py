"""What an attacker may do to an image: a norm, a budget, and how to sample, climb, project and measure within them."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from brittle.core.errors import UsageError, unknown
from brittle.types.rng import Rng

Norm = Literal["linf", "l2", "l1"]
ORDERS: dict[Norm, float] = {"linf": math.inf, "l2": 2.0, "l1": 1.0}
TINY = 1e-12
SPARSE = 0.01  # share of an image's values that an l1 step moves (Tramer and Boneh 2019)
HALF = 0.5  # of the range of a value: how far an l1 step moves one at most
ROUNDING = 1e-9  # of a value: what is nearer than this to the edge of the box has met it


def length(delta: Tensor, norm: Norm) -> Tensor:
    """Size of each image's change [B,3,H,W] in the norm, [B,1,1,1]."""
    return torch.linalg.vector_norm(delta, ORDERS[norm], (1, 2, 3), keepdim=True)


@dataclass(frozen=True)
class Threat:
    """All images within ``eps`` of the clean one in ``norm``, and within [0, 1].

    Args:
        norm: ``linf`` (largest change of any value), ``l2`` (Euclidean length of the whole image's change) or ``l1``
            (sum of the changes of all its values).
        eps: budget in pixel units, so 8/255 is eight of 255 levels; 0 allows nothing. What a user gives is refused
            above the range of linf (``core.budget.check_eps``); attacks and checks make larger balls themselves.

    Raises:
        UsageError: eps negative or not finite, or an unknown norm.
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise unknown("norm", str(self.norm), get_args(Norm))
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise UsageError(f"eps is {self.eps}; it must be a finite number >= 0 in pixel units, such as 8/255")

    def sample(self, images: Tensor, rng: Rng) -> Tensor:
        """A random point of the ball around each of ``images`` [B,3,H,W], uniform by volume before clipping to [0,
        1]."""
        if self.norm == "linf":
            return (images + self.eps * (2 * rng.uniform(images) - 1)).clamp(0, 1)
        direction = rng.normal(images)
        reach = rng.uniform(images[:, :1, :1, :1]) ** (1 / images[0].numel())
        if self.norm == "l1":  # sizes of an exponential law have a uniform direction in l1
            direction = -torch.log1p(-rng.uniform(images)) * direction.sign()
        return (images + self.eps * reach * direction / length(direction, self.norm).clamp(min=TINY)).clamp(0, 1)

    def ascend(self, images: Tensor, gradient: Tensor, step: float | Tensor, share: float | Tensor = SPARSE) -> Tensor:
        """One steepest-ascent step (linf: sign; l2: normalised gradient; l1: sparse), not yet projected.

        Args:
            step: its length in pixel units, or one an image, [B,1,1,1].
            share: of l1: which share of the values moves, or one an image, [B,1,1,1]: those of steepest gradient that
                the box lets move, all equally far, and so many more that none moves by over half of its range. Steeper
                ones that have met the box are pushed against it, so that a projection takes nothing from them.
        """
        if self.norm == "linf":
            return images + step * gradient.sign()
        if self.norm == "l1":
            return images + step * _sparse(images, gradient, step, share)
        # first, so that the faintest gradient still makes a whole step
        peak = gradient.abs().amax((1, 2, 3), keepdim=True)
        direction = gradient / torch.where(peak > 0, peak, 1)
        return images + step * direction / length(direction, "l2").clamp(min=TINY)

    def project(self, clean: Tensor, images: Tensor) -> Tensor:
        """Bring ``images`` back into the ball around ``clean`` and into [0, 1]; in l1 to the nearest point of both
        (Croce and Hein 2021)."""
        delta = images - clean
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        elif self.norm == "l2":
            delta = delta * (self.eps / length(delta, "l2").clamp(min=TINY)).clamp(max=1)
        else:
            return _nearest(clean, delta, self.eps)
        return (clean + delta).clamp(0, 1)

    def violation(self, clean: Tensor, images: Tensor) -> Tensor:
        """By how much each image [B] breaks the budget or the box; 0 where it keeps both, inf where it is not a
        number."""
        size = length(images.double() - clean.double(), self.norm).flatten()
        outside = torch.maximum(-images.flatten(1).amin(1), images.flatten(1).amax(1) - 1).double()
        worst = torch.maximum(size - self.eps, outside).clamp(min=0)
        return torch.where(images.flatten(1).isfinite().all(1), worst, math.inf)

    def to_8bit(self, clean: Tensor, images: Tensor) -> Tensor:
        """The images as an 8-bit file would keep them, still within the budget.

        linf: the nearest level, or the next towards the clean image where that would leave the ball. l2 and l1: rounded
        towards the clean image, and where even that leaves the ball (the clean image itself lies between levels) the
        change is first shortened, by tenths.
        """
        base = clean * 255
        if self.norm == "linf":
            slack = 1e-4  # of a level: more than float32 loses on the way, less than any violation that counts
            low, high = (base - self.eps * 255 - slack).ceil(), (base + self.eps * 255 + slack).floor()
            kept = torch.where(low <= high, (images * 255).round().clamp(low, high), base.round())
            return kept.clamp(0, 255) / 255
        kept = base.round() / 255
        for tenths in range(1, 11):
            levels = base + (images * 255 - base) * (tenths / 10)
            towards = torch.where(levels > base, levels.floor(), levels.ceil())
            saved = torch.where(levels == base, base.round(), towards).clamp(0, 255) / 255
            inside = self.violation(clean, saved) <= 1e-6
            kept = torch.where(inside.view(-1, 1, 1, 1), saved, kept)
        return kept


def _sparse(images: Tensor, gradient: Tensor, step: float | Tensor, share: float | Tensor) -> Tensor:
    """The direction of a step in l1, of length 1 where nothing has met the box."""
    pull, count = gradient.abs(), gradient[0].numel()
    free = pull * torch.where(gradient > 0, images < 1 - ROUNDING, images > ROUNDING)
    numbers = (share * count, step / HALF)
    wanted = torch.maximum(*(n if isinstance(n, Tensor) else gradient.new_full((1, 1, 1, 1), n) for n in numbers))
    place = wanted.ceil().clamp(1, count).long().expand(len(images), 1, 1, 1).flatten(1) - 1
    least = free.flatten(1).sort(1, descending=True).values.gather(1, place).view(-1, 1, 1, 1)
    moved = (pull >= least) & (pull > 0)
    movers = (moved & (free > 0)).sum((1, 2, 3), keepdim=True)
    return torch.where(moved, gradient.sign(), 0) / movers.clamp(min=1)


def _nearest(clean: Tensor, delta: Tensor, eps: float) -> Tensor:
    """The point of the l1 ball within [0, 1] that is nearest to ``clean + delta``.

    Every change is shortened by the same cut and then by the box. What is left of the budget is piecewise linear in the
    cut, with a bend where a change leaves the box's edge and another where nothing is left of it; the cut that leaves
    eps lies between two bends.
    """
    size, base = delta.abs().double().flatten(1), clean.double().flatten(1)
    room = torch.where(delta.flatten(1) > 0, 1 - base, base)
    bends, order = torch.cat([size - room, size], 1).sort(1)
    shrinking = torch.where(order < size.shape[1], 1, -1).cumsum(1)
    lost = (shrinking[:, :-1] * bends.diff(dim=1)).cumsum(1)
    left = room.sum(1, keepdim=True) - torch.nn.functional.pad(lost, (1, 0))
    place = ((left >= eps).sum(1, keepdim=True) - 1).clamp(min=0)
    cut = bends.gather(1, place) + (left.gather(1, place) - eps) / shrinking.gather(1, place).clamp(min=1)
    change = (size - cut.clamp(min=0)).clamp(min=0).minimum(room)
    total = change.sum(1, keepdim=True)
    change = (change * (eps / total.clamp(min=TINY)).clamp(max=1)).view_as(delta)
    found = (clean + change * delta.sign()).to(clean)
    # towards the clean image, else as many rounding errors as there are values add up to a violation
    over = (found.double() - clean.double()).abs() > change
    return torch.where(over, torch.nextafter(found, clean), found)
