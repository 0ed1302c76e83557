"""How far an encoder's feature moves: the score of an encoder without a head."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from brittle.core.errors import UsageError
from brittle.types import Task


class Displacement(Task):
    """The score of an encoder alone. Target and prediction: the pooled feature [B, D] of the clean and of the seen
    image. Statistics: ``moved``, its distance as a share of the clean one's length, and ``images``."""

    name, target, attack = "displacement", None, ""
    headline, higher_is_better = "moved", False
    reads = ("pooled",)

    def head(self, dim: int, outputs: int) -> nn.Module:
        raise UsageError("an encoder's displacement needs no head")

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().mean(1)

    def agreement(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss(prediction, target), nn.functional.cosine_similarity(prediction, target).clamp(min=0)

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        distance = (prediction.double() - target.double()).norm(dim=1) / target.double().norm(dim=1).clamp(min=1e-12)
        return {"moved": distance, "images": torch.ones_like(distance)}

    def damage(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return statistics["moved"]

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        return {"moved": (total["moved"] / total["images"]).item()}
