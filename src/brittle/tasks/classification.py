"""Image classification: a linear head on the pooled feature, cross entropy, accuracy."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from brittle.types import LABEL, Features, Task, agreement_of_classes


class LinearHead(nn.Module):
    """Features to logits [B, C]; the image size plays no part."""

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, outputs)
        for parameter in self.linear.parameters():
            nn.init.zeros_(parameter)  # a convex problem needs no random start

    def forward(self, features: Features, _size: Sequence[int]) -> Tensor:
        return self.linear(features.pooled)


class Classification(Task):
    """Target ``label`` [B] int64, prediction logits [B, C]. Statistics: ``correct`` and ``images``, 1 or 0 each."""

    name, target, attack = "classification", LABEL, "pgd"
    headline, higher_is_better = "accuracy", True
    abilities = frozenset({"classes", "per_image"})
    proportions = {"accuracy": ("correct", "images")}
    reads = ("pooled",)

    def head(self, dim: int, outputs: int) -> nn.Module:
        return LinearHead(dim, outputs)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(prediction, target, reduction="none")

    def right(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.argmax(1) == target

    def agreement(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss(prediction, target), agreement_of_classes(prediction, target)

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        correct = self.right(prediction, target).long()
        return {"correct": correct, "images": torch.ones_like(correct)}

    def damage(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return 1.0 - statistics["correct"].double()

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        return {"accuracy": (total["correct"] / total["images"]).item()}


def classification() -> Classification:
    """Top-1 classification."""
    return Classification()
