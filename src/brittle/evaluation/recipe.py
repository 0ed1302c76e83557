"""How heads are fitted, as one record."""

from dataclasses import dataclass, replace
from typing import Literal

QUICK = 600  # steps of a head that is fitted quickly, unless its images take more to be seen ``epochs`` times


@dataclass(frozen=True)
class Recipe:
    """How heads are fitted.

    Args:
        optimiser: of torch.optim.
        rates: learning rates; a head is fitted with each, and the best is kept.
        decay: weight decay.
        batch: images in a step; 16 are enough where each has a map of predictions.
        epochs: how often each image is seen, unless the fit stops before.
        steps: at least so many, however few images there are.
        many: up to so many, each image is seen five times as often: a few thousand images are worth more than eight
            looks at each, and of a million eight are enough.
        schedule: ``mean``: a constant rate, and of the weights the mean over the steps, later ones weighing more
            (polynomial decay, Shamir and Zhang 2013), which needs no end to be known; ``cosine`` to zero over all
            steps; or ``constant``.
        standardise: features have mean 0 and deviation 1 over the training images, for each channel, and the heads are
            in evaluation mode, so that nothing hangs on the features' scale or a batch's statistics; the weights of
            dense heads are fitted along the features' principal axes (``brittle.evaluation.axes``).
        patience: looks at the val split without a head that is better by a thousandth until the fit stops, twenty of
            them evenly over all steps; 0 looks only at the end.
        halving: looks from one time that the worse half of a dense task's heads is left behind to the next; sooner, low
            rates of depth, which learn slowly and keep from learning few images by heart, are lost.
        fine: a dense head's maps are bilinear between the cells of the grid, so not every pixel has to be predicted:
            at least so many along a cell's edge are, every n-th of the target, from a random one on; 0 for all.
    """

    optimiser: Literal["adamw", "adam"] = "adamw"
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    decay: float = 1e-4
    batch: int = 16
    epochs: int = 8
    steps: int = 2000
    many: int = 12_000
    schedule: Literal["mean", "cosine", "constant"] = "mean"
    standardise: bool = True
    patience: int = 5
    halving: int = 4
    fine: int = 4

    def sparsely(self) -> "Recipe":
        """The same for one prediction an image: with few in a step, steps are too noisy for weights to settle."""
        return replace(self, batch=16 * self.batch)

    def quickly(self) -> "Recipe":
        """The same for a first look: under a third of the steps where images are few, and heads left behind at every
        look."""
        return replace(self, steps=min(self.steps, QUICK), many=min(self.many, QUICK), halving=1)

    def total(self, count: int) -> int:
        """Steps over ``count`` images, unless the fit stops before."""
        once = self.epochs * count // self.batch
        return max(self.steps, once, min(5 * once, self.many))
