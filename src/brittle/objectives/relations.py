"""How unlike the patches of a layer become to themselves and to each other: made to fool other models too."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from brittle.core.traits import ObjectiveTraits
from brittle.types import Batch, Look, Model, Objective, windows

ALIKE = 0.5  # cosine of 60 degrees, above which two patches of the clean image belong together


def relations(model: Model, batch: Batch, /, *, layer: int | Literal["middle"] = "middle") -> Objective:
    """Minus the cosine of each patch with its clean self, and minus half the mean cosine of the pairs that are alike in
    the clean image, by the shares t and 1 - t of the progress t (FSPGD, arXiv 2502.01262, 2025): what belongs together
    is torn apart first, then moved.

    Args:
        layer: of which transformer block or stage, counted as in Python, before the final norm; ``middle``: the one
            that half of them lead to, as in the source.

    Raises:
        UsageError: the encoder has no such layer.

    Its values at different times are not comparable, so take the last iterate, as the source does: ``keep=last``.
    """
    depth = model.encoder.depth if model.encoder else 0
    place = depth // 2 - 1 if layer == "middle" else layer
    with torch.no_grad():
        clean = _patches(model, batch.images, place)
        pairs = [(patches @ patches.mT > ALIKE).float().triu(1) for patches in clean]

    def objective(images: Tensor, progress: float) -> Tensor:
        each: list[Tensor] = []
        for moved, before, alike in zip(_patches(model, images, place), clean, pairs):
            own = (moved * before).sum(2).mean(1)
            others = (moved @ moved.mT * alike).sum((1, 2)) / alike.sum((1, 2)).clamp(min=1)
            each.append(-progress * own - (1 - progress) / 2 * others)
        return torch.stack(each).mean(0)

    return objective


def _patches(model: Model, images: Tensor, layer: int) -> list[Tensor]:
    """[B, T, D] of length 1 each, of every window where the model has windows."""

    def of(part: Tensor) -> Tensor:
        return normalize(model.encode(part, Look((layer,), norm=False)).grid.flatten(2).mT, dim=2)

    if not model.windowed(images):
        return [of(images)]
    return [patches for _, patches in windows.over(of, images, model.window, model.stride)]


TRAITS = ObjectiveTraits(sees="encoder")
