"""How far the logits turn from the right class: bounded for every pixel, and blind to how confident a model is."""

from torch import Tensor, where

from brittle.core.traits import ObjectiveTraits
from brittle.types import Batch, Model, Objective, per_image, resized
from brittle.types.target import VOID


def cosine(model: Model, batch: Batch, /) -> Objective:
    """1 - cosine of logits and one-hot, averaged over pixels where a task has them, 0 where void (PAdam-Cos: Halmosi,
    Mohos and Jelasity, arXiv 2407.09150, 2024; their code takes logits, not shares)."""
    label = where(batch.target == VOID, 0, batch.target)[:, None]

    def objective(images: Tensor, _progress: float) -> Tensor:
        logits = model(images)
        logits = resized(logits, label.shape[2:]) if label.dim() > 2 else logits
        turned = 1 - logits.gather(1, label)[:, 0] / logits.norm(dim=1).clamp(min=1e-8)
        return per_image(where(batch.target == VOID, 0.0, turned))

    return objective


TRAITS = ObjectiveTraits(needs=("classes",))
