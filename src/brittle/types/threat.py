"""What an attacker may do to an image: a norm, a budget, and how to sample, climb, project and measure within them."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from brittle.core.errors import UsageError, unknown
from brittle.types.rng import Rng

Norm = Literal["linf", "l2"]
TINY = 1e-12


def _length(delta: Tensor) -> Tensor:
    """L2 norm of each image, [B,1,1,1]."""
    return delta.flatten(1).norm(dim=1).view(-1, *[1] * (delta.dim() - 1))


@dataclass(frozen=True)
class Threat:
    """All images within ``eps`` of the clean one in ``norm``, and within [0, 1].

    Args:
        norm: ``linf`` (largest change of any value) or ``l2`` (Euclidean length of the whole image's change).
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
        return (images + self.eps * reach * direction / _length(direction).clamp(min=TINY)).clamp(0, 1)

    def ascend(self, images: Tensor, gradient: Tensor, step: float | Tensor) -> Tensor:
        """One steepest-ascent step (linf: sign; l2: normalised gradient), not yet projected; ``step`` is its length in
        pixel units, or one an image, [B,1,1,1]."""
        if self.norm == "linf":
            return images + step * gradient.sign()
        # first, so that the faintest gradient still makes a whole step
        peak = gradient.abs().amax((1, 2, 3), keepdim=True)
        direction = gradient / torch.where(peak > 0, peak, 1)
        return images + step * direction / _length(direction).clamp(min=TINY)

    def project(self, clean: Tensor, images: Tensor) -> Tensor:
        """Bring ``images`` back into the ball around ``clean`` and into [0, 1]."""
        delta = images - clean
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        else:
            delta = delta * (self.eps / _length(delta).clamp(min=TINY)).clamp(max=1)
        return (clean + delta).clamp(0, 1)

    def violation(self, clean: Tensor, images: Tensor) -> Tensor:
        """By how much each image [B] breaks the budget or the box; 0 where it keeps both, inf where it is not a
        number."""
        delta = (images.double() - clean.double()).flatten(1)
        size = delta.abs().amax(1) if self.norm == "linf" else delta.norm(dim=1)
        outside = torch.maximum(-images.flatten(1).amin(1), images.flatten(1).amax(1) - 1).double()
        worst = torch.maximum(size - self.eps, outside).clamp(min=0)
        return torch.where(images.flatten(1).isfinite().all(1), worst, math.inf)

    def to_8bit(self, clean: Tensor, images: Tensor) -> Tensor:
        """The images as an 8-bit file would keep them, still within the budget.

        linf: the nearest level, or the next towards the clean image where that would leave the ball. l2: rounded
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
            saved = torch.where(levels > base, levels.floor(), levels.ceil()).clamp(0, 255) / 255
            inside = self.violation(clean, saved) <= 1e-6
            kept = torch.where(inside.view(-1, 1, 1, 1), saved, kept)
        return kept
